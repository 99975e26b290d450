"""COCOA (Zhu et al. 2017): regions per photo, each one polygon of the whole object, and pairs of who is in front.

A region without a `visible_mask` is fully visible. Regions have a free name and no class: everything is of the class
"object", and what a class is called goes into `name` when written. Their ids are not COCOA's; they are kept under `id`,
which its tools pass over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.coco_family import Fields
from ..data.cocoa import is_cocoa
from ..data.dataset_builder import Builder, pixels
from ..data.hub import Category, DataSet, Losses, Outline, Photo
from ..data.mask_tracing import one_ring, rings
from ..data.read import read_annotations
from ..data.records import AnnotationSet
from ..data.source import Source
from ..data.unsupported import unheld
from ..io.files import read_json, write_json
from ..masks import rle
from ..masks.rle import Rle
from . import dialects

_FIELDS = Fields(format="cocoa", modal="visible_mask", amodal="segmentation", modal_defaults_to_amodal=True)
_OBJECT = Category(1, "object")
_RECORD = "cocoa"  # key of a photo for what its record says
_OF_RECORD = {"image_id", "regions", "depth_constraint", "size"}
_MASKS = {"segmentation", "visible_mask", "invisible_mask", "area", "occlude_rate"}
_OF_REGION = _MASKS | {"id", "isStuff", "score", "group"}
_PLACE = re.compile(r"(?:(.*)\.)?regions\[(\d+)\]")
_LISTED = re.compile(r"(?:annotations)?\[(\d+)\]")


def detect(source: Source) -> bool:
    """Tell by `regions`, in a file or in any of the first files of a folder."""
    return is_cocoa(source.data) or any(isinstance(data, dict) and "regions" in data for data in source.some_data)


def read(path: Path, images: Path | None) -> DataSet:
    """Read a full release, a record, a list of records, or a folder of records.

    Args:
        path: the JSON file or the folder.
        images: folder of the photos, whose sizes are compared when it is given.

    Raises:
        DataError: not COCOA, bad or repeated image ids, no masks at all, or none of the photos there.
    """
    records = read_annotations(path, _FIELDS.format)  # checks everything, but keeps pixels only
    regions = _Regions(path)
    ids = _ids(records, regions)
    builder = Builder(path, images)
    builder.data.categories = [_OBJECT]
    builder.data.extra = regions.top_level
    dialects.read_photos(builder, records, _of_records(records, regions))
    dialects.read_things(builder, records, regions.at, _FIELDS, _OF_REGION, ids)
    kept = {thing.id for thing in builder.data.things}
    stated = [(ids[front], ids[back]) for front, back in records.front_of]
    builder.data.front_of = [pair for pair in stated if kept.issuperset(pair)]
    return builder.finish()


class _Regions:
    """The parsed file or files, asked for the region at a place as the pipeline's reader names it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, Any] = {} if path.is_dir() else {"": read_json(path, "a COCOA file")}
        data = self._files.get("")
        self.top_level: dict[str, Any] = {}
        if isinstance(data, dict) and "regions" not in data:
            self.top_level = {key: value for key, value in data.items() if key not in ("images", "annotations")}

    def at(self, place: str) -> Mapping[str, Any]:
        """Return the region at a place such as `annotations[2].regions[0]`, `regions[0]` or `5.json.regions[0]`."""
        match = _PLACE.fullmatch(place)
        assert match  # the reader's own spelling
        region: Mapping[str, Any] = self.record(match[1] or "")["regions"][int(match[2])]
        return region

    def record(self, place: str) -> Mapping[str, Any]:
        """Return the record at a place."""
        listed = _LISTED.fullmatch(place)
        name = place if self._path.is_dir() else ""
        if name not in self._files:
            self._files[name] = read_json(self._path / name, "a COCOA record")
        data = self._files[name]
        if listed and not self._path.is_dir():
            data = (data["annotations"] if isinstance(data, dict) else data)[int(listed[1])]
        record: Mapping[str, Any] = data
        return record


