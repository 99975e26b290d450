import json
import shutil
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from amodalpl.detector import weights
from amodalpl.detector.model_table import MODELS
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import AmodalplError, CheckpointError, DataError, MissingPackageError, OutputError, SettingsError
from amodalpl.evaluation.detector import evaluate_detector
from amodalpl.io.images import write_image
from amodalpl.masks import rle
from amodalpl.metrics.detection import NAMES
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.runtime.progress import SILENT, Progress
from amodalpl.settings_values import resolve

TINY = {
    "backbone": "resnet18_small",
    "steps": 4,
    "batch_size": 2,
    "workers": 0,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "milestones": [0.7],
    "image_scale": [64, 48],
    "rpn_proposals": 20,
    "roi_samples": 16,
    "channels": 16,
    "score_threshold": 0.0,
    "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder with `labels/` and `truth/`, each with truth.json and images/."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder / "labels", 5, seed=0, size_hw=(96, 128))
    write_scenes(folder / "truth", 2, seed=1, size_hw=(96, 128))
    return folder


def settings(**detector):
    return resolve({"seed": 0, "detector": {**TINY, **detector}})


def start(scenes, out, *, init="none", val=None, progress=SILENT, **detector):
    return train_detector(
        scenes / "labels/truth.json",
        scenes / "labels/images",
        out,
        settings(**detector),
        val=val,
        val_images=scenes / "truth/images" if val else None,
        init=init,
        device="cpu",
        progress=progress,
    )


class Stop(Exception):
    pass


class StopAfter(Progress):
    """Fails in the middle, as a killed process would, and remembers where training began."""

    def __init__(self, units, of="training detector"):
        self.left = units
        self.of = of
        self.began = None

    @contextmanager
    def task(self, label, total, done=0):
        def advance(units):
            self.left -= units
            if self.left == 0:
                raise Stop

        if label == "training detector":
            self.began = done
        yield advance if label == self.of else lambda units: None


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("detector") / "out"
    return start(scenes, out, val=scenes / "truth/truth.json")


@pytest.mark.parametrize("model", MODELS)
def test_background_photos_take_part_where_they_are_asked_for(scenes, tmp_path, model):
    shutil.copytree(scenes / "labels", tmp_path / "labels")
    file, images = tmp_path / "labels/truth.json", tmp_path / "labels/images"
    labels = json.loads(file.read_text())
    empty = labels["images"][0]["id"]
    labels["annotations"] = [entry for entry in labels["annotations"] if entry["image_id"] != empty]
    file.write_text(json.dumps(labels))
    asked = settings(model=model, background_photos=True, batch_size=5, steps=1)
    val, val_images = scenes / "truth/truth.json", scenes / "truth/images"
    found = train_detector(
        file, images, tmp_path / "out", asked, val=val, val_images=val_images, init="none", device="cpu"
    )
    assert found.counts["train"]["images"] == 5
    (images / labels["images"][0]["file_name"]).unlink()
    with pytest.raises(DataError, match="expected a photo, found no such file"):
        train_detector(
            file, images, tmp_path / "other", asked, val=val, val_images=val_images, init="none", device="cpu"
        )


def test_a_run_leaves_everything_that_is_promised(trained, scenes, capfd):
    assert set(trained.scores) == {"COCO AP amodal (segm)", "COCO AP amodal (bbox)"}
    assert all(tuple(rows["detector"]) == NAMES for rows in trained.scores.values())
    assert all(file.stat().st_size for file in trained.files.values())
    assert trained.counts["train"]["images"] == 5 and trained.counts["validation"]["images"] == 2
    assert not (trained.out / "checkpoint.pth").exists()
    plain = torch.load(trained.out / "weights.pth", weights_only=True)
    assert set(plain) == {"state_dict", "meta"}
    assert plain["meta"]["dataset_meta"]["classes"] == ("disc", "box", "bottle", "star")
    for detection in json.loads((trained.out / "detections.json").read_text()):
        assert set(detection) == {"image_id", "category_id", "bbox", "score", "segmentation"}
        assert detection["segmentation"]["size"] == [96, 128]
    record = json.loads((trained.out / "run.json").read_text())
    assert record["state"] == "done"
    again = start(scenes, trained.out, val=scenes / "truth/truth.json")
    assert (again.scores, again.counts) == (trained.scores, trained.counts)
    assert capfd.readouterr() == ("", "")  # a finished run says nothing, and mmengine never does


def test_evaluating_again_gives_the_same_scores_and_page(trained):
    page = (trained.out / "report.html").read_bytes()
    again = evaluate_detector(trained.out, device="cpu")
    assert again.scores == trained.scores
    assert (trained.out / "report.html").read_bytes() == page and b"COCO AP amodal by occlusion level" in page
    assert again.counts["detections"] == trained.counts["detections"]


