"""The formats that `amodalpl convert` knows: one row each, particular ones before general ones.

A new format is a file of its own and a row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..data import coco, cocoa, d2sa, kins, lvis
from ..data.dataset_builder import DrawnOn
from ..data.format_losses import UnsupportedFields
from ..data.read import detect_format
from ..data.records import AnnotationSet
from ..data.source import Source
from ..errors import DataError, SettingsError, nearest
from . import (
    cityscapes,
    coco_results,
    cvat_xml,
    darwin,
    fiftyone,
    label_studio,
    labelme,
    png_index,
    png_instances,
    sam,
    via,
    voc,
    yolo,
)
from .formats_not_read import explain_unsupported
from .shared.mask_choice import Holds


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: as `--from` and `--to` take it.
        title: whose format it is and which version.
        kept: what survives, in a few words.
        not_kept: what does not; "" when nothing is known to be lost.
        read: a file or folder, the folder of photos (None: not given) and the frame that objects were drawn in to
            a data set; None: it is only written.
        write: a data set to a file or folder, returning what was lost; None: it is only read.
        detect: whether a source is of this format, told by its content; None: it must be named.
        feeds_pipeline: `check`, `synth` and `pseudolabel` read what is written.
        holds: what it has a place for, of the two masks of an object.
        photos_in: where readers look for the photos, within the folder that is written; None: wherever they are.
    """

    name: str
    title: str
    kept: str
    not_kept: str = ""
    read: Callable[[Path, Path | None, DrawnOn], AnnotationSet] | None = None
    write: Callable[[AnnotationSet, Path], UnsupportedFields] | None = None
    detect: Callable[[Source], bool] | None = None
    feeds_pipeline: bool = False
    holds: Holds = "one mask"
    photos_in: str | None = None


def _has(name: str) -> Callable[[Source], bool]:
    """Return whether a source has the keys of one of the pipeline's own formats."""
    return lambda source: detect_format(source.data) == name


