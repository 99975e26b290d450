"""`amodalpl check`: lists what a later stage would drop or misread; writes nothing."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from ..data.doubtful import LEAST_OBJECTS, MOSTLY, SAME_OBJECT_IOU, filling_their_box
from ..data.photo_names import PhotoNames
from ..data.read import read_annotations
from ..data.records import AnnotationSet, ImageRecord, Instance, reason_kind
from ..errors import DataError
from ..io.images import LinkOutError, check_image, image_path, read_image
from ..io.parallel import map_ranges, usable_cores
from ..labelling.class_rules import class_rules
from ..masks import rle
from ..masks.overlaps import lost_by_sharing_px, overlapping_pairs, sharing_more_than
from ..masks.rle import Rle
from ..runtime.next_command import argument
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from ..settings import ClassSettings

MAX_LISTED = 1000
LARGE_BYTES = 2**25  # of a file that is not read twice
PHOTOS_AT_ONCE = 256  # by one process, between two signs of progress
MOST_PROCESSES = 8
SHARED_FRACTION = 0.01  # below it, two outlines merely touch
WHOLE_FRACTION = 1 / 6  # of all pixels claimed twice: visible parts share next to none, whole objects many
BOXES_FRACTION = 0.1  # of masks that fill their boxes: hardly any object does
DARK = 32  # of 255: a photo of 12 bits in 16 has 15 at most
_HARMLESS_DROPS = {
    "not a COCOA record",  # other files in a folder of records
    "fully hidden",  # as amodal sets have them, and labels of objects whose every pixel another one claims
}
_LEFT_OUT_PHOTOS = ("missing photo", "unreadable photo", "size differs from the photo")  # as `usable_photos` does


Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong ("error") or worth knowing ("warning").

    Attributes:
        severity: errors are what a later stage would drop or misread.
        place: where in the annotation file.
        image_id: None when it is about no photo.
        annotation_id: None when it is about no single annotation.
        problem: "kind" or "kind: detail"; counted by kind.
    """

    severity: Severity
    place: str
    image_id: int | None
    annotation_id: int | None
    problem: str


