"""`amodalpl`: the commands put together, and the one place where errors become a line and an exit code.

Exit codes: 0 done, 1 `check` or `doctor` found errors, 2 wrong usage or input, 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from amodalpl.errors import AmodalplError, SettingsError
from amodalpl.pipeline.stage_table import STAGES
from amodalpl.version import __version__

from .audit import audit
from .check import check
from .convert import convert
from .demo import demo
from .display import FollowLinks, LogJson, Quiet
from .doctor import doctor
from .evaluate import evaluate
from .explain import explain as explain_score
from .export_onnx import export_onnx
from .printable import printable
from .rerun import rerun
from .run import run
from .settings import settings
from .show import show
from .stages import command_of
from .threads import set_threads

SHARED_OUT = [stage.name for stage in STAGES.values() if stage.shared]  # by the processes of one `torchrun`
_TORCH_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",  # beside torch's own allocator, as of libraries that allocate themselves
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class OneLineErrors(TyperGroup):
    """Turns what a user can cause into one line on stderr; `--debug`, given anywhere, adds the trace."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let `--debug` and `--threads N` stand before or after the command."""
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        for at, arg in enumerate(args):
            if arg == "--threads" or arg.startswith("--threads="):
                end = at + 1 + (arg == "--threads")
                args = [*args[at:end], *args[:at], *args[end:]]
                break
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted; start the same command again to go on", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            if ctx.params.get("debug"):
                typer.echo(traceback.format_exc(), err=True, nl=False)
            typer.echo(printable(f"error: {line}"), err=True)
            raise typer.Exit(2) from None


def explain(error: Exception) -> str | None:
    """Return one line for an error that a user can cause or mend; None for our own mistakes, which keep their trace."""
    if isinstance(error, AmodalplError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return (
            "out of memory; try a smaller --set training.batch_size=, labels.batch_size= or detector.batch_size=, "
            "or fewer workers"
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, BrokenPipeError):
        place = f"{error.filename}: " if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{place}no space left on the disk; free some and start the same command again to go on"
        return f"{place}{os.strerror(error.errno)}"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("amodalpl"):
        return f"the package {error.name} is not installed; `amodalpl doctor` says what to do"
    return None


def _is_torch_out_of_memory(error: Exception) -> bool:
    """Tell without importing torch: by its class, or by its text."""
    return type(error).__name__ == "OutOfMemoryError" or any(text in str(error) for text in _TORCH_OUT_OF_MEMORY)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"amodalpl {__version__}")
        raise typer.Exit()


def _check_processes(command: str | None) -> None:
    """Refuse several processes of what one has to do: all but the first would say nothing, and all write one file.

    Raises:
        SettingsError: that, or what `torchrun` says of itself in the environment is no number of a process.
    """
    rank, processes = (os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdecimal() and processes.isdecimal() and int(rank) < int(processes)):
        raise SettingsError(
            f"RANK, WORLD_SIZE: expected a process of `torchrun` and how many there are, got {rank!r} and "
            f"{processes!r}; unset both"
        )
    if int(processes) > 1 and command not in SHARED_OUT:
        raise SettingsError(
            f"{command}: expected one process, got WORLD_SIZE={processes}; `torchrun` is for {', '.join(SHARED_OUT)}, "
            "unset RANK and WORLD_SIZE for others"
        )


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def main(
    ctx: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="AMODALPL_DEBUG", help="Show the trace of an error, too.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            help="Threads of arithmetic per process; 1 where several jobs share the machine.",
            show_default="as many as cores",
        ),
    ] = None,
    follow_links: FollowLinks = False,
    quiet: Quiet = False,
    log_json: LogJson = None,
) -> None:
    """Amodal masks for people who have only modal ones.

    Turns ordinary instance masks into pseudo-amodal labels, and trains a detector on them.
    Try it on drawn scenes: [bold]amodalpl demo --out runs/demo[/bold]
    Your own masks: [bold]amodalpl check instances.json images/[/bold] says what to run next.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file name that is not UTF-8 must not end a run
    set_threads(threads)
    _check_processes(ctx.invoked_subcommand)


COMMANDS: dict[str, list[Callable[..., None]]] = {
    "Data in and out": [convert, export_onnx],
    "Stages": [check, *map(command_of, STAGES.values()), audit],
    "The whole pipeline": [run, rerun, demo],
    "Information": [show, explain_score, doctor, settings],
}
for panel, commands in COMMANDS.items():
    for command in commands:
        names_photos = {"ignore_unknown_options": True} if command is show else None  # a photo may be called -1.jpg
        app.command(rich_help_panel=panel, context_settings=names_photos)(command)
app.add_typer(evaluate, name="evaluate", rich_help_panel="Stages")


if __name__ == "__main__":
    app()
