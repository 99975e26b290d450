"""Start weights and finished weights: plain state dicts, never pickled objects."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..io.checkpoints import read_tensors
from ..io.files import hash_file
from ..runtime.stage_run import finished_run
from ..settings import DetectorSettings
from .folder import STAGE, WEIGHTS

RESNET50_URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"  # what mmdet calls torchvision://resnet50
_CLASSIFIERS = ("fc.", "classifier.", "head.")  # of ImageNet networks; a detector has no place for them
_MASK_HEAD = "roi_head.mask_head."
_LEARNT_OTHERWISE = ("roi_head.mask_head.codebook.",)  # from the label file, before the training

State = dict[str, Tensor]


def read_state(path: Path) -> State:
    """Read the tensors of a checkpoint.

    Args:
        path: a state dict, flat or under `state_dict`; `module.` prefixes are taken off.

    Raises:
        CheckpointError: no such file, not a checkpoint, or it holds more than tensors and plain values.
    """
    return read_checkpoint(path)[0]


def read_checkpoint(path: Path) -> tuple[State, tuple[str, ...] | None]:
    """Read the tensors of a checkpoint, and the class names that it was trained on; None where it does not say.

    Raises:
        CheckpointError: as for `read_state`.
    """
    try:
        content = read_tensors(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: expected a checkpoint, found no such file") from None
    except Exception as error:  # zip, pickle, io and runtime errors, depending on where the bytes go wrong
        first = (str(error).strip().splitlines() or [""])[0][:160]
        if type(error).__name__ == "UnpicklingError":  # torch's own words advise to load it all the same
            first = "it holds other things, or nothing that torch wrote"
        raise CheckpointError(
            f"{path}: expected a checkpoint of plain tensors, could not read it ({type(error).__name__}: {first}); "
            "make one that a training of MMDetection left plain with its tools/model_converters/publish_model.py, or "
            "give other weights"
        ) from None
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"{path}: expected a state dict of tensors, flat or under 'state_dict', got {_describe(content)}; "
            "give other weights"
        )
    return {name.removeprefix("module."): value for name, value in state.items()}, _class_names(content.get("meta"))


def _class_names(meta: Any) -> tuple[str, ...] | None:
    """Read the names that MMDetection notes; of version 3 under `dataset_meta`, before it under `CLASSES`."""
    meta = meta if isinstance(meta, Mapping) else {}
    data = meta.get("dataset_meta")
    noted = {str(key).lower(): value for key, value in data.items()} if isinstance(data, Mapping) else {}
    for names in (noted.get("classes"), meta.get("CLASSES")):
        if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"entries {sorted(map(str, content))[:5]}"
    return type(content).__name__


def download_resnet50() -> State:
    """Fetch the ImageNet weights that the ASBU paper starts from, or take them from torch's cache.

    Raises:
        CheckpointError: there is no network.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # torch's download has no limit of its own
    try:
        return torch.hub.load_state_dict_from_url(
            RESNET50_URL, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"{RESNET50_URL}: could not download the backbone's start weights ({str(reason)[:120]}); "
            "give a file with --init FILE, or start from random weights with --init none"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def start_identity(init: str | None, settings: DetectorSettings) -> str:
    """Return what identifies the start weights: a file's hash, "none", or where they are downloaded from.

    Raises:
        CheckpointError: there are none for this backbone, or no such file.
    """
    if init == "none":
        return "none"
    if init is not None:
        path = _start_file(init)
        if not path.is_file():
            raise CheckpointError(f"{path}: expected a checkpoint, found no such file; give --init FILE|none")
        return hash_file(path)
    if settings.model == "mmdet-config":
        raise CheckpointError(
            "--mmdet-config: expected --init FILE, DIR or none, got nothing; weights that it names are not loaded"
        )
    if settings.backbone != "resnet50":
        raise CheckpointError(
            f"detector.backbone={settings.backbone} has no start weights to download: "
            "give a file with --init FILE, or start from random weights with --init none"
        )
    return RESNET50_URL


def _start_file(init: str) -> Path:
    """Return the file of start weights, of a folder of this stage the one that it wrote.

    Raises:
        OutputError: a folder of something else, or of a training that has not finished.
        DataError: a folder without a run.
    """
    path = Path(init)
    if not path.is_dir():
        return path
    finished_run(path, STAGE)
    return path / WEIGHTS


def start_state(init: str | None) -> State | None:
    """Return the start weights; None where random ones are asked for.

    Raises:
        CheckpointError: they cannot be read or downloaded.
    """
    if init == "none":
        return None
    return download_resnet50() if init is None else read_state(_start_file(init))


def is_batch_normalised(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the network of these weights has batch normalisation (running statistics)."""
    return any(name.endswith("running_mean") for name in state)


def load_start(model: nn.Module, state: Mapping[str, Tensor], source: str) -> str:
    """Put start weights into a detector.

    Of a whole detector, whatever fits by name and size is taken and the rest starts anew, so that any checkpoint with
    the same backbone serves: one of other classes, of another width of the heads, or of another model. The one mask
    head of Mask R-CNN starts both heads of models that have two.

    Args:
        model: any of the table.
        state: of a whole detector, or of its backbone with or without the prefix `backbone.`.
        source: named in messages.

    Returns:
        What was loaded, for the counts.

    Raises:
        CheckpointError: a weight of the backbone is missing or of another size, or one is no number.
    """
    parts = {name.partition(".")[0] for name in state} - {name.rstrip(".") for name in _CLASSIFIERS}
    whole = "backbone" in parts and len(parts) > 1
    if whole:
        given = _for_both_masks(dict(state))
    else:
        bare = {name.removeprefix("backbone."): value for name, value in state.items()}
        given = {f"backbone.{n}": v for n, v in bare.items() if not n.startswith(_CLASSIFIERS)}
    wanted = {n: v for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    fitting = {n: given[n] for n in wanted if n in given and given[n].shape == wanted[n].shape}
    needed = [n for n in wanted if n.startswith("backbone.")]
    wrong = [n for n in needed if n not in fitting]
    if wrong:
        name = wrong[0]
        have = f"of size {tuple(given[name].shape)}" if name in given else "missing"
        raise CheckpointError(
            f"{source}: expected the {len(needed)} weights of this backbone, {len(wrong)} do not fit "
            f"(first: {name}, {tuple(wanted[name].shape)} wanted, {have}; {len(given)} given); "
            "give the file of the same detector.backbone, or --init none"
        )
    require_finite(source, fitting)
    model.load_state_dict(fitting, strict=False)
    if not whole:
        return f"backbone, {len(fitting)} weights"
    missing = [n for n in wanted if n not in fitting and not n.startswith(_LEARNT_OTHERWISE)]
    classes = [n for n in missing if _is_per_class(n) and n in given]
    others = Counter(n.partition(".")[0] for n in missing if n not in classes)
    return (
        f"detector, {len(fitting)} weights"
        + (f", {len(classes)} started anew for other classes" if classes else "")
        + (f", started anew: {', '.join(f'{n} of {part}' for part, n in others.items())}" if others else "")
    )


def require_finite(source: Path | str, state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no numbers.

    Raises:
        CheckpointError: one is NaN or infinite.
    """
    for name, values in state.items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise CheckpointError(f"{source}: {name}: expected numbers, got NaN or infinity; the training went wrong")


def _for_both_masks(state: State) -> State:
    """Give the weights of one mask head to both heads of a model with two, too."""
    one = {n.removeprefix(_MASK_HEAD): v for n, v in state.items() if n.startswith(_MASK_HEAD)}
    both = {f"{_MASK_HEAD}{head}.{n}": v for n, v in one.items() for head in ("amodal", "visible")}
    return {**both, **state}


def _is_per_class(name: str) -> bool:
    per_class = ("roi_head.bbox_head.fc_cls.", "roi_head.bbox_head.fc_reg.", "bbox_head.conv_cls.")
    return name.startswith(per_class) or ".conv_logits." in name
