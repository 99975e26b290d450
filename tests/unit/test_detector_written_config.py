"""The folder of a detector serves MMDetection's own tools, in a process that has not imported anything of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.dataset import pseudo_collate

from amodalpl.detector import training
from amodalpl.detector.data.dataset import LabelDataset
from amodalpl.detector.quiet import third_party_quiet
from amodalpl.detector.trained import load_weights
from amodalpl.drawn_scenes import write_scenes
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.runtime.mmengine_runner import seed_step
from amodalpl.settings_values import resolve

TINY = {
    "backbone": "resnet18_small", "steps": 2, "batch_size": 2, "workers": 0, "optimizer": "adamw",
    "learning_rate": 1e-3, "warmup_steps": 1, "image_scale": [64, 48], "rpn_proposals": 20, "roi_samples": 16,
    "channels": 16, "score_threshold": 0.0, "vrsp": {"codes": 16, "shape_steps": 20},
}  # fmt: skip
MODELS = [
    pytest.param("mask-rcnn", marks=pytest.mark.slow),
    pytest.param("orcnn", marks=pytest.mark.slow),
    "vrsp",  # has all of our parts
]


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tmp_path_factory):
    """A detector on labels with a rejected region."""
    folder = tmp_path_factory.mktemp("written")
    files = write_scenes(folder / "scenes", 4, seed=0, size_hw=(96, 128))
    content = json.loads(files.truth.read_text())
    content["annotations"][0]["iscrowd"] = 1
    files.truth.write_text(json.dumps(content))
    settings = resolve({"detector": {**TINY, "model": request.param}})
    return train_detector(files.truth, files.images, folder / "out", settings, init="none", device="cpu")


@pytest.fixture(scope="module")
def stock(trained):
    """What a user who knows MMDetection only gets from the folder, in a process of his own."""
    program = f"folder, photo = {str(trained.out)!r}, {str(a_photo(trained)[0])!r}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def a_photo(trained):
    """Return a photo of the validation, and the scores of what was found on it."""
    entry = json.loads((trained.out / "val.json").read_text())["images"][0]
    images = json.loads((trained.out / "metrics.json").read_text())["val_images"]
    stored = [d for d in json.loads((trained.out / "detections.json").read_text()) if d["image_id"] == entry["id"]]
    return Path(images) / entry["file_name"], sorted(d["score"] for d in stored)


PROGRAM = """
import json
from mmdet.apis import DetInferencer, inference_detector, init_detector  # before anything of ours

inferencer = DetInferencer(f"{folder}/mmdet_config.py", f"{folder}/weights.pth", device="cpu", show_progress=False)
found = {"inferencer": sorted(inferencer(photo)["predictions"][0]["scores"])}
model = init_detector(f"{folder}/mmdet_config.py", f"{folder}/weights.pth", device="cpu")
instances = inference_detector(model, photo).pred_instances
found["init_detector"] = sorted(instances.scores.tolist())
found["masks"] = [name for name in ("masks", "visible_masks") if name in instances]

from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from amodalpl.runtime.mmengine_runner import seed_step  # the same random choices as in the other process

data = DATASETS.build(model.cfg.train_dataloader.dataset)
batch = []
for index in range(len(data)):
    seed_step(index)
    batch.append(data[index])
found["ignored"] = sum(len(sample["data_samples"].ignored_instances) for sample in batch)
seed_step(0)
losses = model.train()(**model.data_preprocessor(pseudo_collate(batch), True), mode="loss")
found["losses"] = {name: float(value) for name, value in model.parse_losses(losses)[1].items()}
print(json.dumps(found))
"""


def test_the_file_alone_gives_the_same_loss(trained, stock):
    from mmengine.config import Config

    config = Config.fromfile(trained.out / "mmdet_config.py")
    model = training.build(config.model, 0)
    load_weights(model, trained.out / "weights.pth")
    dataset = {key: value for key, value in config.train_dataloader.dataset.items() if key != "type"}
    data = LabelDataset(**dataset)
    batch = [data[index] for index in range(len(data))]
    seed_step(0)
    with third_party_quiet(), torch.no_grad():
        losses = model.train()(**model.data_preprocessor(pseudo_collate(batch), True), mode="loss")
        _, values = model.parse_losses(losses)
    assert stock["ignored"] >= 1  # or the assigner would have had nothing to do
    assert stock["losses"] == pytest.approx({name: float(value) for name, value in values.items()}, rel=1e-5)
    assert stock["losses"]["loss"] > 0


@pytest.mark.parametrize("way", ["inferencer", "init_detector"])
def test_mmdetections_own_inference_runs_the_folder(way, trained, stock):
    _, scores = a_photo(trained)
    assert stock[way] == pytest.approx(scores, abs=2e-5) and scores


def test_models_of_two_masks_give_both(trained, stock):
    both = trained.counts["model"] in ("orcnn", "vrsp")
    assert stock["masks"] == (["masks", "visible_masks"] if both else ["masks"])
    detections = json.loads((trained.out / "detections.json").read_text())
    assert all(("visible_mask" in d) == both for d in detections)
    assert any(name.startswith("COCO AP visible (segm") for name in trained.scores) == both
