"""BoxInst: our head beside MMDetection's, what the preprocessor makes of boxes, and training from boxes alone."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.structures import InstanceData

from amodalpl.data.read import read_annotations
from amodalpl.detector import mmdet_registry as _mmdet_registry  # noqa: F401
from amodalpl.detector import model_table
from amodalpl.detector.data.filled_boxes import filled_boxes
from amodalpl.detector.data.label_notes import LabelNotes
from amodalpl.detector.data.paired_masks import VISIBLE, PairedMasks
from amodalpl.detector.heads.boxinst import surest
from amodalpl.detector.mmdetection import MODELS
from amodalpl.detector.training import build
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError, SettingsError
from amodalpl.evaluation.detector import evaluate_detector
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings import DetectorSettings
from amodalpl.settings_values import resolve

TINY = {
    "backbone": "resnet18_small", "steps": 4, "batch_size": 2, "workers": 0, "optimizer": "adamw",
    "learning_rate": 1e-3, "warmup_steps": 2, "image_scale": [64, 48], "rpn_proposals": 20, "roi_samples": 16,
    "channels": 16, "score_threshold": 0.0, "checkpoint_every": 2,
}  # fmt: skip
HW = (64, 96)


def config(**detector):
    return model_table.model_config(DetectorSettings(model="boxinst", backbone="resnet18_small", **detector), 3, "GN")


def sample(boxes):
    """A photo of noise, padded on the right and below, with filled boxes as labels."""
    from mmdet.structures import DetDataSample

    masks = np.zeros((len(boxes), *HW), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    found = DetDataSample(metainfo={"img_shape": (60, 90), "ori_shape": (60, 90), "scale_factor": (1.0, 1.0)})
    found.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4), labels=torch.zeros(len(boxes), dtype=torch.long)
    )
    found.gt_instances.masks = PairedMasks(masks, *HW, {VISIBLE: masks.copy()})
    found.ignored_instances = found.gt_instances[:0]
    image = torch.randint(0, 256, (3, 60, 90), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return {"inputs": [image], "data_samples": [found]}


@pytest.mark.usefixtures("mmdet_scope")
class TestBesideMmdetection:
    """Where both can do it (as many inner channels as features), with the same numbers."""

    @pytest.fixture
    def both(self):
        ours = config(boxinst={"inner_channels": 16, "warm_up": 0.0})["mask_head"]
        torch.manual_seed(0)
        head = MODELS.build(ours)
        stock = MODELS.build(
            {
                "type": "BoxInstMaskHead", "mask_feature_head": ours["features"], "feat_channels": 16,
                "mask_out_stride": 4, "topk_masks_per_img": 64, "warmup_iters": 1,
                "loss_mask": {"type": "DiceLoss", "use_sigmoid": True, "activate": True, "eps": 5e-6},
            }
        )  # fmt: skip
        stock.mask_feature_head.load_state_dict(head.features.state_dict())
        return head, stock

    def found(self, per_object, parameters=593):
        generator = torch.Generator().manual_seed(1)
        count = 2 * per_object
        return InstanceData(
            param_preds=torch.randn(count, parameters, generator=generator) / 5,
            points=torch.rand(count, 2, generator=generator) * 60,
            strides=torch.full((count,), 8.0),
            scores=torch.randn(count, 3, generator=generator),
            centernesses=torch.randn(count, 1, generator=generator),
            pos_assigned_gt_inds=torch.arange(2).repeat(per_object),
        )

    def test_losses_are_mmdetections(self, both, monkeypatch):
        from mmengine import MessageHub

        head, stock = both
        batch = MODELS.build(config()["data_preprocessor"])(sample([[8, 8, 40, 40], [20, 16, 80, 56]]), training=True)
        truth = batch["data_samples"][0]
        pyramid = tuple(torch.randn(1, 256, 8 // s, 12 // s) for s in (1, 2, 4))
        found = self.found(40)  # more than 64 of them: each object keeps 32
        ours = head.loss(pyramid, batch["data_samples"], [found])

        from mmdet.structures.mask import BitmapMasks

        full = np.zeros((2, *HW), np.uint8)
        full[0, 8:40, 8:40] = full[1, 16:56, 20:80] = 1
        theirs_truth = InstanceData(
            bboxes=truth.gt_instances.bboxes, masks=BitmapMasks(full, *HW),
            pairwise_masks=truth.colour_edges.float().expand(2, -1, -1, -1),
        )  # fmt: skip
        monkeypatch.setattr(MessageHub, "get_info", lambda *_: 1)
        logits = stock.forward(pyramid, [found])[0]
        theirs = stock.loss_by_feat(logits, [theirs_truth], [{}], [found])
        torch.testing.assert_close(ours["loss_mask_projection"], theirs["loss_mask_project"])
        torch.testing.assert_close(ours["loss_mask_pairwise"], theirs["loss_mask_pairwise"])

    def test_masks_are_mmdetections(self, both):
        head, stock = both
        pyramid = tuple(torch.randn(1, 256, 8 // s, 12 // s) for s in (1, 2, 4))
        found = self.found(3)
        torch.testing.assert_close(head.logits(head.features(pyramid)[0], found)[0], stock(pyramid, [found])[0][0])

    def test_filling_boxes_is_taught_at_first_and_less_and_less(self, both, monkeypatch):
        from mmengine import MessageHub

        head, _ = both
        batch = MODELS.build(config()["data_preprocessor"])(sample([[8, 8, 40, 40]]), training=True)
        pyramid = tuple(torch.randn(1, 256, 8 // s, 12 // s) for s in (1, 2, 4))
        found = self.found(3)
        found.pos_assigned_gt_inds[:] = 0
        said = {}
        for steps, step in ((0, 0), (100, 0), (100, 25), (100, 100)):
            head.fill_steps = steps
            monkeypatch.setattr(MessageHub, "get_info", lambda *_, step=step: step)
            said[steps, step] = head.loss(pyramid, batch["data_samples"], [found])
        assert "loss_mask_fill" not in said[0, 0]
        at_first = float(said[100, 0]["loss_mask_fill"])
        assert at_first > 0.1
        assert float(said[100, 25]["loss_mask_fill"]) == pytest.approx(0.75 * at_first)
        assert float(said[100, 100]["loss_mask_fill"]) == 0
        assert float(said[100, 0]["loss_mask_projection"]) == pytest.approx(float(said[0, 0]["loss_mask_projection"]))

    def test_inner_channels_of_another_number(self):
        """With which MMDetection's head fails."""
        head = MODELS.build(config(boxinst={"inner_channels": 8})["mask_head"])
        (logits,) = head.logits(torch.randn(16, 8, 12), self.found(3, parameters=233))
        assert logits.shape == (6, 16, 24)


