"""COCO JSON with instance masks, as CVAT, Roboflow and many others export it.

Polygons and RLE stay as they are drawn, and every key of an entry stays with it. COCO puts the corners of pixels at
whole numbers, as the hub does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.coco_family import is_stuff, read_categories, read_images, whole_id
from ..data.dataset_builder import Builder, Canvas, LeftOut, pixels
from ..data.exif import stored
from ..data.hub import Category, DataSet, Losses, Outline, Thing
from ..data.mask_parsing import brief, read_masks
from ..data.source import Source
from ..data.unsupported import unheld
from ..errors import DataError
from ..io.files import read_json, write_json
from ..masks import rle

_OF_PHOTO = {"id", "file_name", "height", "width"}
_OF_THING = {"id", "image_id", "category_id", "segmentation", "iscrowd", "score", "group", "isStuff"}
_OF_CATEGORY = {"id", "name"}
_LISTS = {"images", "annotations", "categories"}


def detect(source: Source) -> bool:
    """Tell by the two lists that every COCO file has."""
    data = source.data
    return isinstance(data, dict) and all(isinstance(data.get(key), list) for key in ("images", "annotations"))


def read(path: Path, images: Path | None) -> DataSet:
    """Read a COCO file.

    Args:
        path: the JSON file; `segmentation` is taken for the visible mask.
        images: folder of the photos, whose sizes are compared when it is given.

    Raises:
        DataError: no JSON, no images or categories, two of one id, or none of the photos there.
    """
    raw = read_json(path, "a COCO file")
    if not isinstance(raw, dict) or not isinstance(raw.get("annotations"), list):
        raise DataError(f"{path}: expected a COCO file with images, annotations and categories, got something else")
    builder = Builder(path, images)
    data = builder.data
    data.extra = {key: value for key, value in raw.items() if key not in _LISTS}
    read_classes(builder, read_categories(path, raw.get("categories")))
    canvases: dict[int, Canvas] = {}
    for index, image in enumerate(read_images(path, raw.get("images"))):
        with builder.entry(f"images[{index}]"):
            canvases[image.id] = builder.photo(
                image.file_name,
                f"images[{index}]",
                image.size_hw,
                as_shown=False,
                extra=_rest(image.raw, _OF_PHOTO),
                id=image.id,
            )
    classes = {category.id for category in data.categories}
    seen: set[int] = set()
    for index, entry in enumerate(raw["annotations"]):
        place = f"annotations[{index}]"
        with builder.entry(place):
            if not isinstance(entry, dict):
                raise LeftOut(f"not an annotation: got {brief(entry)}")
            thing = _thing(path, place, entry, canvases, classes)
            if thing.id in seen:
                raise LeftOut(f"duplicate annotation id: {thing.id} is taken by an annotation before")
            seen.add(thing.id)
            data.things.append(thing)
    return builder.finish()


def write(data: DataSet, out: Path) -> Losses:
    """Write a COCO file; `segmentation` is the visible mask.

    Args:
        data: what to write.
        out: the JSON file.
    """
    losses = unheld(data, "whole masks (amodal)", "order in depth, pairs")
    sizes = {photo.id: photo.size_hw for photo in data.photos}
    annotations = []
    for thing in data.things:
        if thing.modal is None:
            losses["objects without a visible mask"] += 1
            continue
        annotations.append(annotation(thing, thing.modal, sizes[thing.image_id]))
    write_json(
        out,
        {
            **data.extra,
            "images": [
                {
                    "id": photo.id,
                    "file_name": photo.file_name,
                    "height": photo.size_hw[0],
                    "width": photo.size_hw[1],
                    **photo.extra,
                }
                for photo in data.photos
            ],
            "categories": [{"id": entry.id, "name": entry.name, **entry.extra} for entry in data.categories],
            "annotations": annotations,
        },
    )
    return +losses


def annotation(thing: Thing, outline: Outline, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return a COCO annotation with an outline as its `segmentation`; `bbox` and `area` are those of its file, if any.

    Args:
        thing: the object.
        outline: of its visible or whole mask.
        size_hw: of its photo.
    """
    entry: dict[str, Any] = {
        "id": thing.id,
        "image_id": thing.image_id,
        "category_id": thing.category_id,
        "segmentation": segmentation(outline),
        "iscrowd": int(thing.is_crowd),
    }
    if not {"bbox", "area"} <= thing.extra.keys():
        try:
            mask = pixels(outline, size_hw)
            entry |= {"bbox": list(rle.box_xywh(mask)), "area": rle.area_px(mask)}
        except LeftOut:  # a polygon beside the photo stays as drawn; `check` lists it
            entry |= {"bbox": [0, 0, 0, 0], "area": 0}
    if thing.score is not None:
        entry["score"] = thing.score
    if thing.group is not None:
        entry["group"] = thing.group
    if thing.is_stuff:
        entry["isStuff"] = 1
    return entry | thing.extra


