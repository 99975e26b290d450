"""Thresholds and calibration of a completer, fitted in a minute to photos that it was not trained for.

`synth` makes a small hold-out of the user's own masks. `complete` chooses on it all that it chooses after a training,
but trains nothing. Both are ordinary runs in a folder within the labels.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..completion.checkpoint import load_completer, read_network_settings
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
from .completer_in_use import CompleterInUse
from .synth import synth_of

OBJECTS = 500  # of the photos of the hold-out; half of them choose, half of them score
FEWEST_PHOTOS = 24
MOST_SCENES = 3  # of a photo; its objects are the same in all of them
_FOR_THE_BANK = (0.05, 0.2, 0.5)  # shares of the photos; a bank is no use here, but a hold-out has to leave two objects
_FITTED = "completer"
_OUTCOME = "fitted.json"  # whether there were enough objects, for other processes


def refit(
    completer: CompleterInUse,
    data: AnnotationSet,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    progress: Progress = SILENT,
    keep: bool = False,
) -> CompleterInUse:
    """Fit a completer's thresholds and calibration to photos; what a run before has finished is kept.

    Of several processes the first one does it, and the others wait.

    Args:
        completer: as it came.
        data: annotations of usable photos.
        images: folder of the photos.
        out: folder for the two runs.
        settings: `seed`, `synthesis` and `labels` are used.
        progress: shown while it works.
        keep: take what an earlier run on other photos has fitted, or the completer as it came where that did not.

    Returns:
        The completer as it is to be used on the photos; as it came where they have too few objects.

    Raises:
        AmodalplError: as `synth` and `complete` do.
    """
    photos = sum(any(not i.is_crowd for i in data.by_image[r.id]) for r in data.images)
    if keep:
        return _as_fitted(completer, out)
    if photos < 2:
        progress.note("one photo makes no hold-out: thresholds and calibration stay those of the completer")
    elif Ranks.of_this_process().is_first:
        progress.note("fitting thresholds and calibration to occlusions made of your own masks")
        _fit(completer, data, photos, images, out, settings, progress)
    else:
        wait_for_files([out / _OUTCOME], lambda index: None)
    return _as_fitted(completer, out)


def _fit(
    completer: CompleterInUse,
    data: AnnotationSet,
    photos: int,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    progress: Progress,
) -> None:
    """Make a hold-out and fit the completer to it. Where objects are few, more photos go to the bank."""
    network = read_network_settings(completer.folder)
    arguments = {"annotations": str(data.path.resolve()), "images": str(images.resolve()), "fmt": "auto"}
    for share in _FOR_THE_BANK:
        values = merge(network, _values(data, photos, settings, share))
        try:
            synth_of(data, images, out / "synth", resolve(values), arguments, progress)
        except TooFewObjectsError:
            continue
        untrained = merge(values, {"training": {"steps": 0}})
        complete(out / "synth", out / _FITTED, untrained, completer.device, progress, init=completer.folder)
        write_json(out / _OUTCOME, {"fitted": True})
        return
    progress.note("too few objects for a hold-out: thresholds and calibration stay those of the completer")
    write_json(out / _OUTCOME, {"fitted": False})


def _as_fitted(completer: CompleterInUse, out: Path) -> CompleterInUse:
    """Return the completer with what was fitted, if anything; its network is the same."""
    fitted = out / _FITTED
    if not fitted.exists():
        return replace(completer, fitted_to=0)
    metrics = read_json(fitted / METRICS, "the scores of a completer")
    hidden = HiddenParts.from_json(metrics["hidden_by_photo"])
    bundle = replace(load_completer(fitted, completer.where), completer=completer.bundle.completer)
    warnings = tuple(sanity_checks.of_ready_made(hidden.scores()))
    return replace(
        completer, folder=fitted, bundle=bundle, fitted_to=int(metrics["chosen"][CHOSEN_ON]), warnings=warnings
    )


def _values(data: AnnotationSet, photos: int, settings: PipelineSettings, for_the_bank: float) -> dict[str, Any]:
    """Return the settings of both runs: as many photos, or scenes of few photos, as have enough objects."""
    objects = sum(not i.is_crowd for i in data.instances)
    wanted = max(FEWEST_PHOTOS, math.ceil(OBJECTS * photos / objects))
    scenes = min(MOST_SCENES, math.ceil(OBJECTS / objects))
    given = settings.model_dump(mode="json", include={"seed", "synthesis", "labels"}, exclude_unset=True)
    holdout = {"photos": wanted, "holdout_fraction": 1 - for_the_bank, "holdout_scenes": scenes}
    return merge(given, {"synthesis": holdout, "labels": {"refit": None}})
