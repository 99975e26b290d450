import numpy as np
import pytest

from amodalpl.errors import DataError
from amodalpl.metrics import ordering
from amodalpl.metrics.ordering import DIRECTED, ONE_WAY, OrderCounts, compute, count_image


def box(top, left, bottom, right, frame=(20, 20)):
    mask = np.zeros(frame, bool)
    mask[top:bottom, left:right] = True
    return mask


def one_behind_the_other():
    """Object 0 is in front and covers the left 5 columns of object 1; object 2 stands alone."""
    front, back, alone = box(0, 0, 10, 8), box(0, 3, 10, 15), box(15, 15, 20, 20)
    return np.stack([front, back & ~front, alone]), np.stack([front, back, alone])


def interlocked(columns_of_first=4, columns_of_second=6):
    """Two crossing bars: each hides a piece of the other."""
    first, second = box(0, 0, 10, 20), box(0, 0, 20, 10)
    modal_first, modal_second = first.copy(), second.copy()
    modal_first[:, :columns_of_second] = False  # there the second is in front
    modal_second[:10, columns_of_second:] = False
    assert not (modal_first & modal_second).any()
    return np.stack([modal_first, modal_second]), np.stack([first, second])


def test_front_hides_back():
    modal, amodal = one_behind_the_other()
    assert ordering.order_from_masks(modal, amodal) == {(0, 1)}
    assert ordering.one_way_order_from_masks(modal, amodal) == {(0, 1)}


def test_mutual_occlusion_keeps_both_directions_and_is_forced_one_way():
    modal, amodal = interlocked()  # the second covers 60 pixels of the first, the first 40 of the second
    assert ordering.order_from_masks(modal, amodal) == {(0, 1), (1, 0)}
    assert ordering.one_way_order_from_masks(modal, amodal) == {(1, 0)}


def test_equal_overlap_puts_the_lower_index_in_front():
    modal, amodal = interlocked(columns_of_second=5)
    assert ordering.one_way_order_from_masks(modal, amodal) == {(0, 1)}
    assert ordering.one_way_order_from_masks(modal[::-1], amodal[::-1]) == {(0, 1)}


def test_touching_without_occlusion_has_no_order():
    modal = np.stack([box(0, 0, 5, 5), box(0, 5, 5, 10)])
    assert ordering.bordering_pairs(modal) == [(0, 1)]
    assert ordering.one_way_order_from_masks(modal, modal) == set()
    assert ordering.order_from_masks(modal, modal) == set()


@pytest.mark.parametrize(
    ("second", "bordering"),
    [(box(0, 5, 5, 9), True), (box(5, 5, 9, 9), False), (box(0, 6, 5, 9), False), (box(3, 3, 9, 9), True)],
    ids=["edge", "corner only", "gap of one pixel", "overlap"],
)
def test_bordering_is_four_neighbourhood(second, bordering):
    assert ordering.bordering_pairs(np.stack([box(0, 0, 5, 5), second])) == ([(0, 1)] if bordering else [])


def test_bordering_equals_touch_on_whole_frames():
    from amodalpl.masks.geometry import touch

    rng = np.random.default_rng(0)
    modal = np.zeros((12, 40, 40), bool)
    for mask in modal[1:]:  # the first stays empty
        y, x = rng.integers(0, 34, 2)
        mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = True
    expected = [(i, j) for i in range(12) for j in range(i + 1, 12) if touch(modal[i], modal[j])]
    assert ordering.bordering_pairs(modal) == expected != []


def test_gap_is_bridged_only_when_asked():
    modal = np.stack([box(0, 0, 10, 5), box(0, 7, 10, 12)])  # two free columns
    amodal = np.stack([box(0, 0, 10, 5), box(0, 0, 10, 12)])
    assert ordering.order_from_masks(modal, amodal, gap_px=1) == set()
    assert ordering.order_from_masks(modal, amodal, gap_px=2) == {(0, 1)}
    assert ordering.one_way_order_from_masks(modal, amodal) == set()


