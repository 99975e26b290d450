"""The completer's network as an ONNX file: written from torch, checked against it, and run by onnxruntime.

Only the network changes hands. What it is shown and how its answer is read stay in `models.completer`, so that labels
of both backends differ by rounding alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import CheckpointError, SettingsError
from ..io.files import hash_file, read_json, write_json
from ..models.completer import Completer
from ..runtime.onnx_files import OPSET, export, need, write_checked

NETWORK, NOTE = "completer.onnx", "completer_onnx.json"
BACKENDS = ("torch", "onnx")
FORMAT = 1  # of the note
INPUT, OUTPUT = "patches", "outputs"
CHECKED_BATCHES = (1, 3)  # two sizes, since the file must serve any
MOST_DIFFERENT = 1e-4  # of probabilities; rounding gives some 1e-6


class OnnxNetwork(nn.Module):
    """An ONNX file in place of a torch network: (B, C, P, P) float32 -> (B, 2, P, P) float32, raw, both on the CPU.

    onnxruntime moves tensors to a GPU and back by itself. There is nothing to train: the one parameter is empty, and
    tells those who ask a network for its device that tensors are to be given on the CPU.

    Args:
        session: an `onnxruntime.InferenceSession`.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the two raw channels."""
        (outputs,) = self.session.run([OUTPUT], {INPUT: np.ascontiguousarray(x.numpy())})
        return torch.from_numpy(outputs)


def write_network(folder: Path, completer: Completer, patch_px: int, weights_sha256: str) -> float:
    """Write `completer.onnx`, compare it with torch on random patches, and note what it is in `completer_onnx.json`.

    Args:
        folder: of the completer.
        completer: as `trained.load_completer` returns it, on the CPU.
        patch_px: side of its patches.
        weights_sha256: of the weights file it was read from.

    Returns:
        The largest difference of probabilities that was seen, 0 to 1.

    Raises:
        MissingPackageError: onnx or onnxruntime is not installed.
        CheckpointError: the file answers otherwise than torch; it is not kept.
        OutputError: the folder cannot be written to.
    """
    channels = 1 + len(completer.method.channels) + (3 if completer.uses_image else 0)
    path = folder / NETWORK

    def exported() -> bytes:
        free = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
        return export(completer.network, (torch.zeros(2, channels, patch_px, patch_px),), [INPUT], [OUTPUT], free)

    def off(part: Path) -> float:
        by_onnx = Completer(open_network(part, torch.device("cpu")), completer.method, completer.uses_image)
        return _largest_difference(completer, by_onnx, patch_px)

    difference = write_checked(path, exported, off, MOST_DIFFERENT, ", or use --backend torch")
    write_json(
        folder / NOTE,
        {
            "format": FORMAT,
            "opset": OPSET,
            "torch": torch.__version__,
            "input": [INPUT, ["batch", channels, patch_px, patch_px]],
            "output": [OUTPUT, ["batch", 2, patch_px, patch_px]],
            "largest_difference": difference,
            "weights_sha256": weights_sha256,
            "onnx_sha256": hash_file(path),
        },
    )
    return difference


def read_network(folder: Path, weights_sha256: object, device: torch.device) -> OnnxNetwork:
    """Open what `write_network` wrote.

    Args:
        folder: of the completer.
        weights_sha256: of the weights that the completer's card describes; the file must have been written from them.
        device: the CPU, with as many threads as torch has; or a CUDA device.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        CheckpointError: the file is missing, damaged, or of other weights.
        SettingsError: a CUDA device was asked for, and this onnxruntime has none.
    """
    need("onnxruntime")
    path, note_path = folder / NETWORK, folder / NOTE
    command = f"`amodalpl export-onnx {folder}`"
    for file in (path, note_path):
        if not file.exists():
            raise CheckpointError(f"{file}: expected the network in ONNX, found no such file; write it with {command}")
    note = read_json(note_path, "the note beside a network in ONNX")
    if not isinstance(note, dict) or note.get("format") != FORMAT:
        raise CheckpointError(
            f"{note_path}: expected a note of format {FORMAT}, got another file; write it again with {command}"
        )
    if note.get("weights_sha256") != weights_sha256:
        raise CheckpointError(
            f"{path}: was written from other weights than the folder's; write it again with {command}"
        )
    if hash_file(path) != note.get("onnx_sha256"):
        raise CheckpointError(
            f"{path}: is not the file that {NOTE} describes (its SHA-256 differs); write it again with {command}"
        )
    return open_network(path, device)


def open_network(path: Path, device: torch.device) -> OnnxNetwork:
    """Open a network in ONNX, alone: its file may name no others.

    Raises:
        CheckpointError: onnxruntime cannot open it.
    """
    runtime = need("onnxruntime")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        # Without TF32, whose ten bits of mantissa would make the labels of both backends differ
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0}))
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise _no_cuda(runtime)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings are about hardware that it looked for and did not find
    try:
        session = runtime.InferenceSession(path.read_bytes(), options, providers=providers)
    except Exception as error:  # onnxruntime's have no common base but this one
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: onnxruntime {runtime.__version__} cannot open it ({reason}); "
            "write it again with `amodalpl export-onnx`"
        ) from None
    if device.type == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise _no_cuda(runtime)  # it falls back to the CPU by itself where libraries of CUDA are missing
    return OnnxNetwork(session)


def _no_cuda(runtime: Any) -> SettingsError:
    return SettingsError(
        f"--backend onnx: this onnxruntime ({runtime.__version__}) can use no CUDA device; "
        "pip install onnxruntime-gpu in its place, or use --device cpu"
    )


def _largest_difference(first: Completer, second: Completer, patch_px: int) -> float:
    """Ask both completers about random patches, and return by how much probabilities differ at most."""
    rng = np.random.default_rng(0)
    differences = []
    for batch in CHECKED_BATCHES:
        masks = {name: _boxes(rng, batch, patch_px) for name in ("modal", "occluder", "boundary")}
        photo = torch.from_numpy(rng.integers(0, 256, (batch, 3, patch_px, patch_px), dtype=np.uint8))
        inputs = {**masks, "image": photo} if first.uses_image else masks
        with torch.inference_mode():
            answers = [completer.read(completer(**inputs)) for completer in (first, second)]
            differences.append(float((answers[0] - answers[1]).abs().max()))
    return float(np.max(differences))  # which hands on NaN


def _boxes(rng: np.random.Generator, batch: int, patch_px: int) -> torch.Tensor:
    """Draw (B, 1, P, P) bool patches of one random box each."""
    masks = np.zeros((batch, 1, patch_px, patch_px), dtype=bool)
    for mask in masks[:, 0]:
        (top, bottom), (left, right) = np.sort(rng.integers(0, patch_px, (2, 2)), axis=1)
        mask[top : bottom + 1, left : right + 1] = True
    return torch.from_numpy(masks)
