"""Work on photos in parts, a file for a few photos each: a run that was killed goes on after the last whole part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Part:
    """A few photos, to be worked on together.

    Attributes:
        file: that they get.
        photos: their records.
        advance: counts photos that are done.
    """

    file: Path
    photos: Sequence[ImageRecord]
    advance: Callable[[int], None]

    def write(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write the file whole, a line for each photo; the last photo counts when the file is there."""
        write_lines(self.file, self._all_but_the_last_shown(lines))
        self.advance(1)

    def _all_but_the_last_shown(self, lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines):
            if number:
                self.advance(1)
            yield line


class Parts:
    """Photos in parts.

    Attributes:
        files: of all parts, in the order of the photos.
    """

    def __init__(self, folder: Path, records: Sequence[ImageRecord], photos_per_part: int) -> None:
        """Divide photos.

        Args:
            folder: of the parts; made where it is missing.
            records: of the photos.
            photos_per_part: photos in each part; the last part has the rest.
        """
        folder.mkdir(exist_ok=True)
        self._photos = [records[k : k + photos_per_part] for k in range(0, len(records), photos_per_part)]
        self.files = [folder / f"{number:06d}.jsonl" for number in range(len(self._photos))]

    def missing(
        self,
        title: str,
        progress: Progress,
        ranks: Ranks = ALONE,
        helped: Callable[[int], AbstractContextManager[int]] = _alone,
    ) -> Iterator[Part]:
        """Yield the parts that this process has to write, each of which is to be written before the next is asked for.

        Where several processes work, each has its share. To the first process this ends when all parts are there.

        Args:
            title: what the progress bar says.
            progress: counts photos.
            ranks: the processes of `torchrun`.
            helped: takes the number of missing parts, starts further processes, and yields how many it started. Nobody
                waits for these: when this process has made its own share, it makes what they have not made yet.
        """
        files, sizes = self.files, [len(photos) for photos in self._photos]
        missing = [k for k, file in enumerate(files) if not file.exists()]
        done = sum(sizes) - sum(sizes[k] for k in missing)
        with progress.task(title, sum(sizes), done=done) as advance, helped(len(missing)) as helpers:
            world = max(ranks.world, helpers + 1)
            own = [k for k in missing if k % world == ranks.rank]
            others = [k for k in missing if k % world != ranks.rank] if ranks.is_first else []
            for k in (*own, *(reversed(others) if helpers else ())):
                if not files[k].exists():
                    yield Part(files[k], self._photos[k], advance)
                    others = [other for other in others if other != k]
                others = _still_missing(files, others, lambda found: advance(sizes[found]))
            wait_for_files([files[k] for k in others], lambda index: advance(sizes[others[index]]))

    def read(self) -> Iterator[dict[str, Any]]:
        """Read the lines of all parts, in the order of the photos."""
        return read_parts(self.files)


def _still_missing(files: Sequence[Path], numbers: Sequence[int], news: Callable[[int], None]) -> list[int]:
    """Return those of other processes' parts that are not there yet; call `news` for each of the others."""
    there = {file.name for file in files[0].parent.iterdir()} if numbers else set()
    for number in (n for n in numbers if files[n].name in there):
        news(number)
    return [n for n in numbers if files[n].name not in there]


def read_parts(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Read the lines of all parts."""
    return (line for file in files for line in read_lines(file, "a part of a run"))
