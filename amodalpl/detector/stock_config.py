"""A config of MMDetection, of its package or of a user, made ours: our classes, no downloads, nothing that we lack.

A config is Python, which reading it runs, as MMDetection's own tools do. What comes out is plain values: the written
config of a training is read again as data, and never run.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import AmodalplError, DataError, OutputError
from .mmdetection import CONFIGS
from .quiet import muted, third_party_quiet

_FETCHES = ("pretrained", "init_cfg", "load_from")  # start weights, which a checkpoint replaces
_COUNTS = ("num_classes", "num_things_classes")
_LEAST_PADDING = 32  # photos are padded to a multiple of it: pyramids add maps of twice the size to each other


@dataclass(frozen=True)
class StockModel:
    """What is taken of a config of MMDetection.

    Attributes:
        path: of the config.
        model: config of the network, in plain values, without start weights.
        optimizer: its `optim_wrapper`, None where it has none that says its rate.
        base_batch: photos per step that its learning rate is for, None where it does not say.
        start_weights: files and addresses that it names, none of which is loaded.
    """

    path: Path
    model: dict[str, Any]
    optimizer: dict[str, Any] | None
    base_batch: int | None
    start_weights: tuple[str, ...]

    def optimizer_for(self, batch_size: int) -> dict[str, Any] | None:
        """Return its `optim_wrapper` with the rate for another number of photos per step, which it grows with."""
        if self.optimizer is None:
            return None
        own = self.optimizer["optimizer"]
        return {**self.optimizer, "optimizer": {**own, "lr": own["lr"] * batch_size / (self.base_batch or batch_size)}}

    @property
    def identity(self) -> str:
        """Hash of what shapes a training; where the config lies does not matter."""
        return hashlib.sha256(repr((self.model, self.optimizer, self.base_batch)).encode()).hexdigest()


def find_config(given: str) -> Path:
    """Return the file of a config.

    Args:
        given: a file, or a name within MMDetection's package: `rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py`, with
            `mmdet::` before it or not.

    Raises:
        DataError: there is none.
    """
    if "\0" not in given and Path(given).is_file():
        return Path(given)
    name = given.removeprefix("mmdet::")
    known = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.py")) if CONFIGS.is_dir() else []
    if name in known:
        return CONFIGS / name
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise DataError(
        f"--mmdet-config {given!r}: expected a file, or the name of a config of MMDetection's package such as "
        f"rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py, found neither{hint}"
    )


def read_config(path: Path) -> Config:
    """Run a config of MMDetection.

    Raises:
        DataError: it does not run, or has no model.
    """
    try:
        with third_party_quiet(), muted():
            config = Config.fromfile(path)
    except AmodalplError:
        raise
    except (Exception, SystemExit) as error:  # whatever the Python in it raises
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0 if isinstance(error, ImportError) else -1]  # what cannot be imported comes first
        base = "; a base of MMDetection's package is _base_ = 'mmdet::NAME'" if isinstance(error, OSError) else ""
        raise DataError(f"{path}: expected a config of MMDetection, could not read it ({reason[:200]}){base}") from None
    if not isinstance(config.get("model"), Mapping):
        raise DataError(f"{path}: expected a config of MMDetection with a `model`, found none")
    return config


def read_stock_model(given: str) -> StockModel:
    """Read what a training takes of a config of MMDetection.

    Args:
        given: see `find_config`.

    Raises:
        DataError: there is none, it cannot be read, or its model cannot be ours.
    """
    path = find_config(given)
    config = read_config(path)
    content = config.to_dict()
    fetched = sorted({name for key, value in _members(content) if (name := _fetched(key, value))})
    model = _plain(_own_types(without_downloads(content["model"])), path)
    stuff = [value for key, value in _members(model) if key == "num_stuff_classes" and value]
    if stuff:
        raise DataError(
            f"{path}: model {model['type']}: expected one of objects, got one that learns {stuff[0]} classes of stuff "
            "too, which labels do not have; take a config of instance segmentation"
        )
    if class_count(model) is None:
        raise DataError(f"{path}: model {model.get('type')}: expected num_classes somewhere in it, found none")
    preprocessor = model.get("data_preprocessor")
    if not isinstance(preprocessor, (dict, type(None))):
        raise DataError(f"{path}: model.data_preprocessor: expected a dict, got {type(preprocessor).__name__}")
    scaled = content.get("auto_scale_lr")
    base = scaled.get("base_batch_size") if isinstance(scaled, Mapping) else None
    return StockModel(path, _fitted(model), _optimizer(content.get("optim_wrapper"), path), base, tuple(fetched))


def _optimizer(wrapper: Any, path: Path) -> dict[str, Any] | None:
    """Return an `optim_wrapper` whose optimiser says its rate; None of any other."""
    own = wrapper.get("optimizer") if isinstance(wrapper, Mapping) else None
    has_rate = isinstance(own, Mapping) and isinstance(own.get("lr"), (int, float))
    return _plain(wrapper, path) if has_rate else None


def _fitted(model: dict[str, Any]) -> dict[str, Any]:
    """Let the sizes of photos be those of our settings: padded to what pyramids need, not to one size."""
    given = model.get("data_preprocessor") or {}
    padding = max(int(given.get("pad_size_divisor") or 1), _LEAST_PADDING)
    fitted = {"type": "DetDataPreprocessor", **given, "pad_size_divisor": padding, "pad_mask": True}
    fitted.pop("batch_augments", None)
    return {**model, "data_preprocessor": fitted}


def with_classes(model: Mapping[str, Any], wanted: int) -> dict[str, Any]:
    """Return a model config for another number of classes, wherever it says one.

    Weights of classes in a loss stay those of the first class, and that of the background.

    Args:
        model: with `num_classes`.
        wanted: number of foreground classes.

    Raises:
        DataError: a loss weighs the classes of the config differently, and ours are others.
    """
    before = class_count(model)

    def changed(key: str, value: Any) -> Any:
        if key in _COUNTS and isinstance(value, int):
            return wanted
        if key == "class_weight" and isinstance(value, (list, tuple)) and len(value) in (before, (before or 0) + 1):
            own, background = value[:before], value[before:]
            if len(set(own)) > 1:
                raise DataError(
                    f"model {model.get('type')}: {key}: expected one weight for all classes, got {len(set(own))} "
                    f"different ones for the {before} classes of the config; write one number"
                )
            return [own[0]] * wanted + list(background)
        return each(value)

    def each(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: changed(key, entry) for key, entry in value.items()}
        return type(value)(map(each, value)) if isinstance(value, (list, tuple)) else value

    return each(model)


def with_score_threshold(model: Mapping[str, Any], least: float) -> dict[str, Any]:
    """Return a model config that leaves out detections below a score, where it has such a threshold."""

    def each(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: least if key == "score_thr" else each(entry) for key, entry in value.items()}
        return value

    return {**model, "test_cfg": each(model.get("test_cfg"))}


def started_anew(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model config whose backbone can learn from random weights: no stage and no statistics are frozen."""
    if not isinstance(model.get("backbone"), Mapping):
        return dict(model)
    free = {key: value for key, value in (("frozen_stages", -1), ("norm_eval", False)) if key in model["backbone"]}
    return {**model, "backbone": {**model["backbone"], **free}}


