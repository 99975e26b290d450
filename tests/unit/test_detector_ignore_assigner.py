"""What a review rejected is neither object nor background to the detector, and what stands before it is learnt."""

import json

import pytest
import torch

pytest.importorskip("mmdet")

from amodalpl.data.read import read_annotations
from amodalpl.detector import config as configs
from amodalpl.detector import training
from amodalpl.detector.data import coco_export as data
from amodalpl.detector.data.dataset import LabelDataset
from amodalpl.detector.heads.ignore_assigner import IgnoringAssigner
from amodalpl.detector.mmdetection import MaxIoUAssigner
from amodalpl.detector.model_table import model_config
from amodalpl.drawn_scenes import write_scenes
from amodalpl.settings import DetectorSettings

pytestmark = pytest.mark.usefixtures("mmdet_scope")

SETTINGS = DetectorSettings(
    backbone="resnet18_small", channels=16, rpn_proposals=20, roi_samples=16, image_scale=(64, 48), workers=0
)
PRIORS = torch.tensor(
    [
        [0.0, 0, 10, 10],  # the object
        [40.0, 40, 80, 80],  # the rejected one
        [44.0, 44, 60, 60],  # within it
        [30.0, 30, 60, 60],  # 400 of its 900 pixels within
        [50.0, 50, 60, 60],  # an object in front of the rejected one
        [0.0, 60, 20, 80],  # background
    ]
)
OBJECTS = torch.tensor([[0.0, 0, 10, 10], [50.0, 50, 60, 60]])
REJECTED = torch.tensor([[40.0, 40, 80, 80]])


def assigned(ignored, kind=IgnoringAssigner):
    from mmengine.structures import InstanceData

    found = kind(0.5, 0.5, 0.5).assign(
        InstanceData(priors=PRIORS),
        InstanceData(bboxes=OBJECTS, labels=torch.zeros(2, dtype=torch.long)),
        None if ignored is None else InstanceData(bboxes=ignored),
    )
    return found.gt_inds.tolist()


def test_background_within_a_rejected_label_is_left_out_and_objects_stay():
    assert assigned(REJECTED) == [1, -1, -1, 0, 2, 0]


@pytest.mark.parametrize("ignored", [None, torch.zeros(0, 4)], ids=["none", "empty"])
def test_without_rejected_labels_nothing_changes(ignored):
    assert assigned(ignored) == assigned(ignored, MaxIoUAssigner) == [1, 0, 0, 0, 2, 0]


@pytest.fixture(scope="module")
def rejected_scene(tmp_path_factory):
    """A scene whose first object is a crowd region, as `apply-review` writes a rejected label, as training sees it."""
    folder = tmp_path_factory.mktemp("scenes")
    files = write_scenes(folder, 1, seed=0, size_hw=(96, 128))
    content = json.loads(files.truth.read_text())
    content["annotations"][0]["iscrowd"] = 1
    files.truth.write_text(json.dumps(content))
    labels = read_annotations(files.truth)
    truth = data.to_coco(labels, data.categories(labels, False))
    (folder / "train.json").write_text(json.dumps(truth.coco))
    config = configs.full_config(
        SETTINGS, truth.class_names, train=folder / "train.json", train_images=files.images, val=folder / "train.json",
        val_images=files.images, weights=folder / "w.pth", seed=0,
        model=model_config(SETTINGS, len(truth.class_names), "GN"),
    )  # fmt: skip
    dataset = {k: v for k, v in config["train_dataloader"]["dataset"].items() if k != "type"}
    model = training.build(config["model"], 0)  # which also tells MMDetection whose transforms are meant
    return model, LabelDataset(**dataset)[0], len(labels.instances)


def test_data_set_sets_the_region_apart(rejected_scene):
    _, sample, objects = rejected_scene
    assert len(sample["data_samples"].ignored_instances) == 1
    assert len(sample["data_samples"].gt_instances) == objects - 1 > 0


def test_both_steps_of_the_network_are_told_of_the_region(rejected_scene, monkeypatch):
    model, sample, _ = rejected_scene
    seen = []
    original = IgnoringAssigner.assign

    def watch(self, candidates, objects, ignored=None, **more):
        seen.append(len(ignored))
        return original(self, candidates, objects, ignored, **more)

    monkeypatch.setattr(IgnoringAssigner, "assign", watch)
    batch = model.data_preprocessor({key: [value] for key, value in sample.items()}, True)
    losses = model.loss(batch["inputs"], batch["data_samples"])
    assert seen == [1, 1]  # proposals, then regions
    assert torch.isfinite(losses["loss_mask"])
