"""`python -m benchmarks.boxes`: the papers' table of masks from boxes, and BLADE's ablation, on drawn rigid scenes.

Of drawn photos, a part is learnt from; whole objects of the others are hidden at ten levels by things that no file
lists (`synth --recipe occluded-objects`). All detectors get equal budgets. What the papers found, and what to look for:
BLADE far over BoxInst at FG-2 and FG-3 and no worse than 1 point at FG-0; Bayesian-Amodal over BBTP at FG-3; curves
that fall little from BG-1 to BG-3. Finished parts stay, so that a run goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from amodalpl.drawn_scenes import write_scenes
from amodalpl.evaluation.boxes import EXACT, evaluate_boxes
from amodalpl.io.files import write_json
from amodalpl.metrics.levels import MASKS_FROM_BOXES, OCCLUDED_VEHICLES
from amodalpl.pipeline.synth import synth
from amodalpl.pipeline.train_compositional import train_compositional
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings_values import merge, resolve

DETECTORS: dict[str, dict[str, Any]] = {
    "bbtp": {"model": "bbtp"},
    "boxinst": {"model": "boxinst"},
    "blade": {"model": "blade"},
    "blade without uniform": {"model": "blade", "blade": {"uniform_weight": 0}},
    "blade without neighbour": {"model": "blade", "blade": {"neighbour_weight": 0}},
    "blade without both": {"model": "blade", "blade": {"uniform_weight": 0, "neighbour_weight": 0}},
    "blade without fusion": {"model": "blade", "blade": {"fusion": False}},
    "orcnn": {"model": "orcnn"},  # learns from both masks: the ceiling
}
BAYESIAN = "bayesian-amodal"
SMALL = {  # for drawn scenes of 160 x 120 on a CPU, as in the tests that overfit
    "backbone": "resnet18_small", "batch_size": 4, "workers": 0, "optimizer": "adamw", "learning_rate": 2e-3,
    "warmup_steps": 20, "milestones": [0.7, 0.9], "image_scale": [160, 120], "rpn_proposals": 100, "roi_samples": 32,
    "channels": 32, "boxinst": {"colour_threshold": 0.01, "filled_start": 0.5},
}  # fmt: skip
SHAPES = {"backbone": "mobilenet_v2", "concepts": 128, "kappa": 20, "least_height_px": 16}
SIZE_HW = (120, 160)
FOREGROUND, BACKGROUND = ("FG-0", "FG-1", "FG-2", "FG-3"), ("BG-1", "BG-2", "BG-3")


def main() -> None:
    """Run what was asked for and print the table."""
    options = _options()
    tables = []
    for seed in options.seeds:
        folder = options.out / f"seed_{seed}"
        tables.append(run_seed(folder, seed, options.photos, options.steps, options.models, options.init))
    rows = mean_of(tables)
    write_json(options.out / "table.json", {"seeds": options.seeds, "steps": options.steps, "mean": rows, "of": tables})
    console = Console()
    for boxes, of_boxes in rows.items():
        table = Table(f"{boxes} boxes", "mean", *FOREGROUND, *BACKGROUND, box=None)
        for name, row in of_boxes.items():
            table.add_row(name, *(_shown(row[column]) for column in ("mean", *FOREGROUND, *BACKGROUND)))
        console.print(table)


def run_seed(
    folder: Path, seed: int, photos: int, steps: int, models: Sequence[str], init: str
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Draw, train and score with one seed.

    Args:
        folder: for everything; finished parts are taken over.
        seed: of the scenes, of what hides objects, and of the trainings.
        photos: drawn ones, of which 70 % are learnt from.
        steps: of each detector.
        models: names of `DETECTORS`, or `BAYESIAN`.
        init: weights of MobileNetV2 for the compositional model, or "none".

    Returns:
        "visible" and "whole" boxes -> row -> see `by_level`.
    """
    scenes = write_scenes(folder / "scenes", photos, seed, SIZE_HW)
    synthesis = {"recipe": "occluded-objects", "holdout_fraction": 0.3, "occluded": {"least_side_px": 24}}
    hidden = folder / "hidden"
    synth(scenes.truth, scenes.images, hidden, resolve({"seed": seed, "synthesis": synthesis}))
    trained = []
    for name in models:
        trained.append(folder / name.replace(" ", "_"))
        if name == BAYESIAN:
            wanted = resolve({"seed": seed, "compositional": SHAPES})
            train_compositional(hidden / "train.json", scenes.images, trained[-1], wanted, init=init)
        else:
            values = merge({"seed": seed, "detector": {**SMALL, "steps": steps}}, {"detector": DETECTORS[name]})
            train_detector(hidden / "train.json", scenes.images, trained[-1], resolve(values), init="none")
    tables = {}
    for boxes in ("visible", "whole"):
        scores = evaluate_boxes(
            hidden / "truth.json", hidden / "images", trained, shapes=hidden / "train.json",
            whole_boxes=boxes == "whole", seed=seed, out=folder / f"scores_{boxes}",
        ).scores  # fmt: skip
        exact = scores[f"{MASKS_FROM_BOXES} ({OCCLUDED_VEHICLES.name}), {boxes} boxes {EXACT}: all"]
        tables[boxes] = {name: by_level(row) for name, row in exact.items()}
    return tables


def by_level(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the mean of all cells, of each level of the object over those of its surroundings, and the other way.

    >>> by_level({"mean": 0.6, "FG-0": 0.8, "FG-1 BG-1": 0.5, "FG-1 BG-2": 0.3, "FG-2 BG-1": None})["FG-1"]
    0.4
    """
    columns: dict[str, float | None] = {"mean": row["mean"]}
    for name in (*FOREGROUND, *BACKGROUND):
        cells = [row.get(level.name) for level in OCCLUDED_VEHICLES.levels if name in level.name.split()]
        known = [cell for cell in cells if cell is not None]
        columns[name] = fmean(known) if known else None
    return columns


def mean_of(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean over seeds of each number that all of them have."""
    first = tables[0]
    if not isinstance(first, Mapping):
        known = [number for number in tables if number is not None]
        return fmean(known) if len(known) == len(tables) else None  # type: ignore[return-value]
    return {key: mean_of([table[key] for table in tables]) for key in first}


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boxes", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--photos", type=int, default=200, help="drawn ones; 70 %% are learnt from")
    parser.add_argument("--steps", type=int, default=3000, help="of each detector")
    parser.add_argument("--models", nargs="+", default=[*DETECTORS, BAYESIAN], choices=[*DETECTORS, BAYESIAN])
    parser.add_argument("--init", default="none", help="MobileNetV2 weights for bayesian-amodal, or none")
    return parser.parse_args()


if __name__ == "__main__":
    main()
