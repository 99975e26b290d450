"""`train-detector --mmdet-config`, and what follows it, with models of MMDetection that are not ours."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from amodalpl.api import detect_image, load_detector
from amodalpl.detector import training
from amodalpl.detector.mmdetection import CONFIGS
from amodalpl.detector.rehearsal import rehearse
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import CheckpointError, DataError, MissingPackageError, OutputError, SettingsError
from amodalpl.evaluation.detector import evaluate_detector
from amodalpl.pipeline.predict import predict
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings_values import resolve

if not CONFIGS.is_dir():
    pytest.skip("MMDetection is installed without its configs", allow_module_level=True)

TINY = {
    "steps": 1, "batch_size": 2, "workers": 0, "optimizer": "config", "warmup_steps": 1, "image_scale": [64, 48],
    "score_threshold": 0.0,
}  # fmt: skip
MODELS = {
    "RTMDet": "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py",
    "CascadeRCNN": "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
    "MaskScoringRCNN": "ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py",
    "SOLOv2": "solov2/solov2-light_r18_fpn_ms-3x_coco.py",
    "CondInst": "condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py",
    "QueryInst": "queryinst/queryinst_r50_fpn_1x_coco.py",
    "PointRend": "point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py",
    "Mask2Former": "mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
    "YOLACT": "yolact/yolact_r50_1xb8-55e_coco.py",
}
SLOW = [name if name == "RTMDet" else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 4, seed=0, size_hw=(96, 128))


def train(scenes, out, config, *, init="none", **detector):
    settings = resolve({"detector": {**TINY, **detector}})
    return train_detector(scenes.truth, scenes.images, out, settings, init=init, mmdet_config=config, device="cpu")


@pytest.fixture(scope="module", params=SLOW)
def trained(request, scenes, tmp_path_factory):
    return train(scenes, tmp_path_factory.mktemp(request.param) / "out", MODELS[request.param])


def test_it_is_trained_scored_and_written(trained):
    assert trained.counts["model"] in MODELS and trained.counts["classes"] == 4
    record = json.loads((trained.out / "run.json").read_text())
    assert record["settings"]["detector"]["model"] == "mmdet-config" and len(record["inputs"]["mmdet config"]) == 64
    losses = [point["loss"] for point in json.loads((trained.out / "metrics.json").read_text())["curve"]]
    assert losses and all(np.isfinite(losses))
    again = evaluate_detector(trained.out, device="cpu")
    assert again.scores == trained.scores


def test_it_predicts(trained, scenes, tmp_path):
    detector = load_detector(trained.out, device="cpu")
    found = detect_image(detector, scenes.images / "scene_0001.png", score_threshold=0.0)
    assert found.amodal.shape[1:] == (96, 128) and found.amodal.dtype == bool
    done = predict(
        scenes.images / "scene_0002.png",
        trained.out,
        tmp_path / "out",
        resolve({"predict": {"score_threshold": 0.0}}),
        device="cpu",
    )
    assert done.counts["photos"] == 1
    for entry in json.loads((tmp_path / "out/detections.json").read_text()):
        assert entry["bbox"][2] >= 0 and sum(entry["bbox"]) > 0


def test_a_folder_starts_another_and_the_same_command_goes_on(trained, scenes, tmp_path):
    config = MODELS[trained.counts["model"]]
    if trained.counts["model"] != "RTMDet":
        return  # the same for all, and minutes for some
    assert train(scenes, trained.out, config).counts == trained.counts
    again = train(scenes, tmp_path / "again", config, init=str(trained.out))
    assert again.counts["start"].startswith("detector, ") and "anew" not in again.counts["start"]
    with pytest.raises(OutputError, match="belongs to another run"):
        train(scenes, trained.out, "yolact/yolact_r101_1xb8-55e_coco.py")


def test_a_folder_whose_config_was_changed_is_refused(trained):
    path = trained.out / "mmdet_config.py"
    text = path.read_text()
    try:
        path.write_text(f"import os\n{text}")
        with pytest.raises(OutputError, match="could not read it as plain values"):
            load_detector(trained.out, device="cpu")
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    ("config", "more", "error", "message"),
    [
        (MODELS["RTMDet"], {"init": None}, CheckpointError, "expected --init FILE, DIR or none"),
        (MODELS["RTMDet"], {"model": "orcnn"}, SettingsError, "expected it without --model, got detector.model=orcnn"),
        (MODELS["RTMDet"], {"trust": {"pixels": 0.5}}, SettingsError, "detector.trust: expected it to be off"),
        (None, {}, SettingsError, "detector.optimizer=config: expected --mmdet-config FILE"),
        (None, {"model": "mmdet-config"}, SettingsError, "detector.model=mmdet-config: expected --mmdet-config FILE"),
        ("rtmdet/none.py", {}, DataError, "--mmdet-config 'rtmdet/none.py': expected a file"),
        ("rtmdet/rtmdet_tiny_8xb32-300e_coco.py", {}, DataError, "model RTMDet: expected one that predicts masks"),
        (
            "htc/htc_r50_fpn_1x_coco.py", {}, DataError,
            "model HybridTaskCascade: expected a loss on a drawn photo with masks, MMDetection failed .AttributeError",
        ),
        ("dcn/mask-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py", {}, MissingPackageError, "model MaskRCNN: .*'deform_conv"),
        (
            "convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py", {}, DataError,
            "convnext.*could not read it .*mmpretrain",
        ),
    ],
    ids=[
        "no start", "two models", "trust", "no config", "model of no config", "no file", "no masks", "semantic maps",
        "missing operation", "other package",
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_before_it_is(scenes, tmp_path, config, more, error, message):
    with pytest.raises(error, match=message) as refused:
        train(scenes, tmp_path / "out", config, **more)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out/weights.pth").exists() and not (tmp_path / "out/run.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = dict(backbone=dict(_delete_=True, type='NoNet'))", "model RTMDet: expected parts that .*'NoNet'$"),
        ("optim_wrapper = dict(optimizer=dict(_delete_=True, type='NoStep', lr=1))", "got 'NoStep' .*optimizer=adamw"),
        ("optim_wrapper = dict(optimizer=dict(lr=-1.0))", "can build, got 'AdamW' .Invalid learning rate: -"),
        ("optim_wrapper = dict(optimizer=dict(lr=None))", "with optim_wrapper.optimizer.lr, got one without"),
        ("auto_scale_lr = 3\noptim_wrapper = 3", "with optim_wrapper.optimizer.lr, got one without"),
    ],
    ids=["unknown part", "unknown optimiser", "wrong rate", "no rate", "no optimiser"],
)  # fmt: skip
def test_what_a_config_brings_and_nobody_knows_is_one_line(scenes, tmp_path, text, message):
    config = tmp_path / "mine.py"
    config.write_text(f"_base_ = 'mmdet::{MODELS['RTMDet']}'\n{text}\n")
    with pytest.raises((DataError, SettingsError), match=message) as refused:
        train(scenes, tmp_path / "out", str(config))
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_a_rehearsal_leaves_the_network_and_chance_alone():
    from amodalpl.detector import stock_config

    config = stock_config.with_classes(stock_config.read_stock_model(MODELS["RTMDet"]).model, 3)
    model = training.build(config, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    rehearse(model, "here", 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        next(model.backbone.parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match="here: model RTMDet: expected a (prediction|loss|gradient)"):
        rehearse(model, "here", 3)


def test_masks_of_boxes_outside_of_the_photo_are_empty():
    """MMDetection's own function fails on a CPU."""
    from mmdet.models.roi_heads.mask_heads import fcn_mask_head

    boxes = torch.tensor([[200.0, 10, 240, 40]])
    pasted, _ = fcn_mask_head._do_paste_mask(torch.ones(1, 1, 28, 28), boxes, 60, 80, skip_empty=True)
    assert pasted.shape == (1, 60, 80) and not pasted.any()
