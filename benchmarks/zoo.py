"""`python -m benchmarks.zoo --out DIR`: detectors x labels x seeds on drawn scenes, equal schedules, one table.

What a detector learns from: the exact truth, the labels of a completer that was trained on the same scenes' visible
masks, these labels after `refine`, or visible masks taken for whole ones. Each seed draws other scenes. Everything is
resumed by the same command; nothing is done twice. The whole comparison is the default; a small one:

    python -m benchmarks.zoo --out DIR --scenes 60 --test-scenes 30 --steps 150 --completer-steps 150 --seeds 0
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from amodalpl.data.label_folder import LABELS
from amodalpl.drawn_scenes import SceneFiles, write_scenes
from amodalpl.evaluation.zoo import COST, evaluate_zoo
from amodalpl.io.files import read_json, write_json
from amodalpl.metrics import ordering
from amodalpl.metrics.occluded_detection import occluded_protocol
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.pseudolabel import pseudolabel
from amodalpl.pipeline.refine import refine
from amodalpl.pipeline.synth import synth
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings import PipelineSettings
from amodalpl.settings_values import merge, read_config, resolve

MODELS = ("mask-rcnn", "mask-rcnn-c8", "orcnn", "vrsp")
KINDS = ("truth", "pseudo", "refined", "modal")
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "+trust": {"trust": {"pixels": 1.0, "labels": 1.0}},
    "+scoring": {"mask_scoring": True},
}
COLUMNS = {  # of the printed table: heading -> protocol, metric
    "AP": ("COCO AP amodal (segm)", "AP"),
    "AP50": ("COCO AP amodal (segm)", "AP50"),
    "AR100": ("COCO AP amodal (segm)", "AR100"),
    "AP visible": ("COCO AP visible (segm)", "AP"),
    "AP occluded 25 %": (occluded_protocol(), "AP_25"),
    "order F1": (ordering.DIRECTED, "f1"),
    "photos/s": (COST, "images per second"),
}
_T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # Student's t, two-sided, by number of seeds


def main() -> None:
    """Run what is missing, print the table, write `table.json`."""
    options = _options()
    scores: dict[str, dict[int, dict[str, Any]]] = {}
    for seed in options.seeds:
        for row, values in _one_seed(options, seed).items():
            scores.setdefault(row, {})[seed] = values
    table = {row: _summary(list(of_seeds.values())) for row, of_seeds in scores.items()}
    write_json(options.out / "table.json", {"options": _plain(options), "rows": table, "seeds": scores})
    _print(table)


def _one_seed(options: argparse.Namespace, seed: int) -> dict[str, dict[str, Any]]:
    """Return of each model and kind of labels its score in every column."""
    out = options.out / f"seed_{seed}"
    learnt, test = (
        _scenes(out / "scenes", options.scenes, seed),
        _scenes(out / "test", options.test_scenes, seed + 10**6),
    )
    files = _labels(options, out, learnt, seed)
    folders = []
    for model in options.models:
        for kind in options.labels:
            for variant in options.variants if kind in ("pseudo", "refined") else [""]:
                folder = out / f"{model}_{kind}{variant}"
                settings = _settings(options, seed, {"model": model, **VARIANTS[variant]})
                print(folder, flush=True)
                train_detector(
                    files[kind], learnt.images, folder, settings, val=test.truth, val_images=test.images, init="none",
                    device=options.device,
                )  # fmt: skip
                folders.append(folder)
    scores = evaluate_zoo(test.truth, test.images, folders, out=out / "scores", device=options.device).scores
    return {
        folder.name: {name: scores[p].get(folder.name, {}).get(metric) for name, (p, metric) in COLUMNS.items()}
        for folder in folders
    }


def _labels(options: argparse.Namespace, out: Path, learnt: SceneFiles, seed: int) -> dict[str, Path]:
    """Return the label file of each kind."""
    files = {"truth": learnt.truth, "modal": out / "modal.json"}
    truth = json.loads(learnt.truth.read_text(encoding="utf-8"))
    for entry in truth["annotations"]:
        entry["segmentation"] = entry["visible_mask"]
    write_json(files["modal"], truth)
    if not {"pseudo", "refined"} & {*options.labels}:
        return files
    settings = _settings(options, seed, {})
    synth(learnt.annotations, learnt.images, out / "synth", settings)
    values = {**read_config(Path("demo")), "seed": seed}
    steps = {"training": {"steps": options.completer_steps}}
    complete(out / "synth", out / "completer", merge(values, steps), options.device)
    pseudolabel(learnt.annotations, learnt.images, out / "completer", out / "labels", settings, device=options.device)
    files["pseudo"] = out / "labels" / LABELS
    if "refined" in options.labels:
        refine(
            out / "labels", learnt.images, out / "refine", settings, synth_dir=out / "synth", init="none",
            device=options.device,
        )  # fmt: skip
        files["refined"] = out / "refine/labels" / LABELS
    return files


def _settings(options: argparse.Namespace, seed: int, detector: Mapping[str, Any]) -> PipelineSettings:
    schedule = {"steps": options.steps, "class_agnostic": False, "vrsp": {"codes": 64, "shape_steps": options.steps}}
    return resolve(merge(read_config(Path("demo")), {"seed": seed, "detector": {**schedule, **detector}}))


def _scenes(folder: Path, count: int, seed: int) -> SceneFiles:
    there = SceneFiles(folder / "annotations.json", folder / "images", folder / "truth.json")
    if there.truth.exists() and len(read_json(there.truth, "the truth")["images"]) == count:
        return there
    return write_scenes(folder, count, seed)


def _summary(of_seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean over seeds of each column, and half of its 95 % interval by Student's t; None for one seed."""
    found = {}
    for name in COLUMNS:
        values = [float(scores[name]) for scores in of_seeds if scores[name] is not None]
        half = _T_95[len(values)] * stdev(values) / len(values) ** 0.5 if len(values) in _T_95 else None
        found[name] = {"mean": mean(values), "half": half} if values else None
    return found


def _print(table: Mapping[str, Mapping[str, Any]]) -> None:
    shown = Table("detector, labels", *COLUMNS, box=None)
    for row, columns in table.items():
        cells = [_cell(found) for found in columns.values()]
        shown.add_row(row, *cells)
    Console(width=160).print(shown)


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    return f"{found['mean']:.3f}" + ("" if found["half"] is None else f" ± {found['half']:.3f}")


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=600, help="learnt from")
    parser.add_argument("--test-scenes", type=int, default=200)
    parser.add_argument("--steps", type=int, default=6000, help="of each detector")
    parser.add_argument("--completer-steps", type=int, default=8000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--labels", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
