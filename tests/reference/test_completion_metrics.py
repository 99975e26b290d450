"""Our completion scores against pycocotools' own run-length arithmetic, on random blobs."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from amodalpl.metrics.completion import MICRO, PER_INSTANCE, compute, count_instance
from amodalpl.metrics.levels import LEVEL_SETS, compute_levels
from amodalpl.metrics.per_object import compute_given, compute_predicted
from amodalpl.metrics.presence import compute_presence


def blob(rng, frame=(40, 60)):
    mask = np.zeros(frame, np.uint8)
    centre = (int(rng.integers(10, 50)), int(rng.integers(10, 30)))
    axes = (int(rng.integers(3, 20)), int(rng.integers(3, 15)))
    cv2.ellipse(mask, centre, axes, float(rng.integers(0, 180)), 0, 360, 1, -1)
    return mask.view(bool)


def encode(mask):
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def both(a, b):
    return coco_mask.merge([a, b], intersect=True)


def area(rle):
    return float(coco_mask.area(rle))


@pytest.fixture(scope="module")
def instances():
    rng = np.random.default_rng(11)
    return [(blob(rng), truth := blob(rng), truth & ~blob(rng)) for _ in range(40)]


def test_pixel_sums_agree_with_merged_run_lengths(instances):
    inter = union = hidden_inter = hidden_union = truth_area = 0.0
    for predicted, truth, modal in instances:
        p, g, outside = encode(predicted), encode(truth), encode(~modal)
        either = coco_mask.merge([p, g])
        inter += area(both(p, g))
        union += area(either)
        hidden_inter += area(both(both(p, g), outside))
        hidden_union += area(both(either, outside))
        truth_area += area(g)
    scores = compute([count_instance(*masks) for masks in instances])[MICRO]
    assert scores["miou"] == pytest.approx(inter / union, rel=1e-12)
    assert scores["invisible_miou"] == pytest.approx(hidden_inter / hidden_union, rel=1e-12)
    assert scores["pixel_accuracy"] == pytest.approx(inter / truth_area, rel=1e-12)


def test_instance_means_agree_with_pycocotools_iou(instances):
    ious, modal_ious, hidden_ious = [], [], []
    for predicted, truth, modal in instances:
        p, g, m, outside = encode(predicted), encode(truth), encode(modal), encode(~modal)
        ious.append(coco_mask.iou([p], [g], [0])[0, 0])
        modal_ious.append(coco_mask.iou([m], [g], [0])[0, 0])
        if area(both(g, outside)) > 0:
            hidden_ious.append(coco_mask.iou([both(p, outside)], [both(g, outside)], [0])[0, 0])
    counts = [count_instance(*masks) for masks in instances]
    scores = compute(counts)[PER_INSTANCE]
    occluded = np.array([c.is_occluded for c in counts])
    assert 0 < occluded.sum() < len(counts)
    assert scores["iou"] == pytest.approx(np.mean(ious), rel=1e-12)
    assert scores["with_hidden"] == len(hidden_ious)
    assert scores["invisible_iou"] == pytest.approx(np.mean(hidden_ious), rel=1e-12)
    assert scores["win_rate"] == pytest.approx((np.array(ious) > modal_ious)[occluded].mean())
    assert scores["accuracy_70"] == pytest.approx(np.mean(np.array(ious) > 0.7))


def test_hull_agrees_with_exact_half_planes():
    """A pixel is in the hull when no half-plane through two mask pixels has all of the mask on its other side."""
    from amodalpl.metrics.baselines import convex_hull

    rng = np.random.default_rng(2)
    for _ in range(5):
        modal = np.zeros((14, 14), bool)
        modal[tuple(rng.integers(1, 13, (2, 9)))] = True
        points = np.argwhere(modal)
        inside = np.ones(modal.shape, bool)
        grid = np.stack(np.mgrid[:14, :14], axis=-1)
        for a in points:
            for b in points:
                normal = np.array([b[1] - a[1], a[0] - b[0]])
                if normal.any() and ((points - a) @ normal <= 0).all():
                    inside &= (grid - a) @ normal <= 0
        ours = convex_hull(modal, np.ones_like(modal))
        assert not (inside & ~ours).any()
        # OpenCV draws the outline too: at most pixels that the edge passes through are added
        rim = cv2.dilate(inside.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
        assert not (ours & ~rim).any()


def test_auc_is_the_area_under_accuracy_over_cutoffs(instances):
    """Li and Malik's AUC, integrated exactly: accuracy is a staircase that falls where an IoU is passed."""
    counts = [count_instance(*masks) for masks in instances]
    steps = sorted({0.0, *(c.iou for c in counts), 1.0})
    area = sum(
        (right - left) * np.mean([c.iou > (left + right) / 2 for c in counts])
        for left, right in zip(steps, steps[1:], strict=False)
    )
    assert compute(counts)[PER_INSTANCE]["iou"] == pytest.approx(area, rel=1e-12)