@pytest.mark.usefixtures("mmdet_scope")
def test_preprocessor_makes_boxes_of_filled_masks_and_edges_of_colours():
    batch = MODELS.build(config()["data_preprocessor"])(sample([[8, 8, 40, 40]]), training=True)
    (photo,) = batch["data_samples"]
    assert batch["inputs"].shape == (1, 3, *HW)
    assert photo.colour_edges.shape == (8, 16, 24)
    assert not photo.colour_edges[4, :, 21].any()  # beyond 90 pixels is padding
    for boxes in (photo.gt_instances.bboxes, photo.gt_instances.whole_boxes, photo.gt_instances.visible_boxes):
        assert boxes.tolist() == [[8, 8, 40, 40]]
    assert "masks" not in photo.gt_instances


def test_defaults_are_mmdetections_boxinst_r50_fpn():
    """Apart from the inner channels, which MMDetection's mask head cannot have, its names, and where boxes start."""
    import inspect
    from pathlib import Path

    import mmdet
    from mmdet.models.dense_heads import FCOSHead
    from mmengine.config import Config

    theirs = Config.fromfile(Path(mmdet.__file__).parent / ".mim/configs/boxinst/boxinst_r50_fpn_ms-90k_coco.py").model
    ours = Config({"model": model_table.model_config(DetectorSettings(model="boxinst"), 80, "BN")}).model
    theirs.backbone.init_cfg = None
    assert (theirs.bbox_head.num_params, ours.bbox_head.pop("num_params")) == (593, 233)
    theirs.bbox_head.num_params = None
    assert ours.bbox_head.pop("norm_cfg") == {"type": "GN", "num_groups": 32}  # FCOSHead's own default
    start = ours.bbox_head.pop("init_cfg")
    classes, sides = start.override
    assert {**start, "override": classes} == inspect.signature(FCOSHead).parameters["init_cfg"].default
    assert sides == {"type": "Normal", "name": "conv_reg", "std": 0.01, "bias": 1.0}
    for part in ("type", "backbone", "neck", "test_cfg"):
        assert ours[part] == theirs[part], part
    assert {**ours.bbox_head, "num_params": None} == theirs.bbox_head
    assert ours.mask_head.features == theirs.mask_head.mask_feature_head
    told = theirs.data_preprocessor
    for key in ("mean", "std", "bgr_to_rgb", "pad_size_divisor"):
        assert ours.data_preprocessor[key] == told[key]
    assert ours.data_preprocessor.stride == told.mask_stride
    assert ours.data_preprocessor.distance == ours.mask_head.distance == told.pairwise_dilation
    assert ours.data_preprocessor.threshold == told.pairwise_color_thresh
    assert (ours.mask_head.warm_up_steps, ours.mask_head.fill_steps, ours.mask_head.masks_per_photo) == (
        10_000,
        0,
        theirs.mask_head.topk_masks_per_img,
    )


