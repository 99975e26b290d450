"""What MMDetection calls on a GPU only, beside what it does on a CPU; and on a GPU, all we serve beside the CPU."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("mmcv")

from amodalpl.detector import ops

ops.install()
mmcv_ops = pytest.importorskip("mmcv.ops")
attention = pytest.importorskip("mmcv.ops.multi_scale_deform_attn")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
needs_bridge = pytest.mark.skipif(ops.backend() == "mmcv", reason="mmcv's own compiled operations are here")


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@needs_bridge
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted classes"])
@pytest.mark.parametrize("device", DEVICES)
def test_focal_loss_is_that_of_lin_et_al(device, weighted):
    logits, target = draw(40, 5), torch.arange(40) % 6  # class 5 is background
    weight = draw(5, seed=1).abs() if weighted else None
    gamma, alpha = 2.0, 0.25
    x = logits.clone().requires_grad_()
    foreground = torch.nn.functional.one_hot(target, 6)[:, :5].bool()
    p_true = torch.where(foreground, x.sigmoid(), 1 - x.sigmoid())  # their p_t
    share = torch.where(foreground, alpha, 1 - alpha)
    expected = -share * (1 - p_true) ** gamma * p_true.log() * (1 if weight is None else weight)
    expected.sum().backward()

    y = logits.to(device).requires_grad_()
    found = mmcv_ops.sigmoid_focal_loss(
        y, target.to(device), gamma, alpha, None if weight is None else weight.to(device), "none"
    )
    found.sum().backward()
    torch.testing.assert_close(found.detach().cpu(), expected.detach())
    torch.testing.assert_close(y.grad.cpu(), x.grad)


@needs_bridge
@pytest.mark.parametrize("device", DEVICES)
def test_focal_loss_as_mmdetection_computes_it_on_a_cpu(device):
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

    logits, target = draw(30, 4, dtype=torch.float32), torch.arange(30) % 5
    one_hot = torch.nn.functional.one_hot(target, 5)[:, :4]
    expected = py_sigmoid_focal_loss(logits, one_hot, None, reduction="mean") * 4  # theirs also divides by classes
    found = mmcv_ops.sigmoid_focal_loss(logits.to(device), target.to(device), 2.0, 0.25, None, "mean")
    torch.testing.assert_close(found.cpu(), expected)


def attention_inputs(dtype=torch.float64):
    sizes = torch.tensor([[5, 4], [3, 2]])
    starts = torch.tensor([0, 20])
    value = draw(2, 26, 2, 3, dtype=dtype)
    places = draw(2, 7, 2, 2, 4, 2, seed=1, dtype=dtype) * 0.4 + 0.5  # some beyond the border
    weights = draw(2, 7, 2, 2, 4, seed=2, dtype=dtype).flatten(3).softmax(-1).view(2, 7, 2, 2, 4)
    return value, sizes, starts, places, weights


@needs_bridge
@pytest.mark.parametrize("device", DEVICES)
def test_deformable_attention_is_what_mmcv_does_on_a_cpu(device):
    value, sizes, starts, places, weights = attention_inputs()
    own = [x.clone().requires_grad_() for x in (value, places, weights)]
    expected = attention.multi_scale_deformable_attn_pytorch(own[0], sizes, own[1], own[2])
    expected.square().sum().backward()

    given = [x.to(device).requires_grad_() for x in (value, places, weights)]
    found = attention.MultiScaleDeformableAttnFunction.apply(
        given[0], sizes.to(device), starts.to(device), given[1], given[2], 64
    )
    found.square().sum().backward()
    torch.testing.assert_close(found.detach().cpu(), expected.detach())
    for ours, theirs in zip(given, own, strict=True):
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad)


@needs_bridge
def test_gradient_of_deformable_attention_by_differences():
    value, sizes, starts, places, weights = attention_inputs()
    inputs = [x[:1, :3].contiguous().requires_grad_() for x in (places, weights)]
    fixed = value[:1]
    assert torch.autograd.gradcheck(
        lambda p, w: attention.MultiScaleDeformableAttnFunction.apply(fixed, sizes, starts, p, w, 64), inputs, atol=1e-5
    )


@pytest.mark.gpu
def test_the_attention_layer_on_a_gpu_equals_the_cpu():
    torch.manual_seed(0)
    layer = mmcv_ops.MultiScaleDeformableAttention(
        embed_dims=16, num_heads=2, num_levels=2, num_points=4, batch_first=True
    ).eval()  # in training a tenth of what it answers is dropped, another tenth on each device
    query, sizes = draw(1, 7, 16, dtype=torch.float32), torch.tensor([[5, 4], [3, 2]])
    value = draw(1, 26, 16, seed=1, dtype=torch.float32)
    corners = torch.rand(1, 7, 2, 2, generator=torch.Generator().manual_seed(2))
    answers = []
    for device in ("cpu", "cuda"):
        answers.append(
            layer.to(device)(
                query.to(device),
                value=value.to(device),
                reference_points=corners.to(device),
                spatial_shapes=sizes.to(device),
                level_start_index=torch.tensor([0, 20], device=device),
            ).cpu()
        )
    torch.testing.assert_close(answers[1], answers[0], atol=1e-4, rtol=1e-4)


def crowded_boxes(count):
    corner = torch.rand(count, 2, generator=torch.Generator().manual_seed(3)) * 60
    size = 1 + torch.rand(count, 2, generator=torch.Generator().manual_seed(4)) * 30
    scores = torch.randperm(count, generator=torch.Generator().manual_seed(5)) / count  # all different
    return torch.cat([corner, corner + size], dim=1), scores, torch.arange(count) % 3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("split_above", [10_000, 100], ids=["all at once", "class by class"])
def test_class_aware_nms_keeps_what_each_class_keeps(device, split_above):
    boxes, scores, classes = crowded_boxes(300)
    wanted = []
    for number in range(3):
        mine = (classes == number).nonzero()[:, 0]
        wanted += mine[ops.torch_nms(boxes[mine], scores[mine], 0.5)].tolist()
    config = {"type": "nms", "iou_threshold": 0.5, "split_thr": split_above}
    detections, kept = mmcv_ops.batched_nms(boxes.to(device), scores.to(device), classes.to(device), config)
    assert 30 < len(wanted) < 290 and kept.device.type == device
    assert kept.tolist() == sorted(wanted, key=lambda k: -scores[k])
    torch.testing.assert_close(detections[:, 4].cpu(), scores[kept.cpu()])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_roi_align_under_autocast_stays_near_the_cpu(dtype):
    features = draw(2, 8, 40, 40, dtype=torch.float32)
    rois = torch.tensor([[0, 10.3, 20.1, 200.7, 300.2], [1, 0.0, 0.0, 319.0, 319.0], [1, 300.5, 7.0, 318.0, 25.0]])
    expected = mmcv_ops.roi_align(features, rois, (7, 7), 1 / 8, 0, "avg", True)
    with torch.autocast("cuda", dtype):
        found = mmcv_ops.roi_align(features.cuda(), rois.cuda(), (7, 7), 1 / 8, 0, "avg", True)
    torch.testing.assert_close(found.float().cpu(), expected, atol=2e-2, rtol=2e-2)
