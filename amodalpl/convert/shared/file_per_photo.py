"""Annotations with one file per photo: a folder of files, or a single one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ...data.dataset_builder import Builder
from ...data.records import AnnotationSet, ImageRecord, LeftOut
from ...data.source import files_below, load_json
from ...errors import DataError


def files_of(path: Path, suffix: str, what: str) -> list[Path]:
    """Return the files below a folder, searched in depth, or the single one that is given.

    Raises:
        DataError: there is none.
    """
    files = list(files_below(path, suffix)) if path.is_dir() else [path]
    if not files:
        kind = suffix[1:].upper()
        raise DataError(f"{path}: expected {what} files (one {kind} file per photo), found no {kind} file")
    return files


def read_each(builder: Builder, files: list[Path], read_file: Callable[[Builder, Path, str], None]) -> AnnotationSet:
    """Read one file after the other; one that raises `LeftOut` is listed, and reading goes on after it.

    Args:
        builder: gets what is read.
        files: below its source, or its source itself.
        read_file: takes the builder, a file, and what messages call the file.
    """
    folder = builder.path if builder.path.is_dir() else builder.path.parent
    for file in files:
        place = str(file.relative_to(folder))
        with builder.entry(place):
            read_file(builder, file, place)
    return builder.finish()


def files_to_write(
    photos: Iterable[ImageRecord], out: Path, folder: str, suffix: str
) -> Iterator[tuple[ImageRecord, Path]]:
    """Yield each photo with its file below `out`, of the photo's name and another suffix; folders are made.

    Raises:
        DataError: two photos differ in nothing but their suffix.
    """
    taken: dict[PurePosixPath, str] = {}
    for photo in photos:
        file = PurePosixPath(folder, photo.file_name).with_suffix(suffix)
        if file in taken:
            raise DataError(f"{out}: {photo.file_name} and {taken[file]} would both be described by {file}; rename one")
        taken[file] = photo.file_name
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        yield photo, out / file


def json_of(file: Path) -> Any:
    """Parse the file of one photo.

    Raises:
        LeftOut: it cannot be read, or is not JSON.
    """
    try:
        return load_json(file)
    except DataError as error:
        raise LeftOut(str(error)) from None