@pytest.mark.usefixtures("mmdet_scope")
@pytest.mark.parametrize("seed", range(4))
def test_no_side_of_a_box_starts_where_it_has_no_gradient(seed):
    """FCOS cuts distances at 0; around 0, as theirs start, random weights can hold a side there at all locations."""
    head = build(config(channels=32)["bbox_head"], seed)
    photo = torch.rand(1, 32, 1, 1, generator=torch.Generator().manual_seed(seed))  # features of one tone
    pyramid = [photo.expand(1, 32, size, size) for size in (16, 8, 4, 2, 1)]
    sides = torch.cat([level.flatten(2) for level in head(pyramid)[1]], dim=2)
    assert sides.shape[1] == 4 and sides.min() > 0.5
    sides.sum().backward()
    assert (head.conv_reg.bias.grad > 0).all()


def test_each_object_keeps_its_surest_places():
    found = InstanceData(
        scores=torch.tensor([[0.0], [2.0], [1.0], [5.0]]),
        centernesses=torch.zeros(4, 1),
        pos_assigned_gt_inds=torch.tensor([0, 0, 0, 1]),
    )
    assert surest(found, 4).scores.flatten().tolist() == [2, 1, 5]
    assert surest(found, 1).scores.flatten().tolist() == [2, 5]
    assert len(surest(found[:0], 4)) == 0


@pytest.mark.usefixtures("mmdet_scope")
@pytest.mark.parametrize("count", [0, 1, 19])
def test_masks_come_into_the_photo_a_few_at_a_time_and_are_the_same(count, monkeypatch):
    from mmdet.structures import DetDataSample

    head = MODELS.build(config()).mask_head
    probability = torch.rand((count, 15, 23), generator=torch.Generator().manual_seed(0))
    photo = DetDataSample(metainfo={"img_shape": (60, 90), "ori_shape": (110, 160)})
    whole, at_once = head.in_photo(probability, photo, True) > head.test_cfg["mask_thr"], []
    monkeypatch.setattr(
        head, "in_photo", lambda part, *of: at_once.append(len(part)) or type(head).in_photo(head, part, *of)
    )
    masks = head.masks_in_photo(probability, photo, True)
    assert masks.dtype == torch.bool and masks.shape == (count, 110, 160) and torch.equal(masks, whole)
    assert sum(at_once) == count and max(at_once) < 10


@pytest.mark.usefixtures("mmdet_scope")
def test_a_photo_without_objects_has_losses_with_gradients_of_0():
    torch.manual_seed(0)
    settings = DetectorSettings(model="boxinst", backbone="resnet18_small", channels=16)
    model = MODELS.build(model_table.model_config(settings, 3, "GN"))
    batch = model.data_preprocessor(sample([]), training=True)
    losses = model.loss(**{"batch_inputs": batch["inputs"], "batch_data_samples": batch["data_samples"]})
    assert float(losses["loss_mask_projection"]) == float(losses["loss_mask_pairwise"]) == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.mask_head.parameters())


def boxes_only(scenes, path):
    """Write the truth of drawn scenes as boxes without masks."""
    content = json.loads(scenes.truth.read_text())
    both = {i.id: i for i in filled_boxes(read_annotations(scenes.truth), "masks").instances}
    from amodalpl.masks import rle

    content["annotations"] = [
        {
            **{key: entry[key] for key in ("id", "image_id", "category_id")},
            "bbox": list(rle.box_xywh(both[entry["id"]].modal)),
            "amodal_bbox": list(rle.box_xywh(both[entry["id"]].amodal)),
        }
        for entry in content["annotations"]
    ]
    path.write_text(json.dumps(content))
    return path


