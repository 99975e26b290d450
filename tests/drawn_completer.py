"""A completer with random weights: it grows here and there, which is all that a test of the stages around it needs."""

from __future__ import annotations

from pathlib import Path

import torch

from amodalpl.calibration.fit import Calibration
from amodalpl.completion.checkpoint import CompleterBundle, save_completer
from amodalpl.completion.predictor import CropSpec
from amodalpl.models.completer import build_completer
from amodalpl.settings import CompleterSettings, SynthesisSettings


def write_completer(folder: Path, method: str = "layered") -> Path:
    """Write the folder that `amodalpl complete` would."""
    torch.manual_seed(2)
    completer = build_completer(method, 4, False, init_gain=1.0).eval()
    trained = CompleterBundle(completer, CropSpec(32), calibration=Calibration((0.0, 1.0), (0.05, 0.9)))
    folder.mkdir()
    save_completer(folder, trained, CompleterSettings(method=method, width=4), SynthesisSettings(patch_px=32))
    return folder
