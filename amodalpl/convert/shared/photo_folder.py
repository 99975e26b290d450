"""Photos by their names without the suffix, for formats whose files are named after photos."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ...data.photo_names import SUFFIXES, normal
from ...data.records import ImageRecord, LeftOut
from ...data.source import files_below
from ...errors import DataError


class PhotoFolder:
    """The photos below a folder.

    Args:
        folder: of the photos; None when the user gave none.
        source: what is converted, for messages.
        others: files that are no photos even where they lie among them, such as masks.

    Raises:
        DataError: no such folder.
    """

    def __init__(self, folder: Path | None, source: Path, others: Iterable[Path] = ()) -> None:
        if folder is None:
            raise DataError(f"{source}: names its photos by its files only; give the folder of photos with --images")
        if not folder.is_dir():
            raise DataError(f"{folder}: expected the folder of photos, found no such folder; check --images")
        none = {os.path.realpath(other) for other in others}
        self._named: defaultdict[str, list[str]] = defaultdict(list)
        for file in files_below(folder, ""):
            if file.suffix.lower() in SUFFIXES and os.path.realpath(file) not in none:
                name = file.relative_to(folder)
                for key in {normal(str(key)) for key in (name.with_suffix(""), name, name.stem, name.name)}:
                    self._named[key].append(name.as_posix())

    def __contains__(self, stem: str) -> bool:
        stem = normal(stem)
        return stem in self._named or PurePosixPath(stem).name in self._named

    def named(self, stem: str) -> str:
        """Return the photo of a name such as `sub/a` (or `sub/a.jpg`), relative to the folder.

        Case and Unicode form may differ. A photo of another subfolder is taken when only one has that name.

        Raises:
            LeftOut: none, or several.
        """
        key = normal(stem)
        found = self._named.get(key) or self._named.get(PurePosixPath(key).name) or []
        if not found:
            raise LeftOut(f"missing photo: expected one named {stem[:120]!r} and a suffix of photos")
        if len(found) > 1:
            raise LeftOut(f"several photos of one name: {', '.join(found[:3])}")
        return found[0]

    def ids(self) -> dict[int, str]:
        """Return photos by the number that ends their names and no others: `COCO_val2014_000000000042.jpg` by 42."""
        numbered: defaultdict[int, set[str]] = defaultdict(set)
        for names in self._named.values():
            for name in names:
                stem = PurePosixPath(name).stem
                digits = stem[len(stem.rstrip("0123456789")) :]
                if digits and digits.isascii() and len(digits) <= 18:
                    numbered[int(digits)].add(name)
        return {number: names.pop() for number, names in numbered.items() if len(names) == 1}


def unique_stems(photos: Iterable[ImageRecord]) -> dict[int, str]:
    """Return by id what to name a photo's files after: its name, without the suffix unless two share it."""
    names = {photo.id: photo.file_name for photo in photos}
    stems = {photo_id: name.rpartition(".")[0] or name for photo_id, name in names.items()}
    times = Counter(stems.values())
    return {photo_id: stem if times[stem] == 1 else names[photo_id] for photo_id, stem in stems.items()}
