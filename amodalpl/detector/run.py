"""Train Mask R-CNN on a label file by mmengine's Runner, detect, and score.

Importing this module imports mmdet, which serves as a library: its network and transforms are used as they are, built
from the config that is also written out; loop, sampler, hooks and checkpoints are objects of our own.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AmodalplError, CheckpointError, DataError
from ..masks import rle
from ..progress import Progress
from ..provenance import write_whole
from ..settings import DetectorSettings
from . import ops, weights

ops.install()
with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")  # on import, mmcv and mmdet warn of deprecations and print what they lack
    from mmdet.datasets import CocoDataset
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import ConfigDict
    from mmengine.dataset import InfiniteSampler, pseudo_collate
    from mmengine.dist import barrier, is_distributed
    from mmengine.hooks import Hook
    from mmengine.model import MMDistributedDataParallel, is_model_wrapper
    from mmengine.registry import init_default_scope
    from mmengine.runner import IterBasedTrainLoop, Runner, set_random_seed

    register_all_modules(init_default_scope=False)

CHECKPOINT = "checkpoint.pth"
_CURVE_POINTS = 100  # kept of a training, however long


def rank_and_world() -> tuple[int, int]:
    """Return this process's number and how many there are, as `torchrun` says; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def join_processes(device: torch.device) -> None:
    """Connect the processes that `torchrun` started; nothing to do for one."""
    if rank_and_world()[1] > 1 and not is_distributed():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def wait_for_all() -> None:
    """Return when every process has come here."""
    barrier()


@contextlib.contextmanager
def third_party_quiet() -> Iterator[None]:
    """Keep the warnings of torch and OpenMMLab that users can do nothing about, and pycocotools' prints, away."""
    with warnings.catch_warnings():
        for module in ("torch", "mmdet", "mmcv", "mmengine", "pycocotools", "numpy"):
            warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
        yield


