"""From visible masks to labels, with networks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.calibration.error_model import ErrorModel, LogisticModel
from amodalpl.calibration.fit import Calibration
from amodalpl.calibration.order_chance import OrderChance
from amodalpl.completion.checkpoint import CompleterBundle
from amodalpl.completion.predictor import CropSpec, Scene
from amodalpl.labelling.class_rules import ClassRules
from amodalpl.labelling.label_features import FEATURES
from amodalpl.labelling.label_scenes import label_scenes
from amodalpl.labelling.ordering import OcclusionEdge
from amodalpl.labelling.plan import plan_labels
from amodalpl.masks.geometry import dilate
from amodalpl.models.completer import Completer
from amodalpl.models.completer_table import METHODS
from amodalpl.settings import LabelSettings

SIZE_HW = (60, 80)
NO_GAP = LabelSettings(gap_px=0)


class Fake(nn.Module):
    """Is sure of the whole patch, or of nothing, by what it is shown of the object; channel 1 is ASBU's softplus."""

    def __init__(self, grows, softplus=0.25, logits=True):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.grows, self.logits = grows, logits
        self.raw_doubt = float(np.log(np.expm1(softplus)))
        self.calls, self.sure = 0, 40.0

    def forward(self, x):
        self.calls += len(x)
        sure = torch.tensor([self.sure if self.grows(p[0]) else -40.0 for p in x]).view(-1, 1, 1).expand_as(x[:, 0])
        return torch.stack([-sure, sure] if self.logits else [sure, torch.full_like(sure, self.raw_doubt)], dim=1)


def always(modal):
    return True


def never(modal):
    return False


def squares_only(modal):
    """A square fills a third of its crop, a long bar much less."""
    return modal.mean() > 0.25


def trained(method, grows, calibration=None):
    network = Fake(grows, logits=not METHODS[method].has_uncertainty)
    return CompleterBundle(
        Completer(network, METHODS[method]).eval(), CropSpec(64), calibration=calibration or Calibration()
    )


def labels_of(completer, scenes, settings, true_order=None):
    return label_scenes(plan_labels(completer, settings), scenes, true_order)


def with_rules(method, grows, classes, **rules):
    plan = plan_labels(trained(method, grows), NO_GAP, ClassRules(**rules))
    (found,) = label_scenes(plan, [Scene(SCENE.masks, classes=classes)])
    return found


