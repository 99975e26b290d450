import numpy as np
import pytest

from amodalpl.errors import DataError
from amodalpl.metrics import completion
from amodalpl.metrics.completion import MICRO, PER_INSTANCE, compute, count_instance


def columns(first, last, height=2, width=20):
    """A band of columns [first, last) of a frame: 2 pixels per column."""
    mask = np.zeros((height, width), bool)
    mask[:, first:last] = True
    return mask


def test_counts_of_bands():
    counts = count_instance(predicted=columns(2, 9), truth=columns(0, 8), modal=columns(0, 5))
    assert counts.predicted_px == 14
    assert counts.truth_px == 16
    assert counts.modal_px == 10
    assert counts.intersection_px == 12
    assert counts.union_px == 18
    assert counts.modal_intersection_px == 10
    assert counts.hidden_px == 6  # columns 5, 6, 7
    assert counts.predicted_hidden_px == 8  # columns 5 to 8
    assert counts.hidden_intersection_px == 6
    assert counts.hidden_union_px == 8
    assert counts.iou == pytest.approx(12 / 18)
    assert counts.modal_iou == pytest.approx(10 / 16)
    assert counts.hidden_fraction == pytest.approx(6 / 16)


def two_instances():
    """One half hidden and completed too far; one unoccluded, and grown for nothing."""
    return [
        count_instance(predicted=columns(0, 10), truth=columns(0, 8), modal=columns(0, 4)),
        count_instance(predicted=columns(0, 3), truth=columns(0, 2), modal=columns(0, 2)),
    ]


def test_micro_scores_sum_pixels_first():
    scores = compute(two_instances())[MICRO]
    assert scores["miou"] == pytest.approx((16 + 4) / (20 + 6))
    # the growth of the unoccluded one counts in the union: 8 hidden of 12 and 0 of 2
    assert scores["invisible_miou"] == pytest.approx(8 / (12 + 2))
    assert scores["pixel_accuracy"] == 1.0
    assert scores["instances"] == 2


def test_means_weigh_instances_alike():
    scores = compute(two_instances())[PER_INSTANCE]
    assert scores["iou"] == pytest.approx((16 / 20 + 4 / 6) / 2)
    assert scores["invisible_iou"] == pytest.approx(8 / 12)  # only the one with a hidden part
    assert scores["with_hidden"] == scores["occluded"] == 1
    assert scores["win_rate"] == 1.0  # 0.8 against the modal mask's 0.5
    assert scores["loss_rate"] == 0.0
    assert scores["accuracy_50"] == 1.0
    assert scores["accuracy_70"] == 0.5
    # |M & P| / |P| = 8/20 against 8/16, and 4/6 against 1
    assert scores["area_ratio_error"] == pytest.approx((0.1 + 1 / 3) / 2)


def random_instances(seed, how_many=12):
    rng = np.random.default_rng(seed)
    for _ in range(how_many):
        truth = rng.random((9, 11)) < 0.5
        truth[4, 5] = True
        yield rng.random((9, 11)) < 0.5, truth, truth & (rng.random((9, 11)) < 0.7)


def test_truth_scores_one():
    scores = compute([count_instance(truth, truth, modal) for _, truth, modal in random_instances(0)])
    for metric in ("miou", "invisible_miou", "pixel_accuracy"):
        assert scores[MICRO][metric] == 1.0
    for metric in ("iou", "invisible_iou", "accuracy_50", "accuracy_70", "win_rate"):
        assert scores[PER_INSTANCE][metric] == 1.0
    assert scores[PER_INSTANCE]["area_ratio_error"] == 0.0


def test_modal_mask_recovers_nothing_hidden():
    counts = [count_instance(modal, truth, modal) for _, truth, modal in random_instances(1)]
    scores = compute(counts)
    assert scores[MICRO]["invisible_miou"] == 0.0
    assert scores[PER_INSTANCE]["invisible_iou"] == 0.0
    assert scores[PER_INSTANCE]["win_rate"] == scores[PER_INSTANCE]["loss_rate"] == 0.0
    assert all(c.iou == c.modal_iou for c in counts)


def test_scores_do_not_depend_on_order():
    counts = [count_instance(*masks) for masks in random_instances(2)]
    for protocol, values in compute(counts[::-1]).items():
        assert values == pytest.approx(compute(counts)[protocol])


def test_mean_iou_is_the_area_under_accuracy_over_cutoffs():
    """Li and Malik's AUC: the integral over t of the share with IoU above t is the mean IoU."""
    counts = [count_instance(*masks) for masks in random_instances(3)]
    cutoffs = (np.arange(20_000) + 0.5) / 20_000
    accuracy = (np.array([c.iou for c in counts])[:, None] > cutoffs).mean(axis=0)
    assert compute(counts)[PER_INSTANCE]["iou"] == pytest.approx(accuracy.mean(), abs=1e-4)


