"""The network in ONNX: the same answers and labels as torch, and files that do not belong are refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from amodalpl.completion import onnx_backend
from amodalpl.completion.checkpoint import CARD, WEIGHTS, CompleterBundle, load_completer, save_completer
from amodalpl.completion.onnx_backend import NETWORK, NOTE, write_network
from amodalpl.completion.predictor import CropSpec, Scene
from amodalpl.drawn_scenes import draw_scene
from amodalpl.errors import CheckpointError, DataError, MissingPackageError, OutputError, SettingsError
from amodalpl.io.files import hash_file
from amodalpl.labelling.label_scenes import label_scenes
from amodalpl.labelling.plan import plan_labels
from amodalpl.models.completer import build_completer
from amodalpl.runtime import onnx_files
from amodalpl.settings import CompleterSettings, LabelSettings, SynthesisSettings
from amodalpl.tools.export_onnx import export_onnx

pytest.importorskip("onnx", reason="needs the extra: pip install 'amodalpl[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'amodalpl[onnx]'")

CPU = torch.device("cpu")
KINDS = [("layered", False), ("pcnet-m", False), ("asbu", False), ("layered", True)]


def save(folder, method="layered", image=False, seed=0):
    torch.manual_seed(seed)
    completer = build_completer(method, 4, image, init_gain=1.5).eval()
    folder.mkdir(exist_ok=True)
    save_completer(
        folder,
        CompleterBundle(completer, CropSpec(32), 0.5, 0.45),
        CompleterSettings(method=method, width=4, image=image),
        SynthesisSettings(patch_px=32),
    )
    return folder


@pytest.fixture(scope="module", params=KINDS, ids=[f"{m}{' with photo' if i else ''}" for m, i in KINDS])
def both(request, tmp_path_factory):
    """One completer, by torch and by onnxruntime."""
    folder = save(tmp_path_factory.mktemp("completer"), *request.param)
    export_onnx(folder)
    return load_completer(folder, CPU), load_completer(folder, CPU, "onnx")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = save(tmp_path_factory.mktemp("original"))
    export_onnx(folder)
    return folder


@pytest.fixture
def exported(original, tmp_path):
    """A folder of one's own, to do harm to."""
    return Path(shutil.copytree(original, tmp_path / "completer"))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_same_answers_for_any_batch(both, batch):
    by_torch, by_onnx = (trained.completer for trained in both)
    torch.manual_seed(batch)
    inputs = {name: torch.rand(batch, 1, 32, 32) < 0.4 for name in ("modal", "occluder", "boundary")}
    if by_torch.uses_image:
        inputs["image"] = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        expected, found = by_torch(**inputs), by_onnx(**inputs)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        for ours, theirs in zip(by_onnx.read(found), by_torch.read(expected), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert expected.std() > 0.05  # else a file that always answers the same would pass


def test_all_but_the_network_is_the_same(both):
    by_torch, by_onnx = both
    assert by_onnx.completer.method == by_torch.completer.method
    assert by_onnx.completer.uses_image is by_torch.completer.uses_image
    assert (by_onnx.crop, by_onnx.threshold, by_onnx.order_threshold, by_onnx.calibration) == (
        by_torch.crop, by_torch.threshold, by_torch.order_threshold, by_torch.calibration,
    )  # fmt: skip


def test_same_labels(both):
    """At least 99.9 % of the pixels and uncertainties within 1e-3, the bound that is stated for users."""
    scenes = [draw_scene(np.random.default_rng(seed), (96, 128)) for seed in range(4)]
    scenes = [Scene(s.modal, s.image) for s in scenes]
    by_torch, by_onnx = (label_scenes(plan_labels(bundle, LabelSettings(batch_size=5)), scenes) for bundle in both)
    whole = differing = grown = 0
    for one, other in zip(by_torch, by_onnx, strict=True):
        assert [(p.front, p.back) for p in one.order] == [(p.front, p.back) for p in other.order]
        for a, b in zip(one.labels, other.labels, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert (a.occluders, a.asked, a.runaway) == (b.occluders, b.asked, b.runaway)
                assert a.uncertainty == pytest.approx(b.uncertainty, abs=1e-3)
                whole += np.count_nonzero(a.amodal)
                differing += np.count_nonzero(a.amodal ^ b.amodal)
    grown = whole - sum(np.count_nonzero(scene.masks) for scene in scenes)
    assert grown > 0 and differing <= 0.001 * whole


def test_as_many_threads_as_torch(exported):
    threads = torch.get_num_threads()
    network = load_completer(exported, CPU, "onnx").completer.network
    assert network.session.get_session_options().intra_op_num_threads == threads
    assert network.session.get_providers() == ["CPUExecutionProvider"]


def test_onnxruntime_needs_no_weights(exported):
    (exported / WEIGHTS).unlink()
    assert load_completer(exported, CPU, "onnx").crop.patch_px == 32
    with pytest.raises(CheckpointError, match=r"weights.pth: expected the completer's weights, found no such file"):
        load_completer(exported, CPU)


def test_note_says_what_the_file_is(exported):
    note = json.loads((exported / NOTE).read_text())
    assert note["opset"] == 17 and note["input"] == ["patches", ["batch", 3, 32, 32]]
    assert note["output"] == ["outputs", ["batch", 2, 32, 32]]
    assert note["onnx_sha256"] == hash_file(exported / NETWORK)
    assert note["weights_sha256"] == hash_file(exported / WEIGHTS)
    assert 0 <= note["largest_difference"] < 1e-4


def test_export_again_gives_the_same_bytes_without_warning(exported):
    before = (exported / NETWORK).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(exported)
    assert (exported / NETWORK).read_bytes() == before


def test_file_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    folder, other = save(tmp_path / "completer"), load_completer(save(tmp_path / "other", seed=1), CPU)
    export = onnx_backend.export
    monkeypatch.setattr(onnx_backend, "export", lambda network, *rest: export(other.completer.network, *rest))
    with pytest.raises(
        CheckpointError, match=r"completer.onnx: expected answers within 0.0001 of torch's, got [\d.]+ away"
    ):
        export_onnx(folder)
    assert sorted(file.name for file in folder.iterdir()) == [CARD, WEIGHTS]


def test_network_that_answers_no_numbers_is_not_kept(tmp_path):
    completer = build_completer("layered", 4, False).eval()
    with torch.no_grad():
        completer.network.leave.bias.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="got nan away"):
        write_network(tmp_path, completer, 32, "0" * 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [NETWORK, NOTE])
def test_not_exported(exported, name):
    (exported / name).unlink()
    message = (
        rf"{name}: expected the network in ONNX, found no such file; write it with `amodalpl export-onnx .*completer`"
    )
    with pytest.raises(CheckpointError, match=message):
        load_completer(exported, CPU, "onnx")


def test_trained_again_since(exported, tmp_path):
    save(exported, seed=1)
    with pytest.raises(CheckpointError, match=r"completer.onnx: was written from other weights than the folder's"):
        load_completer(exported, CPU, "onnx")


def test_damaged_file(exported):
    data = (exported / NETWORK).read_bytes()
    (exported / NETWORK).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"is not the file that completer_onnx.json describes \(its SHA-256"):
        load_completer(exported, CPU, "onnx")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        pytest.param("[]", CheckpointError, "expected a note of format 1, got another file", id="a list"),
        pytest.param("{}", CheckpointError, "expected a note of format 1, got another file", id="empty"),
        pytest.param('{"format": 2}', CheckpointError, "expected a note of format 1", id="a newer one"),
        pytest.param('{"format": 1}', CheckpointError, "other weights than the folder's", id="without hashes"),
        pytest.param('{"form', DataError, r"completer_onnx.json: expected the note .* in JSON", id="half-written"),
    ],
)
def test_damaged_note(exported, content, error, message):
    (exported / NOTE).write_text(content)
    with pytest.raises(error, match=message):
        load_completer(exported, CPU, "onnx")


