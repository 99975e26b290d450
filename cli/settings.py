"""`amodalpl settings`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from amodalpl.errors import SettingsError, nearest

from . import options
from .display import stdout_console


def settings(
    section: Annotated[str | None, typer.Argument(metavar="[SECTION]", help="Show this section only.")] = None,
    config: options.Config = None,
    overrides: options.Overrides = None,
    seed: options.Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, which is a valid settings file, too.")] = False,
) -> None:
    """List every setting with its value and meaning.

    Values are the defaults, or what --config, --set and --seed make of them.

    Example: [bold]amodalpl settings training --config coco_cpu[/bold]
    """
    resolved = options.resolved(config, overrides, seed)
    values = resolved.model_dump(mode="json")
    if section is not None:
        if section not in values:
            raise SettingsError(f"unknown section {section!r}{nearest(section, values)}")
        values = {section: values[section]}
    if as_json:
        typer.echo(json.dumps(values, indent=1))
    else:
        print_settings(resolved, values)


def print_settings(resolved: Any, values: dict[str, Any]) -> None:
    """Draw one table: the name as `--set` takes it, the value, and what it means."""
    from rich.table import Table

    table = Table("setting", "value", "meaning", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in values:
        section = getattr(resolved, name)
        if not hasattr(section, "model_fields_set"):
            table.add_row(name, str(section), type(resolved).model_fields[name].description or "")
            continue
        table.add_section()
        for key, value, meaning in _rows(name, section):
            table.add_row(key, _as_typed(value), meaning)
    stdout_console().print(table, markup=False)


def _rows(name: str, section: Any) -> Iterator[tuple[str, Any, str]]:
    """List the settings of a section, and of those within it: name, value, meaning."""
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if hasattr(value, "model_fields_set"):
            yield from _rows(f"{name}.{key}", value)
        elif isinstance(value, Mapping) and value:
            for entry, inner in value.items():
                yield from _rows(f"{name}.{key}.{entry}", inner)
        else:
            yield f"{name}.{key}", value, field.description or ""


def _as_typed(value: Any) -> str:
    """Write a value as `--set` and YAML take it."""
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_typed, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
