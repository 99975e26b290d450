"""A data set whose objects have a visible and a whole mask, and how it is compared."""

from __future__ import annotations

from drawn_data_sets import SIZE_HW, box, drawn, in_pixels

from amodalpl.data.records import AnnotationSet, ImageRecord, Instance, Mask


def whole_masks() -> AnnotationSet:
    """Return two photos; the front square hides half of the back one, in polygons, in pixels and in two parts."""
    photos = [ImageRecord(9, "a.png", SIZE_HW, {"license": 3}), ImageRecord(4, "sub dir/ä & <b>.png", (30, 50))]
    things = [
        Instance(21, 9, 3, Mask((box(2, 2, 8, 8),)), Mask((box(2, 2, 8, 8),)), extra={"note": "in front"}),
        Instance(11, 9, 3, Mask((box(10, 2, 4, 8),)), Mask((box(6, 2, 8, 8),)), score=0.5, group=2),
        Instance(12, 9, 5, in_pixels(drawn((30, 10, 4, 9))), in_pixels(drawn((30, 10, 9, 9), holes=[(35, 12, 2, 3)]))),
        Instance(13, 9, 5, Mask((box(1, 30, 50, 8),)), is_crowd=True),
        Instance(30, 4, 5, Mask((box(5, 5, 5, 5),)), Mask((box(5, 5, 5, 5), box(20, 8, 6, 6))), is_stuff=True),
    ]
    classes = [{"id": 3, "name": "cup", "supercategory": "kitchen"}, {"id": 5, "name": "Ωdog & <i>"}]
    return AnnotationSet(photos, things, classes, front_of=[(21, 11)], raw={"info": {"year": 2026}})


def in_pixels_only(data: AnnotationSet) -> list[tuple]:
    """Return all that is said of objects, with masks in pixels, so that polygons and pixels compare."""
    sizes = {photo.id: photo.size_hw for photo in data.images}
    return [
        (
            thing.id, thing.image_id, thing.category_id,
            *(mask and mask.pixels(sizes[thing.image_id]) for mask in (thing.modal_mask, thing.amodal_mask)),
            thing.is_crowd, thing.is_stuff, thing.score, thing.group, thing.extra,
        )
        for thing in data.instances
    ]  # fmt: skip