def test_file_that_is_no_network(exported):
    (exported / NETWORK).write_bytes(b"something else")
    note = json.loads((exported / NOTE).read_text())
    (exported / NOTE).write_text(json.dumps({**note, "onnx_sha256": hash_file(exported / NETWORK)}))
    with pytest.raises(CheckpointError, match=r"completer.onnx: onnxruntime [\d.]+ cannot open it \("):
        load_completer(exported, CPU, "onnx")


def test_unknown_backend(exported):
    with pytest.raises(SettingsError, match=r"--backend: expected torch or onnx, got 'onx'; did you mean 'onnx'\?"):
        load_completer(exported, CPU, "onx")


def test_no_cuda(exported, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(SettingsError, match=r"can use no CUDA device; pip install onnxruntime-gpu .* --device cpu"):
        load_completer(exported, torch.device("cuda"), "onnx")


def test_cuda_that_onnxruntime_cannot_load(exported, monkeypatch):
    """As where libraries of CUDA are missing: onnxruntime then takes the CPU and only says so."""
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda data, options, providers: session(data, options, providers[1:])
    )
    with pytest.raises(SettingsError, match="can use no CUDA device"):
        load_completer(exported, torch.device("cuda"), "onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_package_is_missing(exported, monkeypatch, package):
    find = onnx_files.importlib.import_module

    def missing(name):
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return find(name)

    monkeypatch.setattr(onnx_files.importlib, "import_module", missing)
    message = rf"expected the package {package}, could not import it; pip install 'amodalpl\[onnx\]'"
    with pytest.raises(MissingPackageError, match=message):
        export_onnx(exported)
    if package == "onnxruntime":
        with pytest.raises(MissingPackageError, match=message):
            load_completer(exported, CPU, "onnx")


def test_folder_that_cannot_be_written_to(exported, monkeypatch):
    before = {file.name: file.read_bytes() for file in exported.iterdir()}

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_backend.Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"completer.onnx: could not write it \(No space left"):
        export_onnx(exported)
    assert {file.name: file.read_bytes() for file in exported.iterdir()} == before
