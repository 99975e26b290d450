"""Our AP variants against average precision written out by definition: greedy matching and 101 recalls, in plain loops.

Nothing of pycocotools is used here but the decoding of masks.
"""

from functools import cache

import numpy as np
import pytest
from drawn_detections import SIZE_HW, annotation, detection, truth

from amodalpl.masks import rle
from amodalpl.metrics.box_matched import MATCH_BOX, box_matched_scores
from amodalpl.metrics.detection import LEFT_OUT, coco_scores
from amodalpl.metrics.levels import COCOA_CLS, KINS
from amodalpl.metrics.occluded_detection import (
    ap_by_level,
    ap_occluded,
    ap_occluded_overloaded,
    visible_as_segmentation,
)

COCO_THRESHOLDS = np.linspace(0.5, 0.95, 10)


@cache
def decoded(counts):
    return rle.decode({"size": list(SIZE_HW), "counts": counts})


@cache
def iou_of(first, second):
    a, b = decoded(first), decoded(second)
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def pixels(segmentation):
    return decoded(segmentation["counts"])


def box_iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared) if shared else 0.0


def average_precision(outcomes, positives):
    """Mean over recalls 0, 0.01, ..., 1 of the best precision at that recall or a higher one."""
    outcomes = [right for _, right in sorted(outcomes, key=lambda o: -o[0])]
    points = []
    hits = 0
    for rank, right in enumerate(outcomes, start=1):
        hits += right
        points.append((hits / positives, hits / rank))
    best = [max((p for r, p in points if r >= recall), default=0.0) for recall in np.linspace(0, 1, 101)]
    return float(np.mean(best))


def by_definition(scene, found, thresholds, overlap, ignored, excused=lambda d: False, agnostic=False):
    """AP as COCO defines it: per category and threshold, each detection by falling score takes its best free truth.

    Truths for which `ignored` holds are second choice, and a match with one does not count; nor does an unmatched
    detection for which `excused` holds.
    """
    categories = [None] if agnostic else sorted({a["category_id"] for a in scene["annotations"]})
    values = []
    for category in categories:
        wanted = [a for a in scene["annotations"] if category in (None, a["category_id"])]
        positives = sum(not ignored(a) for a in wanted)
        if not positives:
            continue
        for threshold in thresholds:
            outcomes = []
            for image in {i["id"] for i in scene["images"]}:
                here = [a for a in wanted if a["image_id"] == image]
                free = list(range(len(here)))
                mine = [d for d in found if d["image_id"] == image and category in (None, d["category_id"])]
                for d in sorted(mine, key=lambda d: -d["score"]):
                    for second_choice in (False, True):
                        reach = [
                            (overlap(d, here[n], here), n)
                            for n in free
                            if bool(ignored(here[n])) is second_choice and overlap(d, here[n], here) >= threshold
                        ]
                        if reach:
                            break
                    if reach:
                        free.remove(max(reach)[1])
                        if not second_choice:
                            outcomes.append((d["score"], True))
                    elif not excused(d):
                        outcomes.append((d["score"], False))
            values.append(average_precision(outcomes, positives))
    return np.mean(values) if values else None


def mask_overlap(d, a, _):
    return iou_of(d["segmentation"]["counts"], a["segmentation"]["counts"])


def hidden(a):
    whole = pixels(a["segmentation"])
    return np.count_nonzero(whole & ~pixels(a["visible_mask"])) / np.count_nonzero(whole)


@pytest.fixture(scope="module", params=[0, 1, 2])
def case(request):
    """Some scenes of objects with hidden parts, and detections: jittered, doubled, of the wrong class, or invented."""
    rng = np.random.default_rng(request.param)
    annotations, found = [], []
    for image in (1, 2, 3):
        for _ in range(7):
            x, y = rng.integers(0, 80, 2)
            w, h = rng.integers(10, 40, 2)
            cut = int(w * rng.choice([0, 0, 0.1, 0.15, 0.3, 0.5, 0.7]))
            category = int(rng.integers(1, 3))
            box, visible = (x, y, w, h), (x, y, w - cut, h)
            annotations.append(annotation(len(annotations) + 1, ints(box), image, category, visible=ints(visible)))
            for _ in range(rng.integers(0, 3)):
                moved = (x + rng.integers(-2, 3), y + rng.integers(-2, 3), w + rng.integers(-3, 4), h)
                moved = (max(moved[0], 0), max(moved[1], 0), *moved[2:])
                seen = (moved[0], moved[1], max(1, moved[2] - int(rng.integers(0, 12))), moved[3])
                says = category if rng.random() < 0.85 else 3 - category
                found.append(detection(ints(moved), float(rng.random()), image, says, visible=ints(seen)))
        for _ in range(3):
            box = ints((*rng.integers(0, 90, 2), *rng.integers(8, 30, 2)))
            part = (box[0], box[1], max(1, box[2] - int(rng.integers(0, 8))), box[3])
            found.append(detection(box, float(rng.random()), image, int(rng.integers(1, 3)), visible=part))
    return truth(*annotations, images=3), found


