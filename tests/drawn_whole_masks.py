"""A data set in the converters' hub whose objects have a visible and a whole mask, and how it is compared."""

from __future__ import annotations

from drawn_data_sets import SIZE_HW, box, drawn, in_pixels

from amodalpl.data.dataset_builder import pixels
from amodalpl.data.hub import Category, DataSet, Outline, Photo, Thing


def whole_masks() -> DataSet:
    """Return two photos; the front square hides half of the back one, in polygons, in pixels and in two parts."""
    photos = [Photo(9, "a.png", SIZE_HW, {"license": 3}), Photo(4, "sub dir/ä & <b>.png", (30, 50))]
    things = [
        Thing(21, 9, 3, Outline((box(2, 2, 8, 8),)), Outline((box(2, 2, 8, 8),)), extra={"note": "in front"}),
        Thing(11, 9, 3, Outline((box(10, 2, 4, 8),)), Outline((box(6, 2, 8, 8),)), score=0.5, group=2),
        Thing(12, 9, 5, in_pixels(drawn((30, 10, 4, 9))), in_pixels(drawn((30, 10, 9, 9), holes=[(35, 12, 2, 3)]))),
        Thing(13, 9, 5, Outline((box(1, 30, 50, 8),)), is_crowd=True),
        Thing(30, 4, 5, Outline((box(5, 5, 5, 5),)), Outline((box(5, 5, 5, 5), box(20, 8, 6, 6))), is_stuff=True),
    ]
    classes = [Category(3, "cup", {"supercategory": "kitchen"}), Category(5, "Ωdog & <i>")]
    return DataSet(photos, things, classes, front_of=[(21, 11)], extra={"info": {"year": 2026}})


def in_pixels_only(data: DataSet) -> list[tuple]:
    """Return all that is said of objects, with masks in pixels, so that polygons and pixels compare."""
    sizes = {photo.id: photo.size_hw for photo in data.photos}
    return [
        (
            thing.id, thing.image_id, thing.category_id,
            *(None if mask is None else pixels(mask, sizes[thing.image_id]) for mask in (thing.modal, thing.amodal)),
            thing.is_crowd, thing.is_stuff, thing.score, thing.group, thing.extra,
        )
        for thing in data.things
    ]  # fmt: skip
