"""Values of settings: read from YAML and `--set`, merged, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from .errors import SettingsError, nearest
from .io.yaml import load_yaml
from .settings import DetectorModel, Method, PipelineSettings


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML settings file into a plain dict (unchecked).

    A bare name such as `coco_cpu` means the file of that name that is installed with the package.

    Raises:
        SettingsError: no such file, not YAML, or not a mapping.
    """
    files = resources.files("amodalpl_configs").iterdir()
    installed = {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}
    source = installed[str(path)] if str(path) in installed and not path.is_file() else path
    try:
        values = load_yaml(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = nearest(str(path), installed)
        raise SettingsError(f"{path}: expected a settings file or the name of an installed one{hint}") from None
    except (OSError, ValueError) as error:  # also: bytes that are no UTF-8
        raise SettingsError(f"{path}: expected YAML, could not read it ({error})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected `section: values` entries, got {type(values).__name__}")
    return values


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `section.key=value`; the value is read as YAML.

    >>> parse_override("training.steps=20")
    (['training', 'steps'], 20)

    Raises:
        SettingsError: no `=`, or the value is not YAML.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"--set {_short(text)}: expected section.key=value")
    try:
        return name.strip().split("."), _plain_number(load_yaml(value))
    except ValueError:
        raise SettingsError(
            f"--set {_short(text)}: expected a plain value or [list], got {_short(repr(value))}"
        ) from None


def _short(text: str) -> str:
    """Cut what may be of any length."""
    return text if len(text) <= 120 else text[:117] + "..."


def _plain_number(value: Any) -> Any:
    """YAML 1.1 reads `1e-3` as text; everybody means the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return [_plain_number(v) for v in value] if isinstance(value, list) else value


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested mappings over one another, later ones on top.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"x": 3}})
    {'a': {'x': 3, 'y': 2}}
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            merged[key] = merge(below or {}, value) if both else value
    return merged


def explicit_values(config: Path | None = None, overrides: Iterable[str] = (), **top_level: Any) -> dict[str, Any]:
    """Gather what a user asked for: the file, then each `--set`, then options such as `--seed` (None: not given)."""
    values: dict[str, Any] = read_config(config) if config else {}
    for text in overrides:
        path, value = parse_override(text)
        for key in reversed(path):
            value = {key: value}
        values = merge(values, value)
    return merge(values, {key: value for key, value in top_level.items() if value is not None})


_LISTED = {"completer.method": ("method", get_args(Method)), "detector.model": ("model", get_args(DetectorModel))}
AnySettings = TypeVar("AnySettings", bound=PipelineSettings)


def resolve(values: Mapping[str, Any], source: str = "settings") -> PipelineSettings:
    """Check values and fill in the defaults; see `resolve_as`."""
    return resolve_as(PipelineSettings, values, source)


def resolve_as(model: type[AnySettings], values: Mapping[str, Any], source: str = "settings") -> AnySettings:
    """Check values and fill in the defaults.

    Args:
        model: which sections there are.
        values: nested, as `explicit_values` returns them.
        source: named in messages.

    Raises:
        SettingsError: an unknown name (with the nearest valid one), a wrong type, or a value out of range.
    """
    try:
        return model.model_validate(_numbers(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = _short(".".join(str(part) for part in first["loc"]))
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"{source}: unknown setting {path!r}{_nearest_setting(model, first['loc'])}") from None
        if path in _LISTED:
            kind, names = _LISTED[path]
            given = _short(str(first["input"]))
            raise SettingsError(f"{source}: {path}: unknown {kind} {given!r}{nearest(given, names)}") from None
        if first["type"] == "missing":
            raise SettingsError(f"{source}: expected `{path}`, found none") from None
        problem = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{source}: {path}: {_short(problem)}, got {_short(repr(first['input']))}") from None


def _numbers(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _numbers(value) for key, value in values.items() if value is not None}
    return _plain_number(values)


def _nearest_setting(model: type[PipelineSettings], loc: tuple[int | str, ...]) -> str:
    fields = model.model_fields
    if len(loc) == 1:
        sections = {f"{s}.{k}" for s, f in fields.items() for k in getattr(f.annotation, "model_fields", {})}
        wanted = str(loc[0])
        owners = sorted(name for name in sections if name.endswith(f".{wanted}"))
        return f"; did you mean '{owners[0]}'?" if owners else nearest(wanted, fields)
    section: Any = model
    for part in loc[:-1]:  # of a mapping, such as `labels.per_class`, any name is one
        known = getattr(section, "model_fields", None)
        section = get_args(section)[-1] if known is None else known[str(part)].annotation
    return nearest(str(loc[-1]), section.model_fields)