def test_macro_over_levels_agrees_with_pixels_counted_anew(instances):
    for level_set in LEVEL_SETS.values():
        cells = []
        for level in level_set.levels:
            ious = [
                (p & g).sum() / (p | g).sum()
                for p, g, m in instances
                if level.low <= (g & ~m).sum() / g.sum() <= level.high
            ]
            if ious:
                cells.append(np.mean(ious))
        scores = compute_levels([count_instance(*masks) for masks in instances], level_set)
        assert len(cells) > 1
        assert scores["mean"] == pytest.approx(np.mean(cells), rel=1e-12)


def test_presence_ap_agrees_with_a_sweep_of_all_thresholds(instances):
    """Precision and recall of "unoccluded if the area ratio is at least t", for every t from the masks."""
    ratios = [(p & m).sum() / p.sum() for p, _, m in instances]
    unoccluded = [bool((g & ~m).sum() < 0.01 * g.sum()) for _, g, m in instances]
    assert 3 < sum(unoccluded) < len(instances) - 3
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(ratios), reverse=True):
        said = [r >= threshold for r in ratios]
        right = sum(s and u for s, u in zip(said, unoccluded, strict=True))
        area += (right / sum(unoccluded) - recall_before) * right / sum(said)
        recall_before = right / sum(unoccluded)
    scores = compute_presence([count_instance(*masks) for masks in instances])
    assert scores["unoccluded_ap"] == pytest.approx(area, rel=1e-12)


def test_growth_and_area_ratio_agree_with_run_lengths(instances):
    grown = [area(encode(p)) / area(encode(m)) - 1 for p, g, m in instances if (g & ~m).sum() < 0.01 * g.sum()]
    errors = [
        abs(area(both(encode(p), encode(m))) / area(encode(p)) - area(both(encode(g), encode(m))) / area(encode(g)))
        for p, g, m in instances
    ]
    scores = compute([count_instance(*masks) for masks in instances])[PER_INSTANCE]
    assert scores["unoccluded_growth"] == pytest.approx(np.mean(grown), rel=1e-12)
    assert scores["area_ratio_error"] == pytest.approx(np.mean(errors), rel=1e-12)


@pytest.fixture(scope="module")
def mixed(instances):
    """Beside the random ones: whole objects, grown and not, one hidden by a sliver, one whose modal mask sticks out."""
    rng = np.random.default_rng(5)
    g = blob(rng)
    sliver = g.copy()
    sliver[tuple(np.argwhere(g)[0])] = False
    stuck_out = g.copy()
    stuck_out[-1, -1] = True
    return [*instances, (g, g, g), (blob(rng), g, g), (g | blob(rng), g, sliver), (blob(rng), g, stuck_out)]


def test_given_agrees_with_masks_taken_apart(mixed):
    """Protocol B as ViTA-Seg's script has it: means over objects; hidden ones from a thousandth hidden on."""
    ious, hidden, visible = [], [], []
    for predicted, truth, modal in mixed:
        ious.append(coco_mask.iou([encode(predicted)], [encode(truth)], [0])[0, 0])
        occluded = truth.astype(int) - (truth & modal).astype(int)
        if 100 * occluded.sum() / truth.sum() > 0.1:
            guessed = np.where(modal, 0, predicted.astype(int))
            hidden.append((guessed * occluded).sum() / np.maximum(guessed, occluded).sum())
        visible.append((predicted & modal & truth).sum() / modal.sum() if modal.any() else 1.0)
    scores = compute_given([count_instance(*masks) for masks in mixed])
    assert 0 < len(hidden) < len(mixed)
    assert scores["iou"] == pytest.approx(np.mean(ious), rel=1e-12)
    assert (scores["hidden_objects"], scores["hidden_iou"]) == (len(hidden), pytest.approx(np.mean(hidden), rel=1e-12))
    assert scores["visible_iou"] == pytest.approx(np.mean(visible), rel=1e-12)


def test_predicted_agrees_with_signed_differences(mixed):
    """Protocol C as C2F-Seg's script has it: differences of masks as numbers, those below 0 dropped."""
    total, count = 0.0, 0
    for predicted, truth, modal in mixed:
        p, g = (mask.astype(int) - modal.astype(int) for mask in (predicted, truth))
        count += g.sum() != 0
        p, g = p > 0.5, g > 0.5
        total += (p * g).sum() / ((p + g).sum() + 1e-6)
    scores = compute_predicted([count_instance(*masks) for masks in mixed])
    assert 0 < count < len(mixed)
    assert (scores["hidden_objects"], scores["hidden_iou"]) == (count, pytest.approx(total / count, rel=1e-6))
