"""JSON that need not fit into memory: written entry by entry, with the bytes that writing it as a whole would give."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .provenance import write_whole


def write_object(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object whole, on one line.

    Args:
        path: of the file.
        value: names to values; an iterator is written as a list, and only one entry of it is held at a time.
    """
    write_whole(path, lambda part: _write(part, _object(value)))


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write JSON Lines whole: one value per line."""
    write_whole(path, lambda part: _write(part, (text + "\n" for text in map(_dump, values))))


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


def _write(path: Path, texts: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(texts)


def _object(value: Mapping[str, Any]) -> Iterator[str]:
    start = "{"
    for name, inner in value.items():
        yield f"{start}{_dump(name)}: "
        start = ", "
        if isinstance(inner, Iterator):
            yield "["
            for count, entry in enumerate(inner):
                yield ", " + _dump(entry) if count else _dump(entry)
            yield "]"
        else:
            yield _dump(inner)
    yield "}\n" if value else "{}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
