"""What nobody who hands us a file may do; `docs/security.md` says which line is kept by which test."""

import json
import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_completer import write_completer
from drawn_data_sets import data_set, write_photos
from PIL import Image

from amodalpl.completion.checkpoint import load_completer
from amodalpl.convert.format_table import FORMATS
from amodalpl.errors import AmodalplError, CheckpointError, DataError, OutputError, SettingsError
from amodalpl.io.checkpoints import load_plain
from amodalpl.io.files import hash_file
from amodalpl.io.images import image_path
from amodalpl.pipeline.rerun import rerun
from amodalpl.settings_values import parse_override, read_config
from amodalpl.synthesis.bank import Bank
from amodalpl.tools.convert import convert

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
CPU = torch.device("cpu")


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.fixture
def trace(tmp_path):
    """A file that must not come to be."""
    file = tmp_path / "ran"
    yield file
    assert not file.exists()


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Code


def test_pickled_weights_are_refused(tmp_path, trace):
    folder = write_completer(tmp_path / "completer")
    torch.save({"a": Bomb(trace)}, folder / "weights.pth")
    card = json.loads((folder / "completer.json").read_text())
    card["weights_sha256"] = hash_file(folder / "weights.pth")  # whoever changes the weights changes the card
    (folder / "completer.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="weights.pth: "):
        load_completer(folder, CPU)


@pytest.mark.parametrize("name", ["checkpoint.pth", "shapes.pth"])
def test_pickled_checkpoints_are_refused(tmp_path, trace, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(trace)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(CheckpointError, match=name):
            load_plain(tmp_path / name)
    assert not told  # the error is all that is said


def test_pickled_start_weights_are_refused(tmp_path, trace):
    from amodalpl.detector.weights import read_state

    torch.save({"state_dict": {"a": Bomb(trace)}}, tmp_path / "init.pth")
    with pytest.raises(CheckpointError, match="init.pth"):
        read_state(tmp_path / "init.pth")


def test_pickled_arrays_are_refused(tmp_path, trace):
    np.save(tmp_path / "table.npy", np.array([Bomb(trace)], object), allow_pickle=True)
    np.save(tmp_path / "bits.npy", np.zeros(3, np.uint8))
    np.save(tmp_path / "unknown.npy", np.zeros(3, np.uint8))
    with pytest.raises(AmodalplError):
        Bank(tmp_path)


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system", "!!python/module:os", "!x 1"]
)
def test_yaml_tags_make_no_objects(tmp_path, monkeypatch, trace, value):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(f"training: {value}\n")
    with pytest.raises(SettingsError, match="a.yaml: expected YAML, could not read it"):
        read_config(tmp_path / "a.yaml")
    with pytest.raises(SettingsError, match="expected a plain value"):
        parse_override(f"training.steps={value}")


def test_a_network_that_reads_other_files_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from amodalpl.completion.onnx_backend import open_network

    (tmp_path / "secret").write_bytes(bytes(16))
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4], data_location=1)
    for key, value in (("location", str(tmp_path / "secret")), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [output], [tensor]))
    model.ir_version = 8
    (tmp_path / "completer.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="completer.onnx: onnxruntime .* cannot open it"):
        open_network(tmp_path / "completer.onnx", CPU)


# Files


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png", "link/a.png", "..\\out.png", "\0"])
@pytest.mark.parametrize("fmt", ["labelme", "png-index", "png-instances", "yolo", "cvat", "coco"])
def test_names_in_annotations_are_never_written_to_outside(tmp_path, fmt, name):
    photos = write_photos(tmp_path / "photos", data_set())
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "elsewhere" / "a.png")
    os.symlink(tmp_path / "elsewhere", photos / "link")
    content = {
        "images": [{"id": n, "file_name": f, "height": 40, "width": 60} for n, f in ((1, "a.png"), (2, name))],
        "categories": [{"id": 1, "name": "../../cup"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]} for n in (1, 2)
        ],
    }
    (tmp_path / "in.json").write_text(json.dumps(content))
    before = everything_in(tmp_path)
    out = tmp_path / "new" / "out"
    summary = convert(tmp_path / "in.json", out, photos, to_format=fmt)
    assert summary.counts["photos"] == 1 and sum(summary.counts["left_out"].values()) == 2
    assert [n for n in everything_in(tmp_path) if n not in before and not n.startswith("new")] == []
    assert not Path("/tmp/out.png").exists()