def test_mmdets_own_tools_read_the_folder(trained):
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(str(trained.out / "mmdet_config.py"), str(trained.out / "weights.pth"), device="cpu")
    assert model.dataset_meta["classes"] == ("disc", "box", "bottle", "star")
    entry = json.loads((trained.out / "val.json").read_text())["images"][0]
    images = json.loads((trained.out / "metrics.json").read_text())["val_images"]
    found = inference_detector(model, f"{images}/{entry['file_name']}").pred_instances
    stored = [d for d in json.loads((trained.out / "detections.json").read_text()) if d["image_id"] == entry["id"]]
    np.testing.assert_allclose(sorted(found.scores.tolist()), sorted(d["score"] for d in stored), atol=2e-5)


def test_changed_weights_are_noticed(trained):
    good = (trained.out / "weights.pth").read_bytes()
    try:
        (trained.out / "weights.pth").write_bytes(good + b"x")
        with pytest.raises(CheckpointError, match="weights.pth: is not the file that training wrote"):
            evaluate_detector(trained.out, device="cpu")
    finally:
        (trained.out / "weights.pth").write_bytes(good)


def test_killed_and_started_again_it_goes_on(scenes, tmp_path):
    from amodalpl.detector import training

    with pytest.raises(Stop):
        start(scenes, tmp_path / "out", progress=StopAfter(3))
    saved = training.read_checkpoint(tmp_path / "out" / training.CHECKPOINT)
    assert saved["step"] == 2
    assert {int(state["step"]) for state in saved["optimizer"]["state"].values()} == {2}
    assert [s["last_step"] for s in saved["schedules"]] == [1, 2]  # the warm-up of 2 steps is over
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "unfinished"
    with pytest.raises(OutputError, match="has not finished"):
        evaluate_detector(tmp_path / "out", device="cpu")

    second = StopAfter(1, of="detecting")
    with pytest.raises(Stop):
        start(scenes, tmp_path / "out", progress=second)
    assert second.began == 2
    third = StopAfter(-1)
    summary = start(scenes, tmp_path / "out", progress=third)
    assert third.began == 4  # nothing left to train
    curve = json.loads((tmp_path / "out" / "metrics.json").read_text())["curve"]
    assert [point["step"] for point in curve] == [1, 2, 3, 4]
    assert "held-back labels" in next(iter(summary.scores))
    train, val = (json.loads((tmp_path / "out" / f"{n}.json").read_text()) for n in ("train", "val"))
    assert not {i["file_name"] for i in train["images"]} & {i["file_name"] for i in val["images"]}


def test_a_damaged_checkpoint_is_named(tmp_path):
    from amodalpl.detector import training

    (tmp_path / "checkpoint.pth").write_bytes(b"rubbish")
    with pytest.raises(
        CheckpointError, match="checkpoint.pth: .* a damaged or foreign file .*; delete it and start again"
    ):
        training.read_checkpoint(tmp_path / "checkpoint.pth")


def test_a_checkpoint_that_holds_code_is_refused(tmp_path):
    """What mmengine's own resume falls back to loading."""
    from amodalpl.detector import training

    torch.save({"step": Stop()}, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="a damaged or foreign file"):
        training.read_checkpoint(tmp_path / "checkpoint.pth")


def test_photos_of_the_validation_stay_out_of_training(scenes, tmp_path):
    labels = scenes / "labels/truth.json"
    with pytest.raises(DataError, match="expected instances to train on, found none .*image is in the validation"):
        train_detector(labels, labels.parent / "images", tmp_path / "out", settings(), val=labels, init="none")
    assert not (tmp_path / "out").exists()


def test_auto_chooses_the_classes_and_says_so(scenes, tmp_path):
    class Said(Progress):
        lines = []

        def note(self, text):
            self.lines.append(text)

    start(scenes, tmp_path / "out", class_agnostic="auto", steps=1, progress=Said())
    truth = json.loads((tmp_path / "out/val.json").read_text())
    assert [c["name"] for c in truth["categories"]] == ["object"]  # five scenes have no class with 20 objects
    assert sum(line.startswith("the detector learns one class, object:") for line in Said.lines) == 1


