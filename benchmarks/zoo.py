"""`python -m benchmarks.zoo --out DIR`: detectors x labels x seeds on drawn scenes, equal schedules, one table.

What a detector learns from: the exact truth, the labels of a completer (one that was trained on the same scenes'
visible masks, or that of the package), these labels after `refine` by the same model, or visible masks taken for whole
ones. Each seed draws other scenes. Everything is resumed by the same command; no training is done twice; the table is
written anew after each row. The whole comparison is the default; a small one:

    python -m benchmarks.zoo --out DIR --scenes 60 --test-scenes 30 --steps 150 --completer-steps 150 --seeds 0

Such small networks leave a GPU idle most of the time: `--processes 6` trains six of them at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from amodalpl.builtin import BUILTIN
from amodalpl.data.label_folder import LABELS
from amodalpl.drawn_scenes import SceneFiles, write_scenes
from amodalpl.errors import AmodalplError
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
KINDS = ("pseudo", "modal", "truth", "refined")
BASE = "pseudo"  # of each model, what its other rows are compared with
VARIANTS: dict[str, dict[str, Any]] = {
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
LEARNT, TEST, SHOWN = "scenes", "test", "shown"  # sets of scenes: the last is the start of the second, for the pages
_SHOWN = 10
_UNSEEN = 10**6  # added to a seed, it draws what is scored on


class Row(NamedTuple):
    """A detector and what it learns from: of `MODELS`, of `KINDS`, and of `VARIANTS` or ""."""

    model: str
    labels: str
    variant: str = ""

    @property
    def name(self) -> str:
        """Of the row, and of the folder of its training."""
        return f"{self.model}_{self.labels}{self.variant}"


ROWS = [
    *(Row(model, labels) for labels in KINDS for model in MODELS),
    *(Row(model, BASE, variant) for variant in VARIANTS for model in MODELS),
]
Scores = dict[str, dict[int, dict[str, Any]]]  # row -> seed -> column -> value


def main() -> int:
    """Run what is missing, print the tables, write `table.json`; return 1 where a row failed."""
    options = _options()
    scores: Scores = {}
    failed = 0
    with ProcessPoolExecutor(options.processes, get_context("spawn"), _one_thread) as pool:
        list(pool.map(partial(_scenes, options), *zip(*product(options.seeds, (LEARNT, TEST, SHOWN)), strict=True)))
        files = dict(zip(options.seeds, pool.map(partial(_labels, options), options.seeds), strict=True))
        running: dict[Future, tuple[Row, int]] = {
            pool.submit(_train_and_score, options, row, seed, files[seed]): (row, seed)
            for row, seed in product(options.rows, options.seeds)
        }
        for done in as_completed(running):
            row, seed = running[done]
            try:
                scores.setdefault(row.name, {})[seed] = done.result()
            except AmodalplError as error:  # one row that fails does not stop the others
                failed += 1
                print(f"{row.name}, seed {seed}: {error}", flush=True)
            else:
                print(f"{row.name}, seed {seed}: {json.dumps(scores[row.name][seed])}", flush=True)
                _write(options, scores)
    _print("detector, labels", _means(scores))
    _print(f"less the same model's {BASE}", _means(_differences(scores)))
    return 1 if failed else 0


def _one_thread() -> None:
    """Let a process compute in one thread: several run at once, and these networks are small."""
    import torch

    torch.set_num_threads(1)


def _scenes(options: argparse.Namespace, seed: int, part: str) -> SceneFiles:
    """Draw a set of scenes, unless it is there."""
    folder = options.out / f"seed_{seed}" / part
    count = {LEARNT: options.scenes, TEST: options.test_scenes, SHOWN: _SHOWN}[part]
    there = SceneFiles(folder / "annotations.json", folder / "images", folder / "truth.json")
    if there.truth.exists() and len(read_json(there.truth, "the truth")["images"]) == count:
        return there
    return write_scenes(folder, count, seed if part == LEARNT else seed + _UNSEEN)


def _labels(options: argparse.Namespace, seed: int) -> dict[str, Path]:
    """Return the label file of each kind; that of "refined" is where `refine` starts."""
    out, learnt = options.out / f"seed_{seed}", _scenes(options, seed, LEARNT)
    files = {"truth": learnt.truth, "modal": out / "modal.json"}
    truth = read_json(learnt.truth, "the truth")
    for entry in truth["annotations"]:
        entry["segmentation"] = entry["visible_mask"]
    write_json(files["modal"], truth)
    if not {"pseudo", "refined"} & {row.labels for row in options.rows}:
        return files
    settings = _settings(options, seed, {})
    synth(learnt.annotations, learnt.images, out / "synth", settings)
    if options.completer_steps:
        values = {**read_config(Path("demo")), "seed": seed}
        steps = {"training": {"steps": options.completer_steps}}
        complete(out / "synth", out / "completer", merge(values, steps), options.device)
    completer = out / "completer" if options.completer_steps else BUILTIN
    pseudolabel(learnt.annotations, learnt.images, completer, out / "labels", settings, device=options.device)
    return {**files, "pseudo": out / "labels" / LABELS, "refined": out / "labels"}


def _train_and_score(options: argparse.Namespace, row: Row, seed: int, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the row's score in every column."""
    out, learnt = options.out / f"seed_{seed}", _scenes(options, seed, LEARNT)
    settings = _settings(options, seed, {"model": row.model, **VARIANTS.get(row.variant, {})})
    labels = files[row.labels]
    if row.labels == "refined":
        better = out / f"refine_{row.model}"
        refine(labels, learnt.images, better, settings, synth_dir=out / "synth", init="none", device=options.device)
        labels = better / "labels" / LABELS
    shown, test = _scenes(options, seed, SHOWN), _scenes(options, seed, TEST)
    train_detector(
        labels, learnt.images, out / row.name, settings, val=shown.truth, val_images=shown.images, init="none",
        device=options.device,
    )  # fmt: skip
    found = evaluate_zoo(
        test.truth, test.images, [out / row.name], out=out / "scores" / row.name, device=options.device
    ).scores
    return {name: found.get(protocol, {}).get(row.name, {}).get(metric) for name, (protocol, metric) in COLUMNS.items()}


