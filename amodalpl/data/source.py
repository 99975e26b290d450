"""The source of a conversion, opened once for all formats that check whether they can read it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..io.files import no_json

MOST_LOOKED_AT = 50  # files of a folder; one that is mixed beyond these needs --from


class Source:
    """A file or a folder.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def data(self) -> Any:
        """The parsed JSON of a file; None for a folder and for a file that is not JSON."""
        return None if self.path.is_dir() else _parsed(self.path)

    @cached_property
    def why_no_json(self) -> str | None:
        """What a file is instead of JSON; None for JSON and for a folder."""
        if self.path.is_dir():
            return None
        try:
            load_json(self.path)
        except DataError as error:
            return str(error)
        return None

    @cached_property
    def head(self) -> bytes:
        """The first 4096 bytes of a file; empty for a folder."""
        try:
            with self.path.open("rb") as handle:
                return handle.read(4096)
        except OSError:
            return b""

    def some(self, suffix: str) -> list[Path]:
        """Return some of the files below a folder whose names end so, in order of their names; of a file, none."""
        return list(islice(files_below(self.path, suffix), MOST_LOOKED_AT)) if self.path.is_dir() else []

    @cached_property
    def some_data(self) -> list[Any]:
        """The parsed JSON of some of a folder's files; None for those that are not JSON."""
        return [_parsed(file) for file in self.some(".json")]


def files_below(folder: Path, suffix: str) -> Iterator[Path]:
    """Yield the files below a folder whose names end so (in any case), in order of their names; hidden ones left out.

    Links to folders are not followed, so that no path leads out.
    """
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(suffix) and not name.startswith("."):
                yield Path(here) / name


def load_json(path: Path) -> Any:
    """Parse JSON in UTF-8, UTF-16 or UTF-32, which may start with a byte order mark.

    Raises:
        DataError: it cannot be read, or is not JSON; the message is the reason alone, without the file.
    """
    data = b""
    try:
        data = path.read_bytes()
        return json.loads(data)
    except OSError as error:
        raise DataError(f"not readable: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {no_json(data, error)}") from None


def _parsed(path: Path) -> Any:
    try:
        return load_json(path)
    except DataError:
        return None
