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


def test_a_full_box_loses_nothing_and_a_half_what_dice_says():
    boxes = torch.zeros(2, 4, 4, dtype=torch.bool)
    boxes[:, 1:3] = True  # 8 cells
    logits = torch.full((2, 4, 4), -30.0)
    logits[0, 1:3] = logits[1, 1] = 30.0
    full, half = box_losses.fill_loss(logits, boxes).tolist()
    assert full == pytest.approx(0, abs=1e-5) and half == pytest.approx(1 - 2 * 4 / (4 + 8), abs=1e-5)


@pytest.mark.parametrize(("start", "least", "most"), [("filled", 0.8, 1.0), ("lines", 0.0, 0.3)])
def test_where_masks_start_decides_where_the_losses_of_boxinst_lead(start, least, most):
    """A disc on a ground, both of one colour, so that all edges are right: lines along the box are a minimum too."""
    ys, xs = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    disc = (ys - 11.5) ** 2 + (xs - 11.5) ** 2 <= 64
    box = torch.zeros(1, 24, 24, dtype=torch.bool)
    box[0, 4:20, 4:20] = True
    lab = torch.where(disc, 50.0, 0.0).expand(3, 24, 24)
    edges = (box_losses.colour_edges(lab, torch.ones(24, 24, dtype=torch.bool), 2, 0.3) & box[:, None]).clone()
    logits = torch.full((1, 24, 24), -1.0)
    logits[box] = 1.0 if start == "filled" else -1.0
    logits[0, 4, 4:20] = logits[0, 4:20, 4] = 1.0
    logits.requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(150):
        pairwise = box_losses.pairwise_loss(logits, edges, 2) / edges.sum()
        loss = box_losses.projection_loss(logits, box).mean() + pairwise
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = logits.detach()[0] > 0
    iou = value((found & disc).sum() / (found | disc).sum())
    assert least <= iou <= most, iou


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


def test_overlap_of_two_boxes():
    found = box_losses.overlap_regions(torch.tensor([[0.0, 0, 10, 10], [6.0, 4, 20, 8]]))
    assert found.tolist() == [[6, 4, 10, 8]] * 2


def test_overlap_of_three_boxes_is_the_box_around_what_each_shares():
    boxes = torch.tensor([[0.0, 0, 10, 10], [8.0, 0, 20, 3], [-5.0, 6, 2, 30]])
    found = box_losses.overlap_regions(boxes)
    assert found.tolist() == [[0, 0, 10, 10], [8, 0, 10, 3], [0, 6, 2, 10]]


def test_boxes_that_touch_or_are_alone_share_nothing():
    assert not box_losses.overlap_regions(torch.tensor([[0.0, 0, 4, 4], [4.0, 0, 8, 4]])).any()
    assert not box_losses.overlap_regions(torch.tensor([[0.0, 0, 4, 4]])).any()
    assert box_losses.overlap_regions(torch.zeros(0, 4)).shape == (0, 4)


def one_seen_cell(logits):
    """A cell is seen in the middle of 9 x 9; the whole box ends between columns 5 and 6."""
    seen = torch.zeros(1, 9, 9, dtype=torch.bool)
    seen[0, 4, 4] = True
    boxes = torch.zeros(1, 9, 9, dtype=torch.bool)
    boxes[0, :, :6] = True
    return box_losses.neighbour_loss(logits, seen, boxes, distance=2)


def test_neighbour_loss_grows_masks_inside_the_box_and_keeps_them_from_leaving_it():
    logits = torch.zeros(1, 9, 9)
    logits[0, 4, 4] = 2.0
    logits.requires_grad_()
    one_seen_cell(logits)[0].sum().backward()
    gradient = logits.grad[0]
    assert gradient[4, 2] < 0 and gradient[2, 2] < 0 and gradient[6, 4] < 0  # inside: the logit is pushed up
    assert gradient[4, 6] > 0 and gradient[2, 6] > 0 and gradient[6, 6] > 0  # across the side: down
    gradient[2:7:2, 2:7:2] = 0
    assert not gradient.any()  # and nobody else, nor the cells between


