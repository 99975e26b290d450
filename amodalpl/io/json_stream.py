"""JSON that need not fit into memory: written and read entry by entry.

What is written has the bytes that writing it as a whole would give; what is read may have any layout.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from ..errors import DataError
from .files import whole_file

CHARACTERS_AT_ONCE = 2**18  # an entry may be longer
_OPEN_TAIL = 3  # characters of a number that may be left after what is one already: 1 of 1e+5
_LONGEST_WORD = 12  # characters of what is wrong as long as it is cut: -Infinity, an escape of two surrogates
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write JSON Lines whole: one value per line."""
    with open_lines(path) as add:
        for value in values:
            add(value)


@contextmanager
def open_lines(path: Path) -> Iterator[Callable[[Any], object]]:
    """Open JSON Lines that are written whole; yields the function that adds a value."""
    with whole_file(path) as part, _opened(part) as file:
        yield lambda value: file.write(_dump(value) + "\n")


@contextmanager
def open_list(
    path: Path, head: Mapping[str, Any], name: str, tail: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[Callable[[Any], object]]:
    """Open a JSON object with a list that may be long, written whole; yields the function that adds an entry.

    Args:
        path: of the file.
        head: the members before the list.
        name: of the list.
        tail: the members after it.
    """
    separator = ""
    with whole_file(path) as part, _opened(part) as file:
        file.write(_dump({**head, name: []}).removesuffix("]}"))

        def add(entry: Any) -> None:
            nonlocal separator
            file.write(separator + _dump(entry))
            separator = ", "

        yield add
        file.write("]" + "".join(f", {_dump(key)}: {_dump(value)}" for key, value in tail.items()) + "}\n")


def read_lines(path: Path, what: str) -> Iterator[Any]:
    """Read JSON Lines, one value in memory at a time.

    Args:
        path: of the file.
        what: named in messages, e.g. "a part of the labels".

    Raises:
        DataError: no such file, or a line that is not JSON.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(
                        f"{path}: line {number}: expected {what} in JSON, got something else ({str(error)[:120]})"
                    ) from None
    except OSError as error:
        raise DataError(f"{path}: expected {what}, could not read it ({error.strerror})") from None


def read_object(path: Path, what: str, streamed: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """Read the members of a JSON object one after another, however the file is laid out.

    Memory holds one member at a time, and of a streamed list one entry.

    Args:
        path: of the file.
        what: named in messages, e.g. "a label file".
        streamed: names of lists that come as iterators. Each has to be gone through before the next member is asked
            for; what is left of it then is passed over.

    Yields:
        Name and value. A streamed name that holds no list comes as the value it has.

    Raises:
        DataError: no such file, not a JSON object, or one with two members of a name.
    """
    try:
        with path.open("rb") as file:
            encoding = json.detect_encoding(file.read(4))
        with path.open(encoding=encoding, errors="surrogatepass", newline="") as file:
            yield from _members(_Text(path, what, file), streamed)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: expected {what}, found no such file") from None
    except OSError as error:
        raise DataError(f"{path}: expected {what}, could not read it ({error.strerror})") from None


def read_entries(path: Path, what: str, name: str) -> Iterator[Any]:
    """Read the entries of one list of a JSON object, one in memory at a time; none where there is no such list.

    Raises:
        DataError: as `read_object` does.
    """
    for key, value in read_object(path, what, (name,)):
        if key == name and isinstance(value, Iterator):
            yield from value


class _Text:
    """Where reading stands in a JSON text, of which only what lies around is held."""

    def __init__(self, path: Path, what: str, file: TextIO) -> None:
        self._path, self._what, self._file = path, what, file
        self._text, self._at, self._before = "", 0, 0
        self._ended = False

    def next_character(self) -> str:
        """Return the first character after white space; empty at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # nothing matches too
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def take(self, character: str) -> None:
        """Go past a character that has to come next."""
        if self.next_character() != character:
            raise self.wrong(f"Expecting '{character}'")
        self._at += 1

    def value(self) -> Any:
        """Return the value that comes next, and go past it."""
        self.next_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise self.wrong(str(error)) from None
            except ValueError as error:
                if self._may_be_cut(error) and self._read_on():
                    continue
                self._at = getattr(error, "pos", self._at)
                raise self.wrong(getattr(error, "msg", str(error))) from None
            if end + _OPEN_TAIL <= len(self._text) or not self._read_on():
                self._at = end
                return value

    def wrong(self, reason: str) -> DataError:
        """Return the error of a text that is not what it should be from here on."""
        return DataError(
            f"{self._path}: expected {self._what} in JSON, got something else "
            f"({reason[:120]} at character {self._before + self._at})"
        )

    def _may_be_cut(self, error: ValueError) -> bool:
        """Tell whether what is wrong may be only that the text held here ends."""
        at, what = getattr(error, "pos", 0), getattr(error, "msg", "")
        return at > len(self._text) - _LONGEST_WORD or what.startswith("Unterminated string")

    def _read_on(self) -> bool:
        """Add to the text at least as much as is left of it; False at the end of the file."""
        if self._ended:
            return False
        try:
            more = self._file.read(max(CHARACTERS_AT_ONCE, len(self._text) - self._at))
        except OSError as error:
            raise DataError(f"{self._path}: expected {self._what}, could not read it ({error.strerror})") from None
        except ValueError as error:  # not in its encoding
            raise self.wrong(str(error)) from None
        if not more:
            self._ended = True
            return False
        self._before += self._at
        self._text, self._at = self._text[self._at :] + more, 0
        return True


def _members(text: _Text, streamed: Collection[str]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    text.take("{")
    more = text.next_character() != "}"
    while more:
        if text.next_character() != '"':
            raise text.wrong("Expecting a name in double quotes")
        name = text.value()
        if name in seen:
            raise text.wrong(f"{name[:60]!r} a second time")
        seen.add(name)
        text.take(":")
        if name in streamed and text.next_character() == "[":
            entries = _entries(text)
            yield name, entries
            for _ in entries:
                pass
        else:
            yield name, text.value()
        more = text.next_character() == ","
        if more:
            text.take(",")
    text.take("}")
    if text.next_character():
        raise text.wrong("Extra data")


def _entries(text: _Text) -> Iterator[Any]:
    text.take("[")
    more = text.next_character() != "]"
    while more:
        yield text.value()
        more = text.next_character() == ","
        if more:
            text.take(",")
    text.take("]")


def finite(value: Any) -> Any:
    """Return JSON values with null for NaN and infinity, which Python's JSON reads in files of others, but no other.

    >>> finite({"area": float("nan"), "box": [1, float("inf")]})
    {'area': None, 'box': [1, None]}
    """
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _opened(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
