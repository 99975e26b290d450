"""`amodalpl export-onnx`: the networks of a completer or a detector as ONNX files, in its own folder."""

from __future__ import annotations

from pathlib import Path

import torch

from ..completion.checkpoint import WEIGHTS, load_completer
from ..completion.onnx_backend import NETWORK, NOTE, OPSET, write_network
from ..io.files import hash_file, read_json
from ..runtime.folder_lock import lock_folder
from ..runtime.next_command import argument, beside, labelled_data
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE
from ..runtime.summary import Summary


def export_onnx(folder: Path, progress: Progress = SILENT) -> Summary:
    """Write the networks of a completer, or of a detector, beside its weights; files from before are replaced.

    Args:
        folder: output of `amodalpl complete` or of `amodalpl train-detector`.
        progress: shown while it works.

    Returns:
        How large the files are, and how far their answers are from torch's.

    Raises:
        AmodalplError: see `export_completer` and `export_detector`.
    """
    record = read_json(folder / RUN_FILE, "the record of a run") if (folder / RUN_FILE).is_file() else None
    if isinstance(record, dict) and record.get("stage") == "train-detector":
        return export_detector(folder, progress)
    return export_completer(folder, progress)


def export_detector(folder: Path, progress: Progress = SILENT) -> Summary:
    """Write `features.onnx`, `regions.onnx` and their note; `docs/api.md` says how to use them.

    Args:
        folder: output of `amodalpl train-detector`, of the models mask-rcnn, mask-rcnn-c8 and orcnn.
        progress: shown while it works.

    Returns:
        As `export_onnx`.

    Raises:
        SettingsError: another model.
        OutputError: the training has not finished, or another process is working in the folder.
        CheckpointError: the weights are damaged, or a file answers otherwise than torch.
        MissingPackageError: mmdet, onnx or onnxruntime is not installed.
    """
    from ..detector import require_mmdetection

    require_mmdetection("export-onnx")
    from ..detector import onnx_networks, trained

    lock = lock_folder(folder)
    try:
        opened = trained.open_detector(folder, None, torch.device("cpu"))
        with progress.task("writing the networks", 1) as advance:
            difference = onnx_networks.write_networks(folder, opened)
            advance(1)
    finally:
        lock.release()
    files = {"features": folder / onnx_networks.FEATURES, "regions": folder / onnx_networks.REGIONS}
    return Summary(
        "export-onnx",
        folder,
        counts={
            "opset": onnx_networks.OPSET,
            "MiB": round(sum(file.stat().st_size for file in files.values()) / 2**20, 1),
            "largest difference from torch": f"{difference:.1e}",
        },
        files={**files, "note": folder / onnx_networks.NOTE},
    )


def export_completer(completer: Path, progress: Progress = SILENT) -> Summary:
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
