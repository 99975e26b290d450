"""What both trainings share of mmengine: a loop and a checkpoint that resume at any step, a loss curve, a quiet Runner.

mmengine's own checkpoints hold pickled objects; ours are tensors and plain values, so that `weights_only=True` reads
them.
"""

from __future__ import annotations

import logging
import math
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn

from ..errors import AmodalplError, CheckpointError
from ..io.checkpoints import load_plain
from ..io.files import write_json, write_whole
from .progress import Progress

NAN_BATCH = "nan_batch.json"
_COUNTERS = ("last_step", "_global_step")  # of a schedule

Point = dict[str, float]


class TrainingError(AmodalplError):
    """Training went wrong in a way that more steps do not mend."""


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read the state of an interrupted training; None when there is none.

    Raises:
        CheckpointError: the file is not one of ours.
    """
    if not path.exists():
        return None
    saved = load_plain(path)
    if not isinstance(saved, dict) or not {"step", "model", "optimizer", "schedules", "curve"} <= set(saved):
        raise CheckpointError(f"{path}: expected a training's checkpoint, got something else; delete it to start anew")
    return saved


def bare(model: Any) -> Any:
    """Return the network inside a wrapper for several processes."""
    return model.module if is_model_wrapper(model) else model


class StepLoop(IterBasedTrainLoop):
    """mmengine's loop without its re-reading of data on resume: our samplers start at the right place themselves.

    Random numbers start anew at each step from (seed, step, process), so that a resumed training draws what an
    undisturbed one draws, and no state of generators need be kept.

    Args:
        seed: of the run.
        args: as for mmengine's loop.
        kwargs: as for mmengine's loop.
    """

    def __init__(self, *args: Any, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seed = seed
        self.interrupted = False

    def run(self) -> nn.Module:
        """Train up to the last step; Ctrl-C lets the step end and saves it, a second one stops at once."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        try:
            with self._ending_a_step_first():
                while self._iter < self._max_iters:
                    self._next_step()
                    if self.interrupted:
                        for hook in self.runner.hooks:
                            if isinstance(hook, Checkpoints):
                                hook.save(self.runner, self._iter)
                        raise KeyboardInterrupt
        finally:
            end_loader(self)
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _next_step(self) -> None:
        self.runner.model.train()
        numbers = (self.seed, self._iter, self.runner.rank)
        seed_step(*numbers)  # for a loader without processes of its own
        try:
            batch = next(self.dataloader_iterator)
        except RuntimeError:
            if self.interrupted:  # Ctrl-C has ended the loader's processes; the step before is whole
                return
            raise
        seed_step(*numbers)  # however many draws that took
        self.run_iter(batch)

    @contextmanager
    def _ending_a_step_first(self) -> Iterator[None]:
        """Note an interruption instead of raising it in the middle of a step, whose weights are half new, half old.

        `torchrun` ends its processes itself; there, and off the main thread, nothing is changed.
        """
        if self.runner.world_size > 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def note(number: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def end_loader(loop: IterBasedTrainLoop) -> None:
    """End the processes of a loop's loader now; torch waits five seconds for each that is left to Python's collector.

    By then the collector has closed the queues through which they would be told.
    """
    loop.dataloader_iterator._iterator = None
    loop.dataloader._iterator = None  # type: ignore[assignment]  # which keeps processes for its next round, too


def run_training(runner: Runner, checkpoints: Checkpoints, progress: Progress) -> None:
    """Train, and say where an interrupted training goes on.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the step is saved.
    """
    if checkpoints.step:
        progress.note(f"goes on after step {checkpoints.step} of {runner.max_iters}")
    try:
        runner.train()
    except KeyboardInterrupt:
        progress.note(
            f"stopped: step {checkpoints.step} of {runner.max_iters} is saved, the same command goes on there"
        )
        raise


def seed_step(*numbers: int) -> None:
    """Start the generators of torch, numpy and Python from some whole numbers, such as (seed, step, process)."""
    drawn = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)


class QuietRunner(Runner):
    """mmengine's Runner with a log that goes to its file only, and a model that is already on its device."""

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
        from mmengine.model import MMDistributedDataParallel

        on_cuda = next(model.parameters()).is_cuda
        return MMDistributedDataParallel(
            model, device_ids=[torch.cuda.current_device()] if on_cuda else None, broadcast_buffers=False
        )

    def dump_config(self) -> None:
        """Write nothing: `run.json` has the settings."""


def image_ids(step: int, data_batch: Any) -> dict[str, Any]:
    """Name a batch of MMDetection by the ids of its photos."""
    samples = data_batch.get("data_samples", ()) if isinstance(data_batch, Mapping) else ()
    return {"image_ids": [getattr(sample, "img_id", None) for sample in samples]}


