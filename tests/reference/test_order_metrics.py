"""Our order scores against the papers' matrices and confusion counts, written out over all pairs."""

import cv2
import numpy as np
import pytest

from amodalpl.metrics import ordering
from amodalpl.metrics.ordering import DIRECTED, ONE_WAY

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@pytest.fixture(scope="module")
def scenes():
    """Ellipses laid over one another in a random order; with it the truth, and a guess of the order."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(6):
        amodal = np.zeros((8, 60, 60), np.uint8)
        for mask in amodal:
            centre = tuple(int(v) for v in rng.integers(8, 52, 2))
            axes = tuple(int(v) for v in rng.integers(5, 18, 2))
            cv2.ellipse(mask, centre, axes, float(rng.integers(0, 180)), 0, 360, 1, -1)
        amodal = amodal.view(bool)
        modal = np.stack([m & ~amodal[:n].any(axis=0) for n, m in enumerate(amodal)])
        guess = rng.integers(-1, 2, (8, 8))
        made.append((modal, amodal, guess))
    return made


def bordering(a, b):
    """`bordering` of Zhan et al. 2020: a dilated by a cross meets b."""
    return bool((cv2.dilate(a.view(np.uint8), CROSS).view(bool) & b).any())


def infer_gt_order(modal, amodal):
    """The papers' truth as an antisymmetric matrix: 1 where the row is in front."""
    order = np.zeros((len(modal), len(modal)), int)
    for i in range(len(modal)):
        for j in range(i + 1, len(modal)):
            if bordering(modal[i], modal[j]):
                i_over_j, j_over_i = (modal[i] & amodal[j]).sum(), (modal[j] & amodal[i]).sum()
                if i_over_j or j_over_i:
                    order[i, j] = 1 if i_over_j >= j_over_i else -1
                    order[j, i] = -order[i, j]
    return order


def pairs_of(matrix):
    return {(int(i), int(j)) for i, j in np.argwhere(matrix == 1)}


def test_order_accuracy_agrees_with_matrices(scenes):
    right = known = right_all = n_all = 0
    counts = []
    for modal, amodal, guess in scenes:
        truth = infer_gt_order(modal, amodal)
        predicted = np.triu(guess, 1) - np.triu(guess, 1).T
        right += ((truth == predicted) & (truth != 0)).sum() // 2
        known += (truth != 0).sum() // 2
        off_diagonal = ~np.eye(len(truth), dtype=bool)
        right_all += (truth == predicted)[off_diagonal].sum() // 2
        n_all += off_diagonal.sum() // 2
        one_way = ordering.one_way_order_from_masks(modal, amodal)
        assert one_way == pairs_of(truth)
        counts.append(ordering.count_image(len(modal), one_way, one_way, pairs_of(predicted), pairs_of(predicted)))
    scores = ordering.compute(counts)[ONE_WAY]
    assert 10 < known < n_all
    assert scores["pairs"] == known
    assert scores["accuracy"] == pytest.approx(right / known)
    assert scores["accuracy_all_pairs"] == pytest.approx(right_all / n_all)


def test_directed_scores_agree_with_confusion_counts(scenes):
    """Every ordered pair is one yes-or-no question."""
    tp = fp = fn = 0
    counts = []
    for modal, amodal, guess in scenes:
        truth = {
            (i, j)
            for i in range(len(modal))
            for j in range(len(modal))
            if i != j
            and (cv2.dilate(modal[i].view(np.uint8), np.ones((3, 3), np.uint8)).view(bool) & modal[j]).any()
            and cv2.erode((modal[i] & amodal[j]).view(np.uint8), np.ones((3, 3), np.uint8)).any()
        }
        assert ordering.order_from_masks(modal, amodal) == truth
        said = {(i, j) for i in range(len(modal)) for j in range(len(modal)) if i != j and guess[i, j] == 1}
        for i in range(len(modal)):
            for j in range(len(modal)):
                if i != j:
                    tp += (i, j) in truth and (i, j) in said
                    fp += (i, j) not in truth and (i, j) in said
                    fn += (i, j) in truth and (i, j) not in said
        counts.append(ordering.count_image(len(modal), set(), truth, set(), said))
    scores = ordering.compute(counts)[DIRECTED]
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    assert tp > 5
    assert scores["precision"] == pytest.approx(precision)
    assert scores["recall"] == pytest.approx(recall)
    assert scores["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_annotated_depth_agrees_with_confusion_counts():
    """Directed pairs drawn at random, contradictions among them; each image judged pair by pair."""
    rng = np.random.default_rng(8)
    right = asked = tp = fp = fn = 0
    counts = []
    for _ in range(10):
        annotated, said = (rng.random((6, 6)) < 0.3 for _ in range(2))
        evidence = rng.random((6, 6))
        for m in (annotated, said):
            np.fill_diagonal(m, False)
        for i in range(6):
            for j in range(6):
                tp += annotated[i, j] and said[i, j]
                fp += said[i, j] and not annotated[i, j]
                fn += annotated[i, j] and not said[i, j]
                if annotated[i, j] and not annotated[j, i]:
                    asked += 1
                    right += said[i, j] and not (said[j, i] and evidence[j, i] > evidence[i, j])
        truth = {(int(i), int(j)) for i, j in np.argwhere(annotated)}
        free = {(int(i), int(j)): float(evidence[i, j]) for i, j in np.argwhere(said)}
        counts.append(
            ordering.count_image(
                6, ordering.one_way_order_from_depth(truth), truth, ordering.make_one_way(free), set(free)
            )
        )
    scores = ordering.compute_annotated(counts)
    assert scores["pairs"] == tp + fn
    assert scores["accuracy"] == pytest.approx(right / asked)
    assert scores["precision"] == pytest.approx(tp / (tp + fp))
    assert scores["recall"] == pytest.approx(tp / (tp + fn))
    assert scores["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