def ints(box):
    return tuple(int(v) for v in box)


def test_the_definition_gives_coco_ap(case):
    scene, found = case
    expected = by_definition(scene, found, COCO_THRESHOLDS, mask_overlap, lambda a: False)
    assert 0.05 < expected < 0.95
    assert coco_scores(scene, found, "segm")["AP"] == pytest.approx(expected, abs=2e-6)


def test_class_agnostic_ap(case):
    scene, found = case
    expected = by_definition(scene, found, COCO_THRESHOLDS, mask_overlap, lambda a: False, agnostic=True)
    assert coco_scores(scene, found, "segm", class_agnostic=True)["AP"] == pytest.approx(expected, abs=2e-6)


def test_ap_occluded_by_truths(case):
    scene, found = case
    scores = ap_occluded(scene, found)
    for per_cent in (15, 25, 40):
        expected = by_definition(
            scene, found, COCO_THRESHOLDS, mask_overlap, lambda a, least=per_cent: hidden(a) < least / 100
        )
        assert scores[f"AP_{per_cent}"] == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("level_set", [KINS, COCOA_CLS], ids=lambda s: s.name)
def test_ap_by_level(case, level_set):
    scene, found = case
    scores = ap_by_level(scene, found, level_set)
    for level in level_set.levels:
        expected = by_definition(
            scene, found, COCO_THRESHOLDS, mask_overlap, lambda a, on=level: not on.low <= hidden(a) <= on.high
        )
        assert scores[level.name] == pytest.approx(expected, abs=2e-6)


def test_ap_occluded_with_overloaded_area(case):
    scene, found = case
    scores = ap_occluded_overloaded(scene, found)

    def seen(entry):
        return 1 - hidden(entry)

    for per_cent in (15, 25, 40):
        most = 1 - per_cent / 100 + 1e-12
        expected = by_definition(
            scene,
            found,
            COCO_THRESHOLDS,
            mask_overlap,
            lambda a, most=most: seen(a) > most,
            excused=lambda d, most=most: seen(d) > most,
        )
        assert scores[f"AP_{per_cent}"] == pytest.approx(expected, abs=2e-6)
    assert scores["AP"] == coco_scores(scene, found, "segm")["AP"]


def test_ap_visible(case):
    scene, found = case

    def visible_overlap(d, a, _):
        return iou_of(d["visible_mask"]["counts"], a["visible_mask"]["counts"])

    expected = by_definition(scene, found, COCO_THRESHOLDS, visible_overlap, lambda a: False)
    assert coco_scores(*visible_as_segmentation(scene, found), "segm")["AP"] == pytest.approx(expected, abs=2e-6)


def test_box_matched_map(case):
    scene, found = case
    rng = np.random.default_rng(9)
    annotations = [
        {**a, MATCH_BOX: [*a["bbox"][:2], a["bbox"][2] // 2 + 1, a["bbox"][3]], LEFT_OUT: bool(rng.random() < 0.2)}
        for a in scene["annotations"]
    ]
    scene = {**scene, "annotations": annotations}
    found = [{**d, MATCH_BOX: [*d["bbox"][:2], d["bbox"][2] // 2 + 1, d["bbox"][3]]} for d in found]

    def assigned_overlap(d, a, here):
        best = max(here, key=lambda other: box_iou(d[MATCH_BOX], other[MATCH_BOX]))
        if best is not a or not box_iou(d[MATCH_BOX], a[MATCH_BOX]):
            return 0.0
        return 1.0 if a[LEFT_OUT] else mask_overlap(d, a, here)

    scores = box_matched_scores(scene, found)
    for threshold in (0.5, 0.7):
        expected = by_definition(scene, found, [threshold], assigned_overlap, lambda a: a[LEFT_OUT])
        assert scores[f"mAPr_{round(100 * threshold)}"] == pytest.approx(expected, abs=2e-6)
