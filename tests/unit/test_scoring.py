"""Choosing and scoring on the hold-out, with a network whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.completion.asking import Scene, View
from amodalpl.completion.calibration import Promise
from amodalpl.completion.trained import TrainedCompleter
from amodalpl.formats import read_annotations
from amodalpl.labelling.contact import CLOSE_LOOKS
from amodalpl.labelling.ordering import Pair
from amodalpl.masks import rle
from amodalpl.models.completer import METHODS, Completer
from amodalpl.scoring.on_holdout import Case, Holdout, _best, choose, quick_score, score
from amodalpl.scoring.tally import PIXELS, PROMISE
from amodalpl.settings import LabelSettings

SIZE_HW = (60, 80)
SETTINGS = LabelSettings(gap_px=0)
VIEW = View(64, gap_px=0)


def rectangle(rows, columns):
    mask = np.zeros(SIZE_HW, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


# the square goes on behind the bar; a third object stands alone
BAR, ALONE = rectangle((20, 40), (40, 44)), rectangle((50, 58), (60, 68))
SQUARE, SQUARE_WHOLE = rectangle((20, 40), (20, 40)), rectangle((20, 40), (20, 44))


class Sure(nn.Module):
    """Gives squares one probability in the whole patch, and bars nothing."""

    def __init__(self, probability):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.logit = float(np.log(probability / (1 - probability)))

    def forward(self, x):
        square = x[:, 0].mean(dim=(1, 2)) > 0.2
        logit = torch.where(square, self.logit, -40.0).view(-1, 1, 1).expand_as(x[:, 0])
        return torch.stack([-logit / 2, logit / 2], dim=1)


def trained(probability, method="pcnet-m"):
    return TrainedCompleter(Completer(Sure(probability), METHODS[method]).eval(), VIEW)


def holdout(folder, parts=("choose", "report"), square_whole=SQUARE_WHOLE, bar=BAR):
    images, annotations = [], []
    for number, part in enumerate(parts, 1):
        images.append({"id": number, "file_name": f"{number}.jpg", "height": 60, "width": 80, "part": part})
        for modal, amodal in ((bar, bar), (SQUARE, square_whole), (ALONE, ALONE)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": rle.to_json(rle.encode(amodal)),
                    "visible_mask": rle.to_json(rle.encode(modal)),
                }
            )
    path = folder / "holdout.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]})
    )
    return Holdout(read_annotations(path), None)


def test_parts(tmp_path):
    found = holdout(tmp_path, ("choose", "report", "both", "choose"))
    assert found.cases("choose") == [1, 3, 4] and found.cases("report") == [2, 3]
    assert [len(chunk) for chunk in found.chunks([1] * 20)] == [8, 8, 4]


def test_true_order_counts_the_hidden_pixels_that_the_front_shows():
    case = Case(Scene(np.stack([BAR, SQUARE, ALONE])), np.stack([BAR, SQUARE_WHOLE, ALONE]))
    assert case.true_order() == [Pair(front=0, back=1, evidence_px=80.0)]


def test_mutual_occlusion_has_both_directions():
    left, right = rectangle((0, 20), (0, 20)), rectangle((0, 20), (20, 40))
    amodal = np.stack([left | rectangle((0, 5), (20, 22)), right | rectangle((10, 20), (19, 20))])
    found = Case(Scene(np.stack([left, right])), amodal).true_order()
    assert [(p.front, p.back, p.evidence_px) for p in found] == [(1, 0, 10.0), (0, 1, 10.0)]


def test_hidden_behind_nothing_gives_no_order():
    case = Case(Scene(np.stack([SQUARE, ALONE])), np.stack([SQUARE_WHOLE, ALONE]))
    assert case.true_order() == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0, 0, 0, 0], 2), ([1, 0, 0, 0, 1], 0), ([0, 3, 0, 3, 3], 1), ([0, 0, 0, 0, 9], 4)],
    ids=["ties: middle", "ties: first of the equally far", "ties: nearest", "largest"],
)
def test_best_prefers_the_middle_among_equals(values, expected):
    assert _best(values) == expected
    assert _best(np.array(values, float)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.5, 0.9, 0.896, 0.8, 0.9], 2), ([0.5, 0.9, 0.89, 0.8, 0.9], 1), ([0.7, 0.899, 0.5, 0.9, 0.7], 3)],
    ids=["within the noise: middle", "beyond it: nearest of the best", "equally far: the larger"],
)
def test_best_does_not_follow_noise(values, expected):
    assert _best(np.array(values), noise=0.005) == expected


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        pytest.param(0.999, 0.5, id="sure: any threshold, so the middle"),
        pytest.param(0.42, 0.4, id="hesitant: the highest that still grows"),
    ],
)
def test_threshold_is_the_best_on_the_choosing_half(tmp_path, probability, expected):
    chosen = choose(trained(probability), holdout(tmp_path), SETTINGS)
    assert chosen.threshold == pytest.approx(expected)
    assert chosen.order_threshold == pytest.approx(expected)


@pytest.mark.parametrize(
    ("probability", "expected"),
    [pytest.param(0.999, 0.5, id="sure"), pytest.param(0.42, 0.4, id="hesitant"), pytest.param(0.24, 0.2, id="timid")],
)
def test_order_threshold_of_completions_behind_all_neighbours(tmp_path, probability, expected):
    """Every threshold below the probability finds the one true pair and nothing else."""
    chosen = choose(trained(probability, "layered"), holdout(tmp_path), SETTINGS)
    assert chosen.order_threshold == pytest.approx(expected) and chosen.close_looks == ()
    found = score(chosen, holdout(tmp_path), SETTINGS).scores["hold-out order, directed pairs (InstaOrder)"]
    assert found["labels"]["f1"] == 1.0


class SureFromAfar(Sure):
    """Knows the square only where it fills about a seventh of the patch, as in the wider crop of its contact."""

    def forward(self, x):
        square = (x[:, 0].mean(dim=(1, 2)) > 0.12) & (x[:, 0].mean(dim=(1, 2)) < 0.2)
        logit = torch.where(square, self.logit, -40.0).view(-1, 1, 1).expand_as(x[:, 0])
        return torch.stack([-logit / 2, logit / 2], dim=1)


def test_further_looks_are_chosen_where_they_help(tmp_path):
    """One of three answers is sure, so that their mean is a third."""
    untrained = TrainedCompleter(Completer(SureFromAfar(0.999), METHODS["layered"]).eval(), VIEW)
    chosen = choose(untrained, holdout(tmp_path), SETTINGS)
    assert chosen.close_looks == CLOSE_LOOKS and chosen.order_threshold == pytest.approx(0.3)
    without = choose(untrained, holdout(tmp_path), SETTINGS.model_copy(update={"close_looks": ()}))
    assert without.close_looks == () and without.order_threshold == pytest.approx(0.5)  # nothing is found


def test_threshold_still_lets_grow_where_a_quarter_is_right(tmp_path):
    wrong = holdout(tmp_path, square_whole=SQUARE | rectangle((20, 40), (40, 41)))
    chosen = choose(trained(0.42, "boundary-pcnet-m"), wrong, SETTINGS)
    assert chosen.threshold == pytest.approx(0.4)  # 20 right pixels of 80 are better than none


def test_report_half_does_not_choose(tmp_path):
    both = holdout(tmp_path, ("choose", "report"))
    alone = choose(trained(0.42), both, SETTINGS)
    (tmp_path / "b").mkdir()
    many = choose(trained(0.42), holdout(tmp_path / "b", ("choose", *["report"] * 3)), SETTINGS)
    assert (alone.threshold, alone.calibration) == (many.threshold, many.calibration)
    assert alone.promise == many.promise


def test_nothing_to_choose_from_leaves_the_defaults(tmp_path):
    start = trained(0.9)
    chosen = choose(start, holdout(tmp_path, ("report",)), SETTINGS)
    assert chosen.threshold == start.threshold and chosen.calibration == start.calibration and chosen.promise is None


def test_calibration_is_fitted_to_labels_of_the_recovered_order(tmp_path):
    """The square is completed behind the bar and right: its pixels of 0.42 all belong."""
    chosen = choose(trained(0.42), holdout(tmp_path, ["choose"] * 59), SETTINGS)
    assert chosen.calibration.probability == (0.42,) and chosen.calibration.belongs == (1.0,)
    assert chosen.calibration.expected_error == (0.0, 1.0) and chosen.calibration.unasked == 0
    assert chosen.promise == Promise(0.0)  # 59 squares, all good; of the bars nothing is promised
    assert choose(trained(0.42), holdout(tmp_path, ["choose"] * 58), SETTINGS).promise is None


def test_erosion_shrinks_the_visible_masks_only():
    case = Case(Scene(np.stack([BAR, SQUARE, ALONE])), np.stack([BAR, SQUARE_WHOLE, ALONE]))
    found = case.eroded(1)
    np.testing.assert_array_equal(found.masks[1], rectangle((21, 39), (21, 39)))
    assert not case.eroded(2).masks[0].any()  # the bar is four pixels wide
    assert case.scene.masks[1].sum() == 400 and found.masks.dtype == bool


def test_eroded_masks_are_counted_against_the_whole_truth(tmp_path):
    """A gap of two pixels: the square is completed over it when the tolerance says so, and not at all otherwise."""
    protocol = "hold-out completion, micro (PCNet/ASBU): all, visible masks eroded by 1 px"
    found = {gap: score(trained(0.9), holdout(tmp_path), LabelSettings(gap_px=gap)).scores for gap in (1, 2)}
    assert list(found[2][protocol]) == ["modal mask", "convex hull", "labels"]
    assert found[2][protocol]["modal mask"]["miou"] == pytest.approx((18 * 2 + 18 * 18 + 6 * 6) / (80 + 480 + 64))
    assert found[1][protocol]["labels"]["invisible_miou"] == 0
    # of 80 hidden pixels the eroded bar's 36 are surely found; the columns of the gap are the square's or bar's rim
    assert 0.4 < found[2][protocol]["labels"]["invisible_miou"] < 1
    order = found[2]["hold-out order, directed pairs (InstaOrder)"]
    assert order["labels, visible masks eroded by 1 px"]["f1"] == 1.0
    assert found[1]["hold-out order, directed pairs (InstaOrder)"]["labels, visible masks eroded by 1 px"]["f1"] == 0


def test_eroded_masks_are_scored_as_they_are_labelled(tmp_path):
    """Loosened by what they were eroded, square and bar touch again, and all that is hidden is found."""
    protocol = "hold-out completion, micro (PCNet/ASBU): all, visible masks eroded by 1 px"
    asked = {tight_px: LabelSettings(gap_px=2, tight_px=tight_px) for tight_px in (0, 1)}
    found = {px: score(trained(0.9), holdout(tmp_path), own).scores[protocol]["labels"] for px, own in asked.items()}
    assert found[1]["invisible_miou"] == 1 > found[0]["invisible_miou"]
    # the column between the square as drawn and its growth is filled too; of the bar and the third a rim is missing
    assert found[1]["miou"] == pytest.approx((18 * 2 + (18 * 18 + 20 + 20 * 4) + 6 * 6) / (80 + 480 + 64))


def test_thresholds_are_chosen_on_masks_as_they_are_shown(tmp_path):
    """A bar two pixels away: nothing is behind it until both are loosened, and nothing can be chosen by."""
    apart = rectangle((20, 40), (42, 44))
    for tight_px, expected in ((0, 0.5), (1, 0.4)):
        settings = LabelSettings(gap_px=2 * tight_px, tight_px=tight_px)
        chosen = choose(trained(0.42), holdout(tmp_path, bar=apart), settings)
        assert chosen.order_threshold == pytest.approx(expected)


def test_order_by_hand(tmp_path):
    scores = score(trained(0.9), holdout(tmp_path), SETTINGS).scores
    one_way, directed = (
        scores[f"hold-out order, {name}"] for name in ("O-Acc (PCNet/ASBU)", "directed pairs (InstaOrder)")
    )
    assert one_way["labels"] == {"pairs": 1, "accuracy": 1.0, "accuracy_all_pairs": 1.0}
    assert directed["labels"] == {"pairs": 1, "predicted": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert one_way["smaller in front"]["accuracy"] == 1.0 and one_way["larger in front"]["accuracy"] == 0.0
    undecided = score(trained(0.1), holdout(tmp_path), SETTINGS).scores
    assert undecided["hold-out order, directed pairs (InstaOrder)"]["labels"]["recall"] == 0


def test_uncertainty_is_examined_on_the_reporting_half(tmp_path):
    found = holdout(tmp_path, ["choose"] * 59 + ["report"] * 2)
    trust = score(choose(trained(0.42), found, SETTINGS), found, SETTINGS)
    assert trust.scores[PIXELS]["network"]["calibration_error"] == pytest.approx(0.58, abs=1e-3)
    assert trust.scores[PIXELS]["calibrated"] == {
        "pixels": 160,
        "calibration_error": 0.0,
        "calibration_error_equal_count": 0.0,
    }
    assert trust.scores[PROMISE]["labels"]["labels_up_to_it"] == trust.scores[PROMISE]["labels"]["labels"] == 2
    assert trust.scores[PROMISE]["labels"]["share_seen"] == 1.0


def test_quick_score_by_hand(tmp_path):
    found = holdout(tmp_path)
    assert quick_score(trained(0.9).completer, VIEW, found, SETTINGS) == {
        "hold-out miou": 1.0,
        "hold-out invisible_miou": 1.0,
    }
    below = quick_score(trained(0.4).completer, VIEW, found, SETTINGS)
    assert below["hold-out miou"] == pytest.approx(400 / 480) and below["hold-out invisible_miou"] == 0


def test_scores_by_hand(tmp_path):
    scores = score(trained(0.9), holdout(tmp_path), SETTINGS).scores
    everything = scores["hold-out completion, micro (PCNet/ASBU): all"]
    occluded = scores["hold-out completion, micro (PCNet/ASBU): occluded"]
    assert list(everything) == ["modal mask", "convex hull", "labels", "labels, true order"]
    total = 80 + 480 + 64
    assert everything["modal mask"]["miou"] == pytest.approx((total - 80) / total)
    assert everything["modal mask"]["invisible_miou"] == 0
    for row in ("labels", "labels, true order"):
        assert everything[row]["miou"] == everything[row]["invisible_miou"] == 1.0
    assert everything["labels"]["instances"] == 3 and occluded["labels"]["instances"] == 1
    assert occluded["modal mask"]["miou"] == pytest.approx(400 / 480)


def test_gap_tolerance_is_the_label_settings(tmp_path):
    """The view that came from disk has the default gap; scoring must use the settings'."""
    completer = trained(0.9)
    wide = TrainedCompleter(completer.completer, View(64, gap_px=9))
    a, b = (score(t, holdout(tmp_path), SETTINGS) for t in (completer, wide))
    assert a.scores == b.scores
