"""The op bridge against published values of mmcv's compiled functions, torchvision's, and slow loops of our own."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv")

from amodalpl.detector import ops
from amodalpl.errors import MissingPackageError

ops.install()

# Inputs, outputs and gradients of mmcv's own tests (open-mmlab/mmcv, tests/test_ops/test_roi_align.py, Apache-2.0):
# 2 x 2 cells, 2 x 2 samples each, scale 1, aligned.
PUBLISHED = {
    "one channel": (
        [[[[1.0, 2.0], [3.0, 4.0]]]],
        [0.0, 0.0, 0.0, 1.0, 1.0],
        [[[[1.0, 1.25], [1.5, 1.75]]]],
        [[[[3.0625, 0.4375], [0.4375, 0.0625]]]],
    ),
    "two channels": (
        [[[[1.0, 2.0], [3.0, 4.0]], [[4.0, 3.0], [2.0, 1.0]]]],
        [0.0, 0.0, 0.0, 1.0, 1.0],
        [[[[1.0, 1.25], [1.5, 1.75]], [[4.0, 3.75], [3.5, 3.25]]]],
        [[[[3.0625, 0.4375], [0.4375, 0.0625]], [[3.0625, 0.4375], [0.4375, 0.0625]]]],
    ),
    "4 x 4": (
        [[[[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0], [9.0, 10.0, 13.0, 14.0], [11.0, 12.0, 15.0, 16.0]]]],
        [0.0, 0.0, 0.0, 3.0, 3.0],
        [[[[1.9375, 4.75], [7.5625, 10.375]]]],
        [
            [
                [
                    [0.47265625, 0.42968750, 0.42968750, 0.04296875],
                    [0.42968750, 0.39062500, 0.39062500, 0.03906250],
                    [0.42968750, 0.39062500, 0.39062500, 0.03906250],
                    [0.04296875, 0.03906250, 0.03906250, 0.00390625],
                ]
            ]
        ],
    ),
}


def slow_roi_align(features, rois, size_hw, scale, sampling_ratio, aligned):
    """Follow the definition sample by sample; autograd gives its gradient."""
    _, channels, height, width = features.shape
    shift = 0.5 if aligned else 0.0

    def sample(image, y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return features.new_zeros(channels)
        y, x = max(y, 0.0), max(x, 0.0)
        top, left = min(int(y), height - 1), min(int(x), width - 1)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        down = 0.0 if top == height - 1 else y - top
        across = 0.0 if left == width - 1 else x - left
        return (
            features[image, :, top, left] * ((1 - down) * (1 - across))
            + features[image, :, top, right] * ((1 - down) * across)
            + features[image, :, bottom, left] * (down * (1 - across))
            + features[image, :, bottom, right] * (down * across)
        )

    pooled = []
    for image, *corners in rois.tolist():
        x1, y1, x2, y2 = (c * scale - shift for c in corners)
        w, h = x2 - x1, y2 - y1
        if not aligned:
            w, h = max(w, 1.0), max(h, 1.0)
        cell_h, cell_w = h / size_hw[0], w / size_hw[1]
        rows = sampling_ratio or math.ceil(h / size_hw[0])
        columns = sampling_ratio or math.ceil(w / size_hw[1])
        for i in range(size_hw[0]):
            for j in range(size_hw[1]):
                total = features.new_zeros(channels)
                for m in range(rows):
                    for n in range(columns):
                        y = y1 + i * cell_h + (m + 0.5) * cell_h / rows
                        x = x1 + j * cell_w + (n + 0.5) * cell_w / columns
                        total = total + sample(int(image), y, x)
                pooled.append(total / max(rows * columns, 1))
    return torch.stack(pooled).view(len(rois), *size_hw, channels).permute(0, 3, 1, 2)


def some_rois():
    return torch.tensor(
        [
            [0, 1.3, 2.1, 9.7, 6.2],
            [1, 0.0, 0.0, 22.0, 18.0],  # the whole image: several samples per cell
            [1, -6.0, -4.0, 5.0, 30.0],  # sticks out on three sides
            [0, 7.2, 3.3, 7.9, 3.6],  # less than a pixel
            [1, 5.0, 5.0, 5.0, 9.0],  # no width
            [0, 19.0, 2.0, 40.0, 11.0],  # mostly outside
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda name: name.replace(" ", "-"))
def test_published_values_through_mmcv(case):
    from mmcv.ops import roi_align

    features, roi, pooled, gradient = PUBLISHED[case]
    x = torch.tensor(features, requires_grad=True)
    answer = roi_align(x, torch.tensor([roi]), (2, 2), 1.0, 2, "avg", True)
    answer.backward(torch.ones_like(answer))
    np.testing.assert_allclose(answer.detach().numpy(), pooled, atol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), gradient, atol=1e-6)


def test_adaptive_sampling_by_hand():
    """A 4 x 4 RoI in 1 cell takes ceil(4) samples per axis, at the pixels' centres: the mean of the 16 pixels."""
    ramp = torch.arange(36.0).view(1, 1, 6, 6)
    roi = torch.tensor([[0, 1.0, 1.0, 5.0, 5.0]])
    assert ops.torch_roi_align(ramp, roi, (1, 1), 1.0, 0, True).item() == ramp[0, 0, 1:5, 1:5].mean().item() == 17.5
    # 1.5 wide in 1 cell: 2 columns, at 1.375 and 2.125 (minus half a pixel); 1 high: 1 row, at pixel row 1
    roi = torch.tensor([[0, 1.0, 1.0, 2.5, 2.0]])
    assert ops.torch_roi_align(ramp, roi, (1, 1), 1.0, 0, True).item() == pytest.approx(6 + (0.875 + 1.625) / 2)