def test_rim_of_rounding_is_no_occlusion():
    modal = np.stack([box(0, 0, 10, 6), box(0, 6, 10, 12)])
    amodal = np.stack([box(0, 0, 10, 8), box(0, 2, 10, 12)])  # two and four columns into the other
    assert ordering.order_from_masks(modal, amodal, rim_px=0) == {(0, 1), (1, 0)}
    assert ordering.order_from_masks(modal, amodal) == {(0, 1)}


def test_stronger_direction_wins_and_a_tie_gives_none():
    assert ordering.make_one_way({(7, 8): 5.0}) == {(7, 8)}
    assert ordering.make_one_way({(7, 8): 5.0, (8, 7): 6.0}) == {(8, 7)}
    assert ordering.make_one_way({(7, 8): 5.0, (8, 7): 5.0}) == set()


def test_counts_and_scores_by_hand():
    truth = {(0, 1), (2, 1), (2, 3)}  # of 4 instances, 6 pairs
    mutual_truth = truth | {(1, 0)}
    predicted = {(0, 1), (1, 2), (0, 3)}  # one right, one reversed, one missing, one invented
    counts = count_image(4, truth, mutual_truth, predicted, predicted | {(1, 0)})
    assert counts == OrderCounts(
        pairs=3, correct=1, all_pairs=6, all_correct=3, truth_directed=4, predicted_directed=4, hits=2
    )
    scores = compute([counts, counts])
    assert scores[ONE_WAY] == {"pairs": 6, "accuracy": pytest.approx(1 / 3), "accuracy_all_pairs": 0.5}
    assert scores[DIRECTED] == {"pairs": 8, "predicted": 8, "precision": 0.5, "recall": 0.5, "f1": 0.5}


def test_counts_agree_with_the_papers_matrices():
    """O-Acc by antisymmetric matrices, as `eval_order` of Zhan et al. 2020 counts."""
    rng = np.random.default_rng(5)
    for _ in range(10):
        upper = [np.triu(rng.integers(-1, 2, (6, 6)), 1) for _ in range(2)]
        truth, predicted = (m - m.T for m in upper)
        pairs = [{(int(i), int(j)) for i, j in np.argwhere(m == 1)} for m in (truth, predicted)]
        counts = count_image(6, pairs[0], pairs[0], pairs[1], pairs[1])
        assert counts.pairs == np.count_nonzero(truth) / 2
        assert counts.correct == ((truth == predicted) & (truth != 0)).sum() / 2
        assert counts.all_correct == ((truth == predicted).sum() - 6) / 2
        assert counts.all_pairs == (36 - 6) / 2


def test_nothing_to_score_is_none():
    scores = compute([count_image(1, set(), set(), set(), set())])
    assert scores[ONE_WAY]["accuracy"] is None
    assert scores[DIRECTED]["f1"] is None


def test_two_way_order_is_refused_as_one_way():
    with pytest.raises(DataError, match="predicted_one_way: expected one direction per pair"):
        count_image(2, {(0, 1)}, {(0, 1)}, {(0, 1), (1, 0)}, {(0, 1)})


@pytest.mark.parametrize(
    "amodal", [np.zeros((2, 4, 5), bool), np.zeros((2, 4, 4), np.uint8)], ids=["other size", "not bool"]
)
def test_stacks_must_belong_together(amodal):
    with pytest.raises(DataError, match=r"amodal: expected an \(N, H, W\) bool stack of shape \(2, 4, 4\)"):
        ordering.order_from_masks(np.zeros((2, 4, 4), bool), amodal)


def test_annotated_depth_by_hand():
    """Three annotated pairs, one of them contradictory; one right, one reversed, and one that nobody annotated."""
    annotated = {(0, 1), (1, 2), (2, 3), (3, 2)}
    one_way = ordering.one_way_order_from_depth(annotated)
    assert one_way == {(0, 1), (1, 2)}
    predicted = {(0, 1), (2, 1), (0, 3)}
    scores = ordering.compute_annotated([count_image(4, one_way, annotated, predicted, predicted)])
    assert scores == {
        "accuracy": 0.5, "pairs": 4, "predicted": 3, "precision": pytest.approx(1 / 3), "recall": 0.25,
        "f1": pytest.approx(2 / 7),
    }  # fmt: skip


def test_protocols_of_order_have_different_names():
    assert len({ONE_WAY, DIRECTED, ordering.ANNOTATED}) == 3