def _functions(file: ModuleType) -> dict[str, Any]:
    """Return `read`, `write` and `detect` of a format's file, those that it has."""
    return {name: getattr(file, name) for name in ("read", "write", "detect") if hasattr(file, name)}


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            "labelme",
            "labelme 3 to 5: a folder of JSON files, one per photo",
            kept="polygons, masks, parts and groups (group_id), flags, attributes, scores, crowd",
            not_kept="circles and rectangles (they become polygons), lines and points, ids",
            photos_in=".",
            **_functions(labelme),
        ),
        Format(
            "cvat",
            "CVAT for images 1.1: XML",
            kept="polygons, masks, attributes, occluded, groups, z_order (order in depth), subsets, crowd (is_crowd)",
            not_kept="boxes and ellipses (they become polygons), tracks, skeletons, tags, scores, ids",
            **_functions(cvat_xml),
        ),
        Format(
            "via",
            "VGG Image Annotator 2: project or annotations in JSON",
            kept="polygons, attributes of regions and photos; masks in pixels become polygons along pixels",
            not_kept="circles, ellipses and boxes (they become polygons), lines and points, crowd, groups, scores, ids",
            **_functions(via),
        ),
        Format(
            "label-studio",
            "Label Studio: JSON export, JSON for import",
            kept="polygons, brush masks, scores of predictions; one annotator per photo",
            not_kept="boxes and ellipses (they become polygons), relations, attributes, crowd, groups, ids",
            **_functions(label_studio),
        ),
        Format(
            "yolo",
            "YOLO segmentation (Ultralytics): data.yaml and labels/*.txt; boxes of YOLO detection become rectangles",
            kept="polygons; masks in pixels become polygons along pixels, parts are joined by slits",
            not_kept="attributes, crowd, groups, ids, what lies outside the photo; scores are read, not written",
            photos_in="images",
            **_functions(yolo),
        ),
        Format(
            "darwin",
            "Darwin JSON of V7, 2.0 and 1.0: one file per photo",
            kept="polygons (holes too), brush masks, attributes",
            not_kept="boxes and ellipses (they become polygons), frames of videos, tags, lines, keypoints, ids",
            **_functions(darwin),
        ),
        Format(
            "voc",
            "Pascal VOC: one XML file per photo, SegmentationObject/ beside them",
            kept="masks of SegmentationObject, polygons, truncated, occluded, difficult",
            not_kept="boxes without a mask (they become rectangles), parts, poses, ids",
            **_functions(voc),
        ),
        Format(
            "cityscapes",
            "Cityscapes: gtFine polygons, else instanceIds",
            kept="polygons that nothing covers, pixels of the others, groups (crowd), stuff, order in depth",
            not_kept="what lies under later polygons, regions that are no objects",
            **_functions(cityscapes),
        ),
        Format(
            "sam",
            "Segment Anything: JSON of automatic masks, SA-1B",
            kept="masks, predicted_iou as score, other keys",
            not_kept="second masks of one object (IoU from 0.9)",
            **_functions(sam),
        ),
        Format(
            "coco-results",
            "detections in COCO's results format; --images: the COCO file they are of, or the photos",
            kept="masks, classes, scores, other keys",
            not_kept="second detections of one object (IoU from 0.9), ids",
            **_functions(coco_results),
        ),
        Format(
            "png-index",
            "one PNG per photo: the number of the object, or of its class",
            kept="pixels, classes",
            not_kept="shared pixels, whole masks, scores, crowd, groups, ids, attributes",
            **_functions(png_index),
        ),
        Format(
            "png-instances",
            "one PNG per object",
            kept="pixels (shared ones too), classes",
            not_kept="photos without objects, whole masks, scores, crowd, groups, ids, attributes",
            **_functions(png_instances),
        ),
        Format(
            "cocoa",
            "COCOA: regions per photo",
            kept="both masks, order in depth, stuff, names of regions, ids, scores, other keys",
            not_kept="classes (they become names of regions), crowd, parts of polygons (joined by slits)",
            **_functions(cocoa),
            feeds_pipeline=True,
            holds="both masks",
        ),
        Format(
            "kins",
            "KINS 2019: inmodal_seg and segmentation",
            kept="both masks (whole ones as polygons, visible ones as pixels), ids, crowd, scores, other keys",
            not_kept="order in depth",
            **_functions(kins),
            detect=_has("kins"),
            feeds_pipeline=True,
            holds="both masks",
        ),
        Format(
            "kins2020",
            "KINS 2020: i_segm and a_segm",
            kept="both masks as drawn, ids, crowd, scores, other keys",
            not_kept="order in depth",
            read=kins.read_2020,
            write=kins.write_2020,
            detect=_has("kins2020"),
            feeds_pipeline=True,
            holds="both masks",
        ),
        Format(
            "d2sa",
            "D2SA, COCOA-cls and labels of amodalpl: segmentation (whole) and visible_mask",
            kept="both masks as drawn, ids, crowd, scores, other keys; order in depth is read from order.json beside",
            not_kept="order in depth, when written",
            **_functions(d2sa),
            detect=_has("d2sa"),
            feeds_pipeline=True,
            holds="both masks",
        ),
        Format(
            "lvis",
            "LVIS v1",
            kept="masks as polygons, ids, frequency, synset, neg and not_exhaustive classes, other keys",
            not_kept="whole masks, order in depth; crowds (their classes become not exhaustive in that photo)",
            **_functions(lvis),
            feeds_pipeline=True,
        ),
        Format(
            "coco-modal",
            "COCO with visible masks as segmentation, whole ones as amodal_segmentation",
            kept="both masks as drawn, ids, crowd, scores, other keys",
            not_kept="order in depth",
            read=coco.read_modal,
            write=coco.write_modal,
            detect=coco.detect_modal,
            feeds_pipeline=True,
            holds="both masks",
        ),
        Format(
            "coco-amodal",
            "COCO with whole masks as segmentation, for training elsewhere",
            kept="whole masks as drawn, ids, crowd, scores, other keys",
            not_kept="visible masks, order in depth",
            write=coco.write_amodal,
            holds="whole masks",
        ),
        Format(
            "fiftyone",
            "FiftyOne: a folder with modal.json and amodal.json",
            kept="both masks as drawn, ids, crowd, scores, other keys",
            not_kept="order in depth",
            **_functions(fiftyone),
            holds="both masks",
        ),
        Format(
            "coco",
            "COCO JSON (instances; CVAT's and Roboflow's COCO are this)",
            kept="polygons and RLE as drawn, ids, crowd, scores, attributes, every other key",
            not_kept="order in depth",
            **_functions(coco),
            feeds_pipeline=True,
        ),
    )
}


def reader(name: str, path: Path) -> Format:
    """Return the format to read a source with.

    Args:
        name: of a format, or "auto" to tell it from the content: the first row that recognises it.
        path: the source.

    Raises:
        SettingsError: no such format, or one that is only written.
        DataError: no such source, or no format recognises it.
    """
    readable = [row for row in FORMATS.values() if row.read]
    if name == "auto":
        if not path.exists():
            raise DataError(f"{path}: expected a file or folder to convert, found none; check the path")
        source = Source(path)
        for row in readable:
            if row.detect and row.detect(source):
                return row
        if found := explain_unsupported(source):
            raise DataError(f"{path}: expected annotations of a known format, recognised none: {found}")
        raise DataError(
            f"{path}: expected annotations of a known format, recognised none; name it with --from "
            f"({', '.join(row.name for row in readable)}), `amodalpl convert --list` tells them apart"
        )
    return _named(name, "--from", [row.name for row in readable])


def writer(name: str) -> Format:
    """Return the format to write.

    Raises:
        SettingsError: no such format, or one that is only read.
    """
    return _named(name, "--to", [row.name for row in FORMATS.values() if row.write])


def _named(name: str, option: str, known: list[str]) -> Format:
    if name not in known:
        other = " (it works in the other direction only)" if name in FORMATS else ""
        raise SettingsError(f"{option}: expected one of the formats, got {name!r}{other}{nearest(name, known)}")
    return FORMATS[name]
