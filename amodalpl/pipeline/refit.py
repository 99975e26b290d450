"""Thresholds and calibration of a completer, fitted in a minute to photos that it was not trained for.

`synth` makes a small hold-out of the user's own masks. `complete` chooses on it all that it chooses after a training,
but trains nothing. Both are ordinary runs in a folder within the labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..completion.checkpoint import read_network_settings
from ..data.records import AnnotationSet
from ..errors import TooFewObjectsError
from ..io.files import read_json, write_json
from ..metrics.hidden_parts import HiddenParts
from ..report import sanity_checks
from ..runtime.distributed import Ranks, wait_for_files
from ..runtime.progress import SILENT, Progress
from ..settings import PipelineSettings
from ..settings_values import merge, resolve
from .complete import CHOSEN_ON, METRICS, complete
from .synth import synth_of

OBJECTS = 500  # of the photos of the hold-out; half of them choose, half of them score
FEWEST_PHOTOS = 24
MOST_SCENES = 3  # of a photo; its objects are the same in all of them
_FOR_THE_BANK = (0.05, 0.2, 0.5)  # shares of the photos; a bank is no use here, but a hold-out has to leave two objects
_OUTCOME = "fitted.json"  # whether there were enough objects, for other processes


@dataclass(frozen=True)
class Refitted:
    """A completer as it is to be used on some photos.

    Attributes:
        folder: of the completer.
        objects: number of occluded objects that it was fitted to; 0 where there were too few, so that it is used as it
            came.
        warnings: where its scores on these photos are poor.
    """

    folder: Path
    objects: int
    warnings: list[str]


def refit(
    completer: Path,
    data: AnnotationSet,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    device: str = "auto",
    progress: Progress = SILENT,
    keep: bool = False,
) -> Refitted:
    """Fit a completer's thresholds and calibration to photos; what a run before has finished is kept.

    Of several processes the first one does it, and the others wait.

    Args:
        completer: its folder.
        data: annotations of usable photos.
        images: folder of the photos.
        out: folder for the two runs.
        settings: `seed`, `synthesis` and `labels` are used.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.
        keep: take what an earlier run on other photos has fitted, or the completer as it came where that did not.

    Raises:
        AmodalplError: as `synth` and `complete` do.
    """
    fitted = out / "completer"
    if keep:
        return _read(fitted) if fitted.exists() else Refitted(completer, 0, [])
    with_objects = [r for r in data.images if any(not i.is_crowd for i in data.by_image[r.id])]
    if len(with_objects) < 2:
        progress.note("one photo makes no hold-out: thresholds and calibration stay those of the completer")
        return Refitted(completer, 0, [])
    if Ranks.of_this_process().is_first:
        progress.note("fitting thresholds and calibration to occlusions made of your own masks")
        _fit(completer, data, len(with_objects), images, out, settings, device, progress)
    else:
        wait_for_files([out / _OUTCOME], lambda index: None)
    return (
        _read(fitted) if read_json(out / _OUTCOME, "the outcome of fitting")["fitted"] else Refitted(completer, 0, [])
    )


def _fit(
    completer: Path,
    data: AnnotationSet,
    photos: int,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    device: str,
    progress: Progress,
) -> None:
    """Make a hold-out and fit the completer to it. Where objects are few, more photos go to the bank."""
    network = read_network_settings(completer)
    arguments = {"annotations": str(data.path.resolve()), "images": str(images.resolve()), "fmt": "auto"}
    for share in _FOR_THE_BANK:
        values = merge(network, _values(data, photos, settings, share))
        try:
            synth_of(data, images, out / "synth", resolve(values), arguments, progress)
        except TooFewObjectsError:
            continue
        complete(
            out / "synth",
            out / "completer",
            merge(values, {"training": {"steps": 0}}),
            device,
            progress,
            init=completer,
        )
        write_json(out / _OUTCOME, {"fitted": True})
        return
    progress.note("too few objects for a hold-out: thresholds and calibration stay those of the completer")
    write_json(out / _OUTCOME, {"fitted": False})


def _read(fitted: Path) -> Refitted:
    metrics = read_json(fitted / METRICS, "the scores of a completer")
    hidden = HiddenParts.from_json(metrics["hidden_by_photo"])
    return Refitted(fitted, int(metrics["chosen"][CHOSEN_ON]), sanity_checks.of_ready_made(hidden.scores()))


def _values(data: AnnotationSet, photos: int, settings: PipelineSettings, for_the_bank: float) -> dict[str, Any]:
    """Return the settings of both runs: as many photos, or scenes of few photos, as have enough objects."""
    objects = sum(not i.is_crowd for i in data.instances)
    wanted = max(FEWEST_PHOTOS, math.ceil(OBJECTS * photos / objects))
    scenes = min(MOST_SCENES, math.ceil(OBJECTS / objects))
    given = settings.model_dump(mode="json", include={"seed", "synthesis", "labels"}, exclude_unset=True)
    holdout = {"photos": wanted, "holdout_fraction": 1 - for_the_bank, "holdout_scenes": scenes}
    return merge(given, {"synthesis": holdout, "labels": {"refit": None}})
