"""A detector in ONNX finds what torch finds, with only MMDetection's arithmetic between its two networks."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime as ort
from typer.testing import CliRunner

from amodalpl.detector import inference, model_table, onnx_networks, trained, training
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import CheckpointError, SettingsError
from amodalpl.io.images import read_image
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings import DetectorSettings
from amodalpl.settings_values import resolve
from amodalpl.tools.export_onnx import export_onnx
from amodalpl_cli.main import app

TINY = {
    "backbone": "resnet18_small", "steps": 2, "batch_size": 2, "workers": 0, "image_scale": [128, 96],
    "rpn_proposals": 30, "roi_samples": 16, "channels": 16, "score_threshold": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 4, seed=0, size_hw=(96, 128))


@pytest.fixture(scope="module", params=["orcnn", "mask-rcnn"])
def exported(request, scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "detector"
    settings = resolve({"detector": {**TINY, "model": request.param}})
    train_detector(scenes.truth, scenes.images, out, settings, init="none", device="cpu")
    return out, export_onnx(out)


def by_onnx(folder):
    """Open a detector whose networks are the files."""
    opened = trained.open_detector(folder, None, torch.device("cpu"))
    model = opened.model
    features, regions = (
        ort.InferenceSession(str(folder / name)) for name in (onnx_networks.FEATURES, onnx_networks.REGIONS)
    )
    calls = []

    def extract(photo):
        answers = [torch.from_numpy(a) for a in features.run(None, {"photo": photo.numpy()})]
        levels = len(answers) // 3
        calls.append(answers[levels:])
        return tuple(answers[:levels])

    def anchors(_):
        found = calls[-1]
        return found[: len(found) // 2], found[len(found) // 2 :]

    def ask(for_box, for_mask):
        count = len(for_mask if for_box is None else for_box)
        empty = [np.zeros((count, 16, cells, cells), np.float32) for cells in (7, 14)]
        given = [e if x is None else x.numpy() for e, x in zip(empty, (for_box, for_mask), strict=True)]
        return [torch.from_numpy(a) for a in regions.run(None, dict(zip(("for_box", "for_mask"), given, strict=True)))]

    model.extract_feat = extract
    model.rpn_head.forward = anchors
    model.roi_head.bbox_head.forward = lambda x: tuple(ask(x, None)[:2])
    masks = model.roi_head.mask_head
    masks.forward = lambda x: tuple(ask(None, x)[2:]) if hasattr(masks, "amodal") else ask(None, x)[2]
    return opened


def test_it_finds_the_same(exported, scenes):
    folder, _ = exported
    photo = read_image(scenes.images / "scene_0001.png")
    for image in (photo, np.ascontiguousarray(photo[:, 20:90])):  # two sizes: nothing of the traced one is left
        ours, theirs = (
            inference.detect_photos(opened, [image], least_score=0.0, batch_size=1)[0]
            for opened in (trained.open_detector(folder, None, torch.device("cpu")), by_onnx(folder))
        )
        assert len(ours) == len(theirs) > 5
        for one, other in zip(ours, theirs, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.box_xyxy == pytest.approx(other.box_xyxy, abs=0.1)
        assert (theirs[0].visible_mask is None) == (folder.parent.name.startswith("mask-rcnn"))


def test_the_note_says_what_is_needed_between(exported):
    folder, done = exported
    note = json.loads((folder / onnx_networks.NOTE).read_text())
    assert note["categories"][0] == {"id": 1, "name": "disc"} and note["pad_to_multiple_of"] == 32
    assert len(note["mean_rgb"]) == len(note["std_rgb"]) == 3 and note["largest_difference"] < 1e-4
    assert set(done.files) == {"features", "regions", "note"} and all(file.exists() for file in done.files.values())
    outputs = [o.name for o in ort.InferenceSession(str(folder / onnx_networks.REGIONS)).get_outputs()]
    assert outputs == ["classes", "boxes", "amodal", *(["visible"] if note["model"] == "orcnn" else [])]


def test_a_file_that_answers_otherwise_is_not_kept(exported, tmp_path, monkeypatch):
    folder, _ = exported
    opened = trained.open_detector(folder, None, torch.device("cpu"))

    class HalfAsMuchAgain(ort.InferenceSession):
        def run(self, *given):
            return [1.5 * answer for answer in super().run(*given)]

    monkeypatch.setattr(ort, "InferenceSession", HalfAsMuchAgain)
    before = (folder / onnx_networks.FEATURES).read_bytes()
    with pytest.raises(CheckpointError, match="features.onnx: expected answers within 0.001 of torch's, got 0.5 away"):
        onnx_networks.write_networks(folder, opened)
    assert (folder / onnx_networks.FEATURES).read_bytes() == before


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"model": "vrsp", "vrsp": {"codes": 4}}, "got vrsp: which shapes its heads see"),
        ({"model": "boxinst"}, "without mask scoring, got boxinst"),
        ({"model": "orcnn", "mask_scoring": True}, "without mask scoring, got orcnn"),
    ],
    ids=["vrsp", "boxinst", "mask scoring"],
)
def test_other_models_are_refused(wanted, message, tmp_path):
    settings = DetectorSettings(backbone="resnet18_small", channels=16, **wanted)
    model = training.build(model_table.model_config(settings, 2, "GN"), 0)
    opened = trained.Detector(settings.model, model, [], [], torch.device("cpu"), {})
    with pytest.raises(SettingsError, match=f"export-onnx: expected orcnn, .*{message}"):
        onnx_networks.write_networks(tmp_path, opened)
    assert not list(tmp_path.iterdir())


def test_the_command_takes_the_folder(exported):
    folder, _ = exported
    result = CliRunner().invoke(app, ["export-onnx", str(folder), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["files"]["regions"].endswith("regions.onnx")
