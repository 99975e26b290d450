"""Finished labels of photos whose masks overlap, with networks whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.calibration.fit import Calibration
from amodalpl.completion.checkpoint import CompleterBundle
from amodalpl.completion.predictor import CropSpec
from amodalpl.labelling.assemble import DrawnPhoto, complete_photos
from amodalpl.labelling.plan import plan_labels
from amodalpl.masks import ownership, rle
from amodalpl.masks.boxed import BoxedMasks, boxed
from amodalpl.models.completer import Completer
from amodalpl.models.completer_table import METHODS
from amodalpl.settings import LabelSettings

SIZE_HW = (60, 80)
CALIBRATION = Calibration((0.0, 1.0), (0.05, 0.9), unasked=0.03)


class Fake(nn.Module):
    """Is sure of the whole patch where it is shown what grows, else of nothing."""

    def __init__(self, grows):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.grows = grows

    def forward(self, x):
        logit = torch.tensor([20.0 if self.grows(patch[0]) else -20.0 for patch in x]).view(-1, 1, 1)
        logit = logit.expand_as(x[:, 0])
        return torch.stack([-logit, logit], dim=1)


def bundle(grows, **more):
    return CompleterBundle(
        Completer(Fake(grows), METHODS["pcnet-m"]).eval(), CropSpec(64), calibration=CALIBRATION, **more
    )


def photo(*masks, category_ids=None):
    owned = ownership.resolve([rle.encode(mask) for mask in masks], SIZE_HW)
    return DrawnPhoto(owned, category_ids=category_ids)


def complete(grows, *masks, **settings):
    (found,) = complete_photos(plan_labels(bundle(grows), LabelSettings(gap_px=0, **settings)), [photo(*masks)])
    return found


def rectangle(rows, columns):
    mask = np.zeros(SIZE_HW, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def never(modal):
    return False


def always(modal):
    return True


def squares_only(modal):
    """A square fills a third of its crop, a long bar much less."""
    return modal.mean() > 0.25


SQUARE, BAR, ALONE = rectangle((20, 40), (20, 40)), rectangle((20, 40), (40, 44)), rectangle((50, 55), (70, 75))


def test_what_grows_what_is_in_front_and_what_stands_alone():
    found = complete(squares_only, SQUARE, BAR, ALONE)
    np.testing.assert_array_equal(found.amodal, [SQUARE | BAR, BAR, ALONE])
    np.testing.assert_array_equal(found.hidden, [BAR, BAR & False, BAR & False])
    assert found.occluders == [(1,), (), ()] and [(p.front, p.back) for p in found.order] == [(1, 0)]
    assert found.uncertainty.tolist()[1:] == [0.03, 0.0]
    assert found.flags == [[], ["no_occluder"], ["no_occluder"]]
    assert [doubt is not None for doubt in found.uncertainty_maps] == [True, False, False]


def test_what_was_drawn_is_kept_where_others_own_it():
    """A patch lies on the square, and the network lets nothing grow: its owner is what hides the square there."""
    patch = rectangle((25, 30), (25, 30))
    found = complete(never, SQUARE, patch, ALONE)
    np.testing.assert_array_equal(found.amodal, [SQUARE, patch, ALONE])
    np.testing.assert_array_equal(found.hidden[0], patch)
    assert found.shared_px.tolist() == [25, 0, 0]
    assert found.occluders == [(1,), (), ()] and found.order == []
    assert found.flags == [["overlap_only", "shared_pixels"], ["no_occluder"], ["no_occluder"]]
    assert found.uncertainty_maps == [None] * 3


def test_occluder_map_names_what_is_seen_where_an_object_is_hidden():
    found = complete(squares_only, SQUARE, BAR, ALONE)
    assert found.hidden_by(0) == {1: 80} and found.hidden_by(1) == {}
    free = rectangle((18, 20), (20, 40))  # where no object is
    grown = replace(found, whole=BoxedMasks([found.whole[0].united(boxed(free)), *found.whole[1:]], SIZE_HW))
    assert grown.hidden_by(0) == {1: 80, None: 40}


def test_an_object_that_others_own_wholly_names_them():
    left, right = rectangle((20, 40), (20, 30)), rectangle((20, 40), (30, 40))
    found = complete(never, SQUARE, left, right)
    assert not found.visible[0].any() and found.occluders[0] == (1, 2)
    np.testing.assert_array_equal(found.amodal[0], SQUARE)
    assert found.flags[0] == ["fully_shared", "low_confidence"] and found.uncertainty[0] == 1


def test_the_same_mask_twice_names_its_twin():
    found = complete(always, SQUARE, SQUARE)
    assert found.occluders == [(1,), ()] and not found.visible[0].any()


@pytest.mark.parametrize("grows", [never, always, squares_only])
@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_hidden_has_an_occluder(grows, seed):
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(7):
        y, x = rng.integers(0, 45, 2)
        masks.append(rectangle((y, y + rng.integers(2, 20)), (x, x + rng.integers(2, 30))))
    found = complete(grows, *masks)
    for index, drawn in enumerate(masks):
        assert not (drawn & ~found.amodal[index]).any() and not (found.visible[index] & ~drawn).any()
        if found.hidden[index].any():
            assert found.occluders[index] and "no_occluder" not in found.flags[index]
        assert ("no_occluder" in found.flags[index]) == (not found.occluders[index])
        assert index not in found.occluders[index]
        assert len({"no_occluder", "overlap_only", "fully_shared"} & set(found.flags[index])) <= 1


def test_flags_of_edges_limits_and_doubt():
    at_edge = rectangle((0, 20), (20, 40))
    above = rectangle((0, 20), (40, 44))
    found = complete(squares_only, at_edge, above, max_growth=1.1, low_confidence=0.5)
    assert found.flags[0] == ["truncated", "runaway"] and 0 < found.uncertainty[0] < 0.5
    np.testing.assert_array_equal(found.amodal[0], at_edge)
    assert found.uncertainty_maps[0] is not None  # the network did answer


def test_photos_together_or_alone():
    photos = [photo(SQUARE, BAR), photo(), photo(BAR, ALONE, SQUARE)]
    plan = plan_labels(bundle(squares_only), LabelSettings(gap_px=0, batch_size=2))
    together = list(complete_photos(plan, photos))
    assert [found.amodal.shape for found in together] == [(2, *SIZE_HW), (0, *SIZE_HW), (3, *SIZE_HW)]
    for one, found in zip(photos, together, strict=True):
        (alone,) = complete_photos(plan, [one])
        np.testing.assert_array_equal(alone.amodal, found.amodal)
        assert (alone.occluders, alone.order, alone.flags) == (found.occluders, found.order, found.flags)


def test_shapes_are_judged_whole_and_by_class():
    shapes = SimpleNamespace(score=lambda masks, ids: np.array([m.sum() * i for m, i in zip(masks, ids, strict=True)]))
    plan = plan_labels(bundle(squares_only, shapes=shapes), LabelSettings(gap_px=0))
    known, unknown = photo(SQUARE, BAR, category_ids=[2, 3]), photo(SQUARE, BAR)
    judged, unjudged = complete_photos(plan, [known, unknown])
    assert judged.plausibility.tolist() == [2 * 480, 3 * 80] and unjudged.plausibility is None
    (empty,) = complete_photos(plan, [photo(category_ids=[])])
    assert empty.plausibility.shape == (0,)
