"""A folder with a COCO file per split (`train/`, `valid/`, `test/`, as Roboflow exports it), read as one data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import DataError
from .records import AnnotationSet, Dropped
from .source import Source, files_below


def coco_files(path: Path) -> list[Path]:
    """Return the JSON files below a folder that have the lists of a COCO file."""
    return [file for file in files_below(path, ".json") if is_coco(Source(file).data)]


def is_coco(data: object) -> bool:
    """Tell by the two lists that every COCO file has."""
    return isinstance(data, dict) and all(isinstance(data.get(key), list) for key in ("images", "annotations"))


def read_splits(path: Path, images: Path | None, read: Callable[[Path, Path], AnnotationSet]) -> AnnotationSet:
    """Read every COCO file below a folder; photos are named from that folder, or from `images`.

    Photos lie beside their file, or in the folder of the same name below `images`, or in `images` itself. Classes of
    one name are one; ids are new. A photo that a file before names too is left out with its objects.

    Args:
        path: the folder.
        images: folder of the photos; None: `path`.
        read: reads one file, whose photos start from a folder.

    Raises:
        DataError: no COCO file, or none that can be read.
    """
    root = path if images is None else images
    whole = AnnotationSet([], [], [], path=path, format="coco", folder=root)
    class_id: dict[str, int] = {}
    taken: dict[str, str] = {}
    turned: Counter[str] = Counter()
    for file in coco_files(path):
        name = file.relative_to(path).as_posix()
        own = root / file.parent.relative_to(path)
        own = own if own.is_dir() else root
        try:
            data = read(file, own)
        except DataError as error:
            whole.dropped.append(Dropped(name, None, None, f"file that cannot be read: {error}"))
            continue
        whole.dropped += [replace(entry, place=f"{name}: {entry.place}") for entry in data.dropped]
        whole.mended += [replace(entry, place=f"{name}: {entry.place}") for entry in data.mended]
        whole.odd_crowds = whole.odd_crowds or data.odd_crowds
        turned += Counter(data.turned)
        whole.raw = data.raw | whole.raw
        new_class = {}
        for category in data.categories:
            new_class[category["id"]] = class_id.setdefault(category["name"], len(class_id) + 1)
            if len(whole.categories) < len(class_id):
                whole.categories.append({**category, "id": len(class_id)})
        new_photo: dict[int, int] = {}
        for photo in data.images:
            photo_name = (own.relative_to(root) / photo.file_name).as_posix()
            if photo_name in taken:
                reason = f"second entry of a photo: {photo_name} was read from {taken[photo_name]}"
                whole.dropped.append(Dropped(f"{name}: image {photo.id}", None, photo.id, reason))
                continue
            taken[photo_name] = name
            new_photo[photo.id] = len(whole.images) + 1
            whole.images.append(replace(photo, id=new_photo[photo.id], file_name=photo_name))
        new_id: dict[int, int] = {}
        for instance in data.instances:
            if instance.image_id in new_photo:
                new_id[instance.id] = len(whole.instances) + 1
                whole.instances.append(
                    replace(
                        instance,
                        id=new_id[instance.id],
                        image_id=new_photo[instance.image_id],
                        category_id=new_class[instance.category_id],
                        place=f"{name}: {instance.place}",
                    )
                )
        whole.front_of += [(new_id[a], new_id[b]) for a, b in data.front_of if a in new_id and b in new_id]
    whole.turned = dict(turned)
    if not whole.images:
        first = f" ({whole.dropped[0].place}: {whole.dropped[0].reason})" if whole.dropped else ""
        raise DataError(f"{path}: expected a COCO file in the folder, could read none{first}; check the path")
    return whole
