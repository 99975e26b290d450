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
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.runtime.mmengine_runner import seed_step
from amodalpl.scenes import write_scenes
from amodalpl.settings_values import resolve

TINY = {
    "backbone": "resnet18_small", "steps": 2, "batch_size": 2, "workers": 0, "optimizer": "adamw",
    "learning_rate": 1e-3, "warmup_steps": 1, "image_scale": [64, 48], "rpn_proposals": 20, "roi_samples": 16,
    "channels": 16, "score_threshold": 0.0, "vrsp": {"codes": 16, "shape_steps": 20},
}  # fmt: skip
MODELS = ["mask-rcnn", "orcnn", "vrsp"]


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


def stock(trained, code):
    """Run lines of a user who knows MMDetection only; return what they print last, as JSON."""
    program = f"import json\nfolder = {str(trained.out)!r}\n{code}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def a_photo(trained):
    """Return a photo of the validation, and what was found on it."""
    entry = json.loads((trained.out / "val.json").read_text())["images"][0]
    images = json.loads((trained.out / "metrics.json").read_text())["val_images"]
    stored = [d for d in json.loads((trained.out / "detections.json").read_text()) if d["image_id"] == entry["id"]]
    return Path(images) / entry["file_name"], sorted(d["score"] for d in stored)


LOSS = """
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import load_checkpoint

config = Config.fromfile(f"{folder}/mmdet_config.py")
from mmdet.registry import DATASETS, MODELS
from mmengine.registry import init_default_scope
init_default_scope(config.default_scope)
model = MODELS.build(config.model)
load_checkpoint(model, f"{folder}/weights.pth")
data = DATASETS.build(config.train_dataloader.dataset)
from amodalpl.runtime.mmengine_runner import seed_step  # the same random choices as in the other process
batch = []
for index in range(len(data)):
    seed_step(index)
    batch.append(data[index])
seed_step(0)
model.train()
losses = model(**model.data_preprocessor(pseudo_collate(batch), True), mode="loss")
total, values = model.parse_losses(losses)
ignored = sum(len(s["data_samples"].ignored_instances) for s in batch)
print(json.dumps({"ignored": ignored, **{k: float(v) for k, v in values.items()}}))
"""


def test_the_file_alone_gives_the_same_loss(trained):
    theirs = stock(trained, LOSS)
    from mmengine.config import Config

    config = Config.fromfile(trained.out / "mmdet_config.py")
    model = training.build(config.model, 0)
    training.load_weights(trained.out / "weights.pth", model)
    dataset = {key: value for key, value in config.train_dataloader.dataset.items() if key != "type"}
    data = LabelDataset(**dataset)
    batch = [data[index] for index in range(len(data))]
    seed_step(0)
    with third_party_quiet(), torch.no_grad():
        losses = model.train()(**model.data_preprocessor(pseudo_collate(batch), True), mode="loss")
        _, values = model.parse_losses(losses)
    assert theirs.pop("ignored") >= 1  # or the assigner would have had nothing to do
    assert theirs == pytest.approx({name: float(value) for name, value in values.items()}, rel=1e-5)
    assert theirs["loss"] > 0


INFERENCER = """
from mmdet.apis import DetInferencer
inferencer = DetInferencer(f"{folder}/mmdet_config.py", f"{folder}/weights.pth", device="cpu", show_progress=False)
found = inferencer(photo, return_datasamples=False)["predictions"][0]
print(json.dumps(sorted(found["scores"])))
"""


def test_det_inferencer_runs_the_folder(trained):
    photo, scores = a_photo(trained)
    assert stock(trained, f"photo = {str(photo)!r}\n{INFERENCER}") == pytest.approx(scores, abs=2e-5) and scores


INIT = """
from mmdet.apis import inference_detector, init_detector
model = init_detector(f"{folder}/mmdet_config.py", f"{folder}/weights.pth", device="cpu")
print(json.dumps(sorted(inference_detector(model, photo).pred_instances.scores.tolist())))
"""


def test_init_detector_runs_the_folder(trained):
    photo, scores = a_photo(trained)
    assert stock(trained, f"photo = {str(photo)!r}\n{INIT}") == pytest.approx(scores, abs=2e-5) and scores
