import subprocess
import sys
from pathlib import Path

import pytest

from amodalpl.detector import config as configs
from amodalpl.detector import model_table
from amodalpl.settings import DetectorSettings


def full(settings, norm="BN"):
    return configs.full_config(
        settings,
        ("cup", "plate"),
        model=model_table.model_config(settings, 2, norm),
        train=Path("/out/train.json"),
        train_images=Path("/photos"),
        val=Path("/out/val.json"),
        val_images=Path("/photos"),
        weights=Path("/out/weights.pth"),
        seed=3,
    )


def test_defaults_are_mmdetections_mask_rcnn_r50_fpn():
    """Field by field the file of MMDetection, apart from what a label file decides and who leaves regions out."""
    mmdet = pytest.importorskip("mmdet")
    from mmengine.config import Config

    theirs = Config.fromfile(Path(mmdet.__file__).parent / ".mim/configs/_base_/models/mask-rcnn_r50_fpn.py").model
    ours = model_table.model_config(DetectorSettings(), 80, "BN")
    theirs.backbone.init_cfg = None
    for part in (theirs.train_cfg.rpn, theirs.train_cfg.rcnn):
        part.assigner.type = "IgnoringAssigner"
    assert Config(dict(model=ours)).model == theirs


def test_learning_rate_drops_where_the_settings_say():
    settings = DetectorSettings(steps=1200, warmup_steps=100, milestones=(0.5, 0.75))
    warmup, drops = configs.schedule_config(settings)
    assert (warmup["begin"], warmup["end"]) == (0, 100)
    assert drops["milestones"] == [600, 900]
    assert configs.schedule_config(DetectorSettings(steps=1, milestones=())) == []
    assert configs.schedule_config(DetectorSettings(steps=10, milestones=()))[0]["end"] == 9


def test_settings_reach_the_network():
    settings = DetectorSettings(
        backbone="mobilenet_v2", channels=64, rpn_proposals=50, roi_samples=16, score_threshold=0.2, frozen_stages=2
    )
    model = model_table.model_config(settings, 3, "BN")
    assert model["neck"]["in_channels"] == [24, 32, 96, 1280]
    assert model["backbone"]["frozen_stages"] == 2
    assert model["data_preprocessor"]["mean"] == [127.5] * 3
    assert model["train_cfg"]["rpn_proposal"]["max_per_img"] == model["test_cfg"]["rpn"]["max_per_img"] == 50
    assert model["train_cfg"]["rcnn"]["sampler"]["num"] == 16
    assert model["test_cfg"]["rcnn"]["score_thr"] == 0.2
    assert model["roi_head"]["mask_head"]["num_classes"] == 3
    assert model_table.model_config(settings, 3, "GN")["backbone"]["frozen_stages"] == -1


@pytest.mark.parametrize(
    ("precision", "kind", "scale"),
    [("fp32", "OptimWrapper", None), ("fp16", "AmpOptimWrapper", "dynamic"), ("bf16", "AmpOptimWrapper", 1.0)],
)
def test_precision(precision, kind, scale):
    wrapper = configs.optimizer_config(DetectorSettings(precision=precision))
    assert (wrapper["type"], wrapper.get("loss_scale")) == (kind, scale)


def test_written_config_reads_back_the_same(tmp_path):
    pytest.importorskip("mmdet")
    from mmengine.config import Config

    config = full(DetectorSettings())
    file = tmp_path / "mmdet_config.py"
    file.write_text(configs.as_python(config, "two\nlines"))
    assert file.read_text().startswith("# two\n# lines\n")
    assert Config.fromfile(file)._cfg_dict == Config(config)._cfg_dict


def test_nothing_here_needs_mmdet():
    code = (
        "import sys; import amodalpl.pipeline.train_detector; "
        "assert not {'mmdet', 'mmcv'} & set(sys.modules), sorted({'mmdet', 'mmcv'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
