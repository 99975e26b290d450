"""Work on photos in parts, a file for a few photos each: a run that was killed goes on after the last whole part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ..data.records import ImageRecord
from ..io.json_stream import read_lines, write_lines
from ..version import __version__
from .distributed import Ranks, wait_for_files
from .progress import Progress

ALONE = Ranks()
PARTS = f".parts-{__version__}"
"""Folder of the parts while a run works; another version might work otherwise, so it starts again in its own."""


def _alone(parts: int) -> AbstractContextManager[int]:
    return nullcontext(0)


def make_parts(
    folder: Path,
    records: Sequence[ImageRecord],
    photos_per_part: int,
    work: Callable[[Sequence[ImageRecord]], Iterator[dict[str, Any]]],
    title: str,
    progress: Progress,
    ranks: Ranks = ALONE,
    helped: Callable[[int], AbstractContextManager[int]] = _alone,
) -> list[Path]:
    """Make the parts that are missing.

    Where several processes work, each makes its share. The first process returns when all parts are there.

    Args:
        folder: of the parts; made where it is missing.
        records: of the photos.
        photos_per_part: photos in each part; the last part has the rest.
        work: takes the photos of a part and yields one line for each.
        title: what the progress bar says.
        progress: counts photos. The last photo of a part counts when the part is written.
        ranks: the processes of `torchrun`.
        helped: takes the number of missing parts, starts further processes, and yields how many it started. Nobody
            waits for these: when this process has made its own share, it makes what they have not made yet.

    Returns:
        The files of all parts, in the order of the photos.
    """
    parts = [records[k : k + photos_per_part] for k in range(0, len(records), photos_per_part)]
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:06d}.jsonl" for number in range(len(parts))]
    missing = [k for k, file in enumerate(files) if not file.exists()]
    done = len(records) - sum(len(parts[k]) for k in missing)
    with progress.task(title, len(records), done=done) as advance, helped(len(missing)) as helpers:
        world = max(ranks.world, helpers + 1)
        own = [k for k in missing if k % world == ranks.rank]
        others = [k for k in missing if k % world != ranks.rank] if ranks.is_first else []
        for k in (*own, *(reversed(others) if helpers else ())):
            if not files[k].exists():
                write_lines(files[k], _all_but_the_last_shown(work(parts[k]), advance))
                advance(1)
                others = [other for other in others if other != k]
            others = _still_missing(files, others, lambda found: advance(len(parts[found])))
        wait_for_files([files[k] for k in others], lambda index: advance(len(parts[others[index]])))
    return files


def _still_missing(files: Sequence[Path], numbers: Sequence[int], news: Callable[[int], None]) -> list[int]:
    """Return those of other processes' parts that are not there yet; call `news` for each of the others."""
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
