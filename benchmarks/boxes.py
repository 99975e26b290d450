"""`python -m benchmarks.boxes`: the papers' table of masks from boxes, and BLADE's ablation, on drawn rigid scenes.

Of drawn photos, a part is learnt from; whole objects of the others are hidden at ten levels by things that no file
lists (`synth --recipe occluded-objects`). All detectors get equal budgets. In the papers BBTP and BoxInst learn visible
boxes and are given whole ones, BLADE is given visible ones. What they found, and what to look for: BLADE, given visible
boxes, far over BoxInst, given whole ones, at FG-2 and FG-3 and no worse than 1 point at FG-0; Bayesian-Amodal over BBTP
at FG-3; curves that fall little from BG-1 to BG-3. Finished parts stay, so that a run goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from amodalpl.drawn_scenes import write_scenes
from amodalpl.evaluation.boxes import EXACT, evaluate_boxes
from amodalpl.io.files import read_json, write_json
from amodalpl.metrics.levels import MASKS_FROM_BOXES, OCCLUDED_VEHICLES
from amodalpl.pipeline.synth import synth
from amodalpl.pipeline.train_compositional import train_compositional
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings_values import merge, resolve

REGIONS = {"learning_rate": 2e-3}  # Mask R-CNN's family; FCOS with masks of its own weights bears a quarter of it
DETECTORS: dict[str, dict[str, Any]] = {
    "bbtp": {"model": "bbtp", **REGIONS},
    "bbtp of visible boxes": {"model": "bbtp", **REGIONS},
    "boxinst": {"model": "boxinst"},
    "boxinst of visible boxes": {"model": "boxinst"},
    "blade": {"model": "blade"},
    "blade without uniform": {"model": "blade", "blade": {"uniform_weight": 0}},
    "blade without neighbour": {"model": "blade", "blade": {"neighbour_weight": 0}},
    "blade without both": {"model": "blade", "blade": {"uniform_weight": 0, "neighbour_weight": 0}},
    "blade without fusion": {"model": "blade", "blade": {"fusion": False}},
    "orcnn": {"model": "orcnn", **REGIONS},  # learns from both masks: the ceiling
}
OF_VISIBLE = " of visible boxes"  # rows that learn from what is visible alone, as all models but BLADE in the papers
BAYESIAN = "bayesian-amodal"
SMALL = {  # for drawn scenes of 160 x 120 on a CPU, as in the tests that overfit
    "backbone": "resnet18_small", "workers": 0, "optimizer": "adamw", "learning_rate": 5e-4,
    "warmup_steps": 20, "milestones": [0.7, 0.9], "rpn_proposals": 100, "roi_samples": 32, "channels": 32,
    "boxinst": {"colour_threshold": 0.01, "filled_start": 0.5, "masks_per_photo": 16},
}  # fmt: skip
SHAPES = {"backbone": "mobilenet_v2", "concepts": 128, "kappa": 20, "least_height_px": 16}
SIZE_HW = (120, 160)
ROWS, MODAL = "rows", "modal.json"
FOREGROUND, BACKGROUND = ("FG-0", "FG-1", "FG-2", "FG-3"), ("BG-1", "BG-2", "BG-3")


def main() -> int:
    """Run what was asked for, and print the table of all rows that are there; 1 where a row failed."""
    options = _options()
    failed = run(options, options.out / "work")
    table = write_table(options.out)
    console = Console()
    for boxes, rows in table.items():
        shown = Table(f"{boxes} boxes", "seeds", "mean", *FOREGROUND, *BACKGROUND, box=None)
        for name, row in rows.items():
            shown.add_row(
                name, str(row["seeds"]), *(_shown(row[column]) for column in ("mean", *FOREGROUND, *BACKGROUND))
            )
        console.print(shown)
    return 1 if failed else 0


def run(options: argparse.Namespace, work: Path) -> int:
    """Draw scenes, train and score, several rows at a time; each row is written as soon as it is there.

    Args:
        options: of the command line.
        work: for scenes and trainings.

    Returns:
        How many rows failed; a row that fails stops no other.
    """
    (options.out / ROWS).mkdir(parents=True, exist_ok=True)
    failed = 0
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:  # CUDA survives no fork
        folders = {seed: work / f"seed_{seed}" for seed in options.seeds}
        drawn = [pool.submit(prepare, folders[s], s, options.photos, options.objects) for s in options.seeds]
        for one in drawn:
            one.result()
        tasks = {pool.submit(score_free, folders[s], s, options.out): f"free, seed {s}" for s in options.seeds}
        for seed in options.seeds:
            for name in options.models:
                task = pool.submit(score_trained, folders[seed], seed, name, options)
                tasks[task] = f"{name}, seed {seed}"
        for task in as_completed(tasks):
            try:
                print(f"{tasks[task]}: {task.result():.0f} s", flush=True)
            except Exception as error:
                failed += 1
                print(f"{tasks[task]}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return failed


def prepare(folder: Path, seed: int, photos: int, objects: int) -> None:
    """Draw photos, hide whole objects of some of them, and list what is visible of the others' objects.

    Args:
        folder: for everything of this seed.
        seed: of the scenes, and of what hides objects.
        photos: drawn ones, of which 70 % are learnt from.
        objects: that are hidden, each at ten levels.
    """
    scenes = write_scenes(folder / "scenes", photos, seed, SIZE_HW)
    hiding = {"least_side_px": 24, "objects": objects}
    synthesis = {"recipe": "occluded-objects", "holdout_fraction": 0.3, "occluded": hiding}
    synth(scenes.truth, scenes.images, folder / "hidden", resolve({"seed": seed, "synthesis": synthesis}))
    kept = {photo["id"] for photo in read_json(folder / "hidden/train.json", "photos to learn from")["images"]}
    modal = read_json(scenes.annotations, "visible masks")
    modal["images"] = [photo for photo in modal["images"] if photo["id"] in kept]
    modal["annotations"] = [entry for entry in modal["annotations"] if entry["image_id"] in kept]
    write_json(folder / MODAL, modal)


def score_free(folder: Path, seed: int, out: Path) -> float:
    """Score what boxes give for free; returns the seconds it took."""
    return _score(folder, seed, "free", out, [])


def score_trained(folder: Path, seed: int, name: str, options: argparse.Namespace) -> float:
    """Train a model and score it; returns the seconds that both took.

    Args:
        folder: of `prepare`.
        seed: of the training.
        name: of `DETECTORS`, or `BAYESIAN`.
        options: `steps`, `batch_size`, `enlarge`, `device`, `init` and `out` are used.
    """
    began = time.monotonic()
    if _row_file(options.out, seed, name).exists():
        return 0.0
    learnt_from = folder / (MODAL if name.endswith(OF_VISIBLE) else "hidden/train.json")
    images, trained = folder / "scenes/images", folder / name.replace(" ", "_")
    if name == BAYESIAN:
        wanted = resolve({"seed": seed, "compositional": SHAPES})
        train_compositional(learnt_from, images, trained, wanted, init=options.init, device=options.device)
    else:
        budget = {
            "steps": options.steps, "batch_size": options.batch_size, "checkpoint_every": options.steps,
            "image_scale": [options.enlarge * side for side in reversed(SIZE_HW)],
        }  # fmt: skip
        wanted = resolve({"seed": seed, "detector": merge({**SMALL, **budget}, DETECTORS[name])})
        train_detector(learnt_from, images, trained, wanted, init="none", device=options.device)
    _score(folder, seed, name, options.out, [trained], options.device)
    return time.monotonic() - began


def _score(folder: Path, seed: int, name: str, out: Path, trained: Sequence[Path], device: str = "cpu") -> float:
    """Score one model, or with none what is free, and write the row."""
    began = time.monotonic()
    file = _row_file(out, seed, name)
    if file.exists():
        return 0.0
    tables = {}
    for boxes in ("visible", "whole"):
        scores = evaluate_boxes(
            folder / "hidden/truth.json", folder / "hidden/images", trained,
            shapes=None if trained else folder / "hidden/train.json", whole_boxes=boxes == "whole",
            free=not trained, moved=False, device=device,
        ).scores  # fmt: skip
        rows = scores[f"{MASKS_FROM_BOXES} ({OCCLUDED_VEHICLES.name}), {boxes} boxes {EXACT}: all"]
        tables[boxes] = {name if trained else row: by_level(of_row) for row, of_row in rows.items()}
    write_json(file, tables)
    return time.monotonic() - began


def _row_file(out: Path, seed: int, name: str) -> Path:
    return out / ROWS / f"{name.replace(' ', '_')}_seed_{seed}.json"


def write_table(out: Path) -> dict[str, dict[str, Any]]:
    """Return, and write to `table.json`, the mean over seeds of all rows that are there.

    Returns:
        "visible" and "whole" boxes -> row -> see `by_level`, and `seeds`, how many it is the mean of.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {"visible": {}, "whole": {}}
    for file in sorted((out / ROWS).glob("*.json"), key=_place_in_table):
        for boxes, rows in read_json(file, "scores of a row").items():
            for name, row in rows.items():
                found[boxes].setdefault(name, []).append(row)
    table = {
        boxes: {name: {**mean_of(tables), "seeds": len(tables)} for name, tables in rows.items()}
        for boxes, rows in found.items()
    }
    write_json(out / "table.json", table)
    return table