@pytest.mark.parametrize("channels", [1, 7], ids=["dense", "gathered"])
@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "old"])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 3])
def test_plain_torch_equals_the_slow_loop(channels, aligned, sampling_ratio):
    draw = torch.Generator().manual_seed(3)
    features = torch.randn(2, channels, 9, 11, generator=draw, dtype=torch.float64, requires_grad=True)
    arguments = (some_rois(), (3, 2), 0.5, sampling_ratio, aligned)
    expected = slow_roi_align(features, *arguments)
    torch.testing.assert_close(ops.torch_roi_align(features.detach(), *arguments), expected.detach())
    upstream = torch.randn(expected.shape, generator=draw, dtype=torch.float64)
    expected.backward(upstream)
    rois, _, *rest = arguments
    found = ops.torch_roi_align_grad(upstream, rois, tuple(features.shape), *rest)
    torch.testing.assert_close(found, features.grad)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_numeric_gradient_through_mmcv(sampling_ratio):
    from mmcv.ops import RoIAlign

    layer = RoIAlign((2, 3), 0.5, sampling_ratio)
    features = torch.randn(2, 5, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, some_rois()), features, eps=1e-5, atol=1e-6)


def test_no_rois_and_half_precision():
    features = torch.randn(1, 8, 5, 5)
    none = torch.zeros(0, 5)
    assert ops.torch_roi_align(features, none, (7, 7), 1.0, 0, True).shape == (0, 8, 7, 7)
    assert not ops.torch_roi_align_grad(torch.zeros(0, 8, 7, 7), none, (1, 8, 5, 5), 1.0, 0, True).any()
    roi = torch.tensor([[0, 0.5, 0.5, 4.5, 3.5]])
    half = ops.torch_roi_align(features.half(), roi.half(), (2, 2), 1.0, 0, True)
    assert half.dtype == torch.float16
    torch.testing.assert_close(
        half.float(), ops.torch_roi_align(features, roi, (2, 2), 1.0, 0, True), atol=3e-3, rtol=0
    )


def test_published_nms_through_mmcv():
    """open-mmlab/mmcv, tests/test_ops/test_nms.py, Apache-2.0."""
    from mmcv.ops import nms

    boxes = np.array([[6, 3, 8, 7], [3, 6, 9, 11], [3, 7, 10, 12], [1, 4, 13, 7]], dtype=np.float32)
    scores = np.array([0.6, 0.9, 0.7, 0.2], dtype=np.float32)
    detections, kept = nms(boxes, scores, iou_threshold=0.3, offset=0)
    assert kept.tolist() == [1, 0, 3]
    np.testing.assert_allclose(detections[:, 4], [0.9, 0.6, 0.2])
    # the example in the docstring of mmcv.ops.nms
    boxes = np.array(
        [
            [49.1, 32.4, 51.0, 35.9],
            [49.3, 32.9, 51.0, 35.3],
            [49.2, 31.8, 51.0, 35.4],
            [35.1, 11.5, 39.1, 15.7],
            [35.6, 11.8, 39.3, 14.2],
            [35.3, 11.5, 39.9, 14.5],
            [35.2, 11.7, 39.7, 15.7],
        ],
        dtype=np.float32,
    )
    _, kept = nms(boxes, np.array([0.9, 0.9, 0.5, 0.5, 0.5, 0.4, 0.3], dtype=np.float32), 0.6)
    assert len(kept) == 3