def _settings(options: argparse.Namespace, seed: int, detector: Mapping[str, Any]) -> PipelineSettings:
    schedule = {"steps": options.steps, "class_agnostic": False, "vrsp": {"codes": 64, "shape_steps": options.steps}}
    wanted = {"seed": seed, "detector": {**schedule, **detector}, "refine": {"rounds": options.rounds}}
    return resolve(merge(read_config(Path("demo")), wanted))


def _differences(scores: Scores) -> Scores:
    """Return of each row how far it is ahead of the same model's `BASE` with the same seed."""
    found: Scores = {}
    for row in ROWS:
        base = scores.get(Row(row.model, BASE).name, {})
        both = {seed: of_seed for seed, of_seed in scores.get(row.name, {}).items() if seed in base}
        if (row.labels, row.variant) != (BASE, "") and both:
            found[row.name] = {seed: _less(of_seed, base[seed]) for seed, of_seed in both.items()}
    return found


def _less(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if value is None or second[name] is None else value - second[name] for name, value in first.items()
    }


def _means(scores: Scores) -> dict[str, dict[str, Any]]:
    """Return of each row and column the mean over seeds, and half of its 95 % interval by Student's t."""
    return {row.name: _mean(list(scores[row.name].values())) for row in ROWS if scores.get(row.name)}


def _mean(of_seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = {}
    for name in COLUMNS:
        values = [float(scores[name]) for scores in of_seeds if scores[name] is not None]
        count = len(values)
        half = float(student.ppf(0.975, count - 1)) * stdev(values) / count**0.5 if count > 1 else None
        found[name] = {"mean": mean(values), "half": half, "seeds": count} if values else None
    return found


def _write(options: argparse.Namespace, scores: Scores) -> None:
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    plain["rows"] = [row.name for row in options.rows]
    content = {"rows": _means(scores), f"less {BASE}": _means(_differences(scores)), "seeds": scores}
    write_json(options.out / "table.json", {"options": plain, **content})


def _print(title: str, table: Mapping[str, Mapping[str, Any]]) -> None:
    shown = Table(title, *COLUMNS, box=None)
    for row, columns in table.items():
        shown.add_row(row, *(_cell(found) for found in columns.values()))
    Console(width=160).print(shown)


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    return f"{found['mean']:.3f}" + ("" if found["half"] is None else f" ± {found['half']:.3f}")


def _rows(pattern: str) -> list[Row]:
    found = [row for row in ROWS if fnmatchcase(row.name, pattern)]
    if not found:
        names = ", ".join(row.name for row in ROWS)
        raise argparse.ArgumentTypeError(f"expected a name of {names}, or a pattern of some, got {pattern!r}")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=600, help="learnt from")
    parser.add_argument("--test-scenes", type=int, default=200)
    parser.add_argument("--steps", type=int, default=6000, help="of each detector")
    parser.add_argument(
        "--completer-steps", type=int, default=8000, help="of each seed's completer; 0: the one of the package"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of `refine`, at most")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--rows", type=_rows, nargs="+", default=[ROWS], metavar="NAME", help="in this order, such as 'mask-rcnn_*'"
    )
    parser.add_argument("--processes", type=int, default=1, help="trainings at once")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    options = parser.parse_args()
    options.rows = list(dict.fromkeys(row for rows in options.rows for row in rows))
    return options


if __name__ == "__main__":
    sys.exit(main())
