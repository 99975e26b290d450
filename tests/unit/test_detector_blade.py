"""BLADE: what its three heads see, what they are told, and how they are put together."""

import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.structures import InstanceData

from amodalpl.detector import mmdet_registry as _mmdet_registry  # noqa: F401
from amodalpl.detector import model_table
from amodalpl.detector.heads import blade
from amodalpl.detector.mmdetection import MODELS
from amodalpl.settings import DetectorSettings

pytestmark = pytest.mark.usefixtures("mmdet_scope")


def head(**of_model):
    settings = DetectorSettings(
        model="blade", backbone="resnet18_small", channels=16, boxinst={"warm_up": 0}, blade=of_model
    )
    torch.manual_seed(0)
    return MODELS.build({**model_table.model_config(settings, 3, "GN")["mask_head"], "test_cfg": {"mask_thr": 0.5}})


def found(count, parameters=707):
    generator = torch.Generator().manual_seed(0)
    return InstanceData(
        param_preds=torch.randn(count, parameters, generator=generator).requires_grad_(),
        points=torch.rand(count, 2, generator=generator) * 60,
        strides=torch.full((count,), 8.0),
        bboxes=torch.zeros(count, 4),
    )


class Photo:
    """Two objects, whose boxes share 8 x 16 pixels of 64 x 64; the second one shows its right half."""

    img_shape = ori_shape = (64, 64)
    scale_factor = (1.0, 1.0)
    colour_edges = torch.ones(8, 16, 16, dtype=torch.bool)
    gt_instances = InstanceData(
        whole_boxes=torch.tensor([[8.0, 8, 32, 40], [24.0, 8, 56, 24]]),
        visible_boxes=torch.tensor([[8.0, 8, 32, 40], [32.0, 8, 56, 24]]),
    )


FEATURES = torch.randn(16, 8, 8, generator=torch.Generator().manual_seed(1))
OBJECTS = torch.tensor([0, 1])


def test_the_controller_predicts_three_heads():
    settings = DetectorSettings(model="blade", boxinst={"inner_channels": 16})
    assert model_table.model_config(settings, 3, "GN")["bbox_head"]["num_params"] == 593 + 609 + 593
    assert (
        model_table.model_config(DetectorSettings(model="blade"), 3, "GN")["bbox_head"]["num_params"] == 233 + 241 + 233
    )
    off = DetectorSettings(model="blade", blade={"fusion": False})
    assert model_table.model_config(off, 3, "GN")["bbox_head"]["num_params"] == 233 + 241


def test_whole_masks_see_visible_ones_and_not_the_other_way_round():
    objects = found(1)
    visible, amodal, region = head().logits(FEATURES, objects)
    assert visible.shape == amodal.shape == region.shape == (1, 16, 16)
    changed = objects.param_preds.detach().clone()
    changed[0, 232] += 1.0  # the last bias of the visible head
    other = InstanceData(param_preds=changed, points=objects.points, strides=objects.strides)
    visible_too, amodal_too, region_too = head().logits(FEATURES, other)
    torch.testing.assert_close(visible_too, visible + 1)
    torch.testing.assert_close(region_too, region)
    assert (amodal_too - amodal).abs().max() > 1e-4


def test_losses_of_the_truth_are_small():
    """Whole masks that fill their boxes, visible ones likewise, and regions as told."""

    def sure(*boxes):
        maps = -20 * torch.ones(len(boxes), 16, 16)
        for each, (x1, y1, x2, y2) in zip(maps, boxes, strict=True):
            each[y1:y2, x1:x2] = 20
        return maps

    whole, visible = sure((2, 2, 8, 10), (6, 2, 14, 6)), sure((2, 2, 8, 10), (8, 2, 14, 6))
    region = sure((6, 2, 8, 6), (6, 2, 8, 6))
    losses = head().photo_losses((visible, whole, region), Photo, OBJECTS)
    for name in ("projection_visible", "projection_amodal", "uniform", "region"):
        assert float(losses[name][0]) == pytest.approx(0, abs=1e-4), name
    assert int(losses["uniform"][1]) == 2
    assert int(losses["neighbour"][1]) == 1  # the second object is not seen in the overlap


def test_weights_of_losses():
    logits = head().logits(FEATURES, found(2))
    plain = head(amodal_weights=(1, 1, 1)).photo_losses(logits, Photo, OBJECTS)
    more = head(
        amodal_weights=(2, 3, 5), neighbour_weight=7, uniform_weight=11, region_weight=13
    ).photo_losses(logits, Photo, OBJECTS)  # fmt: skip
    ratio = {name: float(more[name][0] / plain[name][0]) for name in plain}
    assert ratio == pytest.approx(
        {
            "projection_visible": 1, "pairwise_visible": 1, "projection_amodal": 2, "pairwise_amodal": 3,
            "neighbour": 35, "uniform": 55, "region": 13,
        }
    )  # fmt: skip


@pytest.mark.parametrize("detach", [True, False])
def test_whether_the_uniform_loss_moves_the_visible_mask(detach):
    visible, amodal, region = (torch.randn(2, 16, 16).requires_grad_() for _ in range(3))
    head(detach_visible=detach).photo_losses((visible, amodal, region), Photo, OBJECTS)["uniform"][0].backward()
    assert amodal.grad.any()
    assert (visible.grad is None) == detach


def test_fusion_takes_the_whole_mask_in_the_region_only():
    visible, amodal, region = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.2, 0.8, 0.8]), torch.tensor([0.0, 1, 0.5])
    torch.testing.assert_close(blade.fused(visible, amodal, region), torch.tensor([0.9, 0.8, 0.45]))


def test_masks_and_boxes_of_what_is_found():
    yes, no = torch.full((1, 16, 16), 9.0), torch.full((1, 16, 16), -9.0)
    visible, amodal, region = no.clone(), no.clone(), no.clone()
    visible[0, 4:8, 4:8] = 9
    amodal[:], region[0, 4:8, 8:12] = yes, 9
    objects = found(1)
    head().add_masks(objects, (visible, amodal, region), Photo, rescale=True)
    x1, y1, x2, y2 = objects.bboxes[0].tolist()
    assert x1 == pytest.approx(16, abs=3) and x2 == pytest.approx(48, abs=3)
    assert y1 == pytest.approx(16, abs=3) and y2 == pytest.approx(32, abs=3)
    assert objects.masks.shape == objects.visible_masks.shape == (1, 64, 64)
    assert objects.visible_masks.sum() < 0.6 * objects.masks.sum()
    empty = found(1)
    empty.bboxes = torch.tensor([[1.0, 2, 3, 4]])
    head().add_masks(empty, (no, no, no), Photo, rescale=True)
    assert empty.bboxes.tolist() == [[1, 2, 3, 4]] and not empty.masks.any()


def test_tight_boxes():
    masks = torch.zeros(2, 5, 7, dtype=torch.bool)
    masks[0, 1, 2:6] = masks[0, 3, 4] = True
    assert blade.tight_boxes(masks, torch.ones(2, 4)).tolist() == [[2, 1, 6, 4], [1, 1, 1, 1]]