def test_start_weights(trained, scenes, tmp_path):
    content = torch.load(trained.out / "weights.pth", weights_only=True)
    whole = tmp_path / "whole.pth"
    torch.save(content, whole)
    summary = start(scenes, tmp_path / "a", init=str(whole), class_agnostic=True, steps=1)
    assert "6 started anew for other classes" in summary.counts["start"]
    backbone = {k.removeprefix("backbone."): v for k, v in content["state_dict"].items() if k.startswith("backbone.")}
    flat = tmp_path / "flat.pth"
    torch.save({**backbone, "fc.weight": torch.zeros(5, 5)}, flat)
    state = weights.read_state(flat)
    model = torch.nn.Module()
    model.backbone = torch.nn.Module()
    for name, value in backbone.items():
        model.backbone.register_buffer(name.replace(".", "_"), torch.zeros_like(value))
    renamed = {name.replace(".", "_"): value for name, value in state.items() if name != "fc.weight"}
    assert (
        weights.load_start(model, {**renamed, "fc.weight": torch.zeros(1)}, "x") == f"backbone, {len(backbone)} weights"
    )


def test_a_folder_starts_another_training(trained, scenes, tmp_path):
    summary = start(scenes, tmp_path / "a", init=str(trained.out), steps=1)
    assert summary.counts["start"].startswith("detector, ")
    with pytest.raises(DataError, match="the record of a finished `amodalpl train-detector`"):
        start(scenes, tmp_path / "b", init=str(scenes))
    with pytest.raises(OutputError, match=r"has finished 4 steps and kept no state.*--init .* --out NEW"):
        start(scenes, trained.out, val=scenes / "truth/truth.json", steps=6)


def test_start_weights_that_do_not_fit(trained, scenes, tmp_path):
    def init(content):
        file = tmp_path / "init.pth"
        torch.save(content, file)
        return str(file)

    with pytest.raises(
        CheckpointError, match=r"expected the \d+ weights of this backbone, \d+ do not fit .*--init none"
    ):
        start(scenes, tmp_path / "a", init=init({"state_dict": {"conv1.weight": torch.zeros(3)}}))
    with pytest.raises(CheckpointError, match="expected a state dict of tensors, .* got entries"):
        start(scenes, tmp_path / "b", init=init({"epoch": 3}))
    with pytest.raises(CheckpointError, match="expected a checkpoint of plain tensors, could not read it"):
        start(scenes, tmp_path / "c", init=init({"model": Stop()}))
    state = torch.load(trained.out / "weights.pth", weights_only=True)["state_dict"]
    broken = {**state, "backbone.conv1.weight": state["backbone.conv1.weight"] * torch.nan}
    with pytest.raises(CheckpointError, match=r"init.pth: backbone.conv1.weight: expected numbers, got NaN"):
        start(scenes, tmp_path / "g", init=init({"state_dict": broken}))
    with pytest.raises(CheckpointError, match="none.pth: expected a checkpoint, found no such file; give --init FILE"):
        start(scenes, tmp_path / "d", init=str(tmp_path / "none.pth"))
    with pytest.raises(CheckpointError, match="resnet18_small has no start weights to download: .*--init FILE"):
        start(scenes, tmp_path / "e", init=None)
    (tmp_path / "rubbish.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(
        CheckpointError, match="rubbish.pth: expected a checkpoint of plain tensors, .* or give other weights"
    ):
        start(scenes, tmp_path / "f", init=str(tmp_path / "rubbish.pth"))


def test_a_validation_without_objects_is_not_called_one_without_whole_masks(scenes, tmp_path):
    content = json.loads((scenes / "truth/truth.json").read_text())
    val = tmp_path / "val.json"
    val.write_text(json.dumps({**content, "annotations": []}))
    with pytest.raises(DataError, match=r"val.json: expected objects to score against, got none in \d photos"):
        start(scenes, tmp_path / "out", val=val)


@pytest.mark.parametrize("part", ["labels", "truth"])
def test_a_photo_that_shrinks_to_nothing_is_refused_before_the_training(scenes, tmp_path, part):
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    write_image(copy / part / "images/long.png", np.zeros((2, 900, 3), np.uint8))
    file = copy / part / "truth.json"
    content = json.loads(file.read_text())
    photo = {"id": 99, "file_name": "long.png", "height": 2, "width": 900}
    strip = {**content["annotations"][0], "id": 999, "image_id": 99, "bbox": [9, 0, 90, 2]}
    strip["segmentation"] = strip["visible_mask"] = rle.to_json(rle.encode(np.arange(1800).reshape(2, 900) % 900 < 99))
    file.write_text(
        json.dumps({**content, "images": [*content["images"], photo], "annotations": [*content["annotations"], strip]})
    )
    with pytest.raises(DataError, match=r"long.png: expected a photo whose short side .* got 900 x 2; crop it"):
        start(copy, tmp_path / "out", val=copy / "truth/truth.json")
    assert not (tmp_path / "out").exists()


