"""Start weights: of a backbone, and of any detector with the same backbone."""

import pytest
import torch

pytest.importorskip("mmdet")

from amodalpl.detector import model_table, training, weights
from amodalpl.errors import CheckpointError
from amodalpl.settings import DetectorSettings

CLASSES = 3


def network(model="mask-rcnn", classes=CLASSES, seed=0, **settings):
    wanted = DetectorSettings(
        model=model, **{"backbone": "resnet18_small", "channels": 16, "vrsp": {"codes": 4}, **settings}
    )
    return training.build(model_table.model_config(wanted, classes, "GN"), seed)


@pytest.fixture(scope="module")
def mask_rcnn():
    return network(seed=1).state_dict()


def equal(model, state, name, of=None):
    return torch.equal(model.state_dict()[name], state[of or name])


def test_the_same_detector_is_taken_whole(mask_rcnn):
    model = network()
    assert weights.load_start(model, mask_rcnn, "x") == f"detector, {len(mask_rcnn)} weights"
    assert all(equal(model, mask_rcnn, name) for name in mask_rcnn)


def test_other_classes_start_anew(mask_rcnn):
    model = network(classes=5)
    told = weights.load_start(model, mask_rcnn, "x")
    assert told.endswith("weights, 6 started anew for other classes")
    assert equal(model, mask_rcnn, "roi_head.mask_head.convs.0.conv.weight")


@pytest.mark.parametrize("name", ["orcnn", "vrsp"])
def test_one_mask_head_starts_both(name, mask_rcnn):
    model = network(name)
    told = weights.load_start(model, mask_rcnn, "x")
    for head in ("amodal", "visible"):
        for part in ("convs.2.conv.weight", "conv_logits.bias"):
            assert equal(model, mask_rcnn, f"roi_head.mask_head.{head}.{part}", f"roi_head.mask_head.{part}")
    assert ("started anew: 8 of roi_head" in told) == (name == "vrsp")  # fuse, and three layers that reclassify


def test_heads_of_another_width_start_anew(mask_rcnn):
    """As when a checkpoint of MMDetection's zoo, of 256 channels, starts the slim heads of `coco_cpu`."""
    model = network(channels=32)
    told = weights.load_start(model, mask_rcnn, "x")
    assert "started anew: " in told and " of neck" in told and " of rpn_head" in told and " of roi_head" in told
    assert equal(model, mask_rcnn, "backbone.conv1.weight")


def test_a_one_stage_detector_gives_its_backbone(mask_rcnn):
    """MMDetection's zoo has MobileNetV2 in one-stage detectors only."""
    backbone = {name: value for name, value in mask_rcnn.items() if name.startswith("backbone.")}
    other = {**backbone, "bbox_head.convs_pred.0.weight": torch.zeros(3, 3, 1, 1)}
    model = network()
    assert weights.load_start(model, other, "x").startswith(f"detector, {len(backbone)} weights, started anew: ")
    assert all(equal(model, backbone, name) for name in backbone)


def test_another_backbone_is_refused(mask_rcnn):
    model = network(backbone="mobilenet_v2")
    with pytest.raises(CheckpointError, match=r"x: expected the \d+ weights of this backbone, \d+ do not fit .*--init"):
        weights.load_start(model, mask_rcnn, "x")


def test_a_checkpoint_as_mmdetection_publishes_it(mask_rcnn, tmp_path):
    meta = {"epoch": 12, "iter": 7, "cfg": "model = 1", "dataset_meta": {"classes": ("a",), "palette": [(1, 2, 3)]}}
    torch.save({"meta": meta, "state_dict": mask_rcnn}, tmp_path / "published.pth")
    assert set(weights.read_state(tmp_path / "published.pth")) == set(mask_rcnn)


def test_a_checkpoint_as_a_training_of_mmdetection_leaves_it(mask_rcnn, tmp_path):
    """The history of its losses is an object, which is not loaded; MMDetection has a tool that takes it out."""
    from mmengine.logging import HistoryBuffer

    content = {"state_dict": mask_rcnn, "message_hub": {"log_scalars": {"train/loss": HistoryBuffer([1.0], [1])}}}
    torch.save(content, tmp_path / "epoch_12.pth")
    with pytest.raises(CheckpointError, match="epoch_12.pth: expected a checkpoint of plain .*publish_model.py"):
        weights.read_state(tmp_path / "epoch_12.pth")
