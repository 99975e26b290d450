"""Several data sets made one: ids stay where they are free, and get new numbers where two sets use the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import DataError
from .records import AnnotationSet, Dropped, ImageRecord, Instance

_NOTES, _IN_FRONT = "amodalpl", "occluders"


@dataclass
class IdMap:
    """What became of the ids of one set: those that changed, old -> new."""

    photos: dict[int, int] = field(default_factory=dict)
    objects: dict[int, int] = field(default_factory=dict)
    categories: dict[int, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, dict[str, int]]:
        """Return it as JSON has it, whose keys are text."""
        parts = {"photos": self.photos, "objects": self.objects, "categories": self.categories}
        return {name: {str(old): new for old, new in sorted(ids.items())} for name, ids in parts.items()}


@dataclass
class Merged:
    """The result of `merge`.

    Attributes:
        data: everything.
        ids: of each set, in order.
        shared_photos: photos that several sets have.
    """

    data: AnnotationSet
    ids: list[IdMap]
    shared_photos: int = 0


def merge(sets: Sequence[AnnotationSet]) -> Merged:
    """Put data sets into one.

    A photo is known by its file name, a class by its name: two sets that have it share it, under the id of the first.
    Objects are all kept, those of a shared photo too. Ids of a set change only where an earlier set uses them.

    Args:
        sets: at least one; entries at the top of files, such as licences, are those of the first.

    Raises:
        DataError: a photo has another size in another set.
    """
    first, *others = sets
    merged = Merged(first, [IdMap()])
    for other in others:
        _add(merged, other)
    return merged


def _add(merged: Merged, other: AnnotationSet) -> None:
    into, ids = merged.data, IdMap()
    photos = {photo.file_name: photo for photo in into.images}
    shared = [photo for photo in other.images if photo.file_name in photos]
    for photo in shared:
        there = photos[photo.file_name]
        if there.size_hw != photo.size_hw:
            raise DataError(
                f"{other.path}: {photo.file_name}: expected {there.size_hw[1]} x {there.size_hw[0]} pixels as in "
                f"{into.path}, got {photo.size_hw[1]} x {photo.size_hw[0]}; two photos of one name cannot be merged"
            )
    known = {photo.id: photos[photo.file_name].id for photo in shared}
    photo_ids = _ids([p.id for p in other.images], [p.id for p in into.images], known)
    names = {str(c["name"]): c["id"] for c in into.categories}
    known = {c["id"]: names[str(c["name"])] for c in other.categories if str(c["name"]) in names}
    class_ids = _ids([c["id"] for c in other.categories], [c["id"] for c in into.categories], known)
    object_ids = _ids([i.id for i in other.instances], [i.id for i in into.instances], {})
    last_group = max((i.group for i in into.instances if i.group is not None), default=0)
    new_photos = [_renumbered(p, photo_ids) for p in other.images if p.file_name not in photos]
    new_classes = [{**c, "id": class_ids[c["id"]]} for c in other.categories if str(c["name"]) not in names]
    instances = [_moved(i, photo_ids, class_ids, object_ids, last_group) for i in other.instances]
    merged.data = replace(
        into,
        images=[*into.images, *new_photos],
        categories=[*into.categories, *new_classes],
        instances=[*into.instances, *instances],
        front_of=[*into.front_of, *((object_ids[a], object_ids[b]) for a, b in other.front_of)],
        dropped=[*into.dropped, *_placed(other, other.dropped)],
        mended=[*into.mended, *_placed(other, other.mended)],
        doubts=[*into.doubts, *other.doubts],
        turned={k: into.turned.get(k, 0) + other.turned.get(k, 0) for k in {**into.turned, **other.turned}},
    )
    for mapping, found in ((ids.photos, photo_ids), (ids.objects, object_ids), (ids.categories, class_ids)):
        mapping |= {old: new for old, new in found.items() if old != new}
    merged.ids.append(ids)
    merged.shared_photos += len(shared)


def _ids(theirs: Sequence[int], taken: Sequence[int], known: Mapping[int, int]) -> dict[int, int]:
    """Return an id for each of theirs: the known one, its own where that is free, else one above all."""
    used = set(taken)
    free = max([*taken, *theirs, 0]) + 1
    found: dict[int, int] = {}
    for identity in theirs:
        if identity in known:
            found[identity] = known[identity]
        elif identity in used:
            found[identity], free = free, free + 1
        else:
            found[identity] = identity
    return found


def _renumbered(photo: ImageRecord, photo_ids: Mapping[int, int]) -> ImageRecord:
    number = photo_ids[photo.id]
    return replace(photo, id=number, raw={**photo.raw, "id": number} if "id" in photo.raw else photo.raw)


def _moved(
    instance: Instance,
    photo_ids: Mapping[int, int],
    class_ids: Mapping[int, int],
    object_ids: Mapping[int, int],
    last_group: int,
) -> Instance:
    return replace(
        instance,
        id=object_ids[instance.id],
        image_id=photo_ids[instance.image_id],
        category_id=class_ids[instance.category_id],
        group=None if instance.group is None else instance.group + last_group,
        extra=_with_occluders(instance.extra, object_ids),
        occluders=tuple(object_ids.get(front, front) for front in instance.occluders),
    )


def _with_occluders(extra: dict[str, Any], object_ids: Mapping[int, int]) -> dict[str, Any]:
    notes = extra.get(_NOTES)
    if not isinstance(notes, dict) or not isinstance(fronts := notes.get(_IN_FRONT), list):
        return extra
    return {**extra, _NOTES: {**notes, _IN_FRONT: [object_ids.get(front, front) for front in fronts]}}


def _placed(data: AnnotationSet, entries: Sequence[Dropped]) -> list[Dropped]:
    """Name the file, since places of several are listed together."""
    return [replace(entry, place=f"{data.path.name}: {entry.place}") for entry in entries]
