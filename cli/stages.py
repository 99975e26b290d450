"""The commands of the stages, one for each row of `amodalpl.pipeline.stage_table`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from amodalpl.pipeline.stage_table import Choice, Input, Stage
from amodalpl.runtime.progress import Progress
from amodalpl.runtime.summary import Summary

from . import options
from .display import show, stdout_console
from .next_command import repeating


def command_of(stage: Stage) -> Callable[..., None]:
    """Return the function that typer makes a command of: its parameters, help and action are those of the row."""

    def command(
        out: Path,
        config: Path | None = None,
        overrides: list[str] | None = None,
        seed: int | None = None,
        device: options.Device = options.Device.auto,
        as_json: bool = False,
        choice: str | None = None,
        list_choices: bool = False,
        **given: Any,
    ) -> None:
        extra = _nested(stage.choice.setting, choice) if stage.choice and choice else None
        values = options.explicit(config, overrides, seed, extra)

        def act(progress: Progress) -> Summary:
            summary = stage.run(given, out, values, device.value, progress)
            return repeating(summary, config, overrides, seed, device.value)

        show(act, as_json, computes="device" in stage.takes)

    help = f"{inspect.cleandoc(stage.help)}\n\nExample: [bold]amodalpl {stage.example}[/bold]"
    return options.made_command(command, stage.name.replace("-", "_"), help, list(_of(stage)))


def _of(stage: Stage) -> Iterator[inspect.Parameter]:
    """List the parameters: what is needed, then what may be left out."""
    needed = [i for i in stage.inputs if not i.optional]
    yield from map(_parameter, needed)
    yield options.keyword("out", options.Out)
    if stage.choice:
        yield options.keyword("choice", _choice(stage.choice), None)
        yield options.keyword("list_choices", _listing(stage.choice), False)
    yield from (_parameter(i) for i in stage.inputs if i.optional)
    if stage.sections:
        yield from options.of_settings()
    yield options.keyword("as_json", options.Json, False)


def _parameter(given: Input) -> inspect.Parameter:
    of: type = Path if given.kind == "path" else str
    words: dict[str, Any] = {"metavar": given.metavar, "help": given.help}
    if not given.flag:
        return options.keyword(given.name, Annotated[of, typer.Argument(**words)])
    if given.shown_default:
        words["show_default"] = given.shown_default
    if given.kind == "format":
        return options.keyword(given.name, options.FormatOption, given.default)
    if not given.optional:
        return options.keyword(given.name, Annotated[of, typer.Option(given.flag, **words)])
    if given.kind == "flag":
        return options.keyword(given.name, Annotated[bool, typer.Option(given.flag, help=given.help)], given.default)
    annotation = of if given.default is not None else of | None
    return options.keyword(given.name, Annotated[annotation, typer.Option(given.flag, **words)], given.default)


def _choice(choice: Choice) -> Any:
    shown = f"that of {choice.setting}"
    return Annotated[str | None, typer.Option(f"--{choice.name}", help="A name that --list shows.", show_default=shown)]


def _listing(choice: Choice) -> Any:
    def print_choices(wanted: bool) -> None:
        if not wanted:
            return
        from rich.table import Table

        console = stdout_console()
        for number, (option, rows) in enumerate(choice.tables().items()):
            if number:
                console.print()
            columns = next(iter(rows.values()))
            table = Table(option, *columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for name, row in rows.items():
                table.add_row(name, *row.values())
            console.print(table, markup=False)
        raise typer.Exit()

    return Annotated[
        bool, typer.Option("--list", callback=print_choices, is_eager=True, help=f"List what --{choice.name} can be.")
    ]


def _nested(setting: str, value: str) -> dict[str, Any]:
    section, _, key = setting.partition(".")
    return {section: {key: value}}
