"""The lines `next:` and `then:` as they are printed: what was chosen is repeated, so that they run as they are."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amodalpl.pipeline.stage_table import STAGES
from amodalpl.runtime.summary import Summary
from amodalpl.runtime.usage import has_gpu_driver

CPU_PRESET = "coco_cpu"
_TAKE_SETTINGS = {stage.name for stage in STAGES.values() if stage.sections}


def repeating(
    summary: Summary, config: Path | None, overrides: Sequence[str] | None, seed: int | None, device: str
) -> Summary:
    """Add to the proposed commands what this one was given; without a settings file, a CPU gets that for CPUs."""
    chosen = settings_words(config, overrides, seed, device)
    return replace(summary, next=_complete(summary.next, chosen), then=_complete(summary.then, chosen))


def settings_words(
    config: Path | None, overrides: Sequence[str] | None, seed: int | None, device: str, *, preset: bool = True
) -> list[str]:
    """Return options that say the same again.

    Args:
        config: of `--config`.
        overrides: of each `--set`.
        seed: of `--seed`.
        device: of `--device`.
        preset: name the settings for CPUs where no file was given and no GPU is there.
    """
    words = []
    if config is not None:
        words += ["--config", shlex.quote(str(config))]
    elif preset and (device == "cpu" or not has_gpu()):
        words += ["--config", CPU_PRESET]
    for override in overrides or ():
        words += ["--set", shlex.quote(override)]
    if seed is not None:
        words += ["--seed", str(seed)]
    if device != "auto":
        words += ["--device", device]
    return words


def has_gpu() -> bool:
    """Tell whether there is a GPU, without importing torch for it."""
    if "torch" in sys.modules:
        return bool(sys.modules["torch"].cuda.is_available())
    return has_gpu_driver()


def _complete(command: str, chosen: list[str]) -> str:
    words = command.split(" ", 2)
    if words[0] != "amodalpl" or words[1] not in _TAKE_SETTINGS:
        return command
    more = list(chosen)
    if words[1] == "train-detector" and "--init" not in words[2] and not has_weights_to_download(_values(chosen)):
        more = ["--init", "none", *more]
    return " ".join([command, *more])


def has_weights_to_download(values: Mapping[str, Any]) -> bool:
    """Tell whether there are start weights to download for the detector of these settings."""
    from amodalpl.settings_values import resolve

    sections = {name: section for name, section in values.items() if name != "data"}
    return resolve(sections).detector.backbone == "resnet50"


def _values(chosen: list[str]) -> Mapping[str, Any]:
    """Return what options say that are to be printed."""
    from amodalpl.settings_values import explicit_values

    words = shlex.split(" ".join(chosen))
    given = list(zip(words, words[1:], strict=False))
    config = next((Path(value) for name, value in given if name == "--config"), None)
    return explicit_values(config, [value for name, value in given if name == "--set"])
