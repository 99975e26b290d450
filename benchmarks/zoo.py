"""`python -m benchmarks.zoo --out DIR`: detectors x labels x seeds on drawn scenes, equal schedules, one table.

What a detector learns from: the exact truth, the labels of a completer (one that was trained on the same scenes'
visible masks, or that of the package), these labels after `refine` by the same model, or visible masks taken for whole
ones. Each seed draws other scenes. Everything is resumed by the same command, and no training is done twice.
`table.json` has the rows that were asked for, is written anew after each of them, and gives each one's difference to
the same model on plain labels, seed by seed. The whole comparison is the default; a small one:

    python -m benchmarks.zoo --out DIR --scenes 60 --test-scenes 30 --steps 150 --completer-steps 150 --seeds 0

Such small networks leave a GPU idle most of the time: `--processes 6` trains six of them at once. Photos per second
mean little then.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
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
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.refine import refine
from amodalpl.pipeline.synth import synth
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings import PipelineSettings
from amodalpl.settings_values import merge, read_config, resolve

MODELS = ("mask-rcnn", "mask-rcnn-c8", "orcnn", "vrsp")
KINDS = ("pseudo", "modal", "truth", "refined")
BASE = "pseudo"  # of each model, what its other rows are compared with
VARIANTS: dict[str, tuple[Sequence[str], dict[str, Any]]] = {  # on labels of `BASE`: which models, detector settings
    "+trust": (MODELS, {"trust": {"pixels": 1.0, "labels": 1.0}}),
    "+scoring": (MODELS, {"mask_scoring": True}),
    "+logits": (["orcnn"], {"orcnn": {"hidden_weight": 1.0, "difference": "logits"}}),
    "+probability": (["orcnn"], {"orcnn": {"hidden_weight": 1.0}}),
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
_SHOWN = 10  # scenes of the set that is scored on which a detector's page shows
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
    *(Row(model, BASE, variant) for variant, (models, _) in VARIANTS.items() for model in models),
]


class Data(NamedTuple):
    """What the rows of a seed share; `labels` has a file of each kind but "refined", which each model makes itself."""

    learnt: SceneFiles
    test: SceneFiles
    shown: SceneFiles
    labels: dict[str, Path]


Scores = dict[str, dict[int, dict[str, Any]]]  # row -> seed -> column -> value


def main() -> int:
    """Run what is missing, print the tables, write `table.json`; return 1 where a row failed."""
    options = read_options()
    scores: Scores = {}
    failed = 0
    with ProcessPoolExecutor(options.processes, get_context("spawn"), _one_thread) as pool:
        data = dict(zip(options.seeds, pool.map(partial(_prepare, options), options.seeds), strict=True))
        running = {
            pool.submit(_train_and_score, options, row, seed, data[seed]): (row, seed)
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
    _print("detector, labels", means(scores))
    _print(f"less the same model's {BASE}", means(differences(scores)))
    return 1 if failed else 0


def _one_thread() -> None:
    """Let a process compute in one thread: several run at once, and these networks are small."""
    import torch

    torch.set_num_threads(1)


def _prepare(options: argparse.Namespace, seed: int) -> Data:
    """Draw the scenes of a seed, and make the labels that its rows ask for."""
    out = options.out / f"seed_{seed}"
    learnt = _scenes(out / "scenes", options.scenes, seed)
    test, shown = (
        _scenes(out / name, count, seed + _UNSEEN) for name, count in (("test", options.test_scenes), ("shown", _SHOWN))
    )
    labels = {"truth": learnt.truth, "modal": out / "modal.json"}
    truth = read_json(learnt.truth, "the truth")
    for entry in truth["annotations"]:
        entry["segmentation"] = entry["visible_mask"]
    write_json(labels["modal"], truth)
    if {BASE, "refined"} & {row.labels for row in options.rows}:
        labels[BASE] = _pseudolabel(options, seed, learnt, out)
    return Data(learnt, test, shown, labels)


def _scenes(folder: Path, count: int, seed: int) -> SceneFiles:
    """Draw a set of scenes, unless it is there."""
    there = SceneFiles(folder / "annotations.json", folder / "images", folder / "truth.json")
    if there.truth.exists() and len(read_json(there.truth, "the truth")["images"]) == count:
        return there
    return write_scenes(folder, count, seed)


def _pseudolabel(options: argparse.Namespace, seed: int, scenes: SceneFiles, out: Path) -> Path:
    """Make a hold-out, train a completer where one is asked for, and return its label file."""
    settings = _settings(options, seed, {})
    synth(scenes.annotations, scenes.images, out / "synth", settings)
    completer = out / "completer" if options.completer_steps else BUILTIN
    if options.completer_steps:
        wanted = {"seed": seed, "training": {"steps": options.completer_steps}}
        complete(out / "synth", out / "completer", merge(read_config(Path("demo")), wanted), options.device)
    make_labels(scenes.annotations, scenes.images, completer, out / "labels", settings, device=options.device)
    return out / "labels" / LABELS


def _train_and_score(options: argparse.Namespace, row: Row, seed: int, data: Data) -> dict[str, Any]:
    """Return the row's score in every column."""
    out, images, device = options.out / f"seed_{seed}", data.learnt.images, options.device
    _, changes = VARIANTS.get(row.variant, ((), {}))
    settings = _settings(options, seed, {"model": row.model, **changes})
    if row.labels == "refined":
        before, better = data.labels[BASE].parent, out / f"refine_{row.model}"
        refine(before, images, better, settings, synth_dir=out / "synth", init="none", device=device)
        labels = better / "labels" / LABELS
    else:
        labels = data.labels[row.labels]
    val, detector = data.shown, out / row.name
    train_detector(labels, images, detector, settings, val=val.truth, val_images=val.images, init="none", device=device)
    found = evaluate_zoo(
        data.test.truth, data.test.images, [detector], out=out / "scores" / row.name, device=device
    ).scores
    return {name: found.get(protocol, {}).get(row.name, {}).get(metric) for name, (protocol, metric) in COLUMNS.items()}


def _settings(options: argparse.Namespace, seed: int, detector: Mapping[str, Any]) -> PipelineSettings:
    schedule = {"steps": options.steps, "class_agnostic": False, "vrsp": {"codes": 64, "shape_steps": options.steps}}
    wanted = {"seed": seed, "detector": {**schedule, **detector}, "refine": {"rounds": options.rounds}}
    return resolve(merge(read_config(Path("demo")), wanted))


def differences(scores: Scores) -> Scores:
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


def means(scores: Scores) -> dict[str, dict[str, Any]]:
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
    content = {"rows": means(scores), f"less {BASE}": means(differences(scores)), "seeds": scores}
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


def read_options() -> argparse.Namespace:
    """Read the command line."""
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
