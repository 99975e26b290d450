"""A trained completer on disk: `weights.pth` (tensors only) and `completer.json` (how to use them).

`amodalpl export-onnx` puts the same network beside them as `completer.onnx`, which onnxruntime runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError

from ..calibration.fit import Calibration, RiskGuarantee
from ..calibration.likeness import JudgedLabels
from ..errors import CheckpointError, DataError, SettingsError, nearest
from ..io.checkpoints import load_plain
from ..io.files import hash_file, read_json, write_json, write_whole
from ..models.completer import Completer, build_completer, fuse_for_use
from ..models.completer_table import METHODS
from ..models.photo_encoder import PhotoUNet
from ..settings import CompleterSettings, LabelSettings, LayerSettings, SynthesisSettings
from ..shape_prior.plausibility import ShapePrior, load_shape_prior, save_shape_prior
from .onnx_backend import BACKENDS, read_network
from .predictor import CropSpec

WEIGHTS, CARD, SHAPES = "weights.pth", "completer.json", "shapes.pth"
UNMASKED = ("unmasked_threshold", "unmasked_threshold_in_pieces")
FORMAT = 6  # of the card: 2 has calibrated pixels and a promise, 4 no thresholds for gaps, 6 the crops of contacts


@dataclass(frozen=True)
class CompleterBundle:
    """A completer with everything that was chosen for it on the hold-out.

    Attributes:
        completer: network and method, in eval mode; after loading, with its normalisations fused (`fuse_for_use`).
        crop: how objects are shown to it.
        threshold: probability above which a pixel belongs to the object.
        order_threshold: the same, where growth tells who is in front.
        unmasked_threshold: `threshold` where no object is, behind things without a mask, for objects that are seen in
            one piece; 1 lets nothing grow there.
        unmasked_threshold_in_pieces: the same for objects that are seen in several pieces, most likely because
            something hides them.
        contact_crops: further crops where two objects meet whose order is doubtful, in sides of their contact's box.
        calibration: from the network's probabilities to those of pixels, and to the expected error of labels.
        promise: up to which uncertainty labels are good; None where the hold-out allows none.
        shapes: how ordinary a shape is; None where there were too few whole objects to learn it from.
        judged: what the promise was judged on, to compare a user's labels with; None without one.
    """

    completer: Completer
    crop: CropSpec
    threshold: float = 0.5
    order_threshold: float = 0.5
    contact_crops: tuple[float, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    promise: RiskGuarantee | None = None
    shapes: ShapePrior | None = None
    unmasked_threshold: float = 1.0
    unmasked_threshold_in_pieces: float = 1.0
    judged: JudgedLabels | None = None


def save_completer(
    folder: Path, trained: CompleterBundle, completer: CompleterSettings, synthesis: SynthesisSettings
) -> None:
    """Write the weights and the shapes, then the card that names their hashes."""
    weights = {name: tensor.cpu() for name, tensor in trained.completer.state_dict().items()}
    write_whole(folder / WEIGHTS, lambda part: torch.save(weights, part))
    if trained.shapes is not None:
        save_shape_prior(folder / SHAPES, trained.shapes)
    write_card(folder, trained, completer, synthesis)


def write_card(
    folder: Path, trained: CompleterBundle, completer: CompleterSettings, synthesis: SynthesisSettings
) -> None:
    """Write how to use the weights, and the shapes if there are any, that lie in a folder."""
    card = {
        "format": FORMAT,
        "method": completer.method,
        "width": completer.width,
        "image": completer.image,
        **({"photo_encoder": completer.photo_encoder} if completer.photo_encoder else {}),
        "patch_px": synthesis.patch_px,
        "enlarge_box": synthesis.enlarge_box,
        "boundary_px": synthesis.boundary_px,
        "threshold": trained.threshold,
        "order_threshold": trained.order_threshold,
        "contact_crops": list(trained.contact_crops),
        "unmasked": synthesis.layers.unmasked,
        "unmasked_threshold": trained.unmasked_threshold,
        "unmasked_threshold_in_pieces": trained.unmasked_threshold_in_pieces,
        "calibration": trained.calibration.to_json(),
        "promise": trained.promise.to_json() if trained.promise else None,
        "judged": trained.judged.to_json() if trained.judged else None,
        "weights_sha256": hash_file(folder / WEIGHTS),
        "shapes_sha256": hash_file(folder / SHAPES) if trained.shapes is not None else None,
    }
    write_json(folder / CARD, card)


def load_completer(folder: Path, device: torch.device, backend: str = "torch") -> CompleterBundle:
    """Read what `save_completer` wrote.

    Args:
        folder: output folder of `amodalpl complete`.
        device: where the network runs.
        backend: "torch"; or "onnx" for onnxruntime, which needs `completer.onnx` and no `weights.pth`.

    Raises:
        SettingsError: another backend, or a device that it cannot use.
        DataError: the folder has no `completer.json`.
        CheckpointError: the card is of another version, or files are missing, damaged, or do not belong together.
        MissingPackageError: onnxruntime is asked for and not installed.
    """
    if backend not in BACKENDS:
        raise SettingsError(f"--backend: expected torch or onnx, got {backend!r}{nearest(str(backend), BACKENDS)}")
    card = _card_of(folder)
    method, width, crop, chosen = _read_card(folder / CARD, card)
    uses_image = bool(card["image"])
    if backend == "onnx":
        onnx = read_network(folder, card.get("weights_sha256"), device)
        completer = Completer(onnx, METHODS[method], uses_image).eval()
    else:
        network = build_completer(method, width, uses_image, photo_encoder=card.get("photo_encoder"))
        completer = _read_weights(folder, card, network).to(device)
    return CompleterBundle(completer, crop, **chosen, shapes=_read_shapes(folder, card))


def _card_of(folder: Path) -> Any:
    inside = folder / "completer"
    if not (folder / CARD).exists() and (inside / CARD).exists():
        raise DataError(f"{folder}: expected the output folder of `amodalpl complete`; give {inside}")
    return read_json(folder / CARD, "the card of a trained completer; train one with `amodalpl complete`")


def read_network_settings(folder: Path) -> dict[str, Any]:
    """Return the settings that a completer's weights fit, by section: its network, and the crops that it was shown.

    One that learnt of neighbours without masks goes on learning of them.

    Raises:
        DataError: the folder has no `completer.json`.
        CheckpointError: the card is of another version, or damaged.
    """
    card = _card_of(folder)
    method, width, crop, _ = _read_card(folder / CARD, card)
    return {
        "completer": {
            "method": method,
            "width": width,
            "image": bool(card["image"]),
            "photo_encoder": card.get("photo_encoder"),
        },
        "synthesis": {
            "patch_px": crop.patch_px,
            "enlarge_box": crop.enlarge_box,
            "boundary_px": crop.boundary_px,
            **({"layers": {"unmasked": unmasked}} if (unmasked := card.get("unmasked")) else {}),
        },
    }


def read_unmasked_thresholds(folder: Path) -> tuple[float, float]:
    """Return above which probabilities a completer's labels grow where no object is: in one piece, in several.

    Raises:
        DataError, CheckpointError: as `read_network_settings`.
    """
    chosen = _read_card(folder / CARD, _card_of(folder))[3]
    return chosen["unmasked_threshold"], chosen["unmasked_threshold_in_pieces"]


def start_from(completer: Completer, folder: Path) -> None:
    """Put the weights of an earlier completer into one that is to be trained.

    Args:
        completer: of the same method, width and inputs.
        folder: output folder of `amodalpl complete`.

    Raises:
        DataError: the folder has no `completer.json`.
        CheckpointError: the weights are missing, damaged, or of another network.
    """
    card = _card_of(folder)
    _require_hash(folder / WEIGHTS, card.get("weights_sha256"))
    weights = load_plain(folder / WEIGHTS)
    if isinstance(completer.network, PhotoUNet) and not card["image"]:
        weights = {**completer.state_dict(), **weights}
    load_weights(completer, weights, folder / WEIGHTS)


def start_photo_encoder(completer: Completer, path: Path) -> None:
    """Put ImageNet weights into the frozen encoder of a completer that is to be trained.

    Args:
        completer: one with an encoder.
        path: state dict of MMDetection's MobileNetV2, flat or under `state_dict`; it may hold more than is needed.

    Raises:
        CheckpointError: the file is missing or damaged, or a weight is missing or of another size.
    """
    content = load_plain(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    named = state.items() if isinstance(state, dict) else ()
    given = {str(name).removeprefix("backbone."): value for name, value in named}
    encoder = cast(PhotoUNet, completer.network).encoder
    wanted = encoder.state_dict()
    wrong = [n for n, v in wanted.items() if getattr(given.get(n), "shape", None) != v.shape]
    if wrong:
        raise CheckpointError(
            f"{path}: expected the {len(wanted)} weights of MobileNetV2 up to stride 16 under MMDetection's names, "
            f"{len(wrong)} are missing or of another size (first: {wrong[0]})"
        )
    encoder.load_state_dict({n: given[n] for n in wanted})


def _read_weights(folder: Path, card: Any, completer: Completer) -> Completer:
    weights = folder / WEIGHTS
    if not weights.exists():
        raise CheckpointError(f"{weights}: expected the completer's weights, found no such file")
    _require_hash(weights, card.get("weights_sha256"))
    load_weights(completer, load_plain(weights), weights)
    return fuse_for_use(completer)


def _read_shapes(folder: Path, card: Any) -> ShapePrior | None:
    if card.get("shapes_sha256") is None:
        return None
    shapes = folder / SHAPES
    if not shapes.exists():
        raise CheckpointError(f"{shapes}: expected the shapes that {CARD} names, found no such file")
    _require_hash(shapes, card["shapes_sha256"])
    return load_shape_prior(shapes)


def _require_hash(path: Path, expected: object) -> None:
    if hash_file(path) != expected:
        raise CheckpointError(f"{path}: is not the file that {CARD} describes (its SHA-256 differs); train again")


def _read_card(path: Path, card: Any) -> tuple[str, int, CropSpec, dict[str, Any]]:
    method = card.get("method") if isinstance(card, dict) else None
    if method is not None and card.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected a card of format {FORMAT}, got {card.get('format', 1)!r}, of another version of "
            "amodalpl; train it again with `amodalpl complete`, into a new folder"
        )
    if isinstance(method, str) and method not in METHODS:
        raise CheckpointError(f"{path}: unknown method {method[:60]!r}{nearest(method[:60], METHODS)}")
    try:
        crop = CropSpec(int(card["patch_px"]), float(card["enlarge_box"]), int(card["boundary_px"]))
        given = LabelSettings(contact_crops=card["contact_crops"])
        in_one_piece, in_pieces = (card.get(name, card["unmasked_threshold"]) for name in UNMASKED)
        for value in (in_one_piece, in_pieces):
            LabelSettings(unmasked_threshold=value)
        chosen = {
            "threshold": float(card["threshold"]),
            "order_threshold": float(card["order_threshold"]),
            "contact_crops": given.contact_crops or (),
            "calibration": Calibration.from_json(card["calibration"]),
            "promise": None if card["promise"] is None else RiskGuarantee.from_json(card["promise"]),
            "judged": None if card.get("judged") is None else JudgedLabels.from_json(card["judged"]),
            "unmasked_threshold": float(in_one_piece),
            "unmasked_threshold_in_pieces": float(in_pieces),
        }
        width = CompleterSettings(
            width=card["width"],
            image=card["image"],
            method=card["method"],
            photo_encoder=card.get("photo_encoder"),
        ).width
        SynthesisSettings(patch_px=crop.patch_px, enlarge_box=crop.enlarge_box, boundary_px=crop.boundary_px)
        LayerSettings(unmasked=card.get("unmasked", 0.0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problem = str(error).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            problem = ".".join(str(part) for part in first["loc"]) + ": " + first["msg"]
        raise CheckpointError(
            f"{path}: expected a trained completer's card, got a damaged one ({problem[:200]})"
        ) from None
    return card["method"], width, crop, chosen


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
