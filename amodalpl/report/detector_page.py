"""The page beside a trained detector: its scores by class and by occlusion, its curves, what it finds and misses."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools.cocoeval import COCOeval

from ..data.label_folder import rle_of
from ..io.images import encode_image, read_fitting_image
from ..masks import rle
from ..metrics.detection import LEFT_OUT, LeavingOutEval, as_score, evaluate, first_protocol, known_iou_type
from ..metrics.levels import COCOA_CLS, LevelSet
from ..metrics.occluded_detection import ap_by_level, levels_protocol
from ..runtime.progress import SILENT, Progress
from ..version import __version__
from . import draw
from .examples import MISTAKES, Example, choose_examples
from .html_page import write_page
from .numbers import curve, rows

REPORT_FILE = "report.html"
_HERE = Path(__file__).parent
_PANEL_PX, _GAP_PX = 260, 4
_MARGIN = 0.25  # shown around the objects, in parts of their longer side
_LOSS_WH = 360, 200
_TICKS = 5
_AT_IOU = ((0, "IoU 0.50"), (5, "IoU 0.75"))  # places among COCO's ten thresholds


@dataclass(frozen=True)
class Line:
    """A polyline of a plot: its name, its points as SVG writes them, and a number beside it."""

    name: str
    points: str
    value: float | None = None


@dataclass(frozen=True)
class ClassScores:
    """A row of the table by class: AP over IoU 0.50:0.95 and at two of them, None without objects to find."""

    name: str
    instances: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    line: str


@dataclass(frozen=True)
class LossPlot:
    """UnsupportedFields over steps in a frame of 360 x 200, logarithmic upwards: lines, and ticks as (place, text)."""

    lines: list[Line]
    steps: list[tuple[float, str]]
    values: list[tuple[float, str]]


@dataclass(frozen=True)
class Card:
    """An example as it is shown: its picture as a data URL, width and height in pixels, and the text beside it."""

    source: str
    size_wh: tuple[int, int]
    title: str
    notes: list[str]


def write_detector_page(
    folder: Path,
    images: Path,
    truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]],
    curves: Sequence[Mapping[str, float]],
    counts: Mapping[str, Any],
    *,
    held_back: bool,
    progress: Progress = SILENT,
) -> Path:
    """Write `report.html`, one page without outside parts.

    Equal inputs give equal bytes. A photo that cannot be read, or is of another size than its masks, is shown as grey
    and counted on the page.

    Args:
        folder: of the detector, there already.
        images: folder of the photos that were scored on.
        truth: COCO annotations with masks as RLE, and `visible_mask` beside them for scores by occlusion; with
            `ONLY_BOXES`, it is their boxes that are compared.
        detections: COCO results with masks as RLE; with `ONLY_VISIBLE` of the truth, of what is visible.
        scores: protocol -> row -> metric -> value, as the stage shows them.
        curves: one entry per logging interval: `step` and losses by name.
        counts: of the stage, nested as one likes.
        held_back: the truth is a part of the label file, not independent annotation.
        progress: shown while it works.

    Returns:
        The file.

    Raises:
        DataError: truth or detections are not COCO.
        OutputError: the file cannot be written.
    """
    known = known_iou_type(truth)
    compared = first_protocol(truth, held_back=held_back)
    evaluation = evaluate(LeavingOutEval, truth, detections, known)
    examples = choose_examples(evaluation, truth, detections)
    with progress.task("drawing the report", 1 + sum(map(len, examples.values()))) as advance:
        levels = _by_level(truth, detections, COCOA_CLS)
        advance(1)
        sections, missing = _cards(examples, truth, images, progress_by=advance)
    file = folder / REPORT_FILE
    write_page(
        file,
        "detector.html",
        ["labels.css", "detector.css"],
        version=__version__,
        held_back=held_back,
        boxes_only=known == "bbox",
        compared=compared,
        kind="mask" if known == "segm" else "box",
        facts=_facts(truth, detections, evaluation),
        scores=scores,
        precision_recall=precision_recall(evaluation),
        classes=scores_by_class(evaluation, truth),
        levels=levels,
        levels_protocol=levels_protocol(COCOA_CLS) + (", truth: held-back labels" if held_back else ""),
        loss=loss_plot(curves),
        sections=sections,
        photos_missing=missing,
        counts=list(rows(counts)),
    )
    return file


def precision_recall(evaluation: COCOeval) -> list[Line]:
    """Return precision over recall, the mean of the classes, in a frame of 200 x 200, with the AP that is below each.

    Args:
        evaluation: by pycocotools, whose `precision` is (T, R, K, A, M): IoU thresholds, 101 recalls, classes, areas,
            detections per photo; -1 where a class has no object.
    """
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (T, R, K)
    precision = precision[:, :, (precision > -1).all(axis=(0, 1))]
    if not precision.size:
        return []
    recall = evaluation.params.recThrs
    chosen = [*((name, precision[t]) for t, name in _AT_IOU), ("IoU 0.50:0.95", precision.mean(axis=0))]
    return [
        Line(name, curve(name, recall, of_classes.mean(axis=1)).points, float(of_classes.mean()))
        for name, of_classes in chosen
    ]


def scores_by_class(evaluation: COCOeval, truth: Mapping[str, Any]) -> list[ClassScores]:
    """Return a row per class, those with most objects first.

    Args:
        evaluation: see `precision_recall`; categories were compared.
        truth: COCO annotations.
    """
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    counted = Counter(a["category_id"] for a in truth["annotations"] if not a.get("iscrowd") and not a.get(LEFT_OUT))
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (T, R, K)
    table = []
    for k, category_id in enumerate(evaluation.params.catIds):
        ap, ap50, ap75 = (as_score(precision[t, :, k].mean()) for t in (slice(None), 0, 5))
        line = curve("", evaluation.params.recThrs, precision[0, :, k]).points if ap is not None else ""
        table.append(ClassScores(names[category_id], counted[category_id], ap, ap50, ap75, line))
    return sorted(table, key=lambda row: (-row.instances, row.name))


def loss_plot(curves: Sequence[Mapping[str, float]]) -> LossPlot | None:
    """Lay out every loss over the steps, the whole loss first; None when nothing was recorded."""
    names = sorted({key for entry in curves for key in entry if key.startswith("loss")})
    series = {
        name: [(float(e["step"]), float(e[name])) for e in curves if name in e and 0 < e[name] < math.inf]
        for name in names
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    width, height = _LOSS_WH
    last = max(step for points in series.values() for step, _ in points)
    values = [value for points in series.values() for _, value in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def place(step: float, value: float) -> str:
        return f"{width * step / last:.1f},{height * (high - math.log10(value)) / (high - low):.1f}"

    return LossPlot(
        [Line(name, " ".join(place(*point) for point in points), points[-1][1]) for name, points in series.items()],
        [(width * n / (_TICKS - 1), f"{last * n / (_TICKS - 1):.0f}") for n in range(_TICKS)],
        [(height * (high - power) / (high - low), f"{10.0**power:g}") for power in range(low, high + 1)],
    )


def _facts(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], evaluation: COCOeval
) -> list[tuple[str, Any]]:
    objects = [a for a in truth["annotations"] if not a.get("iscrowd") and not a.get(LEFT_OUT)]
    what = "masks" if known_iou_type(truth) == "segm" else "boxes"
    return [
        (f"AP of {what}", as_score(evaluation.stats[0])),
        (f"AP50 of {what}", as_score(evaluation.stats[1])),
        ("photos", len(truth["images"])),
        ("objects", len(objects)),
        ("regions ignored", len(truth["annotations"]) - len(objects)),
        ("detections", len(detections)),
    ]


def _by_level(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], level_set: LevelSet
) -> list[tuple[str, str, int, float | None, float | None]]:
    """Return name, hidden share, objects, AP and AP50 of each level; nothing where the truth has no visible masks."""
    if not any("visible_mask" in annotation for annotation in truth["annotations"]):
        return []
    found = ap_by_level(truth, detections, level_set)
    table: list[tuple[str, str, int, float | None, float | None]] = []
    for level in level_set.levels:
        share = f"{100 * level.low:.2g} to {100 * level.high:.0f} %" if level.high else "none"
        objects = int(found[f"{level.name}_instances"] or 0)
        table.append((level.name, share, objects, found[level.name], found[f"{level.name}_50"]))
    return table


def _cards(
    examples: Mapping[str, Sequence[Example]], truth: Mapping[str, Any], images: Path, progress_by: Any
) -> tuple[dict[str, list[Card]], int]:
    """Draw all examples, photo by photo; return them by kind, and how many photos could not be read."""
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    records = {image["id"]: image for image in truth["images"]}
    order = sorted(
        ((title, n, example) for title, group in examples.items() for n, example in enumerate(group)),
        key=lambda item: item[2].image_id,
    )
    drawn: dict[tuple[str, int], Card] = {}
    missing: set[int] = set()
    photo, held = None, None
    for title, n, example in order:
        record = records[example.image_id]
        if held != example.image_id:
            held = example.image_id
            photo = read_fitting_image(images, record["file_name"], (record["height"], record["width"]))
        if photo is None:
            missing.add(example.image_id)
        ground = np.full((record["height"], record["width"], 3), 96, np.uint8) if photo is None else photo
        drawn[title, n] = _card(title, example, ground, names, str(record["file_name"]))
        progress_by(1)
    return {title: [drawn[title, n] for n in range(len(group))] for title, group in examples.items()}, len(missing)


def _card(group: str, example: Example, photo: np.ndarray, names: Mapping[int, str], file_name: str) -> Card:
    picture = side_by_side(photo, example)
    source = "data:image/jpeg;base64," + base64.b64encode(encode_image(picture, ".jpg")).decode("ascii")
    true, found = example.truth, example.detection
    notes = [f"truth: {_described(true, names)}" if true else "no object in this photo"]
    notes.append(f"found: {names[found['category_id']]}, score {found['score']:.2f}" if found else "nothing found here")
    iou = f"IoU {example.iou:.2f}" if example.iou is not None else "no overlap"
    title = f"{example.mistake.capitalize()}, {iou}" if group == MISTAKES else iou
    return Card(source, (picture.shape[1], picture.shape[0]), title, [*notes, file_name])


def _described(annotation: Mapping[str, Any], names: Mapping[int, str]) -> str:
    name = names[annotation["category_id"]]
    if "visible_mask" not in annotation:
        return name
    whole_px = rle.area_px(rle_of(annotation["segmentation"]))
    return f"{name}, {100 * (1 - rle.area_px(rle_of(annotation['visible_mask'])) / whole_px):.0f} % hidden"


def side_by_side(photo: np.ndarray, example: Example) -> np.ndarray:
    """Draw the truth on the left and the detection on the right, both in the window that holds both.

    Args:
        photo: (H, W, 3) uint8 RGB.
        example: its masks are of the whole photo.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    nothing = np.zeros(photo.shape[:2], bool)
    true, found = example.truth, example.detection
    whole = rle.decode(rle_of(true["segmentation"])) if true else nothing
    visible = rle.decode(rle_of(true.get("visible_mask") or true["segmentation"])) if true else nothing
    seen = rle.decode(rle_of(found["segmentation"])) if found else nothing
    window = _window(whole | seen)
    height, width = photo[window].shape[:2]
    scale = _PANEL_PX / max(height, width)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    ground = cv2.resize(photo[window], size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)

    def panel(modal: np.ndarray, amodal: np.ndarray) -> np.ndarray:
        small, large = (
            cv2.resize(mask[window].astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR) > 0.5
            for mask in (modal, amodal)
        )
        return draw.overlay(ground, small, large | small)

    gap = np.full((size_wh[1], _GAP_PX, 3), 255, np.uint8)
    return np.hstack([panel(visible, whole), gap, panel(seen, seen)])


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    ys, xs = np.nonzero(mask)
    if not ys.size:
        return np.s_[:, :]
    pad = max(8, round(_MARGIN * (max(np.ptp(ys), np.ptp(xs)) + 1)))
    return np.s_[
        max(int(ys.min()) - pad, 0) : int(ys.max()) + 1 + pad, max(int(xs.min()) - pad, 0) : int(xs.max()) + 1 + pad
    ]
