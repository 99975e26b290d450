"""Whole masks, visible parts and doubt stay together, whatever stock transforms do to them."""

import base64

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from amodalpl.detector import mmdet_registry as _mmdet_registry  # noqa: F401
from amodalpl.detector.data.paired_masks import DOUBT, VISIBLE, PairedMasks
from amodalpl.detector.mmdetection import MODELS, TRANSFORMS, BitmapMasks
from amodalpl.errors import DataError
from amodalpl.masks import rle

pytestmark = pytest.mark.usefixtures("mmdet_scope")

PIXELS = (48, 64)


def paired(rng, count=3, size_hw=PIXELS):
    whole = (rng.random((count, *size_hw)) < 0.5).astype(np.uint8)
    visible = whole & (rng.random(whole.shape) < 0.5)
    doubt = rng.integers(0, 256, whole.shape, dtype=np.uint8)
    return PairedMasks(whole, *size_hw, {VISIBLE: visible, DOUBT: doubt})


def require_together(masks):
    assert type(masks) is PairedMasks and set(masks.companions) == {VISIBLE, DOUBT}
    for maps in masks.companions.values():
        assert maps.masks.shape == masks.masks.shape
        assert (maps.height, maps.width, len(maps)) == (masks.height, masks.width, len(masks))
    assert (masks.companions[VISIBLE].masks <= masks.masks).all()


