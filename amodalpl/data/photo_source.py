"""What a detector is to look at: a photo, the photos below a folder, those that a pattern names, or a video."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .photo_names import SUFFIXES
from .source import files_below

VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class PhotoSource:
    """Photos, or a video.

    Attributes:
        folder: of the photos.
        names: of the photos, relative to the folder, in order.
        others: how many files were passed over because their names are not those of photos.
        video: the video, where there are no photos; else None.
    """

    folder: Path
    names: tuple[str, ...] = ()
    others: int = 0
    video: Path | None = None


def find_photos(source: Path) -> PhotoSource:
    """Find what is meant by a source; files are told by their suffixes, folders are searched to the bottom.

    Args:
        source: a file, a folder, or a pattern such as `photos/**/*.jpg`.

    Raises:
        DataError: there is no such thing, or nothing in it is a photo.
    """
    try:
        if source.is_dir():
            return _photos(source, files_below(source, ""), f"{source}: expected a folder with photos")
        if source.is_file():
            if source.suffix.lower() in VIDEO_SUFFIXES:
                return PhotoSource(source.parent, video=source)
            return _photos(source.parent, [source], f"{source}: expected a photo or a video")
        matches = sorted(map(Path, glob.glob(str(source), recursive=True))) if _PATTERN & set(str(source)) else []
    except (OSError, ValueError) as error:
        raise DataError(f"{str(source)[:120]!r}: expected the name of photos or of a video ({error})"[:300]) from None
    files = [match for match in matches if match.is_file()]
    if not files:
        found = "nothing has such a name" if _PATTERN & set(str(source)) else "found no such file or folder"
        raise DataError(f"{source}: expected photos, a folder or a pattern of them, or a video; {found}")
    folder = Path(os.path.commonpath([file.parent for file in files]))
    return _photos(folder, files, f"{source}: expected a pattern of photos")


def _photos(folder: Path, files: Iterable[Path], expected: str) -> PhotoSource:
    files = list(files)
    names = tuple(file.relative_to(folder).as_posix() for file in files if file.suffix.lower() in SUFFIXES)
    if not names:
        found = f"none of {len(files)} files is one" if len(files) != 1 else f"got {files[0].name!r}"
        raise DataError(f"{expected}, {found}; photos end in {', '.join(sorted(SUFFIXES))}")
    return PhotoSource(folder, names, len(files) - len(names))
