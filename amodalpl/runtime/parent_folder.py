"""A folder that gets the output folders of several stages: new, or one that the same command made before."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import OutputError
from .stage_run import RUN_FILE


def require_own_folder(out: Path, command: str, marks: Iterable[str]) -> None:
    """Refuse a folder of somebody else, before anything is written between its files.

    Args:
        out: the folder; may be missing. Hidden files are no reason to refuse it.
        command: what wants to write, for the message.
        marks: files or folders by which an earlier output of the command is known; one is enough.

    Raises:
        OutputError: it has none of them, and is not empty.
    """
    if not out.is_dir():
        return
    if (out / RUN_FILE).exists():
        raise OutputError(f"{out}: is the output folder of one stage, since it has a {RUN_FILE}; choose another --out")
    found = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if found and not any((out / mark).exists() for mark in marks):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise OutputError(
            f"{out}: expected a new or empty folder, or that of an earlier `amodalpl {command}`, "
            f"found {found[0]}{more}; choose another --out"
        )