class Curve(Hook):
    """Collects the mean losses of every interval without waiting for the device at each step, and reports progress.

    Args:
        every: steps per point.
        advance: called with 1 after each step.
        advice: what to do when the loss is no longer a number, for the message.
        name_batch: step (from 0) and batch to plain values that tell which samples it had.
    """

    priority = "LOW"

    def __init__(
        self,
        every: int,
        advance: Callable[[int], None],
        advice: str,
        name_batch: Callable[[int, Any], dict[str, Any]] = image_ids,
    ) -> None:
        self.every = every
        self.advance = advance
        self.advice = advice
        self.name_batch = name_batch
        self.points: list[Point] = []
        self._losses: list[dict[str, Tensor]] = []  # of the steps since the last point
        self._batches: list[dict[str, Any]] = []
        self._record = Path(NAN_BATCH)

    def before_train(self, runner: Any) -> None:
        """Forget the bad batch of an earlier start."""
        self._record = Path(runner.work_dir).parent / NAN_BATCH
        self._record.unlink(missing_ok=True)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Add one step."""
        losses = {name: value for name, value in (outputs or {}).items() if name.startswith("loss")}
        self._losses.append({n: torch.as_tensor(v, dtype=torch.float32).detach() for n, v in losses.items()})
        self._batches.append(self.name_batch(batch_idx, data_batch))
        if len(self._losses) == self.every or batch_idx + 1 == runner.max_iters:
            self.close_interval(batch_idx + 1)
        self.advance(1)

    def pending(self) -> list[list[dict[str, Any]]]:
        """Return the losses and batches of the steps since the last point, in plain values."""
        losses = [{name: float(value) for name, value in step.items()} for step in self._losses]
        return [[*pair] for pair in zip(losses, self._batches, strict=True)]

    def restore(self, points: list[Point], pending: Iterable[list[dict[str, Any]]]) -> None:
        """Put back what was saved, as `points` and of `pending`."""
        self.points = list(points)
        for losses, batch in pending:
            self._losses.append({n: torch.tensor(v, dtype=torch.float32) for n, v in losses.items()})
            self._batches.append(batch)

    def close_interval(self, step: int) -> None:
        """Turn the losses since the last point into a point.

        Raises:
            TrainingError: the loss is no longer a number; which batch was the first is in `nan_batch.json`.
        """
        if not self._losses:
            return
        sums: dict[str, Tensor] = {}
        for losses in self._losses:
            for name, value in losses.items():
                sums[name] = sums[name] + value if name in sums else value
        means = {name: float(total) / len(self._losses) for name, total in sums.items()}
        if not math.isfinite(means.get("loss", 0.0)):
            self._stop(step)
        self._losses, self._batches = [], []
        self.points.append({"step": step, **{name: round(value, 6) for name, value in means.items()}})

    def _stop(self, step: int) -> None:
        values = [float(losses.get("loss", 0.0)) for losses in self._losses]
        first = next((k for k, value in enumerate(values) if not math.isfinite(value)), len(values) - 1)
        at, batch = step - len(values) + first + 1, self._batches[first]
        write_json(self._record, {"step": at, "loss": str(values[first]), **batch})
        named = "; ".join(f"{name.replace('_', ' ')} {', '.join(map(str, ids))}" for name, ids in batch.items())
        raise TrainingError(
            f"the loss is {values[first]} at step {at} ({named[:300]}; saved in {self._record}): {self.advice}"
        )


class Checkpoints(Hook):
    """Saves the state of a training every so many steps, whole and without pickle, and goes on from it.

    Args:
        path: the file, rewritten each time.
        every: steps between two.
        saved: what `read_checkpoint` returned.
        curve: its points are saved too.
    """

    priority = "VERY_LOW"

    def __init__(self, path: Path, every: int, saved: Mapping[str, Any] | None, curve: Curve) -> None:
        self.path = path
        self.every = every
        self.saved = saved
        self.curve = curve
        self.step = int(saved["step"]) if saved else 0
        """The last step that is saved."""

    def before_train(self, runner: Any) -> None:
        """Put the saved state back.

        Raises:
            CheckpointError: it is of another network.
        """
        if self.saved is None:
            return
        try:
            bare(runner.model).load_state_dict(self.saved["model"])
            runner.optim_wrapper.load_state_dict(self.saved["optimizer"])
        except (RuntimeError, ValueError, TypeError, KeyError):
            raise CheckpointError(
                f"{self.path}: expected a checkpoint of this network, got one of another; delete it to start anew"
            ) from None
        runner.train_loop._iter = int(self.saved["step"])
        for schedule, state in zip(runner.param_schedulers or [], self.saved["schedules"], strict=True):
            # its other numbers follow from the settings, which may ask for more steps than they did
            schedule.load_state_dict({name: state[name] for name in _COUNTERS if name in state})
        self.curve.restore(self.saved["curve"], self.saved.get("pending", ()))

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save at every `every`-th and at the last step; mmengine has moved the schedules on by then."""
        step = batch_idx + 1
        if (step % self.every and step != runner.max_iters) or runner.rank:
            return
        self.curve.close_interval(step)  # a point must not span a restart
        self.save(runner, step)

    def save(self, runner: Any, step: int) -> None:
        """Save the state after a step, if it is not saved yet."""
        if step == self.step:
            return
        state = {
            "step": step,
            "model": bare(runner.model).state_dict(),
            "optimizer": _interned(runner.optim_wrapper.state_dict()),
            "schedules": _interned([_counters(schedule.state_dict()) for schedule in runner.param_schedulers or []]),
            "curve": _interned(self.curve.points),
            **({"pending": _interned(pending)} if (pending := self.curve.pending()) else {}),
        }
        write_whole(self.path, lambda part: torch.save(state, part))
        self.step = step


def _counters(state: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a schedule's counters; the rest of its state are functions and constants that the settings give again."""
    return {name: value for name, value in state.items() if isinstance(value, (bool, int, float))}


def _interned(value: Any) -> Any:
    """Make equal keys one object: pickle writes such a text once, and a resumed training must give the same bytes.

    >>> _interned({"a": [{"b": (1, 2)}]})
    {'a': [{'b': (1, 2)}]}
    """
    if isinstance(value, dict):
        return {sys.intern(key) if isinstance(key, str) else key: _interned(inner) for key, inner in value.items()}
    return [_interned(inner) for inner in value] if isinstance(value, list) else value
