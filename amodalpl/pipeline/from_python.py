"""The stages from Python: paths in any spelling, settings as keywords, the summary of the command back.

`amodalpl.synthesise`, `train_completer`, `label_photos` and `train_detector` write the folders of the commands `synth`,
`complete`, `pseudolabel` and `train-detector`: a run that the one began, the other continues.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from ..settings_values import explicit_values, merge, resolve
from .stage_table import STAGES

AnyPath = str | os.PathLike[str]


def synthesise(
    annotations: AnyPath,
    images: AnyPath,
    out: AnyPath,
    *,
    config: AnyPath | None = None,
    progress: Progress = SILENT,
    **settings: Any,
) -> Summary:
    """Cut the objects out and freeze a hold-out of synthetic occlusions, as `amodalpl synth` does.

    Args:
        annotations: any supported annotation file; only its visible masks are used.
        images: folder of the photos.
        out: output folder.
        config: a settings file, or the name of an installed one, such as "coco_cpu".
        progress: shown while it works; silent by default.
        settings: sections on top of `config`, such as `synthesis={"patch_px": 128}`, and `seed`.

    Returns:
        Counts, and the files that were written; `out` is what `train_completer` takes.

    Raises:
        AmodalplError: whatever the command would say in one line.
    """
    return _run("synth", {"annotations": annotations, "images": images}, out, config, settings, "auto", progress)


def train_completer(
    synth_dir: AnyPath,
    out: AnyPath,
    *,
    init: AnyPath | None = None,
    config: AnyPath | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
    **settings: Any,
) -> Summary:
    """Train a completer, as `amodalpl complete` does; one that was interrupted goes on.

    Args:
        synth_dir: output folder of `synthesise`.
        out: output folder; `load_completer` takes it.
        init: folder of an earlier completer to start from, or "builtin".
        config: a settings file, or the name of an installed one, such as "coco_cpu". Without one, the published
            schedule holds, which needs a GPU.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works; silent by default.
        settings: sections on top of `config`, such as `training={"steps": 3000}`, and `seed`.

    Returns:
        Counts, and the scores on the hold-out beside the free baselines.

    Raises:
        AmodalplError: whatever the command would say in one line.
    """
    return _run("complete", {"synth_dir": synth_dir, "init": init}, out, config, settings, device, progress)


def label_photos(
    annotations: AnyPath,
    images: AnyPath,
    completer: AnyPath,
    out: AnyPath,
    *,
    config: AnyPath | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
    **settings: Any,
) -> Summary:
    """Write the whole mask of every object of a file, with a report, as `amodalpl pseudolabel` does.

    Args:
        annotations: any supported annotation file.
        images: folder of the photos.
        completer: folder of a trained completer, or "builtin" for the one that comes with the package.
        out: output folder.
        config: a settings file, or the name of an installed one.
        device: "auto", "cpu" or "cuda".
        progress: shown while it works; silent by default.
        settings: sections on top of `config`, such as `labels={"max_growth": 3}`, and `seed`.

    Returns:
        Counts, and the files: `files["labels"]` is plain COCO, `files["report"]` the page to look at.

    Raises:
        AmodalplError: whatever the command would say in one line.
    """
    given = {"annotations": annotations, "images": images, "completer": completer}
    return _run("pseudolabel", given, out, config, settings, device, progress)


def train_detector(
    labels: AnyPath,
    images: AnyPath,
    out: AnyPath,
    *,
    init: AnyPath | None = None,
    config: AnyPath | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
    **settings: Any,
) -> Summary:
    """Train a detector of whole objects, as `amodalpl train-detector` does; one that was interrupted goes on.

    Args:
        labels: label file of `label_photos`, or any COCO file with masks.
        images: folder of the photos.
        out: output folder; `load_detector` takes it.
        init: start weights: a file, a folder of an earlier detector, or "none" for random ones.
        config: a settings file, or the name of an installed one, such as "coco_cpu".
        device: "auto", "cpu" or "cuda".
        progress: shown while it works; silent by default.
        settings: sections on top of `config`, such as `detector={"model": "orcnn"}`, and `seed`.

    Returns:
        Counts, and the scores on the photos that were kept apart.

    Raises:
        AmodalplError: whatever the command would say in one line.
    """
    return _run(
        "train-detector", {"labels": labels, "images": images, "init": init}, out, config, settings, device, progress
    )


def _run(
    stage: str,
    given: Mapping[str, AnyPath | None],
    out: AnyPath,
    config: AnyPath | None,
    settings: Mapping[str, Any],
    device: str,
    progress: Progress,
) -> Summary:
    of_file = explicit_values(None if config is None else Path(config))
    values = merge({name: section for name, section in of_file.items() if name != "data"}, settings)
    resolve(values, source="settings" if config is None else str(config))
    kinds = {i.name: i.kind for i in STAGES[stage].inputs}
    inputs = {
        name: os.fspath(value) if kinds[name] == "path or none" else Path(value)
        for name, value in given.items()
        if value is not None
    }
    return STAGES[stage].run(inputs, Path(out), values, device, progress)
