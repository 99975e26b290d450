"""Choosing on one half of a hold-out, with a network whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_holdout import ALONE, BAR, SETTINGS, SQUARE, SQUARE_WHOLE, VIEW, Sure, holdout, rectangle, trained

from amodalpl.calibration import choose_thresholds
from amodalpl.calibration.choose_thresholds import best, choose
from amodalpl.calibration.fit import Calibration, RiskGuarantee
from amodalpl.calibration.holdout import Holdout
from amodalpl.completion.checkpoint import CompleterBundle
from amodalpl.evaluation.completer_on_holdout import score
from amodalpl.labelling.contact import CONTACT_CROPS
from amodalpl.models.completer import Completer, build_completer, fuse_for_use
from amodalpl.models.completer_table import METHODS
from amodalpl.models.unet import UNet
from amodalpl.runtime.progress import SILENT
from amodalpl.settings import LabelSettings


class SureFromAfar(Sure):
    """Knows the square only where it fills about a seventh of the patch, as in the wider crop of its contact."""

    def forward(self, x):
        square = (x[:, 0].mean(dim=(1, 2)) > 0.12) & (x[:, 0].mean(dim=(1, 2)) < 0.2)
        logit = torch.where(square, self.logit, -40.0).view(-1, 1, 1).expand_as(x[:, 0])
        return torch.stack([-logit / 2, logit / 2], dim=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0, 0, 0, 0], 2), ([1, 0, 0, 0, 1], 0), ([0, 3, 0, 3, 3], 1), ([0, 0, 0, 0, 9], 4)],
    ids=["ties: middle", "ties: first of the equally far", "ties: nearest", "largest"],
)
def test_best_prefers_the_middle_among_equals(values, expected):
    assert best(values) == expected
    assert best(np.array(values, float)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.5, 0.9, 0.896, 0.8, 0.9], 2), ([0.5, 0.9, 0.89, 0.8, 0.9], 1), ([0.7, 0.899, 0.5, 0.9, 0.7], 3)],
    ids=["within the noise: middle", "beyond it: nearest of the best", "equally far: the larger"],
)
def test_best_does_not_follow_noise(values, expected):
    assert best(np.array(values), noise=0.005) == expected


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
    assert chosen.order_threshold == pytest.approx(expected) and chosen.contact_crops == ()
    found = score(chosen, holdout(tmp_path), SETTINGS).scores["hold-out order, directed pairs (InstaOrder)"]
    assert found["labels"]["f1"] == 1.0


def test_further_looks_are_chosen_where_they_help(tmp_path):
    """One of three answers is sure, so that their mean is a third."""
    untrained = CompleterBundle(Completer(SureFromAfar(0.999), METHODS["layered"]).eval(), VIEW)
    chosen = choose(untrained, holdout(tmp_path), SETTINGS)
    assert chosen.contact_crops == CONTACT_CROPS and chosen.order_threshold == pytest.approx(0.3)
    without = choose(untrained, holdout(tmp_path), SETTINGS.model_copy(update={"contact_crops": ()}))
    assert without.contact_crops == () and without.order_threshold == pytest.approx(0.5)  # nothing is found


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


def test_no_step_asks_again_what_an_earlier_one_has_asked(tmp_path, monkeypatch):
    torch.manual_seed(0)
    bundle = CompleterBundle(fuse_for_use(build_completer("layered", 4, uses_image=False, init_gain=1.0)), VIEW)
    plain, asked = UNet.features, []
    monkeypatch.setattr(UNet, "features", lambda self, x: asked.append(len(x)) or plain(self, x))
    scenes = holdout(tmp_path, ("choose", "choose", "report"))
    chosen, remembered = choose(bundle, scenes, SETTINGS), sum(asked)
    assert chosen.completer is bundle.completer
    asked.clear()
    monkeypatch.setattr(choose_thresholds, "remembering", lambda completer: completer)
    assert choose(bundle, scenes, SETTINGS) == chosen
    assert 2 * remembered < sum(asked)


@pytest.mark.parametrize(("occluders", "expected"), [("ancestors", 0.7), ("neighbours", 0.5)])
def test_objects_are_completed_behind_those_that_labels_are_completed_behind(occluders, expected, tmp_path):
    """Nothing hides anything: no object has an ancestor to choose by, but two have a neighbour."""
    settings = SETTINGS.model_copy(update={"occluders": occluders})
    start = replace(trained(0.42), threshold=0.7)
    assert choose(start, holdout(tmp_path, square_whole=SQUARE), settings).threshold == pytest.approx(expected)


def test_calibration_is_fitted_to_labels_of_the_recovered_order(tmp_path):
    """The square is completed behind the bar and right: its pixels of 0.42 all belong."""
    chosen = choose(trained(0.42), holdout(tmp_path, ["choose"] * 59), SETTINGS)
    assert chosen.calibration.probability == (0.42,) and chosen.calibration.belongs == (1.0,)
    assert chosen.calibration.expected_error == (0.0, 1.0) and chosen.calibration.unasked == 0
    assert chosen.promise == RiskGuarantee(0.0)  # 59 squares, all good; of the bars nothing is promised
    assert choose(trained(0.42), holdout(tmp_path, ["choose"] * 58), SETTINGS).promise is None


def test_thresholds_are_chosen_on_masks_as_they_are_shown(tmp_path):
    """A bar two pixels away: nothing is behind it until both are loosened, and nothing can be chosen by."""
    apart = rectangle((20, 40), (42, 44))
    for contour_inset_px, expected in ((0, 0.5), (1, 0.4)):
        settings = LabelSettings(gap_px=2 * contour_inset_px, contour_inset_px=contour_inset_px)
        chosen = choose(trained(0.42), holdout(tmp_path, bar=apart), settings)
        assert chosen.order_threshold == pytest.approx(expected)


AWAY = rectangle((2, 22), (60, 62))  # the bar where it hides nothing
HIDDEN = ~(AWAY | ALONE)  # what is missing of the square is behind something that the hold-out does not show
ENOUGH = ["choose"] * 20  # scenes with a square each


def unmasked(folder, whole=HIDDEN, parts=ENOUGH, bar=AWAY, learnt=True, sure=True, **bundle):
    completer = replace(trained(0.42, "layered"), **bundle)
    chosen = choose(completer, holdout(folder, parts, whole, bar, sure), SETTINGS, SILENT, learnt)
    return chosen.unmasked_threshold


LEFT, RIGHT = rectangle((20, 40), (20, 28)), rectangle((20, 40), (32, 40))  # of the square, what is seen in pieces


def unmasked_in_pieces(folder, whole, square=LEFT | RIGHT, **bundle):
    completer = replace(trained(0.42, "layered"), **bundle)
    chosen = choose(completer, holdout(folder, ENOUGH, whole, AWAY, True, square), SETTINGS, SILENT, True)
    return chosen.unmasked_threshold, chosen.unmasked_threshold_in_pieces


def test_objects_seen_in_pieces_have_a_threshold_of_their_own(tmp_path):
    known = {"unmasked_threshold": 0.8, "unmasked_threshold_in_pieces": 0.6}
    assert unmasked_in_pieces(tmp_path, HIDDEN, **known) == (0.8, pytest.approx(0.4))  # none is seen in one piece
    for own, expected in ((known, (0.4, 0.6)), ({}, (0.4, 0.4))):  # too few in pieces to tell them apart
        assert unmasked_in_pieces(tmp_path, HIDDEN, SQUARE, **own) == pytest.approx(expected)


def test_an_object_whose_truth_is_in_pieces_tells_nothing(tmp_path):
    """Something hid it before it came into the hold-out: where the pieces should meet, growth would count as wrong."""
    known = {"unmasked_threshold": 0.8, "unmasked_threshold_in_pieces": 0.6}
    whole = LEFT | rectangle((20, 40), (32, 48))
    assert unmasked_in_pieces(tmp_path, whole, **known) == (0.8, 0.6)


def test_growth_where_no_mask_is_is_chosen_where_something_is_hidden_there(tmp_path):
    assert unmasked(tmp_path) == pytest.approx(0.4)
    assert unmasked(tmp_path, learnt=False) == 1.0  # its training had nothing of the kind
    little = SQUARE | rectangle((20, 40), (40, 41))
    assert unmasked(tmp_path, whole=little) == 1.0  # what grows falsely outweighs what is found


def test_half_of_the_known_occluders_are_taken_for_unknown(tmp_path):
    """The square is hidden by a bar whose mask is known; without it the square grows everywhere, which is wrong."""
    assert unmasked(tmp_path, whole=SQUARE_WHOLE, bar=BAR, parts=["choose"] * 40) == 1.0
    assert unmasked(tmp_path, whole=HIDDEN | BAR, bar=BAR, parts=["choose"] * 40) == pytest.approx(0.4)


def test_nothing_is_chosen_where_too_few_objects_tell(tmp_path):
    for few in ({"parts": ENOUGH[1:]}, {"sure": False}):
        assert unmasked(tmp_path, **few) == 1.0
        assert unmasked(tmp_path, **few, unmasked_threshold=0.7) == 0.7  # that of its start


def test_a_fitted_completer_keeps_its_threshold_where_no_mask_is(tmp_path):
    assert unmasked(tmp_path, unmasked_threshold=0.7) == pytest.approx(0.4)
    assert unmasked(tmp_path, unmasked_threshold=0.7, calibration=FITTED) == 0.7


def test_objects_that_nothing_hides_may_grow_by_a_hundredth(tmp_path):
    """One whole square beside twenty hidden ones grows sixfold: the mIoU bears it, the mean of 22 whole objects not."""
    for wholes, expected in ((0, 0.4), (1, 1.0)):
        kept = holdout(tmp_path, ["choose"] * (20 + wholes), rectangle((10, 50), (10, 50)), AWAY, True).data
        for scene in range(1, 1 + wholes):
            _, square, _ = kept.by_image[scene]
            kept.by_image[scene][1] = replace(square, amodal_mask=square.modal_mask)
        chosen = choose(trained(0.42, "layered"), Holdout(kept, None), SETTINGS, SILENT, True)
        assert chosen.unmasked_threshold == pytest.approx(expected)


FITTED = Calibration(unasked=0.1)  # to other photos


def test_own_thresholds_stay_where_others_are_as_good(tmp_path):
    for method in ("layered", "pcnet-m"):
        sure = replace(trained(0.9, method), calibration=FITTED, threshold=0.3, order_threshold=0.7)
        kept = choose(sure, holdout(tmp_path), SETTINGS)
        assert (kept.threshold, kept.order_threshold) == (0.3, 0.7)
        hesitant = choose(replace(sure, completer=trained(0.42, method).completer), holdout(tmp_path), SETTINGS)
        assert (hesitant.threshold, hesitant.order_threshold) == (0.3, 0.4)  # the nearest with which it grows


def test_further_looks_of_a_fitted_completer_stay(tmp_path):
    start = CompleterBundle(Completer(SureFromAfar(0.999), METHODS["layered"]).eval(), VIEW, calibration=FITTED)
    assert choose(start, holdout(tmp_path), SETTINGS).contact_crops == ()  # fresh ones get CONTACT_CROPS here
    assert choose(replace(start, contact_crops=(3.0,)), holdout(tmp_path), SETTINGS).contact_crops == (3.0,)