@pytest.mark.parametrize("fmt", ["labelme", "via", "cvat", "label-studio", "yolo"])
def test_converters_read_no_photo_outside(tmp_path, fmt):
    data = data_set()
    photos = write_photos(tmp_path / "photos", data)
    source = tmp_path / {"cvat": "in.xml", "via": "in.json", "label-studio": "in.json"}.get(fmt, "in")
    FORMATS[fmt].write(data, source)
    Image.new("RGB", (60, 40)).save(tmp_path / "secret.png")
    (photos / "a.png").unlink()
    os.symlink(tmp_path / "secret.png", photos / "a.png")
    found = FORMATS[fmt].read(source, photos)
    assert "a.png" not in [photo.file_name for photo in found.images]


def test_links_out_of_the_folder_of_photos(tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"x")
    os.symlink(tmp_path, tmp_path / "photos" / "sub" / "up")
    os.symlink("../../secret.png", tmp_path / "photos" / "sub" / "b.png")
    for name in ("sub/up/secret.png", "sub/b.png", str(tmp_path / "secret.png"), "../secret.png"):
        with pytest.raises(
            DataError, match="expected a name inside the image folder|is a link, or behind one, that leads out"
        ):
            image_path(tmp_path / "photos", name)


def record(tmp_path, **changes):
    """A record of a run as somebody else could hand it over."""
    value = {
        "stage": "synth", "state": "done", "seed": 0, "settings": {}, "inputs": {}, "outputs": {"../../x": "0"},
        "command": ["touch", "ran"], "out": str(tmp_path / "victim"),
        "arguments": {"annotations": "$(touch ran)", "images": "`touch ran`", "out": str(tmp_path / "victim")},
        **changes,
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(value))
    return tmp_path / "run.json"


def test_a_record_runs_no_command_and_writes_nowhere_else(tmp_path, monkeypatch, trace):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "victim").mkdir()
    before = everything_in(tmp_path)
    with pytest.raises(DataError, match="expected an annotation file"):
        rerun(record(tmp_path), tmp_path / "again")
    assert [n for n in everything_in(tmp_path) if not n.startswith("again")] == sorted([*before, "run.json"])


@pytest.mark.parametrize("stage", ["demo", "os.system", "__class__", "../synth"])
def test_a_record_names_a_known_stage(tmp_path, stage):
    with pytest.raises(DataError, match="expected the record of advise, synth, "):
        rerun(record(tmp_path, stage=stage), tmp_path / "again")


def test_settings_of_a_record_are_checked_like_any_others(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises((SettingsError, OutputError), match="unknown setting"):
        rerun(record(tmp_path, settings={"os": {"system": "touch ran"}}), tmp_path / "again")


def test_a_record_has_no_config_of_mmdetection_run(tmp_path):
    (tmp_path / "config.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    arguments = {
        "source": str(tmp_path),
        "detector": str(tmp_path / "config.py"),
        "checkpoint": str(tmp_path / "w.pth"),
    }
    with pytest.raises(OutputError, match="arguments.checkpoint: the run used a config of MMDetection"):
        rerun(record(tmp_path, stage="predict", arguments=arguments), tmp_path / "again")
    assert not (tmp_path / "ran").exists()


# The page that says so


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:::(\w+))?`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, *names in named:
        text = (PAGE.parents[1] / file).read_text(encoding="utf-8")
        for name in filter(None, names):
            assert re.search(rf"^\s*(def|class) {name}\b", text, re.MULTILINE), f"{file}::{name}"


def test_every_test_here_is_named_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    ours = re.findall(r"^def (test_\w+)", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in ours if name not in page and not name.startswith("test_every_test_")] == []