def segmentation(outline: Outline) -> Any:
    """Return an outline as COCO spells it: lists of coordinates, or compressed RLE."""
    return [list(ring) for ring in outline.polygons] if outline.rle is None else rle.to_json(outline.rle)


def outline_of(value: Any, size_hw: tuple[int, int]) -> Outline:
    """Read a mask in any of COCO's spellings; polygons stay as drawn.

    Args:
        value: of the key `segmentation`.
        size_hw: of the photo.

    Raises:
        LeftOut: the reason why there is none, as the pipeline's own readers give it.
    """
    mask = read_masks([value], [size_hw])[0]  # polygons are rasterised to find the ones that hold nothing
    if isinstance(mask, str):
        raise LeftOut(mask)
    if isinstance(value, dict):
        return Outline(rle=mask)
    parts = value if isinstance(value[0], list) else [value]
    return Outline(tuple(tuple(float(v) for v in part) for part in parts))


def _thing(
    path: Path, place: str, entry: Mapping[str, Any], canvases: Mapping[int, Canvas], classes: set[int]
) -> Thing:
    thing_id = whole_id(path, place, "id", entry)
    canvas = canvases.get(whole_id(path, place, "image_id", entry))
    category_id = entry.get("category_id")
    if canvas is None:
        raise LeftOut(f"photo not read: expected the id of one of the images, got {entry['image_id']}")
    if type(category_id) is not int or category_id not in classes:
        raise LeftOut(f"unknown category: expected the id of a category, got {brief(category_id)}")
    return Thing(
        thing_id,
        canvas.photo.id,
        category_id,
        stored(outline_of(entry.get("segmentation"), canvas.shown_hw), canvas.photo.size_hw, canvas.turn),
        is_crowd=entry.get("iscrowd") in (1, True),
        is_stuff=is_stuff(entry),
        score=score_of(entry),
        group=entry["group"] if type(entry.get("group")) is int else None,
        extra=_rest(entry, _OF_THING | ({"bbox", "area"} if canvas.turn != 1 else set())),
    )


def read_classes(builder: Builder, entries: Sequence[Mapping[str, Any]]) -> None:
    """Add the classes of a file, whose ids were checked; letters that no file can hold become question marks."""
    for index, entry in enumerate(entries):
        name = str(entry.get("name", entry["id"]))
        plain = name.encode("utf-8", "replace").decode()
        if plain != name:
            builder.leave_out(f"categories[{index}].name", f"letters that no file can hold: in {plain[:60]!r}")
        builder.data.categories.append(Category(entry["id"], plain, _rest(entry, _OF_CATEGORY)))


def score_of(entry: Mapping[str, Any]) -> float | None:
    """Return the score of a detection, None where there is none.

    Raises:
        LeftOut: not a number of 0 to 1.
    """
    score = entry.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise LeftOut(f"score out of range: expected 0 to 1, got {brief(score)}")
    return float(score)


def _rest(entry: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in known}