OPERATIONS = {
    "index": lambda m: m[np.array([2, 0])],
    "choose": lambda m: m[np.array([True, False, True])],
    "none": lambda m: m[np.zeros(3, dtype=bool)],
    "rescale": lambda m: m.rescale((100, 90)),
    "resize": lambda m: m.resize((31, 17)),
    "flip": lambda m: m.flip("diagonal"),
    "pad": lambda m: m.pad((80, 96)),
    "crop": lambda m: m.crop(np.array([3, 5, 40, 33])),
    "crop and resize": lambda m: m.crop_and_resize(np.array([[1.5, 2, 40, 33]], np.float32), (28, 28), np.array([1])),
    "expand": lambda m: m.expand(100, 120, 7, 9),
    "translate": lambda m: m.translate(PIXELS, 5.5, "vertical"),
    "shear": lambda m: m.shear(PIXELS, 0.2),
    "rotate": lambda m: m.rotate(PIXELS, 17.0),
    "cat": lambda m: PairedMasks.cat([m, m.flip()]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_does_to_companions_what_mmdetection_does_to_one_mask(name):
    masks = paired(np.random.default_rng(0))
    done = OPERATIONS[name](masks)
    require_together(done)
    if name == "cat":
        return
    for key, maps in {"whole": masks, **masks.companions}.items():
        alone = OPERATIONS[name](BitmapMasks(maps.masks, *PIXELS)).masks
        np.testing.assert_array_equal(alone, (done if key == "whole" else done.companions[key]).masks)


def test_joining_needs_the_same_companions():
    masks = paired(np.random.default_rng(0))
    with pytest.raises(DataError, match=r"same companions for all, got \[\['doubt', 'visible'\], \['visible'\]\]"):
        PairedMasks.cat([masks, PairedMasks(masks.masks, *PIXELS, {VISIBLE: masks.companions[VISIBLE]})])


def test_a_companion_of_another_shape():
    with pytest.raises(DataError, match=r"visible: expected maps of shape \(1, 2, 3\) .* got \(2, 2, 3\)"):
        PairedMasks(np.zeros((1, 2, 3), np.uint8), 2, 3, {VISIBLE: np.zeros((2, 2, 3), np.uint8)})


def entry(rng):
    """Return what a data set hands to a pipeline: each object is a bar of its own grey value, from top to bottom."""
    height, width = (int(v) for v in rng.integers(24, 90, 2))
    count = int(rng.integers(1, 5))
    instances = []
    image = np.zeros((height, width, 3), np.uint8)
    for index in range(count):
        whole = np.zeros((height, width), bool)
        top, left = int(rng.integers(0, height - 12)), int(rng.integers(0, width - 12))
        whole[top : top + int(rng.integers(8, height)), left : left + int(rng.integers(8, width))] = True
        visible = whole & (rng.random(whole.shape) < rng.random())
        image[whole] = 40 * (index + 1)
        ys, xs = np.nonzero(whole)
        png = cv2.imencode(".png", np.full((4, 4), 50 * (index + 1), np.uint8))[1]
        x, y, w, h = int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1
        instances.append(
            {
                "bbox": [x, y, x + w, y + h], "bbox_label": index, "ignore_flag": 0,
                "mask": rle.to_json(rle.encode(whole)), "visible_mask": rle.to_json(rle.encode(visible)),
                "doubt": {"box": [x, y, w, h], "png": base64.b64encode(png.tobytes()).decode()},
            }
        )  # fmt: skip
    return {
        "img": image, "img_shape": image.shape[:2], "ori_shape": image.shape[:2], "height": height, "width": width,
        "img_path": "x.png", "img_id": 1, "instances": instances,
    }  # fmt: skip


def random_pipeline(rng):
    def scale():
        return tuple(int(v) for v in rng.integers(20, 120, 2))

    stock = [
        lambda: {"type": "Resize", "scale": scale(), "keep_ratio": bool(rng.random() < 0.7)},
        lambda: {"type": "RandomResize", "scale": [scale(), scale()], "keep_ratio": True},
        lambda: {"type": "RandomChoiceResize", "scales": [scale(), scale()], "keep_ratio": True},
        lambda: {"type": "RandomFlip", "prob": 0.7, "direction": ["horizontal", "vertical", "diagonal"]},
        lambda: {"type": "RandomCrop", "crop_size": (20, 20), "recompute_bbox": bool(rng.random() < 0.5)},
        lambda: {"type": "RandomCrop", "crop_size": (0.6, 0.7), "crop_type": "relative_range"},
        lambda: {"type": "MinIoURandomCrop", "min_crop_size": 0.5},
        lambda: {"type": "Expand", "ratio_range": (1, 2)},
        lambda: {"type": "Pad", "size_divisor": 32},
        lambda: {"type": "Rotate", "prob": 0.8, "level": 6},
        lambda: {"type": "ShearX", "prob": 0.8, "level": 6},
        lambda: {"type": "ShearY", "prob": 0.8, "level": 6},
        lambda: {"type": "TranslateX", "prob": 0.8, "level": 5},
        lambda: {"type": "TranslateY", "prob": 0.8, "level": 5},
        lambda: {"type": "FilterAnnotations", "min_gt_bbox_wh": (2, 2), "by_mask": bool(rng.random() < 0.5)},
        lambda: {"type": "PhotoMetricDistortion"},
    ]
    chosen = [stock[i]() for i in rng.permutation(len(stock))[: rng.integers(1, 7)]]
    return [{"type": "LoadPairedMasks", "with_bbox": True, "with_mask": True}, *chosen, {"type": "PackDetInputs"}]


def through_pipelines(count, seed):
    """Run random stock pipelines; return how many kept an object."""
    kept = 0
    with DefaultScope.overwrite_default_scope("mmdet"):
        preprocess = MODELS.build({"type": "DetDataPreprocessor", "pad_mask": True, "pad_size_divisor": 32})
        for index in range(count):
            rng = np.random.default_rng([seed, index])
            np.random.seed(index)
            results = entry(rng)
            for transform in random_pipeline(rng):
                results = TRANSFORMS.build(transform)(results)
                if results is None:  # a crop without an object: MMDetection draws another photo
                    break
            if results is None:
                continue
            batch = preprocess({"inputs": [results["inputs"]], "data_samples": [results["data_samples"]]}, True)
            found = batch["data_samples"][0].gt_instances
            masks = found.masks
            require_together(masks)
            assert len(masks) == len(found.labels) and masks.masks.shape[1:] == batch["inputs"].shape[2:]
            for label, doubt in zip(found.labels.tolist(), masks.companions[DOUBT].masks, strict=True):
                assert doubt.max(initial=0) <= 50 * (label + 1)  # its own map, blurred at most
            kept += len(masks) > 0
    return kept


def test_random_stock_pipelines_keep_masks_together():
    assert through_pipelines(300, seed=0) > 200


@pytest.mark.slow
def test_ten_thousand_random_stock_pipelines():
    assert through_pipelines(10_000, seed=1) > 7000


def test_indexing_by_instances():
    masks = paired(np.random.default_rng(0))
    data = InstanceData(masks=masks, labels=torch.arange(3))
    chosen = data[torch.tensor([True, False, True])]
    require_together(chosen.masks)
    np.testing.assert_array_equal(chosen.masks.companions[DOUBT].masks, masks.companions[DOUBT].masks[[0, 2]])


def test_what_is_not_said_of_a_label():
    """Without a visible mask all of it is visible, without a map all of it is sure."""
    results = entry(np.random.default_rng(0))
    for instance in results["instances"]:
        del instance["visible_mask"], instance["doubt"]
    masks = TRANSFORMS.build({"type": "LoadPairedMasks", "with_bbox": True, "with_mask": True})(results)["gt_masks"]
    np.testing.assert_array_equal(masks.companions[VISIBLE].masks, masks.masks)
    assert not masks.companions[DOUBT].masks.any() and masks.masks.any()


def test_a_visible_mask_is_cut_to_the_whole_one():
    results = entry(np.random.default_rng(0))
    results["instances"][0]["visible_mask"] = rle.to_json(rle.encode(np.ones(results["ori_shape"], bool)))
    masks = TRANSFORMS.build({"type": "LoadPairedMasks", "with_bbox": True, "with_mask": True})(results)["gt_masks"]
    np.testing.assert_array_equal(masks.companions[VISIBLE].masks[0], masks.masks[0])
