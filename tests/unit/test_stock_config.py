"""Configs of MMDetection made ours: classes, start weights, what is refused, and what is written and read again."""

from pathlib import Path

import pytest

pytest.importorskip("mmdet")

from amodalpl.detector import stock_config
from amodalpl.detector.mmdetection import CONFIGS
from amodalpl.errors import DataError, OutputError

if not CONFIGS.is_dir():
    pytest.skip("MMDetection is installed without its configs", allow_module_level=True)

RTMDET = "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py"
MASK2FORMER = "mask2former/mask2former_r50_8xb2-lsj-50e_coco.py"


def write(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_name_of_the_package_and_a_file_are_found(tmp_path):
    assert stock_config.find_config(RTMDET) == stock_config.find_config(f"mmdet::{RTMDET}") == CONFIGS / RTMDET
    mine = write(tmp_path, "model = dict(type='A')")
    assert stock_config.find_config(mine) == Path(mine)


def test_a_name_that_is_nearly_right_is_told():
    with pytest.raises(DataError, match=f"rtmdet-ins_tiny_coco.py.*found neither; did you mean {RTMDET}[?]"):
        stock_config.find_config("rtmdet/rtmdet-ins_tiny_coco.py")


def test_a_base_of_the_package_is_found_and_another_is_one_line(tmp_path):
    mine = write(tmp_path, f"_base_ = 'mmdet::{RTMDET}'\nmodel = dict(neck=dict(num_csp_blocks=2))")
    read = stock_config.read_stock_model(mine)
    assert read.model["type"] == "RTMDet" and read.model["neck"]["num_csp_blocks"] == 2
    other = write(tmp_path, "_base_ = '../_base_/nothing.py'")
    with pytest.raises(DataError, match=r"mine.py: expected a config .*nothing.py.*_base_ = 'mmdet::NAME'"):
        stock_config.read_stock_model(other)


def test_start_weights_are_named_and_left_out():
    read = stock_config.read_stock_model(RTMDET)
    assert len(read.start_weights) == 1 and read.start_weights[0].startswith("https://")
    assert "https://" not in repr(read.model) and "init_cfg" not in read.model["backbone"]
    assert stock_config.read_stock_model(MASK2FORMER).start_weights == ("torchvision://resnet50",)


def test_classes_go_in_wherever_they_occur():
    model = stock_config.with_classes(stock_config.read_stock_model(MASK2FORMER).model, 3)
    head = model["panoptic_head"]
    assert head["num_things_classes"] == 3 and head["num_stuff_classes"] == 0
    assert head["loss_cls"]["class_weight"] == [1.0, 1.0, 1.0, 0.1]
    assert model["panoptic_fusion_head"]["num_things_classes"] == 3
    cascade = stock_config.read_stock_model("cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py").model
    heads = stock_config.with_classes(cascade, 3)["roi_head"]
    assert [head["num_classes"] for head in heads["bbox_head"]] == [3, 3, 3]
    assert heads["mask_head"]["num_classes"] == 3


def test_weights_of_classes_that_differ_are_refused():
    model = {"type": "A", "head": {"num_classes": 2, "loss": {"class_weight": [1.0, 2.0, 0.1]}}}
    with pytest.raises(DataError, match="model A: class_weight: expected one weight for all classes, got 2"):
        stock_config.with_classes(model, 3)


def test_photos_keep_the_size_that_settings_give():
    model = stock_config.read_stock_model(MASK2FORMER).model
    assert model["data_preprocessor"]["pad_size_divisor"] == 32 and model["data_preprocessor"]["pad_mask"]
    assert "batch_augments" not in model["data_preprocessor"]


def test_the_rate_grows_with_the_batch():
    read = stock_config.read_stock_model(MASK2FORMER)
    assert read.base_batch == 16 and read.optimizer["optimizer"]["lr"] == 1e-4
    scaled = read.optimizer_for(4)
    assert scaled["optimizer"]["lr"] == pytest.approx(2.5e-5)
    assert scaled["paramwise_cfg"] == read.optimizer["paramwise_cfg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = 1 +", "expected a config of MMDetection, could not read it"),
        ("x = 1", "with a `model`, found none"),
        ("import sys\nsys.exit(3)", "could not read it .3"),
        (
            "model = dict(type='A', num_classes=2, data_preprocessor=5)",
            "model.data_preprocessor: expected a dict, got int",
        ),
        ("model = dict(type='A')", "model A: expected num_classes somewhere in it, found none"),
        ("_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py'", "53 classes of stuff"),
        ("model = dict(type='A', num_classes=2, f=float('inf'))", "expected plain values, got .*inf"),
        ("model = dict(type='A', num_classes=2, f=open)", "could not read it|plain values"),
    ],
    ids=["no Python", "no model", "an end", "preprocessor", "no classes", "panoptic", "infinity", "a function"],
)
def test_configs_that_cannot_be_ours_are_one_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as refused:
        stock_config.read_stock_model(write(tmp_path, text))
    assert "mine.py" in str(refused.value) and "\n" not in str(refused.value)


def test_every_config_of_objects_is_plain_values():
    """Some of each kind; all of them would take minutes."""
    for name in (RTMDET, "solov2/solov2_r50_fpn_1x_coco.py", "queryinst/queryinst_r50_fpn_1x_coco.py"):
        read = stock_config.read_stock_model(name)
        assert read.identity == stock_config.read_stock_model(name).identity


def test_a_written_config_is_read_and_not_run(tmp_path):
    path = tmp_path / "mmdet_config.py"
    path.write_text("# comment\nmodel = {'type': 'RTMDet', 'scale': (1, 2)}\n")
    assert stock_config.read_written_config(path) == {"model": {"type": "RTMDet", "scale": (1, 2)}}
    for text in (
        "model = __import__('os').system('true')",
        "import os\nmodel = {}",
        "other = {}",
        "model = {'type': 'os.system'}",
        "model = {'type': 'RTMDet', 'backbone': {'type': ('a', 'b')}}",
    ):
        path.write_text(text)
        with pytest.raises(OutputError, match="mmdet_config.py: .*train again"):
            stock_config.read_written_config(path)
    with pytest.raises(OutputError, match="FileNotFoundError"):
        stock_config.read_written_config(tmp_path / "none.py")


def test_nothing_is_frozen_in_a_backbone_of_random_weights():
    model = stock_config.read_stock_model("cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py").model
    assert model["backbone"]["frozen_stages"] == 1 and model["backbone"]["norm_eval"] is True
    free = stock_config.started_anew(model)
    assert free["backbone"] == {**model["backbone"], "frozen_stages": -1, "norm_eval": False}
    assert stock_config.started_anew({"type": "A"}) == {"type": "A"}


def test_scores_are_cut_where_settings_say():
    model = {"test_cfg": {"rcnn": {"score_thr": 0.05, "nms": {"iou": 0.5}}, "rpn": {"nms_pre": 9}}}
    cut = stock_config.with_score_threshold(model, 0.2)
    assert cut["test_cfg"] == {"rcnn": {"score_thr": 0.2, "nms": {"iou": 0.5}}, "rpn": {"nms_pre": 9}}