@dataclass
class Overlaps:
    """How much modal masks claim the same pixels, summed over photos (crowd left out).

    Attributes:
        pairs: of masks that share at least one pixel.
        images: with such a pair.
        instances: that share more than 1 % of their pixels.
        modal_px: pixels of all masks.
        lost_px: pixels given up when each shared pixel gets one owner (`masks.ownership`).
    """

    pairs: int = 0
    images: int = 0
    instances: int = 0
    modal_px: int = 0
    lost_px: int = 0

    def __iadd__(self, other: Overlaps) -> Overlaps:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the lost pixels in per cent of all."""
        return {**asdict(self), "lost_percent": round(100 * self.lost_px / max(self.modal_px, 1), 3)}


@dataclass
class _Findings:
    """Counts everything, lists the first thousand."""

    listed: list[Finding] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        counts = self.errors if finding.severity == "error" else self.warnings
        counts[reason_kind(finding.problem)] += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(finding)

    def add_of_file(self, records: AnnotationSet) -> None:
        """Add what the reader left out or put right."""
        for entry in records.dropped:
            severity: Severity = "warning" if reason_kind(entry.reason) in _HARMLESS_DROPS else "error"
            self.add(Finding(severity, entry.place, entry.image_id, entry.annotation_id, entry.reason))
        for entry in records.mended:
            self.add(Finding("warning", entry.place, entry.image_id, entry.annotation_id, entry.reason))


def check(
    annotations: Path,
    images: Path,
    fmt: str = "auto",
    progress: Progress = SILENT,
    *,
    thorough: bool = False,
    per_class: Mapping[str, ClassSettings] | None = None,
    left_out_photos: float = 0,
) -> Summary:
    """Check an annotation file and its photos.

    Args:
        annotations: in any supported format.
        images: folder that the file names are relative to.
        fmt: of `formats.FORMATS`.
        progress: is shown per photo.
        thorough: also decode every photo.
        per_class: settings of classes, which the file must have.
        left_out_photos: share of the photos that stages leave out if they cannot be used; so few are errors too, but
            `next` goes on without them.

    Returns:
        `ok` is False if there is an error. `counts` has `format`, `images`, `instances` (without crowd), `crowd`,
        `categories`, `has` (visible and whole masks and boxes: of how many objects), `can be used by` (command -> how
        many objects it can use), `dropped`, `errors` and `warnings` (kind -> how many), `overlaps` (see `Overlaps`),
        `findings` (the first 1000, errors of the file first) and `findings_total`.

    Raises:
        SettingsError: unknown `fmt`, or class.
        DataError: the file as a whole cannot be read, or none of its photos is in the folder.
    """
    records, has = _read(Path(annotations), fmt)
    class_rules(per_class or {}, records.category_names, str(annotations))
    images = Path(images)
    _require_photos(records, images)
    findings = _Findings()
    findings.add_of_file(records)
    overlaps, boxes = _check_photos(records, images, thorough, findings, progress)
    crowd = sum(instance.is_crowd for instance in records.instances)
    objects = len(records.instances) - crowd
    for severity, problem in _of_the_whole(records, objects if has["visible masks"] else 0, boxes, overlaps, has):
        findings.add(Finding(severity, "annotations", None, None, problem))
    counts = {
        "format": records.format,
        "images": len(records.images),
        "instances": objects,
        "crowd": crowd,
        "categories": len(records.categories),
        "has": has,
        "can be used by": _usable_by(has),
        "dropped": len(records.dropped),
        "errors": dict(findings.errors.most_common()),
        "warnings": dict(findings.warnings.most_common()),
        "overlaps": overlaps.to_json(),
        "findings": [asdict(finding) for finding in findings.listed],
        "findings_total": findings.errors.total() + findings.warnings.total(),
    }
    ok = not findings.errors
    only_boxes = boxes >= MOSTLY * objects >= MOSTLY * LEAST_OBJECTS or not has["visible masks"]
    follow_up, then = _proposed(argument(annotations), argument(images), has, only_boxes, objects)
    photos = [findings.errors[kind] for kind in _LEFT_OUT_PHOTOS]
    would_be_left_out = sum(photos) <= left_out_photos * len(records.images) and sum(photos) == findings.errors.total()
    if not would_be_left_out:
        follow_up = then = ""
    if not objects and records.odd_crowds:
        follow_up = f"amodalpl convert {argument(annotations)} --images {argument(images)}"
        follow_up += " --crowds-are-objects --out objects.json"
    return Summary("check", None, counts, next=follow_up, then=then, ok=ok)


def _proposed(annotations: str, images: str, has: Mapping[str, int], only_boxes: bool, objects: int) -> tuple[str, str]:
    """Return what to do with sound data, and after that; start weights would help, but there are none to give."""
    data = f"{annotations} {images}"
    if only_boxes:
        stated = "" if has["visible masks"] else " --set detector.boxes_of=file"
        return (
            f"amodalpl train-detector {data} --model bbtp{stated} --init none --out runs/detector",
            f"amodalpl pseudolabel {data} --detector runs/detector --out runs/box_labels",
        )
    if objects and has["whole masks"] == objects:  # labels, or a set with amodal truth
        return (
            f"amodalpl train-detector {data} --init none --out runs/detector",
            f"amodalpl predict {images} --detector runs/detector --out runs/found",
        )
    return f"amodalpl pseudolabel {data} --out runs/at_once", f"amodalpl advise {data} --out runs/advice"


def _read(path: Path, fmt: str) -> tuple[AnnotationSet, dict[str, int]]:
    """Return what a file says, and what it has; of a file without any mask, objects are those with boxes.

    Stated boxes take another reading, which large files with masks are spared: each mask has a box.
    """
    try:
        records = read_annotations(path, fmt)
    except DataError:
        records = read_annotations(path, fmt, boxes=True)  # none has a mask; any other fault is found again
        return records, _what_it_has(records)
    if path.is_dir() or path.stat().st_size > LARGE_BYTES:
        return records, _what_it_has(records)
    return records, _what_it_has(read_annotations(path, fmt, boxes=True))


def _what_it_has(records: AnnotationSet) -> dict[str, int]:
    """Count the objects of which each is known; the box of a mask is known."""
    objects = [i for i in records.instances if not i.is_crowd]
    return {
        "visible masks": sum(i.modal_mask is not None for i in objects),
        "whole masks": sum(i.amodal_mask is not None for i in objects),
        "visible boxes": sum(i.modal_mask is not None or i.modal_box_xywh is not None for i in objects),
        "whole boxes": sum(i.amodal_mask is not None or i.amodal_box_xywh is not None for i in objects),
    }


def _usable_by(has: Mapping[str, int]) -> dict[str, int]:
    """Return how many objects each command can use; what it cannot use at all is not listed."""
    boxes = max(has["visible boxes"], has["whole boxes"])
    counts = {
        "synth, complete, pseudolabel": has["visible masks"],
        "train-detector": max(has["visible masks"], has["whole masks"]),
        "train-detector --model boxinst|bbtp": boxes,
        "train-detector --model blade": min(has["visible boxes"], has["whole boxes"]),
        "train-compositional, pseudolabel --detector": has["visible boxes"],
        "evaluate": has["whole masks"],
    }
    return {command: count for command, count in counts.items() if count}


def _check_photos(
    records: AnnotationSet, images: Path, thorough: bool, findings: _Findings, progress: Progress
) -> tuple[Overlaps, int]:
    """Look at every photo and its masks; return what they share, and how many are mere boxes."""
    overlaps, boxes = Overlaps(), 0
    names: dict[str, int] = {}
    gc.freeze()  # what was read has no cycles, and looking for them among millions of objects takes a second each time
    look = partial(_look_at_photos, records.images, records.by_image, images, thorough)
    with progress.task("checking photos", len(records.images)) as advance:
        processes = min(usable_cores(), MOST_PROCESSES)
        found = chain.from_iterable(map_ranges(look, len(records.images), PHOTOS_AT_ONCE, processes))
        for index, (image, seen) in enumerate(zip(records.images, found, strict=True)):
            for finding in seen.of_photo:
                findings.add(finding)
            if names.setdefault(image.file_name, image.id) != image.id:
                problem = f"photo listed twice: {image.file_name} is also image {names[image.file_name]}"
                findings.add(Finding("warning", f"images[{index}].file_name", image.id, None, problem))
            for finding in seen.of_masks:
                findings.add(finding)
            overlaps += seen.overlaps
            boxes += seen.boxes
            advance(1)
    gc.unfreeze()
    return overlaps, boxes


def _of_the_whole(
    records: AnnotationSet, objects: int, boxes: int, overlaps: Overlaps, has: Mapping[str, int]
) -> Iterator[tuple[Severity, str]]:
    """Yield what is wrong with a file as a whole."""
    if records.odd_crowds:
        advice = "if they are, `amodalpl convert` the file with --crowds-are-objects"
        yield (
            "warning" if objects else "error",
            f"crowds that seem single objects: {records.odd_crowds}; {advice}",
        )
    if not objects and has["visible boxes"] + has["whole boxes"]:
        yield "warning", "boxes without masks: only what learns from boxes can use them, see `can be used by`"
    elif not objects:
        yield "error", f"nothing usable: expected objects with masks, found none among {len(records.instances)} kept"
    if objects < LEAST_OBJECTS:
        return
    shares = overlaps.lost_px >= WHOLE_FRACTION * max(overlaps.modal_px, 1)
    if shares and all(instance.amodal_mask is None for instance in records.instances):
        percent = 100 * overlaps.lost_px / overlaps.modal_px
        yield (
            "warning",
            f"masks that look amodal already: {percent:.0f} % of all pixels are claimed twice; expected visible parts",
        )
    if boxes >= BOXES_FRACTION * objects:
        yield "warning", f"boxes instead of masks: {boxes} of {objects} masks fill their bounding box"


def _require_photos(records: AnnotationSet, folder: Path) -> None:
    """Refuse a folder that has none of the photos: it is the wrong one, there is nothing to list."""
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of photos, found no such folder; check the path")
    if not any(_is_there(folder, image.file_name) for image in records.images):
        _refuse_link(folder, records.images[0].file_name)
        if renamed := PhotoNames(folder).find_quietly(records.images[0].file_name):
            raise DataError(
                f"{folder}: expected the photos that {records.path} names, found none of {len(records.images)} under "
                f"these names, but {renamed!r} for {records.images[0].file_name[:120]!r}; `amodalpl convert "
                f"{argument(records.path)} --images {argument(folder)} --out named.json` writes the names of the folder"
            )
        if labels := sum(1 for _ in folder.glob("*.json")):
            raise DataError(
                f"{folder}: expected the photos that {records.path} names, found none of {len(records.images)}, but "
                f"{labels} JSON files; give the folder that has the photos"
            )
        raise DataError(
            f"{folder}: expected the photos that {records.path} names, found none of {len(records.images)} "
            f"(first: {records.images[0].file_name[:120]!r}); file names are relative to this folder"
        )


def _refuse_link(folder: Path, file_name: str) -> None:
    try:
        image_path(folder, file_name)
    except LinkOutError:
        raise
    except DataError:  # a name that says more of the file than of the folder
        return


def _is_there(folder: Path, file_name: str) -> bool:
    try:
        return image_path(folder, file_name).is_file()
    except (DataError, OSError):
        return False


@dataclass
class _Seen:
    """What one photo and its masks gave."""

    of_photo: list[Finding] = field(default_factory=list)
    of_masks: list[Finding] = field(default_factory=list)
    overlaps: Overlaps = field(default_factory=Overlaps)
    boxes: int = 0  # masks that fill their bounding box


@cache
def _photo_names(folder: Path) -> PhotoNames:
    """Return one list of a folder's photos for all that a process looks at."""
    return PhotoNames(folder)