def test_no_network_names_init(scenes, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(CheckpointError, match="could not download .*no route to host.*--init FILE.*--init none"):
        start(scenes, tmp_path / "out", init=None, backbone="resnet50")


def test_without_mmdet(scenes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "amodalpl.detector.mmdetection", None)
    monkeypatch.delattr("amodalpl.detector.mmdetection")
    with pytest.raises(MissingPackageError, match=r"pip install 'amodalpl\[detector\]'"):
        start(scenes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_input(scenes, tmp_path):
    with pytest.raises(SettingsError, match="detector.precision: expected fp32 on the CPU, got 'bf16'"):
        start(scenes, tmp_path / "out", precision="bf16")
    with pytest.raises(DataError, match="scene_0001.png: expected a photo, found no such file"):
        train_detector(scenes / "labels/truth.json", tmp_path, tmp_path / "out", settings(), init="none", device="cpu")
    with pytest.raises(DataError, match="annotations.json: expected amodal masks to score against"):
        start(scenes, tmp_path / "out", val=scenes / "truth/annotations.json")
    assert not (tmp_path / "out").exists()


class Warned(Progress):
    """Remembers what it was warned of."""

    def __init__(self):
        self.lines = []

    def warn(self, text):
        self.lines.append(text)


@pytest.mark.parametrize("learns", ["both masks", "visible masks"])
def test_a_validation_without_whole_masks_scores_visible_ones(scenes, tmp_path, learns):
    val, told, out = scenes / "truth/annotations.json", Warned(), tmp_path / "out"
    labels = scenes / "labels" / ("truth.json" if learns == "both masks" else "annotations.json")
    wanted = settings(model="orcnn" if learns == "both masks" else "mask-rcnn", steps=1)
    found = train_detector(
        labels, scenes / "labels/images", out, wanted, val=val, val_images=scenes / "truth/images", init="none",
        device="cpu", progress=told,
    )  # fmt: skip
    assert list(found.scores) == ["COCO AP visible (segm)"]
    line = f"{val}: no whole masks: AP of visible ones is scored, AP of whole masks and boxes is not"
    assert line in told.lines
    assert "COCO AP visible (segm)" in (out / "report.html").read_text()
    assert evaluate_detector(out, device="cpu").scores == found.scores


def test_another_run_is_refused(trained, scenes):
    with pytest.raises(OutputError, match="belongs to another run .*learning_rate: it has .*, asked for 0.5"):
        start(scenes, trained.out, val=scenes / "truth/truth.json", learning_rate=0.5)


def test_more_steps_than_a_finished_run_had_name_init(trained, scenes):
    with pytest.raises(
        OutputError, match="has finished 4 steps and kept no state to go on from; .* --init .*--out NEW"
    ):
        start(scenes, trained.out, val=scenes / "truth/truth.json", steps=5)


def test_divergence_stops_with_advice(scenes, tmp_path):
    with pytest.raises(AmodalplError, match="the loss is nan .*lower detector.learning_rate"):
        start(scenes, tmp_path / "out", learning_rate=1e30, warmup_steps=0)


def test_a_photo_damaged_while_training_is_named(scenes, tmp_path, monkeypatch):
    from amodalpl.detector.data import training_data

    files = write_scenes(tmp_path / "scenes", 3, seed=0, size_hw=(96, 128))
    for photo in files.images.iterdir():
        photo.write_bytes(b"gone")
    monkeypatch.setattr(training_data, "usable_photos", lambda data, *_, **__: data)
    with pytest.raises(DataError, match=r"^\S+scene_000\d.png: expected a readable photo, got"):
        train_detector(files.truth, files.images, tmp_path / "out", settings(workers=1), init="none", device="cpu")


@pytest.mark.slow
def test_learns_drawn_scenes_from_scratch(tmp_path):
    labels = write_scenes(tmp_path / "labels", 80, seed=0)
    truth = write_scenes(tmp_path / "truth", 24, seed=1)
    learning = settings(
        class_agnostic=True, steps=200, batch_size=4, learning_rate=2e-3, warmup_steps=20, milestones=[0.7, 0.9],
        image_scale=[160, 120], rpn_proposals=100, roi_samples=32, channels=32, score_threshold=0.05,
        checkpoint_every=100,
    )  # fmt: skip
    summary = train_detector(
        labels.truth, labels.images, tmp_path / "out", learning, val=truth.truth, val_images=truth.images, init="none",
        device="cpu",
    )  # fmt: skip
    assert summary.scores["COCO AP amodal (segm)"]["detector"]["AP50"] > 0.2