class LabelDataset(CocoDataset):
    """MMDetection's data set, silent while it reads, and with errors that name the photo."""

    def load_data_list(self) -> list[dict]:
        """Read the annotation file."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super().load_data_list()

    def prepare_data(self, idx: int) -> Any:
        """Read and transform one photo.

        Raises:
            DataError: it cannot be read (loader processes pass the error on to the main one).
        """
        try:
            return super().prepare_data(idx)
        except Exception as error:
            path = self.get_data_info(idx)["img_path"]
            raise DataError(f"{path}: expected a readable photo, got {type(error).__name__}: {error}") from None


class ResumedSampler(InfiniteSampler):
    """The endless shuffled order of photos, begun where an earlier run stopped."""

    def __init__(self, dataset: Any, start: int, seed: int) -> None:
        super().__init__(dataset, shuffle=True, seed=seed)
        deque(islice(self.indices, start), maxlen=0)


class StepLoop(IterBasedTrainLoop):
    """mmengine's loop without the skipping of data on resume: the sampler starts at the right place itself."""

    def run(self) -> nn.Module:
        """Train up to the last step."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        while self._iter < self._max_iters:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


class DetectorRunner(Runner):
    """mmengine's Runner with a model that is already on its device, and a log that goes to the file only."""

    def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
        """Return mmengine's logger without its console."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.CRITICAL + 1)
        return logger

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """Prepare the model for several processes, if there are."""
        if not self.distributed:
            return model
        on_cuda = next(model.parameters()).is_cuda
        return MMDistributedDataParallel(
            model, device_ids=[torch.cuda.current_device()] if on_cuda else None, broadcast_buffers=False
        )

    def dump_config(self) -> None:
        """Write nothing: the config is in `mmdet_config.py`."""


class Checkpoints(Hook):
    """Saves the state of a training every so many steps, whole and without pickle, and goes on from it."""

    priority = "VERY_LOW"

    def __init__(self, path: Path, every: int, saved: Mapping[str, Any] | None, curve: Curve) -> None:
        self.path = path
        self.every = every
        self.saved = saved
        self.curve = curve

    def before_train(self, runner: Any) -> None:
        """Put the saved state back."""
        if self.saved is None:
            return
        runner.train_loop._iter = self.saved["step"]
        _bare(runner.model).load_state_dict(self.saved["model"])
        runner.optim_wrapper.load_state_dict(self.saved["optimizer"])
        for scheduler, state in zip(runner.param_schedulers, self.saved["schedulers"], strict=True):
            scheduler.load_state_dict(state)
        self.curve.points = list(self.saved["curve"])

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save at every `every`-th and at the last step."""
        step = batch_idx + 1
        if (step % self.every and step != runner.max_iters) or runner.rank:
            return
        self.curve.close_interval(step)
        state = {
            "step": step,
            "model": _bare(runner.model).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [_plain(scheduler.state_dict()) for scheduler in runner.param_schedulers],
            "curve": self.curve.points,
        }
        write_whole(self.path, lambda part: torch.save(state, part))


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a scheduler's state as plain values; MultiStepLR's milestones are a Counter, which safe loaders refuse."""
    return {
        key: dict(value) if isinstance(value, Mapping) else value
        for key, value in state.items()
        if isinstance(value, (bool, int, float, str, list, tuple, Mapping, type(None)))
    }


class Curve(Hook):
    """Collects the mean losses of every interval, reports progress, and stops a training that has diverged."""

    priority = "LOW"

    def __init__(self, every: int, advance: Callable[[int], None]) -> None:
        self.every = every
        self.advance = advance
        self.points: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Add one step."""
        for name, value in (outputs or {}).items():
            if name.startswith("loss"):
                tensor = torch.as_tensor(value, dtype=torch.float32).detach()
                self._sums[name] = self._sums[name] + tensor if name in self._sums else tensor
        self._count += 1
        if self._count == self.every:
            self.close_interval(batch_idx + 1)
        self.advance(1)

    def close_interval(self, step: int) -> None:
        """Turn the sums since the last point into a point.

        Raises:
            AmodalplError: the loss is not a number any more.
        """
        if not self._count:
            return
        means = {name: float(total) / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        if not math.isfinite(means.get("loss", 0.0)):
            raise AmodalplError(
                f"detector training diverged before step {step} (loss is {means['loss']}): "
                "lower detector.learning_rate or lengthen detector.warmup_steps"
            )
        self.points.append({"step": step, **{name: round(value, 6) for name, value in means.items()}})


def _bare(model: Any) -> Any:
    return model.module if is_model_wrapper(model) else model


def build(config: Mapping[str, Any], seed: int) -> Any:
    """Build a network from a model config, with seeded random weights.

    Args:
        config: of `model_config`.
        seed: the same gives the same weights.
    """
    init_default_scope("mmdet")
    set_random_seed(seed)
    with third_party_quiet(), _muted():
        model = MODELS.build(ConfigDict(config))
        model.init_weights()
    return model


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Building a network logs each start weight to the console when no Runner has opened a log yet."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read the state of an interrupted training; None when there is none.

    Raises:
        CheckpointError: the file is not one of ours.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if {"step", "model", "optimizer", "schedulers", "curve"} <= set(saved):
            return saved
    except Exception as error:
        raise CheckpointError(f"{path}: could not read it ({type(error).__name__}); delete it to start anew") from None
    raise CheckpointError(f"{path}: expected a checkpoint of train-detector; delete it to start anew")


def train(
    model: Any,
    config: Mapping[str, Any],
    out: Path,
    settings: DetectorSettings,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> list[dict[str, float]]:
    """Train a network in place, going on from `checkpoint.pth` in the output folder.

    Args:
        model: with its start weights.
        config: of `full_config`.
        out: output folder.
        settings: of the detector.
        seed: of the run.
        device: to train on.
        progress: where steps are reported.

    Returns:
        The loss curve.

    Raises:
        DataError: a photo cannot be read.
    """
    rank, world = rank_and_world()
    saved = read_checkpoint(out / CHECKPOINT)
    done = int(saved["step"]) if saved else 0
    model.to(device)
    if settings.precision != "fp32":
        for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
            extractor.register_forward_pre_hook(_pool_in_full_precision)
    source = config["train_dataloader"]["dataset"]
    loader = {
        **config["train_dataloader"],
        "dataset": {**source, "type": LabelDataset},
        "sampler": {"type": ResumedSampler, "start": done * settings.batch_size, "seed": seed},
    }
    with progress.task("training detector", settings.steps, done=done) as advance, third_party_quiet():
        curve = Curve(max(settings.steps // _CURVE_POINTS, 1), advance)
        runner = DetectorRunner(
            model=model,
            work_dir=str(out / "log"),
            train_dataloader=loader,
            train_cfg={"type": StepLoop, "max_iters": settings.steps},
            optim_wrapper=config["optim_wrapper"],
            param_scheduler=config["param_scheduler"] or None,
            default_hooks={"logger": {"type": "LoggerHook", "interval": 50}, "checkpoint": None},
            custom_hooks=[curve, Checkpoints(out / CHECKPOINT, settings.checkpoint_every, saved, curve)],
            log_processor={"by_epoch": False},
            visualizer={"type": "Visualizer", "_scope_": "mmengine", "vis_backends": None},
            launcher="pytorch" if world > 1 else "none",
            env_cfg=config["env_cfg"],
            default_scope="mmdet",
            randomness={"seed": seed + done + 1_000_003 * rank},  # a resumed run draws on, it does not repeat
            experiment_name=f"{out.name}_{done}",
        )
        with _one_line():
            runner.train()
    return curve.points


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Loader processes hand an error on with their whole trace as its text; the user needs its last line."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).strip().splitlines()[-1].rpartition("DataError: ")[2]) from None


def _pool_in_full_precision(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """MMDetection casts RoIs to the features' type; in bfloat16 a corner at 1000 would move by up to 4 pixels."""
    features, *rest = arguments
    return (tuple(level.float() for level in features), *rest)


@torch.no_grad()
def detect(
    model: Any,
    dataset: Mapping[str, Any],
    category_ids: Sequence[int],
    *,
    workers: int,
    device: torch.device,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Run a network on photos.

    Args:
        model: trained.
        dataset: config of the photos, with a test pipeline.
        category_ids: of the labels 0, 1, ...
        workers: loader processes.
        device: to run on.
        progress: where photos are reported.

    Returns:
        COCO results, by photo and falling score: `bbox` as x, y, width, height, `segmentation` as compressed RLE.
    """
    photos = LabelDataset(**{key: value for key, value in dataset.items() if key != "type"})
    loader: Any = torch.utils.data.DataLoader(photos, batch_size=1, num_workers=workers, collate_fn=pseudo_collate)
    model.to(device).eval()
    results: list[dict[str, Any]] = []
    with progress.task("detecting", len(photos)) as advance, third_party_quiet(), _one_line():
        for batch in loader:
            for sample in model.test_step(batch):
                found = sample.pred_instances
                boxes = found.bboxes.cpu().tolist()
                for index, mask in enumerate(found.masks.cpu().numpy()):
                    x1, y1, x2, y2 = boxes[index]
                    results.append(
                        {
                            "image_id": sample.img_id,
                            "category_id": category_ids[int(found.labels[index])],
                            "bbox": [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
                            "score": round(float(found.scores[index]), 5),
                            "segmentation": rle.to_json(rle.encode(mask)),
                        }
                    )
                advance(1)
    return results


def save_weights(path: Path, model: nn.Module, class_names: Sequence[str]) -> None:
    """Write plain weights that `torch.load(weights_only=True)` and mmdet's `init_detector` read."""
    state = {name: value.detach().cpu() for name, value in _bare(model).state_dict().items()}
    content = {"state_dict": state, "meta": {"dataset_meta": {"classes": tuple(class_names)}}}
    write_whole(path, lambda part: torch.save(content, part))


def load_weights(path: Path, model: nn.Module) -> None:
    """Read what `save_weights` wrote.

    Raises:
        CheckpointError: it does not fit.
    """
    state = weights.read_state(path)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not the weights of this detector ({str(error).splitlines()[0]})") from None


def write_results(path: Path, detections: Sequence[Mapping[str, Any]]) -> None:
    """Write COCO results, one detection per line."""
    lines = ",\n".join(json.dumps(d, separators=(",", ":")) for d in detections)
    write_whole(path, lambda part: part.write_text(f"[\n{lines}\n]\n", encoding="utf-8"))