def _place_in_table(file: Path) -> tuple[int, str]:
    names = ["free", *(name.replace(" ", "_") for name in (*DETECTORS, BAYESIAN))]
    return names.index(file.stem.partition("_seed_")[0]), file.stem


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


def mean_of(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of each column over the seeds, where all have a number.

    >>> mean_of([{"FG-0": 0.2, "FG-1": 0.4}, {"FG-0": 0.4, "FG-1": None}])
    {'FG-0': 0.30000000000000004, 'FG-1': None}
    """
    columns = {}
    for name in rows[0]:
        known = [number for row in rows if (number := row[name]) is not None]
        columns[name] = fmean(known) if len(known) == len(rows) else None
    return columns


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boxes", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for rows and table; trainings go to OUT/work")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--photos", type=int, default=200, help="drawn ones; 70 %% are learnt from")
    parser.add_argument(
        "--objects", type=int, default=60, help="whole ones of the other photos, each shown at ten levels"
    )
    parser.add_argument("--steps", type=int, default=3000, help="of each detector")
    parser.add_argument("--batch-size", type=int, default=4, help="photos per step")
    parser.add_argument(
        "--enlarge",
        type=int,
        default=2,
        help="photos seen at so many times their size: FCOS has masks in cells of 4 px",
    )
    parser.add_argument("--models", nargs="+", default=[*DETECTORS, BAYESIAN], choices=[*DETECTORS, BAYESIAN])
    parser.add_argument("--init", default="none", help="MobileNetV2 weights for bayesian-amodal, or none")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--processes", type=int, default=1, help="rows at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
