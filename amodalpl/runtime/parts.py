"""Work on photos in parts, a file for a few photos each: a run that was killed goes on after the last whole part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data.records import ImageRecord
from ..io.json_stream import read_lines, write_lines
from ..version import __version__
from .distributed import Ranks, wait_for_files
from .progress import Progress

PARTS = f".parts-{__version__}"
"""Folder of the parts while a run works; another version might work otherwise, so it starts again in its own."""


def make_parts(
    folder: Path,
    records: Sequence[ImageRecord],
    photos_per_part: int,
    work: Callable[[Sequence[ImageRecord]], Iterator[dict[str, Any]]],
    title: str,
    progress: Progress,
    ranks: Ranks | None = None,
    helpers: int = 0,
) -> list[Path]:
    """Make the parts that are missing, of several processes this one's share; the first returns once all are there.

    Helpers need not be waited for: what is not there yet when its own share is done, the first process makes.

    Args:
        folder: of the parts; made where it is missing.
        records: of the photos.
        photos_per_part: how many, the last part has the rest.
        work: from the photos of a part to a line for each.
        title: what is shown.
        progress: counts the photos; the last one of a part is done when the part is there.
        ranks: the processes; None where there is one.
        helpers: processes that this one started, of ranks 1 and up.

    Returns:
        The files of all parts, in the order of the photos.
    """
    ranks = ranks or Ranks()
    world = max(ranks.world, helpers + 1)
    parts = [records[k : k + photos_per_part] for k in range(0, len(records), photos_per_part)]
    folder.mkdir(exist_ok=True)
    files = _files(folder, len(records), photos_per_part)
    missing = [k for k, file in enumerate(files) if not file.exists()]
    own = [k for k in missing if k % world == ranks.rank]
    others = [k for k in missing if k % world != ranks.rank] if ranks.is_first else []
    done = len(records) - sum(len(parts[k]) for k in missing)
    with progress.task(title, len(records), done=done) as advance:
        for k in (*own, *(reversed(others) if helpers else ())):
            if not files[k].exists():
                write_lines(files[k], _all_but_the_last_shown(work(parts[k]), advance))
                advance(1)
                others = [other for other in others if other != k]
            others = _still_missing(files, others, lambda found: advance(len(parts[found])))
        wait_for_files([files[k] for k in others], lambda index: advance(len(parts[others[index]])))
    return files


def missing_parts(folder: Path, photos: int, photos_per_part: int) -> int:
    """Return how many parts are still to be made."""
    return sum(not file.exists() for file in _files(folder, photos, photos_per_part))


def _files(folder: Path, photos: int, photos_per_part: int) -> list[Path]:
    return [folder / f"{number:06d}.jsonl" for number in range(-(-photos // photos_per_part))]


def _still_missing(files: Sequence[Path], numbers: Sequence[int], news: Callable[[int], None]) -> list[int]:
    """Look which parts of others are there by now, and tell of each."""
    there = {file.name for file in files[0].parent.iterdir()} if numbers else set()
    for number in (n for n in numbers if files[n].name in there):
        news(number)
    return [n for n in numbers if files[n].name not in there]


def _all_but_the_last_shown(
    lines: Iterator[dict[str, Any]], advance: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines):
        if number:
            advance(1)
        yield line


def read_parts(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Read the lines of all parts."""
    return (line for file in files for line in read_lines(file, "a part of a run"))
