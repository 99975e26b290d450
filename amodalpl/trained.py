"""A trained completer on disk: `weights.pth` (tensors only) and `completer.json` (how to use them)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from .calibration import Calibration
from .completion import View
from .errors import CheckpointError, nearest
from .models.completer import METHODS, Completer, build_completer
from .provenance import hash_file, read_json, write_json, write_whole
from .resuming import load_plain
from .settings import CompleterSettings, SynthesisSettings

WEIGHTS, CARD = "weights.pth", "completer.json"


@dataclass(frozen=True)
class TrainedCompleter:
    """A completer with everything that was chosen for it on the hold-out.

    Attributes:
        completer: network and method, in eval mode.
        view: how objects are shown to it; `gap_px` is replaced by the label settings'.
        threshold: probability above which a pixel belongs to the object.
        order_threshold: the same, when counting growth for the pairwise order rule.
        calibration: from raw doubt to expected error.
    """

    completer: Completer
    view: View
    threshold: float = 0.5
    order_threshold: float = 0.5
    calibration: Calibration = field(default_factory=Calibration)


def save_completer(
    folder: Path, trained: TrainedCompleter, completer: CompleterSettings, synthesis: SynthesisSettings
) -> None:
    """Write the weights, then the card that names their hash."""
    weights = {name: tensor.cpu() for name, tensor in trained.completer.state_dict().items()}
    write_whole(folder / WEIGHTS, lambda part: torch.save(weights, part))
    card = {
        "method": completer.method,
        "width": completer.width,
        "image": completer.image,
        "patch_px": synthesis.patch_px,
        "enlarge_box": synthesis.enlarge_box,
        "boundary_px": synthesis.boundary_px,
        "threshold": trained.threshold,
        "order_threshold": trained.order_threshold,
        "calibration": trained.calibration.to_json(),
        "weights_sha256": hash_file(folder / WEIGHTS),
    }
    write_json(folder / CARD, card)


def load_completer(folder: Path, device: torch.device) -> TrainedCompleter:
    """Read what `save_completer` wrote.

    Raises:
        DataError: the folder has no `completer.json`.
        CheckpointError: the card or the weights are damaged, or do not belong together.
    """
    card = read_json(folder / CARD, "the card of a trained completer; train one with `amodalpl complete`")
    weights = folder / WEIGHTS
    if not weights.exists():
        raise CheckpointError(f"{weights}: expected the completer's weights, found no such file")
    method, width, view, trained = _read_card(folder / CARD, card)
    if card.get("weights_sha256") != hash_file(weights):
        raise CheckpointError(f"{weights}: is not the file that {CARD} describes (its SHA-256 differs); train again")
    completer = build_completer(method, width, bool(card["image"]))
    load_weights(completer, load_plain(weights), weights)
    completer.eval().to(device)
    return TrainedCompleter(completer, view, *trained)


def _read_card(path: Path, card: Any) -> tuple[str, int, View, tuple[float, float, Calibration]]:
    method = card.get("method") if isinstance(card, dict) else None
    if isinstance(method, str) and method not in METHODS:
        raise CheckpointError(f"{path}: unknown method {method!r}{nearest(method, METHODS)}")
    try:
        view = View(int(card["patch_px"]), float(card["enlarge_box"]), int(card["boundary_px"]))
        chosen = (float(card["threshold"]), float(card["order_threshold"]), Calibration.from_json(card["calibration"]))
        width = CompleterSettings(width=card["width"], image=card["image"], method=card["method"]).width
        SynthesisSettings(patch_px=view.patch_px, enlarge_box=view.enlarge_box, boundary_px=view.boundary_px)
    except (KeyError, TypeError, ValueError) as error:
        problem = str(error).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            problem = ".".join(str(part) for part in first["loc"]) + ": " + first["msg"]
        raise CheckpointError(f"{path}: expected a trained completer's card, got a damaged one ({problem})") from None
    return card["method"], width, view, chosen


def load_weights(completer: Completer, weights: Any, path: Path) -> None:
    """Put weights into a completer.

    Raises:
        CheckpointError: they are of another network; says how many fit.
    """
    own = completer.state_dict()
    if not isinstance(weights, dict):
        raise CheckpointError(f"{path}: expected named weights, got {type(weights).__name__}")
    fitting = [k for k, v in own.items() if isinstance(weights.get(k), torch.Tensor) and weights[k].shape == v.shape]
    if len(fitting) != len(own) or len(weights) != len(own):
        raise CheckpointError(
            f"{path}: expected the weights of this completer ({len(own)} entries), got {len(weights)} of which "
            f"{len(fitting)} fit; it was trained with another method or width"
        )
    completer.load_state_dict(weights)
