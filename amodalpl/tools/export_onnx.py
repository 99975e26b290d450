"""`amodalpl export-onnx`: the network of a trained completer as an ONNX file, in the completer's own folder."""

from __future__ import annotations

from pathlib import Path

import torch

from ..completion.checkpoint import WEIGHTS, load_completer
from ..completion.onnx_backend import NETWORK, NOTE, OPSET, write_network
from ..io.files import hash_file
from ..runtime.folder_lock import lock_folder
from ..runtime.next_command import argument, beside, labelled_data
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary


def export_onnx(completer: Path, progress: Progress = SILENT) -> Summary:
    """Write `completer.onnx` and its note beside the weights; a file from before is replaced.

    The folder is locked meanwhile, so that the weights do not change between reading and noting their hash.

    Args:
        completer: output folder of `amodalpl complete`.
        progress: shown while it works.

    Returns:
        How large the file is, and how far its answers are from torch's.

    Raises:
        DataError: there is no completer in the folder.
        CheckpointError: the completer is damaged, or the file answers otherwise than torch.
        MissingPackageError: onnx or onnxruntime is not installed.
        OutputError: the folder cannot be written to, or another process is working in it.
    """
    lock = lock_folder(completer) if completer.is_dir() else None
    try:
        trained = load_completer(completer, torch.device("cpu"))
        with progress.task("writing the network", 1) as advance:
            weights_sha256 = hash_file(completer / WEIGHTS)
            difference = write_network(completer, trained.completer, trained.crop.patch_px, weights_sha256)
            advance(1)
    finally:
        if lock is not None:
            lock.release()
    return Summary(
        "export-onnx",
        completer,
        counts={
            "opset": OPSET,
            "MiB": round((completer / NETWORK).stat().st_size / 2**20, 1),
            "largest difference from torch": f"{difference:.1e}",
        },
        files={"network": completer / NETWORK, "note": completer / NOTE},
        next=f"amodalpl pseudolabel {labelled_data(completer)} --completer {argument(completer)} --backend onnx "
        f"--out {beside(completer, 'completer', 'labels')}",
    )