@pytest.mark.parametrize(("hidden_columns", "occluded"), [(1, False), (2, True)], ids=["half a percent", "one percent"])
def test_one_percent_hidden_makes_occluded(hidden_columns, occluded):
    truth = columns(0, 200, width=200)
    assert count_instance(truth, truth, columns(0, 200 - hidden_columns, width=200)).is_occluded is occluded


def test_nothing_to_score_is_none_not_zero():
    nothing = compute([])
    assert nothing[MICRO] == {"instances": 0, "miou": None, "invisible_miou": None, "pixel_accuracy": None}
    unoccluded = compute([count_instance(columns(0, 3), columns(0, 3), columns(0, 3))])
    assert unoccluded[MICRO]["invisible_miou"] is None
    assert unoccluded[PER_INSTANCE]["invisible_iou"] is None
    assert unoccluded[PER_INSTANCE]["win_rate"] is None


def test_empty_prediction_scores_zero():
    scores = compute([count_instance(columns(0, 0), columns(0, 4), columns(0, 2))])
    assert scores[MICRO]["miou"] == scores[PER_INSTANCE]["iou"] == 0.0
    assert scores[PER_INSTANCE]["loss_rate"] == 1.0
    assert scores[PER_INSTANCE]["area_ratio_error"] == 0.5


def test_fully_hidden_instance():
    counts = count_instance(columns(0, 4), columns(0, 4), columns(0, 0))
    assert counts.hidden_fraction == 1.0
    assert counts.modal_iou == 0.0


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ((columns(0, 2).astype(np.uint8), columns(0, 2), columns(0, 2)), "predicted: expected an .* bool mask.* uint8"),
        ((columns(0, 2), columns(0, 2), columns(0, 2, width=21)), r"modal: .* shape \(2, 20\), got \(2, 21\)"),
        ((columns(0, 2), columns(0, 0), columns(0, 2)), "truth: expected .* at least one pixel"),
        ((np.ones(3, bool), np.ones(3, bool), np.ones(3, bool)), r"predicted: expected an \(H, W\)"),
    ],
    ids=["not bool", "other size", "empty truth", "flat"],
)
def test_bad_masks_are_refused(masks, message):
    with pytest.raises(DataError, match=message):
        completion.count_instance(*masks)


def test_unoccluded_growth_by_hand():
    """Two whole objects grow by 5 and 15 % of 100 px; the occluded one does not count."""
    row = np.arange(200)[None]
    whole = [count_instance(row < 105, row < 100, row < 100), count_instance(row < 115, row < 100, row < 100)]
    occluded = count_instance(row < 150, row < 110, row < 100)
    scores = compute([*whole, occluded])[PER_INSTANCE]
    assert scores["unoccluded"] == 2
    assert scores["unoccluded_growth"] == pytest.approx(0.10)


def test_growth_of_an_invisible_object_is_not_asked_for():
    hidden = count_instance(columns(0, 2), columns(0, 2), columns(0, 0))
    assert compute([hidden])[PER_INSTANCE]["unoccluded_growth"] is None


def test_visible_pixels_outside_the_truth_are_no_part_of_what_is_right():
    """As where the modal mask of a label is not that of the truth: of 10 visible pixels 6 belong to the truth."""
    counts = count_instance(predicted=columns(0, 8), truth=columns(2, 10), modal=columns(0, 5))
    assert (counts.modal_px, counts.modal_intersection_px) == (10, 6)
    assert counts.modal_iou == pytest.approx(6 / (10 + 16 - 6))
    scores = compute([counts])[PER_INSTANCE]
    assert scores["area_ratio_error"] == pytest.approx(10 / 16 - 6 / 16)  # |M & P| / |P| and |M & G| / |G|


def test_area_ratios_that_are_too_large_do_not_make_up_for_those_too_small():
    grown = count_instance(predicted=columns(0, 10), truth=columns(0, 8), modal=columns(0, 4))  # 0.4, not 0.5
    short = count_instance(predicted=columns(0, 5), truth=columns(0, 8), modal=columns(0, 4))  # 0.8, not 0.5
    assert compute([grown, short])[PER_INSTANCE]["area_ratio_error"] == pytest.approx((0.1 + 0.3) / 2)


def test_area_ratio_is_the_visible_share_of_the_prediction():
    counts = count_instance(columns(0, 8), columns(0, 10), columns(0, 6))
    assert counts.area_ratio == 0.75
    assert compute([counts])[PER_INSTANCE]["area_ratio_error"] == pytest.approx(0.15)
