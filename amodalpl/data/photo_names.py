"""Photos whose names in a file and on the disk differ: by case, suffix, Unicode form, or the folder they start from."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from .records import LeftOut
from .source import files_below

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def normal(name: str) -> str:
    r"""Return a name as it compares: composed letters, lower case, forward slashes.

    >>> normal("Sub\\E\u0301.JPG")
    'sub/é.jpg'
    """
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


class PhotoNames:
    """The photos below a folder, found by names that are nearly theirs.

    Args:
        folder: of the photos.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> str | None:
        """Return the photo that a name means, relative to the folder; None when there is none.

        That very file comes first, then one that differs in case, Unicode form or slashes, then in its suffix. Of the
        folders that lead to a photo, either name may lack the first ones. Last come spellings of addresses and uploads.

        Raises:
            LeftOut: several photos may be meant.
        """
        return next((found for spelling in (name, *_of_web(name)) if (found := self._find(spelling))), None)

    def _find(self, name: str) -> str | None:
        if not name.startswith("/") and os.path.isfile(self._folder / name):
            return name
        key = normal(name)
        stem = str(PurePosixPath(key).with_suffix("")) if PurePosixPath(key).suffix in SUFFIXES else key
        for wanted, known in ((key, self._by_name), (stem, self._by_stem)):
            found = [
                photo
                for photo, whole in known.get(PurePosixPath(wanted).name, ())
                if _is_end(whole, wanted) or _is_end(wanted, whole)
            ]
            exact = [photo for photo, whole in known.get(PurePosixPath(wanted).name, ()) if whole == wanted]
            found = exact or found
            if len(found) > 1:
                raise LeftOut(f"several photos of one name: {name[:120]} may be {', '.join(sorted(found)[:3])}")
            if found:
                return found[0]
        return None

    def find_quietly(self, name: str) -> str | None:
        """Do what `find` does; None also where several photos, or no file at all, may be meant by a name."""
        try:
            return self.find(name)
        except (LeftOut, OSError, ValueError):
            return None

    @cached_property
    def _files(self) -> list[str]:
        files = files_below(self._folder, "") if self._folder.is_dir() else ()
        return [file.relative_to(self._folder).as_posix() for file in files if file.suffix.lower() in SUFFIXES]

    @cached_property
    def _by_name(self) -> dict[str, list[tuple[str, str]]]:
        return _by_last_part({name: normal(name) for name in self._files})

    @cached_property
    def _by_stem(self) -> dict[str, list[tuple[str, str]]]:
        return _by_last_part({name: str(PurePosixPath(normal(name)).with_suffix("")) for name in self._files})


def _of_web(name: str) -> Iterator[str]:
    """Yield what an address or an uploaded file may be called on the disk.

    >>> list(_of_web("d/1a2b3c4d-a%20b.jpg?token=1"))
    ['d/1a2b3c4d-a b.jpg', 'd/a b.jpg']
    """
    plain = unquote(re.split("[?#]", name, maxsplit=1)[0])
    if plain and plain != name:
        yield plain
    without = re.sub(r"(^|/)[0-9a-f]{8}-(?=[^/]+$)", r"\1", plain)  # Label Studio's uploads
    if without != plain:
        yield without


def _by_last_part(keys: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    groups: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, key in keys.items():
        groups[PurePosixPath(key).name].append((name, key))
    return groups


def _is_end(short: str, long: str) -> bool:
    """Tell whether one path ends as another one is."""
    return long == short or long.endswith(f"/{short}")
