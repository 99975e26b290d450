"""Each loss of learning from boxes against numbers worked out by hand."""

import math

import cv2
import numpy as np
import pytest
import torch

from amodalpl.detector.heads import box_losses


def value(tensor):
    return float(tensor.detach())


def test_cells_of_a_box_are_those_whose_centre_is_inside():
    boxes = torch.tensor([[4.0, 0, 12, 8], [5.0, 5, 6, 6], [3.0, 3, 3, 9]])
    usual, small, empty = box_losses.box_maps(boxes, (3, 4), stride=4)
    assert usual.tolist() == [[False, True, True, False]] * 2 + [[False] * 4]
    assert small.nonzero().tolist() == [[1, 1]]  # its middle
    assert not empty.any()


def test_neighbours_at_a_distance():
    found = box_losses.neighbours(torch.arange(25.0).view(1, 5, 5), 2)
    assert found[0, :, 2, 2].tolist() == [0, 2, 4, 10, 14, 20, 22, 24]
    assert found[0, :, 0, 0].tolist() == [0, 0, 0, 0, 2, 0, 10, 12]


def test_lab_is_opencvs():
    rgb = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.float32)
    ours = box_losses.to_lab(torch.from_numpy(rgb).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, cv2.cvtColor(rgb / 255, cv2.COLOR_RGB2LAB), atol=0.4)  # theirs are of a table


def test_edges_join_one_colour_and_stay_in_the_photo():
    lab = torch.zeros(3, 1, 5)
    lab[0, 0] = torch.tensor([10.0, 10, 10, 12, 90])
    valid = torch.tensor([[True, True, True, True, False]])
    edges = box_losses.colour_edges(lab, valid, distance=1, threshold=0.3)
    right = edges[4, 0]  # of the eight, the one to the right
    assert right.tolist() == [True, True, True, False, False]  # exp(-1) is 0.37; beyond the fourth is padding
    assert not box_losses.colour_edges(lab, valid, distance=1, threshold=0.4)[4, 0, 2]


def test_projection_of_a_mask_that_fills_its_box_is_right():
    box = torch.zeros(1, 6, 6, dtype=torch.bool)
    box[0, 1:4, 2:5] = True
    sure = 40.0 * (2 * box.float() - 1)
    assert value(box_losses.projection_loss(sure, box)[0]) == pytest.approx(0, abs=1e-5)
    ell = sure.clone()
    ell[0, 1:3, 3:5] = -40  # an L has the same extent
    assert value(box_losses.projection_loss(ell, box)[0]) == pytest.approx(0, abs=1e-5)
    one_row = sure.clone()
    one_row[0, 1:3] = -40  # 1 of 3 rows: Dice is 2 / (1 + 3)
    assert value(box_losses.projection_loss(one_row, box)[0]) == pytest.approx(0.5, abs=1e-5)


def test_unlikeness_of_two_cells():
    p, q = 0.8, 0.3
    logits = torch.logit(torch.tensor([[[p, q]]], dtype=torch.float64))
    alike, different = box_losses.unlikeness(logits, 1)
    same = p * q + (1 - p) * (1 - q)
    assert value(alike[0, 4, 0, 0]) == pytest.approx(-math.log(same))
    assert value(different[0, 4, 0, 0]) == pytest.approx(-math.log(1 - same))
    edges = torch.zeros(1, 8, 1, 2, dtype=torch.bool)
    edges[0, 4, 0, 0] = True
    assert value(box_losses.pairwise_loss(logits, edges, 1)) == pytest.approx(-math.log(same))


def test_unlikeness_of_sure_cells_is_finite():
    logits = torch.tensor([[[200.0, -200.0]]], requires_grad=True)
    alike, different = box_losses.unlikeness(logits, 1)
    (alike.sum() + different.sum()).backward()
    assert torch.isfinite(alike).all() and torch.isfinite(logits.grad).all()


def test_tight_masks_touch_all_sides_of_their_box():
    box = torch.zeros(1, 4, 4, dtype=torch.bool)
    box[0, 1:3, 1:3] = True
    diagonal = torch.full((1, 4, 4), -30.0)
    diagonal[0, 1, 1] = diagonal[0, 2, 2] = 30
    assert value(box_losses.tightness_loss(diagonal, box)) == pytest.approx(0, abs=1e-5)
    corner = diagonal.clone()
    corner[0, 2, 2] = -30  # a row and a column of 8 lines miss their pixel
    assert value(box_losses.tightness_loss(corner, box)) == pytest.approx(2 * 30 / 8)
    outside = diagonal.clone()
    outside[0, 0, 1] = 30  # in a row that does not cross the box
    assert value(box_losses.tightness_loss(outside, box)) == pytest.approx(30 / 8)
    beside = corner.clone()
    beside[0, 2, 0] = 30  # in the row, but not in the box: that row still has no pixel, and column 0 has one too many
    assert value(box_losses.tightness_loss(beside, box)) == pytest.approx(3 * 30 / 8)


def test_roughness_of_one_pixel():
    """A pixel in the middle of 3 x 3 differs from its 8 neighbours: 16 of the 40 ordered pairs."""
    logits = torch.full((1, 3, 3), -40.0)
    assert value(box_losses.roughness(logits)) == pytest.approx(0)
    logits[0, 1, 1] = 40
    assert value(box_losses.roughness(logits)) == pytest.approx(16 / 40)
