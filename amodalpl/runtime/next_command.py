"""Command lines that a stage proposes: paths as a shell takes them, output folders beside the stage's own."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import AmodalplError
from ..io.files import read_json
from .stage_run import RUN_FILE


def argument(path: Path) -> str:
    """Return a path as a shell takes it, and as no option.

    >>> argument(Path("-a b.json"))
    "'./-a b.json'"
    """
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def beside(out: Path, word: str, next_word: str) -> str:
    """Return the output folder of the next stage: called as this one's, with its word replaced.

    >>> beside(Path("runs/synth_small"), "synth", "completer"), beside(Path("runs/first"), "synth", "completer")
    ('runs/completer_small', 'runs/completer')
    """
    name = out.name.replace(word, next_word) if word in out.name else next_word
    return argument(out.parent / name)


def labelled_data(completer: Path) -> str:
    """Return the annotations and photos that a completer was trained on, as arguments; their names where unknown.

    Args:
        completer: output folder of `amodalpl complete`.
    """
    found = arguments_of(Path(str(arguments_of(completer).get("synth_dir"))))
    paths = [found.get(name) for name in ("annotations", "images")]
    if not all(isinstance(path, str) and "\0" not in path for path in paths):
        return "ANNOTATIONS IMAGES"
    return " ".join(argument(shortened(Path(str(path)))) for path in paths)


def arguments_of(folder: Path) -> Mapping[str, Any]:
    """Return what the stage that wrote a folder was given; nothing where no stage did."""
    try:
        record = read_json(folder / RUN_FILE, "the record of a run")
    except AmodalplError:
        return {}
    found = record.get("arguments") if isinstance(record, dict) else None
    return found if isinstance(found, dict) else {}


def shortened(path: Path) -> Path:
    """Return a path from here where that is shorter, as below the current folder."""
    return path.relative_to(here) if path.is_relative_to(here := Path(os.getcwd())) else path
