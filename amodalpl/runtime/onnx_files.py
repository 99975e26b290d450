"""Networks as ONNX files: written from torch, and compared with it before they count."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, MissingPackageError
from ..io.files import write_whole

OPSET = 17  # the newest that the exporter of torch 2.4 writes
Axes = dict[str, dict[int, str]]


def need(package: str) -> Any:
    """Import a package of the extra `onnx`.

    Raises:
        MissingPackageError: it is not installed, or does not import.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == package else f" ({error})"
        raise MissingPackageError(
            f"ONNX: expected the package {package}, could not import it{reason}; pip install 'amodalpl[onnx]'"
        ) from None


def write_checked(
    path: Path, exported: Callable[[], bytes], difference: Callable[[Path], float], most: float, otherwise: str = ""
) -> float:
    """Write a network, and keep the file only if it answers as torch does.

    Args:
        path: of the file.
        exported: makes its bytes.
        difference: of its answers from torch's, given where it lies.
        most: that may be.
        otherwise: what else there is to do, for the message.

    Returns:
        The difference.

    Raises:
        MissingPackageError: onnx or onnxruntime is not installed.
        CheckpointError: the file answers otherwise than torch.
    """
    need("onnx")  # by torch's exporter, which names it only in passing
    runtime = need("onnxruntime")
    found = 0.0

    def write(part: Path) -> None:
        nonlocal found
        part.write_bytes(exported())
        found = difference(part)
        if not found <= most:
            raise CheckpointError(
                f"{path}: expected answers within {most} of torch's, got {found:.2g} away (torch {torch.__version__}, "
                f"onnxruntime {runtime.__version__}); try another version of either{otherwise}"
            )

    write_whole(path, write)
    return found


def export(
    network: nn.Module, given: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], free: Axes
) -> bytes:
    """Return a network as the bytes of an ONNX file.

    By the exporter that traces: every torch from 2.4 on has it, while the newer one needs torch 2.6 and one more
    package, and writes the same graph. torch calls it legacy since 2.9, which is no news for a user.

    Args:
        network: ready to be used.
        given: inputs to trace it with.
        inputs: their names.
        outputs: names of what comes out.
        free: of inputs and outputs, the axes that may have any length, with a name for each.
    """
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        file = Path(scratch) / "network.onnx"
        torch.onnx.export(
            network,
            given,
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=free,
        )
        return file.read_bytes()