def _of_records(records: AnnotationSet, regions: _Regions) -> dict[int, dict[str, Any]]:
    """Return what records say of photos beside their regions, under a key of its own."""
    found: dict[int, dict[str, Any]] = {}
    for instance in records.instances:
        if instance.image_id not in found:
            record = regions.record(instance.place.rpartition("regions[")[0].removesuffix("."))
            own = {key: value for key, value in record.items() if key not in _OF_RECORD}
            found[instance.image_id] = {_RECORD: own} if own else {}
    return found


def _ids(records: AnnotationSet, regions: _Regions) -> dict[int, int]:
    """Return the id of every region by its number: that under `id` where all have one of their own."""
    stated = {instance.id: regions.at(instance.place).get("id") for instance in records.instances}
    values = list(stated.values())
    if all(type(value) is int and 0 < value < 2**63 for value in values) and len(set(values)) == len(values):
        return stated  # type: ignore[return-value]
    return {number: number for number in stated}


def write(data: DataSet, out: Path) -> Losses:
    """Write a full release.

    Raises:
        DataError: no object has a whole mask.
    """
    losses = unheld(data, "other keys of classes")
    names = {category.id: category.name for category in data.categories}
    losses["classes, now names of regions"] += sum(name != _OBJECT.name for name in names.values())
    regions: dict[int, list[dict[str, Any]]] = defaultdict(list)
    number: dict[int, int] = {}
    for pair in dialects.pairs(data, losses):
        if pair.thing.is_crowd:  # COCOA has none, and would take it for an object
            losses["crowd regions"] += 1
            continue
        here = regions[pair.thing.image_id]
        here.append(_region(pair, names, losses))
        number[pair.thing.id] = len(here)
    order: dict[int, list[str]] = defaultdict(list)
    photo_of = {thing.id: thing.image_id for thing in data.things}
    for front, back in data.front_of:
        if front in number and back in number and photo_of[front] == photo_of[back]:
            order[photo_of[front]].append(f"{number[front]}-{number[back]}")
        else:
            losses["order in depth, pairs"] += 1
    photos = [replace(photo, extra={k: v for k, v in photo.extra.items() if k != _RECORD}) for photo in data.photos]
    records = [
        {
            "id": index,
            **_record_extra(photo),
            "image_id": photo.id,
            "size": len(regions[photo.id]),
            "depth_constraint": ",".join(order[photo.id]),
            "regions": regions[photo.id],
        }
        for index, photo in enumerate(data.photos, start=1)
    ]
    write_json(out, {**data.extra, "images": [dialects.photo_entry(photo) for photo in photos], "annotations": records})
    return +losses


def _record_extra(photo: Photo) -> dict[str, Any]:
    kept = photo.extra.get(_RECORD)
    return kept if isinstance(kept, dict) else {}


def _region(pair: dialects.Pair, names: Mapping[int, str], losses: Losses) -> dict[str, Any]:
    thing = pair.thing
    region: dict[str, Any] = {
        "name": names.get(thing.category_id, ""),
        **{key: value for key, value in thing.extra.items() if key != "bbox"},
        "id": thing.id,
        "segmentation": _one_polygon(pair.amodal, pair.amodal_px, losses),
        "area": rle.area_px(pair.amodal_px),
        "isStuff": int(thing.is_stuff),
        "occlude_rate": pair.occlude_rate,
        **({} if thing.score is None else {"score": thing.score}),
        **({} if thing.group is None else {"group": thing.group}),
    }
    if pair.modal != pair.amodal:
        region["visible_mask"] = rle.to_json(pair.modal_px)
        losses["visible masks drawn as polygons, now pixels"] += bool(pair.modal.polygons)
        if pair.hidden_px:
            region["invisible_mask"] = rle.to_json(pair.hidden)
    return region


def _one_polygon(outline: Outline, mask: Rle, losses: Losses) -> Any:
    """Return the single flat polygon that COCOA holds, or pixels where none gives the same ones."""
    parts = rings(outline)
    if len(parts) == 1:
        return list(parts[0])
    size_hw = (mask["size"][0], mask["size"][1])
    joined = one_ring(outline, size_hw)
    if pixels(Outline((joined,)), size_hw)["counts"] == mask["counts"]:
        losses["polygons of one object, joined by slits"] += bool(outline.polygons)
        return list(joined)
    losses["polygons of one object, now pixels"] += bool(outline.polygons)
    return rle.to_json(mask)