def test_neighbour_loss_by_hand():
    """Of 8 edges 5 join equal labels and 3 different ones; all neighbours have p = 0.5, so that c = 0.5."""
    logits = torch.zeros(1, 9, 9)
    logits[0, 4, 4] = 2.0
    loss, fires = one_seen_cell(logits)
    assert value(loss[0]) == pytest.approx(math.log(2)) and fires.tolist() == [True]
    logits[0, 2:7:2, 2:7:2] = 1.0
    logits[0, 4, 4] = 2.0
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    c = p * q + (1 - p) * (1 - q)
    loss, _ = one_seen_cell(logits)
    assert value(loss[0]) == pytest.approx(-(5 * math.log(c) + 3 * math.log(1 - c)) / 8, rel=1e-5)


def test_neighbour_loss_without_a_seen_cell_is_0():
    loss, fires = box_losses.neighbour_loss(
        torch.zeros(1, 4, 4), *torch.zeros(2, 1, 4, 4, dtype=torch.bool), distance=2
    )
    assert value(loss[0]) == 0 and fires.tolist() == [False]


def test_uniform_loss_is_0_where_the_whole_mask_covers_the_visible_one():
    visible = torch.tensor([[[0.9, 0.2], [0.6, 0.9]]])
    regions = torch.tensor([[[True, True], [True, False]]])
    assert value(box_losses.uniform_loss(visible + 0.05, visible, regions)[0]) == 0
    amodal = torch.tensor(
        [[[0.6, 0.9], [0.6, 0.0]]]
    )  # 0.3 below in one of three cells; outside of the region nobody asks
    assert value(box_losses.uniform_loss(amodal, visible, regions)[0]) == pytest.approx(0.1)
    loss, fires = box_losses.uniform_loss(amodal, visible, regions & False)
    assert value(loss[0]) == 0 and fires.tolist() == [False]


def test_boxinst_wants_what_is_seen_of_a_hidden_object_and_blade_what_hides_it_too():
    """A disc whose lower right is hidden by another one that sticks out of its box; photo of three flat colours."""
    ys, xs = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    whole = (ys - 15.5) ** 2 + (xs - 15.5) ** 2 <= 100
    occluder = (ys - 23.5) ** 2 + (xs - 23.5) ** 2 <= 81
    seen = whole & ~occluder
    box, overlap = box_losses.box_maps(torch.tensor([[6.0, 6, 26, 26], [15.0, 15, 26, 26]]), (32, 32), 1)[:, None]
    lab = torch.where(occluder, 90.0, torch.where(whole, 50.0, 0.0)).expand(3, 32, 32)
    edges = box_losses.colour_edges(lab, torch.ones(32, 32, dtype=torch.bool), 2, 0.3) & box[:, None]
    boxinst, blade = {}, {}
    for name, mask in {"seen": seen, "whole": whole, "no ground": (whole | occluder) & box, "box": box}.items():
        logits = 8 * mask.view(1, 32, 32).float() - 4
        projection = value(box_losses.projection_loss(logits, box))
        pairwise = value(box_losses.pairwise_loss(logits, edges, 2) / edges.sum())
        neighbour, _ = box_losses.neighbour_loss(logits, overlap & seen, box, 2)
        uniform, _ = box_losses.uniform_loss(logits.sigmoid(), seen[None].float(), overlap)
        boxinst[name] = projection + pairwise
        blade[name] = 2 * projection + pairwise + value(neighbour) + value(uniform)
    assert sorted(boxinst, key=boxinst.__getitem__) == ["seen", "no ground", "whole", "box"]
    assert sorted(blade, key=blade.__getitem__) == ["no ground", "whole", "box", "seen"]
    assert boxinst["seen"] < 0.2 * boxinst["whole"] and blade["whole"] < 0.3 * blade["seen"]
