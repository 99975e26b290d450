"""Pascal VOC: one XML file per photo, as labelImg, CVAT and Roboflow write it too, and LabelMe of the web (CVAT's 3.0).

An object is a box, or a polygon where the tool wrote one (Roboflow, LabelMe). Where `SegmentationObject/` lies beside
the folder of the XML files, as in VOC itself, number k of a photo's PNG there is the mask of its k-th object. Edges of
boxes are those of today's tools; VOC itself counts pixels from 1, so that its boxes begin one pixel too late.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath

import numpy as np

from ..data.dataset_builder import Builder, Canvas, DrawnOn
from ..data.mask_parsing import stated_size_hw
from ..data.outlines import decimal, rectangle, ring
from ..data.records import AnnotationSet, LeftOut, Mask
from ..data.source import Source
from ..errors import DataError
from ..io.xml import read_xml
from ..masks import rle
from ..masks.geometry import count_px
from .shared.file_per_photo import files_of, read_each
from .shared.numbers_png import read_numbers

MASKS, PHOTOS = "SegmentationObject", "JPEGImages"  # folders beside that of the XML files
_ROUNDED_PX = 2  # by which a box may be off
_INSIDE = 0.9  # of a mask, in the box of its object at least; where numbers mean something else it is far less
_MARKS = ("truncated", "occluded", "difficult")


def detect(source: Source) -> bool:
    """Tell by the root of an XML file, or of any in a folder."""
    return any(_is_voc(head) for head in (source.head, *(Source(file).head for file in source.some(".xml"))))


def _is_voc(head: bytes) -> bool:
    return b"<annotation>" in head or b"<annotation " in head


def read(path: Path, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Read a folder of VOC files, or one.

    Args:
        path: the folder, searched in depth, or a single file.
        images: folder of the photos; by default `JPEGImages` beside the files, else the folder itself.
        drawn_on: of `Builder`.

    Raises:
        DataError: nothing there, or nothing that can be read.
    """
    files = files_of(path, ".xml", "Pascal VOC")
    folder = path if path.is_dir() else path.parent
    beside = next((f for f in (folder / PHOTOS, folder.parent / PHOTOS) if f.is_dir()), folder)
    builder = Builder(path, beside if images is None else images, must_be_there=images is not None, drawn_on=drawn_on)
    return read_each(builder, files, _read_file)


def _read_file(builder: Builder, file: Path, place: str) -> None:
    try:
        root = read_xml(file, "a Pascal VOC file")
    except DataError as error:
        raise LeftOut(f"not XML: {error}") from None
    if root.tag != "annotation":
        raise LeftOut(f"not a Pascal VOC file: expected <annotation>, got <{root.tag[:60]}>")
    canvas = builder.photo(_name(builder, root, PurePosixPath(place)), place, _stated_hw(root))
    numbers = _numbers(file, canvas)  # of objects in pixels
    for index, entry in enumerate(root.iterfind("object")):
        with builder.entry(f"{place}: object[{index}]"):
            if (entry.findtext("deleted") or "").strip() == "1":
                raise LeftOut("deleted in LabelMe")
            outline = _outline(entry)
            if numbers is not None:
                outline = _pixels(numbers, index + 1, outline)
            marks = {mark: True for mark in _MARKS if (entry.findtext(mark) or "").strip() == "1"}
            label = (entry.findtext("name") or "").strip()
            builder.add(canvas, builder.category(label), outline, extra={"attributes": marks} if marks else {})


def _name(builder: Builder, root: ET.Element, place: PurePosixPath) -> str:
    """Return a photo's name: the stated one, beside the XML file or anywhere, else that of the XML file itself."""
    stated = (root.findtext("filename") or "").strip()
    own, beside = str(place.with_suffix(".jpg")), str(place.parent / stated)
    if not stated:
        return own
    if builder.images is not None and (builder.images / beside).is_file():
        return beside
    return next((name for name in (stated, beside, own) if builder.other_name(name)), stated)


def _stated_hw(root: ET.Element) -> tuple[int, int] | None:
    height = root.findtext("size/height") or root.findtext("imagesize/nrows")
    stated_hw = stated_size_hw(height, root.findtext("size/width") or root.findtext("imagesize/ncols"))
    return stated_hw if stated_hw and all(stated_hw) else None  # some tools write 0 x 0


def _numbers(file: Path, canvas: Canvas) -> np.ndarray | None:
    """Return the numbers of objects in pixels, (H, W) uint16; None where there is no such file."""
    root = next((folder for folder in file.parents[1:4] if (folder / MASKS).is_dir()), None)
    if root is None:
        return None
    name = PurePosixPath(*file.relative_to(root).parts[1:]).with_suffix(".png")  # below the folder of the XML files
    if not (root / MASKS / name).is_file():
        return None
    numbers = read_numbers(root / MASKS, str(name))
    if numbers.shape != canvas.shown_hw:
        raise LeftOut(f"masks of another size: expected {canvas.shown_hw} (height, width), got {numbers.shape}")
    return numbers


def _pixels(numbers: np.ndarray, number: int, outline: Mask) -> Mask:
    """Return the pixels of an object, which must be those that its box holds."""
    mask = numbers == number
    if not mask.any():
        raise LeftOut(f"empty mask: no pixel of {MASKS} has number {number}")
    x, y, w, h = rle.box_xywh(outline.pixels((numbers.shape[0], numbers.shape[1])))
    around = mask[max(y - _ROUNDED_PX, 0) : y + h + _ROUNDED_PX, max(x - _ROUNDED_PX, 0) : x + w + _ROUNDED_PX]
    if (inside_px := count_px(around)) < _INSIDE * (mask_px := count_px(mask)):
        raise LeftOut(f"mask of another object: {inside_px} of {mask_px} pixels of number {number} are in the box")
    return Mask(rle=rle.encode(mask))


def _outline(entry: ET.Element) -> Mask:
    polygon = entry.find("polygon")
    if polygon is not None:
        values = {child.tag: child.text for child in polygon}
        points = [(decimal(values[f"x{k}"]), decimal(values.get(f"y{k}"))) for k in _counted(values)]
        points += [(decimal(point.findtext("x")), decimal(point.findtext("y"))) for point in polygon.iterfind("pt")]
        if points:
            return Mask((ring(points),))
    box = entry.find("bndbox")
    if box is None:
        raise LeftOut("not an area: expected a polygon or bndbox")
    left, top, right, bottom = (decimal(box.findtext(edge)) for edge in ("xmin", "ymin", "xmax", "ymax"))
    if left >= right or top >= bottom:
        raise LeftOut(f"empty box: from {left:g}, {top:g} to {right:g}, {bottom:g}")
    return Mask((rectangle(left, top, right - left, bottom - top),))


def _counted(values: dict[str, str | None]) -> list[int]:
    """Return the numbers of a polygon's points, x1, x2, ... in order."""
    return sorted(int(tag[1:]) for tag in values if tag[:1] == "x" and tag[1:].isascii() and tag[1:].isdigit())