def _look_at_photos(
    photos: list[ImageRecord], by_image: dict[int, list[Instance]], folder: Path, thorough: bool, indices: range
) -> list[_Seen]:
    looks, names = [], _photo_names(folder)
    for index in indices:
        image, place, seen = photos[index], f"images[{index}]", _Seen()
        _check_photo(image, place, folder, names, thorough, seen)
        _check_masks(by_image[image.id], image, place, seen)
        looks.append(seen)
    return looks


def _check_photo(image: ImageRecord, place: str, folder: Path, names: PhotoNames, thorough: bool, seen: _Seen) -> None:
    def error(key: str, problem: str) -> None:
        seen.of_photo.append(Finding("error", f"{place}.{key}", image.id, None, problem))

    try:
        path = image_path(folder, image.file_name)
    except DataError:
        error("file_name", f"photo outside the folder: {image.file_name[:120]!r}")
        return
    if not path.is_file():
        renamed = names.find_quietly(image.file_name)
        hint = f"; {renamed} is there, and `amodalpl convert` writes that name" if renamed else ""
        error("file_name", f"missing photo: {image.file_name[:120]}{hint}")
        return
    try:
        if thorough:
            pixels = read_image(path, image.size_hw)
            size_hw, brightest = pixels.shape[:2], int(pixels.max())
            if brightest < DARK:
                problem = f"nearly black photo: its brightest value is {brightest} of 255; does it use 12 of 16 bits?"
                seen.of_photo.append(Finding("warning", f"{place}.file_name", image.id, None, problem))
        else:
            size_hw = check_image(path, annotated_hw=image.size_hw)
    except DataError as problem:
        error("file_name", f"unreadable photo: {problem}")
        return
    if size_hw != image.size_hw:
        turned = ", turned by a quarter" if size_hw == image.size_hw[::-1] else ""
        wanted, got = (f"height {h}, width {w}" for h, w in (image.size_hw, size_hw))
        error("height", f"size differs from the photo: expected {wanted}, {image.file_name} has {got}{turned}")