def class_count(config: Any) -> int | None:
    """Return how many classes the heads of a model tell apart: the largest number stated anywhere."""
    stated = {name: [v for key, v in _members(config) if key == name and isinstance(v, int)] for name in _COUNTS}
    return max(stated["num_things_classes"] or stated["num_classes"], default=None)


def without_downloads(config: Any) -> Any:
    """Return a model config without start weights, of any part."""
    if isinstance(config, Mapping):
        kept = {key: value for key, value in config.items() if not _fetched(key, value)}
        return {key: without_downloads(value) for key, value in kept.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(without_downloads(value) for value in config)
    return config


def _fetched(key: str, value: Any) -> str | None:
    """Return the weights that an entry of a config names, None where it names none."""
    if key not in _FETCHES:
        return None
    if isinstance(value, Mapping):
        return str(value.get("checkpoint", "?")) if str(value.get("type")).endswith("Pretrained") else None
    return value if isinstance(value, str) else None


def _members(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield every entry of every mapping in a config."""
    if isinstance(config, Mapping):
        yield from config.items()
        config = config.values()
    elif not isinstance(config, (list, tuple)):
        return
    for value in config:
        yield from _members(value)


def _own_types(config: Any) -> Any:
    """Name parts as MMDetection's registry does, where a config of the newer style names classes by their modules."""
    if isinstance(config, Mapping):
        return {
            key: value.rpartition(".")[2] if key == "type" and isinstance(value, str) else _own_types(value)
            for key, value in config.items()
        }
    return type(config)(map(_own_types, config)) if isinstance(config, (list, tuple)) else config


def _plain(config: Any, path: Path) -> dict[str, Any]:
    """Make sure that a config can be written and read again as data.

    Raises:
        DataError: it holds more than plain values.
    """
    try:
        return ast.literal_eval(repr(config))
    except (ValueError, SyntaxError):
        odd = {type(v).__name__ for _, v in _members(config)} - {"dict", "list", "tuple", "str", "int", "float", "bool"}
        raise DataError(
            f"{path}: expected plain values, got what cannot be written down ({', '.join(sorted(odd)) or 'inf or nan'})"
        ) from None


def read_written_config(path: Path) -> dict[str, Any]:
    """Read the config in an output folder as data; nothing in it is run.

    Raises:
        OutputError: it is not what a training wrote.
    """
    try:
        lines = ast.parse(path.read_text(encoding="utf-8")).body
        content = {line.targets[0].id: ast.literal_eval(line.value) for line in lines}  # type: ignore[attr-defined]
        types = [value for key, value in _members(content["model"]) if key == "type"]
    except (OSError, UnicodeError, SyntaxError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise OutputError(
            f"{path}: expected the config that `amodalpl train-detector` wrote, could not read it as plain values "
            f"({type(error).__name__}); it is missing or was changed by hand, train again"
        ) from None
    for name in types:
        if not re.fullmatch(r"\w+", str(name)):
            raise OutputError(f"{path}: type {name!r}: expected the name of a part of MMDetection; train again")
    return content
