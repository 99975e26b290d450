"""The options that all stages share, declared once, and how their values become settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amodalpl.errors import SettingsError, nearest

if TYPE_CHECKING:
    from amodalpl.settings import PipelineSettings

SETTINGS_PANEL = "Settings"


class Device(str, Enum):
    """Where networks run; auto takes a CUDA device when there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"

    def __str__(self) -> str:  # older typers convert what a callback returned a second time, by its text
        return self.value


def known_format(name: str) -> str:
    """Return the name if there is such a format; only one that was asked for is looked up, which imports the readers.

    Raises:
        SettingsError: there is none.
    """
    if name != "auto":
        from amodalpl.data.read import FORMATS

        if name not in FORMATS:
            raise SettingsError(
                f"--format: expected a known annotation format, got {name!r}{nearest(name, FORMATS)}; files of other "
                "tools: `amodalpl convert`"
            )
    return name


def available(device: Device) -> Device:
    """Return the device if it can be used; only CUDA has to be asked for, which imports torch.

    Raises:
        SettingsError: CUDA was asked for and is not there.
    """
    if device is Device.cuda:
        from amodalpl.runtime.distributed import pick_device

        pick_device(device.value)
    return device


Annotations = Annotated[
    Path,
    typer.Argument(
        metavar="ANN",
        help="Annotation file (COCO, COCOA, KINS, D2SA) or folder of COCOA records; `amodalpl convert` reads others.",
    ),
]
Images = Annotated[
    Path,
    typer.Argument(metavar="IMAGES", help="Folder of the photos; file names in the annotations are relative to it."),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Output folder; an interrupted run in it is continued.")
]
FormatOption = Annotated[
    str,
    typer.Option("--format", parser=known_format, metavar="FORMAT", help="Format of ANN; auto looks at the content."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.yaml",
        help="Settings file, or the name of an installed one, such as coco_cpu.",
        rich_help_panel=SETTINGS_PANEL,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override one setting; may be repeated. `amodalpl settings` lists them.",
        rich_help_panel=SETTINGS_PANEL,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", help="Fixes every random choice.", show_default="0", rich_help_panel=SETTINGS_PANEL
    ),
]
DeviceOption = Annotated[
    Device,
    typer.Option(
        "--device",
        help="Where networks run; auto takes a GPU if torch sees one. CUDA_VISIBLE_DEVICES picks one of several.",
        callback=available,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print nothing but a closing summary in JSON.")]


def keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """Return a parameter of a command that is put together."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def of_settings() -> list[inspect.Parameter]:
    """Return the parameters that every command with settings has."""
    return [
        keyword("config", Config, None),
        keyword("overrides", Overrides, None),
        keyword("seed", Seed, None),
        keyword("device", DeviceOption, Device.auto),
    ]


def made_command(
    action: Callable[..., None], name: str, help: str, parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """Return an action as typer takes it, with parameters that it does not spell out."""
    action.__name__, action.__doc__ = name, help
    action.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    action.__annotations__ = {p.name: p.annotation for p in parameters}
    return action


def explicit(
    config: Path | None,
    overrides: list[str] | None,
    seed: int | None,
    extra: Mapping[str, Any] | None = None,
    keep_data: bool = False,
) -> dict[str, Any]:
    """Gather and check what the user set: the file, then each `--set`, then options such as `--method`.

    Args:
        config: settings file.
        overrides: texts of the form section.key=value.
        seed: None when not given.
        extra: nested values of a command's own options, on top of the rest.
        keep_data: keep the section `data` of a file for `amodalpl run`; a single stage gets its paths as arguments, so
            that one file serves both.

    Raises:
        SettingsError: an unknown name, a wrong type, or a value out of range.
    """
    from amodalpl.errors import SettingsError
    from amodalpl.settings_values import explicit_values, merge, resolve

    values = merge(explicit_values(config, overrides or (), seed=seed), extra or {})
    checked = {name: section for name, section in values.items() if name != "data"}
    try:
        resolve(checked)
    except SettingsError:
        if config:  # where the file itself is wrong, it is named
            resolve({k: v for k, v in explicit_values(config, ()).items() if k != "data"}, source=str(config))
        raise
    return values if keep_data else checked


def resolved(config: Path | None, overrides: list[str] | None, seed: int | None) -> PipelineSettings:
    """Return all settings, with what the user set; see `explicit`."""
    from amodalpl.settings_values import resolve

    return resolve(explicit(config, overrides, seed))