def rectangle(rows, columns):
    mask = np.zeros(SIZE_HW, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


SQUARE, BAR, ALONE = rectangle((20, 40), (20, 40)), rectangle((20, 40), (40, 44)), rectangle((50, 55), (70, 75))
NOTHING = rectangle((0, 0), (0, 0))
SCENE = Scene(np.stack([BAR, ALONE, SQUARE, NOTHING]))  # indices 0 to 3

each_method = pytest.mark.parametrize("method", METHODS)


def behind_the_bar(method):
    """The bar's 80 pixels; or the contact, two columns along 20 rows and a corner's row at either end."""
    return [OcclusionEdge(front=0, back=2, evidence_px=44 if METHODS[method].order_rule == "contact" else 80)]


@each_method
def test_square_is_behind_the_bar(method):
    (found,) = labels_of(trained(method, squares_only), [SCENE], NO_GAP)
    bar, alone, square, nothing = found.labels
    np.testing.assert_array_equal(square.amodal, SQUARE | BAR)
    np.testing.assert_array_equal(bar.amodal, BAR)
    assert square.asked and square.occluders == (0,)
    assert found.order == behind_the_bar(method)
    assert nothing is None
    np.testing.assert_array_equal(alone.amodal, ALONE)
    assert not alone.asked and alone.occluders == () and alone.uncertainty == 0
    assert not bar.asked and bar.occluders == ()  # nobody is in front of it


BAR_CLASS, SQUARE_CLASS, OTHER = 1, 2, 3
CLASSES = (BAR_CLASS, OTHER, SQUARE_CLASS, OTHER)


@each_method
def test_a_class_that_is_never_completed(method):
    found = with_rules(method, squares_only, CLASSES, kept_modal=frozenset({SQUARE_CLASS}))
    bar, alone, square, nothing = found.labels
    np.testing.assert_array_equal(square.amodal, SQUARE)
    assert square.kept_modal and not square.asked and not bar.kept_modal and nothing is None
    assert found.order == behind_the_bar(method)  # the order stays what it is
    free = with_rules(method, squares_only, CLASSES, kept_modal=frozenset({OTHER}))
    np.testing.assert_array_equal(free.labels[2].amodal, SQUARE | BAR)
    assert free.labels[1].kept_modal and free.labels[1].uncertainty == 0  # it has no neighbour


@each_method
def test_an_order_of_classes_turns_the_pair(method):
    found = with_rules(method, squares_only, CLASSES, in_front=frozenset({(SQUARE_CLASS, BAR_CLASS)}))
    (expected,) = behind_the_bar(method)
    assert found.order == [OcclusionEdge(front=2, back=0, evidence_px=-expected.evidence_px, score=0.0)]
    bar, _, square, _ = found.labels
    assert bar.occluders == (2,) and square.occluders == ()
    np.testing.assert_array_equal(square.amodal, SQUARE)


def test_a_class_has_a_threshold_of_its_own():
    """The network gives 0.73 to each pixel of the bar."""
    completer = trained("layered", squares_only)
    completer.completer.network.sure = 0.5
    for thresholds, expected in ({}, SQUARE | BAR), ({SQUARE_CLASS: 0.8}, SQUARE), ({OTHER: 0.8}, SQUARE | BAR):
        plan = plan_labels(completer, NO_GAP, ClassRules(thresholds=thresholds))
        (found,) = label_scenes(plan, [Scene(SCENE.masks, classes=CLASSES)], [behind_the_bar("layered")])
        np.testing.assert_array_equal(found.labels[2].amodal, expected)


@each_method
def test_behind_all_neighbours(method):
    settings = NO_GAP.model_copy(update={"occluders": "neighbours"})
    (found,) = labels_of(trained(method, squares_only), [SCENE], settings)
    bar, _, square, _ = found.labels
    assert square.occluders == (0,) and bar.asked and bar.occluders == (2,)
    np.testing.assert_array_equal(square.amodal, SQUARE | BAR)
    np.testing.assert_array_equal(bar.amodal, BAR)
    assert found.order == behind_the_bar(method)


@pytest.mark.parametrize(
    ("method", "changes", "calls"),
    [
        pytest.param("pcnet-m", {}, 2 + 1, id="both directions of the pair, then the one behind"),
        pytest.param("asbu", {}, 2 + 1, id="the same for ASBU, as in its code"),
        pytest.param("layered", {}, 2, id="both behind all neighbours, which stands for the one behind"),
        pytest.param("pcnet-m", {"occluders": "neighbours"}, 2 + 2, id="both directions of the pair, then both"),
        pytest.param(
            "asbu", {"occluders": "neighbours", "order_from": "completions"}, 2, id="both, once: ASBU's paper"
        ),
        pytest.param("layered", {"order_from": "pairs"}, 2 + 1, id="pairs on request"),
    ],
)
def test_network_is_asked_only_what_is_needed(method, changes, calls):
    completer = trained(method, squares_only)
    labels_of(completer, [SCENE], NO_GAP.model_copy(update=changes))
    assert completer.completer.network.calls == calls


def seen_from_afar(modal):
    """The square fills a third of its crop, and a seventh of a crop two and a half times as wide as its contact."""
    return 0.12 < modal.mean() < 0.2


@pytest.mark.parametrize(
    ("changes", "found", "calls"),
    [
        pytest.param({}, True, 2 + 4, id="neither gives way in its own crop, one of three answers in the contact's"),
        pytest.param({"order_threshold": 0.4}, False, 2 + 4, id="a third is not enough"),
        pytest.param({"contact_crops": ()}, False, 2, id="not looked at again"),
        pytest.param({"contact_crops": None}, False, 2, id="nor unless the completer's card says so"),
        pytest.param({"contact_crops": (2.5,), "order_threshold": 0.4}, True, 2 + 2, id="one of two"),
        pytest.param({"order_rule": "inside"}, False, 2, id="another rule asks once"),
    ],
)
def test_doubtful_orders_are_looked_at_again(changes, found, calls):
    completer = trained("layered", seen_from_afar)
    settings = NO_GAP.model_copy(update={"order_threshold": 0.3, "contact_crops": (1.5, 2.5), **changes})
    (labels,) = labels_of(completer, [SCENE], settings)
    assert [(pair.front, pair.back) for pair in labels.order] == ([(0, 2)] if found else [])
    assert completer.completer.network.calls == calls
    assert labels.labels[2].occluders == ((0,) if found else ())


def test_features_of_several_scenes_are_not_mixed_up():
    other = Scene(SCENE.masks[::-1])  # the same objects with other numbers
    settings = NO_GAP.model_copy(update={"order_threshold": 0.3, "contact_crops": (1.5, 2.5), "batch_size": 3})
    found = labels_of(trained("layered", seen_from_afar), [SCENE, other, SCENE], settings)
    assert [[(p.front, p.back) for p in labels.order] for labels in found] == [[(0, 2)], [(3, 1)], [(0, 2)]]


@each_method
def test_the_size_of_labels_says_nothing_of_the_order(method):
    """400 visible pixels become 480; a limit below that is for labels, and the bar stays in front."""
    found, limited = (
        labels_of(trained(method, squares_only), [SCENE], NO_GAP.model_copy(update={"max_growth": most}))[0]
        for most in (None, 1.1)
    )
    assert len(found.order) == 1 and found.order == limited.order
    assert limited.labels[2].runaway and limited.labels[2].occluders == found.labels[2].occluders


def test_a_sliver_of_an_object_is_completed_whatever_its_share():
    """20 pixels are seen of one that goes on over 200 behind a block."""
    sliver, block = rectangle((20, 40), (20, 21)), rectangle((20, 40), (21, 31))
    completer = trained("layered", lambda modal: modal.mean() < 0.05)
    (found,) = labels_of(completer, [Scene(np.stack([sliver, block]))], NO_GAP)
    assert [(pair.front, pair.back) for pair in found.order] == [(1, 0)]
    assert not found.labels[0].runaway and found.labels[0].features is not None
    np.testing.assert_array_equal(found.labels[0].amodal, sliver | block)


@each_method
def test_without_neighbours_nobody_is_asked(method):
    completer = trained(method, always)
    (found,) = labels_of(completer, [Scene(np.stack([SQUARE, ALONE]))], NO_GAP)
    assert completer.completer.network.calls == 0 and found.order == []
    assert [label.asked for label in found.labels] == [False, False]


@each_method
def test_empty_scenes(method):
    scenes = [Scene(np.zeros((0, *SIZE_HW), bool)), Scene(np.stack([NOTHING])), SCENE]
    first, second, third = labels_of(trained(method, squares_only), scenes, NO_GAP)
    assert first.labels == [] and second.labels == [None] and len(third.labels) == 4
    assert len(third.order) == 1


@each_method
def test_equal_growth_is_a_tie_and_gives_no_order(method):
    left, right = rectangle((20, 40), (20, 40)), rectangle((20, 40), (40, 60))
    (found,) = labels_of(trained(method, always), [Scene(np.stack([left, right]))], NO_GAP)
    assert found.order == []


@each_method
@pytest.mark.parametrize("grows", [always, never, squares_only])
def test_amodal_contains_modal_and_stays_behind_neighbours(method, grows):
    rng = np.random.default_rng(3)
    masks = np.zeros((6, *SIZE_HW), bool)
    for index in range(6):
        y, x = rng.integers(0, 40, 2)
        masks[index, y : y + rng.integers(3, 25), x : x + rng.integers(3, 25)] = True
        masks[index] &= ~masks[:index].any(axis=0)
    (found,) = labels_of(trained(method, grows), [Scene(masks)], NO_GAP)
    for index, label in enumerate(found.labels):
        if label is None:
            assert not masks[index].any()
            continue
        assert not (masks[index] & ~label.amodal).any()
        assert not (label.amodal & ~masks.any(axis=0)).any()
        assert 0 <= label.uncertainty <= 1


def test_growth_into_open_ground_only_when_asked_for():
    settings = NO_GAP.model_copy(update={"behind_neighbours": False})
    (found,) = labels_of(trained("asbu", squares_only), [SCENE], settings)
    grown = found.labels[2].amodal
    assert grown[16, 30] and not (SQUARE | BAR)[16, 30]


# left to right: A (a square), B (a square), C (a bar): A touches B, B touches C
CHAIN = Scene(np.stack([rectangle((20, 40), (20, 40)), rectangle((20, 40), (40, 44)), rectangle((20, 40), (44, 47))]))


@pytest.mark.parametrize(
    ("occluders", "expected"),
    [
        pytest.param("parents", (1,), id="parents"),
        pytest.param("ancestors", (1, 2), id="ancestors"),
        pytest.param("neighbours", (1, 2), id="neighbours: with an order, ancestors"),
    ],
)
@pytest.mark.parametrize("method", ["pcnet-m", "asbu"])
def test_a_given_order_decides_who_is_in_front(method, occluders, expected):
    order = [OcclusionEdge(1, 0, 1.0), OcclusionEdge(2, 1, 1.0)]
    settings = NO_GAP.model_copy(update={"occluders": occluders})
    (found,) = labels_of(trained(method, squares_only), [CHAIN], settings, [order])
    assert found.order == order
    assert found.labels[0].occluders == expected
    union = np.any([CHAIN.masks[k] for k in (0, *expected)], axis=0)
    np.testing.assert_array_equal(found.labels[0].amodal, union)
    assert not found.labels[2].asked


def test_a_circle_is_broken_where_it_is_weakest(monkeypatch):
    """A hides B, B hides C, and a few pixels say that C hides A: it is A that hides C, and nobody hides A."""
    circle = [OcclusionEdge(0, 1, 90.0), OcclusionEdge(1, 2, 80.0), OcclusionEdge(2, 0, 3.0)]
    monkeypatch.setattr("amodalpl.labelling.order_recovery.order_pairwise", lambda *args: [circle])
    (found,) = labels_of(trained("pcnet-m", squares_only), [CHAIN], NO_GAP)
    assert [(pair.front, pair.back) for pair in found.order] == [(0, 1), (1, 2), (0, 2)]
    assert not found.labels[0].asked
    assert [label.occluders for label in found.labels[1:]] == [(0,), (0, 1)]


def test_a_given_order_stays_as_it_is():
    circle = [OcclusionEdge(0, 1, 90.0), OcclusionEdge(1, 2, 80.0), OcclusionEdge(2, 0, 3.0)]
    (found,) = labels_of(trained("pcnet-m", squares_only), [CHAIN], NO_GAP, [circle])
    assert found.order == circle


@pytest.mark.parametrize("occluders", ["parents", "ancestors"])
def test_asbu_by_its_own_order(occluders):
    settings = NO_GAP.model_copy(update={"occluders": occluders})
    (found,) = labels_of(trained("asbu", squares_only), [SCENE], settings)
    assert found.labels[2].occluders == (0,) and not found.labels[0].asked


def test_order_rule_counts_inside_the_other_or_the_whole():
    """The square reaches behind both bars; each bar, told to grow too, fills the square within its crop."""
    above = rectangle((16, 20), (20, 40))
    scene = Scene(np.stack([SQUARE, BAR, above]))
    orders = {}
    for rule in ("inside", "whole"):
        settings = NO_GAP.model_copy(update={"order_rule": rule, "order_from": "completions"})
        (found,) = labels_of(trained("asbu", squares_only), [scene], settings)
        orders[rule] = {(p.front, p.back): p.evidence_px for p in found.order}
    assert orders["inside"] == {(1, 0): 80, (2, 0): 80}
    assert orders["whole"] == {(1, 0): 160, (2, 0): 160}


@pytest.mark.parametrize("free_px", [0, 1, 2, 3])
def test_gaps_are_bridged_up_to_the_tolerance(free_px):
    bar = rectangle((20, 40), (40 + free_px, 44))
    (found,) = labels_of(trained("asbu", squares_only), [Scene(np.stack([SQUARE, bar]))], LabelSettings(gap_px=2))
    square = found.labels[0]
    if free_px <= 2:
        assert square.amodal[22:38, 20:44].all()  # over the gap, and behind the bar
        assert len(found.order) == 1
    else:
        np.testing.assert_array_equal(square.amodal, SQUARE)
        assert not square.asked and found.order == []


def test_tight_contours_are_loosened_and_labels_keep_them_as_drawn():
    """Square and bar eroded by two pixels are shown as they were; the label has the square as drawn, and its growth."""
    shown = []

    def looks(modal):
        shown.append(int(modal.sum()))
        return squares_only(modal)

    bar = rectangle((10, 50), (40, 50))
    tight_square, tight_bar = rectangle((22, 38), (22, 38)), rectangle((12, 48), (42, 48))
    settings = LabelSettings(gap_px=4, contour_inset_px=2)
    (as_drawn,) = labels_of(trained("asbu", looks), [Scene(np.stack([tight_square, tight_bar]))], settings)
    of_tight, shown = shown, []
    (untouched,) = labels_of(trained("asbu", looks), [Scene(np.stack([SQUARE, bar]))], NO_GAP)
    assert of_tight == shown
    assert [(p.front, p.back) for p in as_drawn.order] == [(p.front, p.back) for p in untouched.order] == [(1, 0)]
    grown = untouched.labels[0].amodal & ~SQUARE
    label = as_drawn.labels[0].amodal
    np.testing.assert_array_equal(label[:, 40:], grown[:, 40:])
    assert not label[:, :22].any() and not label[:20, :40].any() and not label[40:, :40].any()  # the rest as drawn
    assert label[22:38, 22:40].all()  # and the gap between the square and its growth is filled
    np.testing.assert_array_equal(as_drawn.labels[1].amodal, tight_bar)


def test_clefts_that_loosening_leaves_are_closed_to_complete_but_not_to_order():
    """A bar has a tooth of 3 by 6 pixels in a square; eroded by 3 it is lost, and loosened nobody's."""
    tooth = rectangle((28, 31), (34, 40))
    bar = rectangle((4, 56), (40, 52)) | tooth
    tight = Scene(np.stack([~dilate(~mask, 3) for mask in (SQUARE & ~tooth, bar)]))
    completer = trained("asbu", squares_only)
    plan = plan_labels(completer, LabelSettings(gap_px=6, contour_inset_px=3, order_from="completions"))
    (found,) = label_scenes(plan, [tight])
    assert [(pair.front, pair.back) for pair in found.order] == [(1, 0)]
    square = found.labels[0].prediction
    assert square.gap_px == plan.completing.gap_px == 3 and plan.ordering.gap_px == 0
    assert completer.completer.network.calls == 2 + 1  # the prediction for the order is of another tolerance
    closed = np.zeros(SIZE_HW, bool)
    closed[square.window] = square.modal | square.behind
    assert not tight.with_tight_masks_grown(3).covered[tooth].any() and closed[28:31, 38:40].all()


def test_a_prediction_behind_other_objects_is_not_taken_for_the_label():
    """Behind bar and beam the square grows into both; only the bar is in front, and the beam keeps its pixels."""
    beam = rectangle((40, 44), (20, 40))
    settings = NO_GAP.model_copy(update={"max_growth": 10})
    (found,) = labels_of(trained("layered", wide_ones_only), [Scene(np.stack([SQUARE, BAR, beam]))], settings)
    assert [(pair.front, pair.back) for pair in found.order] == [(1, 0), (1, 2)]  # square and beam both grow: a tie
    assert found.labels[0].occluders == (1,)
    np.testing.assert_array_equal(found.labels[0].amodal, SQUARE | BAR)


@pytest.mark.parametrize(
    ("max_growth", "limited"), [pytest.param(3.66, True, id="below"), pytest.param(3.67, False, id="above")]
)
def test_growth_of_tight_masks_is_limited_by_what_the_network_was_shown(max_growth, limited):
    """A sliver of 2 by 16 pixels is loosened to 6 by 20 and grows to 20 by 22: 11 / 3 times that, 12 times itself."""
    sliver, bar = rectangle((22, 38), (36, 38)), rectangle((12, 48), (42, 48))
    settings = LabelSettings(gap_px=4, contour_inset_px=2, max_growth=max_growth)
    scene, order = Scene(np.stack([sliver, bar])), [OcclusionEdge(1, 0, 1.0)]
    (found,) = labels_of(trained("asbu", lambda modal: modal.mean() < 0.2), [scene], settings, [order])
    label = found.labels[0]
    assert label.runaway is limited
    assert (label.amodal.sum() > 12 * sliver.sum()) is not limited


@pytest.mark.parametrize("settings", [{}, {"threshold": 0.9}, {"order_threshold": 0.9}], ids=str)
def test_thresholds_of_the_settings_replace_the_completers(settings):
    """The network gives 0.7 to all, and the completer asks for 0.5 of it."""
    completer = trained("asbu", squares_only)
    completer.completer.network.sure = float(np.log(0.7 / 0.3))
    (found,) = labels_of(completer, [SCENE], NO_GAP.model_copy(update=settings))
    assert len(found.order) == ("order_threshold" not in settings)
    assert (found.labels[2].amodal.sum() > SQUARE.sum()) == (not settings)


def test_uncertainty_is_the_calibrated_error_that_the_pixels_imply():
    completer = trained("pcnet-m", squares_only, Calibration((0.0, 1.0), (0.1, 0.5), belongs=(0.0, 0.75), unasked=0.02))
    (found,) = labels_of(completer, [SCENE], NO_GAP)
    implied = 1 - (400 + 0.75 * 80) / 480  # the network is sure of the 80 pixels behind the bar; a quarter of such fail
    assert found.labels[2].uncertainty == pytest.approx(0.1 + 0.4 * implied, rel=1e-3)
    assert found.labels[0].uncertainty == 0.02  # has a neighbour, which is taken to be behind it
    assert found.labels[1].uncertainty == 0  # stands alone


@pytest.mark.parametrize("right", [38, 39, 40, 41, 42])  # the crop's edge falls on other parts of a pixel
def test_growth_that_reaches_the_edge_of_the_crop_is_flagged(right):
    inner = rectangle((20, 40), (20, right))
    wide = Scene(np.stack([inner, rectangle((5, 55), (5, 75)) & ~inner]))
    (found,) = labels_of(trained("asbu", squares_only), [wide], NO_GAP)
    assert found.labels[0].grew_to_border
    (found,) = labels_of(trained("asbu", squares_only), [SCENE], NO_GAP)
    assert not found.labels[2].grew_to_border


def test_edge_of_the_image_is_no_edge_of_the_crop():
    whole = rectangle((0, 60), (0, 80))
    inner = rectangle((2, 58), (2, 78))  # its crop covers the image
    (found,) = labels_of(trained("asbu", squares_only), [Scene(np.stack([inner, whole & ~inner]))], NO_GAP)
    assert found.labels[0].amodal[0].any() and not found.labels[0].grew_to_border


@pytest.mark.parametrize("method", ["pcnet-m", "asbu"])
def test_scenes_together_or_alone(method):
    scenes = [SCENE, CHAIN, SCENE]
    settings = NO_GAP.model_copy(update={"batch_size": 2})
    together = labels_of(trained(method, squares_only), scenes, settings)
    for scene, found in zip(scenes, together, strict=True):
        (alone,) = labels_of(trained(method, squares_only), [scene], NO_GAP)
        assert alone.order == found.order
        for a, b in zip(alone.labels, found.labels, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                np.testing.assert_array_equal(a.amodal, b.amodal)
                assert (a.occluders, a.asked, a.uncertainty) == (b.occluders, b.asked, b.uncertainty)


@pytest.mark.parametrize(
    ("max_growth", "limited"), [pytest.param(1.19, True, id="below"), pytest.param(1.2, False, id="exactly")]
)
def test_pixels_that_are_all_as_probable_are_left_out_together_where_they_are_too_many(max_growth, limited):
    settings = NO_GAP.model_copy(update={"max_growth": max_growth})  # 400 visible pixels become 480: 1.2 times
    (found,) = labels_of(trained("pcnet-m", squares_only), [SCENE], settings)
    label = found.labels[2]
    assert label.asked and label.runaway is limited
    np.testing.assert_array_equal(label.amodal, SQUARE if limited else SQUARE | BAR)


def checkerboard(count, side):
    """So many squares of 5 pixels that touch their neighbours."""
    masks = np.zeros((count, 5 * side, 5 * -(-count // side)), dtype=bool)
    for index in range(count):
        column, row = divmod(index, side)
        masks[index, 5 * row : 5 * row + 5, 5 * column : 5 * column + 5] = True
    return masks


IN_PARTS = rectangle((20, 40), (10, 20)) | rectangle((20, 40), (30, 40))
WITH_HOLE = rectangle((10, 50), (10, 50)) & ~rectangle((20, 40), (20, 40))


@pytest.mark.parametrize("grows", [always, never, squares_only])
@pytest.mark.parametrize(
    "masks",
    [
        pytest.param(np.stack([IN_PARTS, rectangle((20, 40), (20, 30))]), id="in two parts"),
        pytest.param(np.stack([WITH_HOLE, SQUARE]), id="with a hole, and what fills it"),
        pytest.param(np.stack([rectangle((30, 31), (30, 31)), rectangle((30, 31), (31, 32))]), id="one pixel each"),
        pytest.param(np.stack([SQUARE]), id="one instance"),
        pytest.param(np.stack([SQUARE, NOTHING, BAR]), id="one fully hidden"),
        pytest.param(np.stack([rectangle((0, 60), (0, 40)), rectangle((0, 60), (40, 80))]), id="halves of the image"),
        pytest.param(checkerboard(500, 20), id="500 instances"),
    ],
)
def test_strange_masks_are_labelled(masks, grows):
    (found,) = labels_of(trained("layered", grows), [Scene(masks)], LabelSettings())
    assert len(found.labels) == len(masks)
    for label, mask in zip(found.labels, masks, strict=True):
        assert (label is None) == (not mask.any())
        if label is not None:
            assert (label.amodal & mask).sum() == mask.sum() and 0 <= label.uncertainty <= 1


def wide_ones_only(modal):
    """A square is as wide as high, the bar is not, also when either got half of the gap."""
    rows, columns = modal.any(dim=1).sum(), modal.any(dim=0).sum()
    return columns > 0.9 * rows


@pytest.mark.parametrize("free_px", range(21))
def test_gaps_up_to_the_widest_tolerance_are_closed(free_px):
    bar = rectangle((20, 40), (40 + free_px, 44 + free_px))
    (found,) = labels_of(trained("layered", wide_ones_only), [Scene(np.stack([SQUARE, bar]))], LabelSettings(gap_px=20))
    assert [(pair.front, pair.back) for pair in found.order] == [(1, 0)]
    assert (found.labels[0].amodal & bar).any()


def test_beyond_masks_every_object_is_asked_and_may_go_on_where_none_is():
    """`squares_only` lets squares grow everywhere: alone in its photo, one grows only if that is asked for."""
    square = Scene(rectangle((20, 40), (20, 40))[None])
    completer = trained("layered", squares_only)
    (never,) = labels_of(completer, [square], NO_GAP)
    assert not never.labels[0].asked
    (found,) = labels_of(completer, [square], NO_GAP.model_copy(update={"unmasked_threshold": 0.5, "max_growth": 50.0}))
    assert found.labels[0].asked and found.labels[0].grew_unmasked and found.labels[0].occluders == ()


def test_beyond_masks_nothing_grows_over_what_is_seen_to_be_something_else():
    both = np.stack([rectangle((20, 40), (20, 40)), rectangle((20, 40), (44, 60))])
    settings = NO_GAP.model_copy(update={"unmasked_threshold": 0.5, "max_growth": 50.0})
    (found,) = labels_of(trained("layered", squares_only), [Scene(both)], settings)
    assert not (found.labels[0].amodal & both[1]).any()


def test_labels_state_the_error_that_is_expected_of_their_looks():
    row = (0.0,) * len(FEATURES)
    weights = tuple(20.0 if name == "bay" else 0.0 for name in FEATURES)
    by_features = ErrorModel(
        LogisticModel(row, (1.0,) * len(FEATURES), row, 0.0), LogisticModel(row, (1.0,) * len(FEATURES), weights, -4.0)
    )
    whole, bitten = rectangle((2, 22), (2, 22)), rectangle((2, 22), (40, 60)) & ~rectangle((2, 12), (50, 60))
    behind, front = rectangle((30, 50), (20, 40)), rectangle((30, 50), (40, 44))
    plan = plan_labels(trained("pcnet-m", never, Calibration(by_features=by_features)), NO_GAP)
    order = [OcclusionEdge(3, 2, 80.0)]
    (found,) = label_scenes(plan, [Scene(np.stack([whole, bitten, behind, front]))], [order])
    assert found.labels[0].uncertainty == pytest.approx(1 / (1 + np.exp(4.0)))  # nothing speaks against it
    assert found.labels[1].features.bay == pytest.approx(0.125, abs=0.03)  # half of the bay lies in the hull
    assert found.labels[1].uncertainty == pytest.approx(1 / (1 + np.exp(4.0 - 20 * found.labels[1].features.bay)))
    assert found.labels[2].uncertainty == 0.5  # behind something


def test_an_object_in_pieces_grows_between_them_on_request():
    parted = rectangle((10, 50), (20, 40)) & ~rectangle((25, 35), (20, 40))
    scene = Scene(np.stack([parted]))
    (as_drawn,) = label_scenes(plan_labels(trained("pcnet-m", never), NO_GAP), [scene])
    assert not as_drawn.labels[0].grew_unmasked
    (found,) = label_scenes(
        plan_labels(trained("pcnet-m", never), NO_GAP.model_copy(update={"fill": "pieces"})), [scene]
    )
    np.testing.assert_array_equal(found.labels[0].amodal, rectangle((10, 50), (20, 40)))
    assert found.labels[0].grew_unmasked and found.labels[0].features.grown == pytest.approx(0.25)


def test_pairs_carry_the_chance_that_they_are_right():
    scene = Scene(np.stack([rectangle((20, 40), (20, 40)), rectangle((20, 40), (40, 44))]))
    chance = OrderChance(0.0, 0.0, 2.0)
    (found,) = label_scenes(plan_labels(trained("pcnet-m", squares_only, Calibration(order=chance)), NO_GAP), [scene])
    assert [pair.chance for pair in found.order] == [pytest.approx(1 / (1 + np.exp(-2.0)))]
    (plain,) = label_scenes(plan_labels(trained("pcnet-m", squares_only), NO_GAP), [scene])
    assert [pair.chance for pair in plain.order] == [None]