def test_boxes_of_masks_and_stated_boxes_train_the_same(tmp_path):
    scenes = write_scenes(tmp_path / "a", 4, seed=0, size_hw=(96, 128))
    held = write_scenes(tmp_path / "b", 2, seed=1, size_hw=(96, 128))
    file = boxes_only(scenes, tmp_path / "boxes.json")
    curves = []
    for labels, boxes_of in ((scenes.truth, "masks"), (file, "file")):
        out = tmp_path / boxes_of
        settings = resolve({"detector": {**TINY, "model": "boxinst", "boxes_of": boxes_of}})
        summary = train_detector(
            labels, scenes.images, out, settings, val=held.truth, val_images=held.images, init="none", device="cpu"
        )
        curves.append(json.loads((out / "metrics.json").read_text())["curve"])
        assert set(summary.scores) == {"COCO AP amodal (segm)", "COCO AP amodal (bbox)"}
    assert curves[0] == curves[1]
    assert all(np.isfinite(list(point.values())).all() for point in curves[0])


def test_of_boxes_alone_a_part_is_held_back_and_boxes_are_scored(tmp_path):
    scenes = write_scenes(tmp_path / "a", 6, seed=0, size_hw=(96, 128))
    file = boxes_only(scenes, tmp_path / "boxes.json")
    content = json.loads(file.read_text())
    for entry in content["annotations"]:
        del entry["amodal_bbox"]
    file.write_text(json.dumps(content))
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    (tmp_path / "rectangles.json").write_text(json.dumps(content))
    scores = []
    for labels, boxes_of in ((file, "file"), (tmp_path / "rectangles.json", "masks")):
        out = tmp_path / boxes_of
        settings = resolve({"detector": {**TINY, "model": "boxinst", "boxes_of": boxes_of}})
        summary = train_detector(labels, scenes.images, out, settings, init="none", device="cpu")
        assert list(summary.scores) == ["COCO AP amodal (bbox, held-back labels)"]
        assert summary.then.startswith(f"amodalpl pseudolabel {labels} {scenes.images} --detector {out} --out ")
        page = (out / "report.html").read_text()
        assert "AP of boxes" in page and "AP of masks" not in page and "how true the masks are is not known" in page
        assert evaluate_detector(out, device="cpu").scores == summary.scores
        scores.append(summary.scores)
    assert scores[0] == scores[1]


def test_blade_learns_from_visible_boxes_and_earlier_labels(tmp_path):
    scenes = write_scenes(tmp_path / "a", 4, seed=0, size_hw=(96, 128))
    file = boxes_only(scenes, tmp_path / "boxes.json")
    content = json.loads(file.read_text())
    for entry in content["annotations"]:
        del entry["amodal_bbox"]
    file.write_text(json.dumps(content))
    settings = resolve({"detector": {**TINY, "model": "blade", "boxes_of": "file"}})
    given = {"images": scenes.images, "settings": settings, "init": "none", "device": "cpu"}
    with pytest.raises(DataError, match="expected visible boxes beside the whole ones to learn from, got none"):
        train_detector(file, out=tmp_path / "out", **given)
    train_detector(file, out=tmp_path / "out", whole_boxes=scenes.truth, **given)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["arguments"]["whole_boxes"] == str(scenes.truth.resolve()) and "whole boxes" in record["inputs"]
    whole = {a["id"]: a["bbox"] for a in json.loads(scenes.truth.read_text())["annotations"]}
    learnt = json.loads((tmp_path / "out" / "train.json").read_text())["annotations"]
    assert learnt and all(entry["bbox"] == whole[entry["id"]] for entry in learnt)
    of_masks = resolve({"detector": {**TINY, "model": "mask-rcnn"}})
    with pytest.raises(SettingsError, match="--whole-boxes: expected a model that learns from boxes, got .*mask-rcnn"):
        train_detector(scenes.truth, out=tmp_path / "b", whole_boxes=scenes.truth, **{**given, "settings": of_masks})


def test_a_part_of_the_masks_is_still_scored_as_masks(tmp_path):
    scenes = write_scenes(tmp_path / "a", 4, seed=0, size_hw=(96, 128))
    settings = resolve({"detector": {**TINY, "model": "boxinst"}})
    summary = train_detector(scenes.truth, scenes.images, tmp_path / "out", settings, init="none", device="cpu")
    assert "COCO AP amodal (segm, held-back labels)" in summary.scores


def test_trust_in_masks_is_refused():
    labels = filled_boxes(read_annotations_of_nothing(), "masks")
    settings = DetectorSettings(model="boxinst", trust={"labels": 0.5})
    with pytest.raises(SettingsError, match="detector.trust: expected it to be off, .* detector.model=boxinst"):
        model_table.require_needs(settings, labels, LabelNotes())


def read_annotations_of_nothing():
    from amodalpl.data.records import AnnotationSet

    return AnnotationSet([], [], [])