def _check_masks(instances: list[Instance], image: ImageRecord, place: str, seen: _Seen) -> None:
    def warn(where: str, annotation_id: int | None, problem: str) -> None:
        seen.of_masks.append(Finding("warning", where, image.id, annotation_id, problem))

    if not instances:
        warn(place, None, "photo without instances")
    modal: list[Rle] = []
    owners: list[Instance] = []
    for instance in instances:
        if instance.is_crowd:
            warn(instance.place, instance.id, "crowd: never completed nor cut out")
            continue
        if instance.modal is None:
            continue
        modal.append(instance.modal)
        owners.append(instance)
        if instance.amodal is not None and instance.amodal is not instance.modal:
            outside_px = rle.area_px(instance.modal) - rle.intersection_px(instance.modal, instance.amodal)
            if outside_px:
                problem = f"visible mask not inside the whole mask: {outside_px} pixels are outside"
                warn(instance.place, instance.id, problem)
    areas_px = rle.areas_px(modal).tolist()
    seen.overlaps.modal_px = sum(areas_px)
    seen.boxes = filling_their_box(modal)
    pairs = overlapping_pairs(modal)
    if not pairs:
        return
    for first, second, common_px in pairs:
        iou = common_px / (areas_px[first] + areas_px[second] - common_px)
        if iou >= SAME_OBJECT_IOU:
            one, other = owners[first], owners[second]
            problem = f"same object twice: IoU {iou:.2f} with annotation {one.id} ({one.place})"
            warn(other.place, other.id, f"{problem}; `amodalpl convert --merge-doubles` keeps one")
    lost_px = lost_by_sharing_px(modal, areas_px, pairs)
    sharing = len(sharing_more_than(SHARED_FRACTION, modal, areas_px, pairs))
    seen.overlaps.pairs, seen.overlaps.images = len(pairs), 1
    seen.overlaps.instances, seen.overlaps.lost_px = sharing, lost_px
    problem = f"overlapping masks: {lost_px} pixels go to the smaller of two masks, in {len(pairs)} pairs"
    warn(place, None, f"{problem}; {sharing} of {len(modal)} instances share over 1 %")