def slow_nms(boxes, scores, threshold, offset):
    kept = []
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        for other in kept:
            w = min(boxes[index][2], boxes[other][2]) - max(boxes[index][0], boxes[other][0]) + offset
            h = min(boxes[index][3], boxes[other][3]) - max(boxes[index][1], boxes[other][1]) + offset
            shared = max(w, 0) * max(h, 0)
            areas = [(b[2] - b[0] + offset) * (b[3] - b[1] + offset) for b in (boxes[index], boxes[other])]
            if shared > threshold * (sum(areas) - shared):
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_nms_equals_the_slow_loop(offset, threshold):
    draw = torch.Generator().manual_seed(1)
    corner = torch.rand(200, 2, generator=draw) * 20
    boxes = torch.cat([corner, corner + 8 + torch.rand(200, 2, generator=draw) * 12], dim=1)
    scores = torch.rand(200, generator=draw)
    expected = slow_nms(boxes.tolist(), scores.tolist(), threshold, offset)
    assert 5 < len(expected) < 195
    assert ops.torch_nms(boxes, scores, threshold, offset).tolist() == expected
    assert ops.nms(boxes, scores, threshold, offset).tolist() == expected


@pytest.mark.parametrize("suppress", [ops.torch_nms, ops.nms])
def test_boxes_that_overlap_by_just_the_threshold_stay(suppress):
    """One box is half of the other: their IoU is 0.5, exactly so in floating point."""
    halves, scores = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]]), torch.tensor([0.9, 0.8])
    assert suppress(halves, scores, 0.5).tolist() == [0, 1]
    assert suppress(halves, scores, 0.49).tolist() == [0]


def test_nms_of_nothing_of_ties_and_of_empty_boxes():
    assert ops.torch_nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    twice = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [1, 1, 1, 1], [1, 1, 1, 1]])
    assert ops.torch_nms(twice, torch.tensor([0.5, 0.5, 0.4, 0.4]), 0.5).tolist() == [0, 2, 3]


@pytest.mark.skipif(ops.backend() == "mmcv", reason="mmcv's own compiled operations are here")
def test_other_functions_say_what_is_missing():
    from mmcv.ops import roi_align, soft_nms

    with pytest.raises(MissingPackageError, match="compiled function 'softnms'"):
        soft_nms(torch.zeros(1, 4), torch.zeros(1))
    with pytest.raises(MissingPackageError, match="pool_mode='max' needs mmcv's compiled"):
        roi_align(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]), (2, 2), 1.0, 2, "max", True)


def _torchvision_works():
    try:
        import torchvision.ops  # noqa: F401
    except Exception:
        return False
    return True


@pytest.mark.skipif(not _torchvision_works(), reason="torchvision does not import here")
@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "old"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_plain_torch_equals_torchvision(aligned, sampling_ratio, device):
    from torchvision.ops import nms, roi_align

    features = torch.randn(2, 6, 9, 11, device=device, requires_grad=True)
    rois = some_rois().float().to(device)
    expected = roi_align(features, rois, (3, 2), 0.5, sampling_ratio, aligned)
    found = ops.torch_roi_align(features.detach(), rois, (3, 2), 0.5, sampling_ratio, aligned)
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-4)
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    gradient = ops.torch_roi_align_grad(upstream, rois, tuple(features.shape), 0.5, sampling_ratio, aligned)
    torch.testing.assert_close(gradient, features.grad, atol=1e-5, rtol=1e-4)
    corner = torch.rand(300, 2, device=device) * 60
    boxes = torch.cat([corner, corner + 1 + torch.rand(300, 2, device=device) * 30], dim=1)
    scores = torch.rand(300, device=device)
    assert ops.torch_nms(boxes, scores, 0.5).tolist() == nms(boxes, scores, 0.5).tolist()


@pytest.mark.gpu
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_cuda_equals_cpu_through_mmcv(sampling_ratio):
    from mmcv.ops import roi_align

    features = torch.randn(2, 6, 9, 11)
    answers = []
    for device in ("cpu", "cuda"):
        x = features.detach().to(device).requires_grad_()
        pooled = roi_align(x, some_rois().float().to(device), (3, 2), 0.5, sampling_ratio, "avg", True)
        pooled.square().sum().backward()
        answers.append((pooled.detach().cpu(), x.grad.cpu()))
    torch.testing.assert_close(answers[1], answers[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_bfloat16_is_pooled_both_ways(device):
    """MMDetection's own loop hands it over so, and torchvision has no such kernel."""
    from mmcv.ops import roi_align

    features = torch.randn(2, 6, 9, 11, device=device).bfloat16()
    rois, answers = some_rois().bfloat16().to(device), []
    for dtype in (torch.float32, torch.bfloat16):
        x = features.to(dtype).requires_grad_()
        pooled = roi_align(x, rois.to(dtype), (3, 2), 0.5, 0, "avg", True)
        pooled.sum().backward()
        assert pooled.dtype == x.grad.dtype == dtype
        answers.append((pooled.detach().float(), x.grad.float()))
    torch.testing.assert_close(answers[1], answers[0], atol=2e-2, rtol=2e-2)
