"""Training a completer: mmengine's Runner with live objects, resumable at any moment.

mmengine's own checkpoints hold pickled objects; ours are tensors and numbers, so that `weights_only=True` reads them.
"""

from __future__ import annotations

import logging
import math
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, MultiStepLR, OneCycleLR, OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Sampler

from .errors import AmodalplError, CheckpointError, SettingsError
from .models.completer import Completer
from .progress import Progress
from .provenance import write_whole
from .settings import TrainingSettings
from .synthesis.dataset import SampleStream

LOSS_EVERY = 20  # steps averaged into one point of the loss curve
SHORTEST_CYCLE = 4  # fewer steps have no room to rise and fall

History = list[dict[str, float]]


class TrainingError(AmodalplError):
    """Training went wrong in a way that more steps do not mend."""


def train(
    completer: Completer,
    stream: SampleStream,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    validate: Callable[[Completer], dict[str, float]],
    progress: Progress,
) -> History:
    """Train in place, from the checkpoint if there is one.

    Under `torchrun` every process takes its share of each step's samples: N processes see the samples that one process
    with N times the batch sees.

    Args:
        completer: trained in place.
        stream: training samples; step k uses samples [k * batch, (k + 1) * batch).
        settings: schedule, loss weight, precision.
        seed: of the weights and of mmengine.
        device: to train on.
        checkpoint: file that is rewritten as training goes on, and read when it exists.
        validate: scores the completer on the hold-out; called every `validate_every` steps on the first process.
        progress: shows steps, and each score.

    Returns:
        Rows of the curves: {"step", "loss"} and {"step", score...}.

    Raises:
        CheckpointError: the checkpoint is damaged or of another network.
        SettingsError: a precision that the device does not have.
        TrainingError: the loss is no longer a number.
    """
    if settings.precision == "fp16" and device.type != "cuda":
        raise SettingsError("training.precision: fp16 needs a CUDA device, got the CPU; use fp32 or bf16")
    saved = read_checkpoint(checkpoint, completer) if checkpoint.exists() else None
    start = int(saved["step"]) if saved else 0
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    model = _Trainable(completer, settings, device.type)
    if world == 1:
        model.to(device)
    history = _History(saved["history"] if saved else [])
    with progress.task("training the completer", settings.steps, done=start) as advance:
        loader = DataLoader(
            stream,
            batch_size=settings.batch_size,
            sampler=_StepSampler(start, settings.steps, settings.batch_size, rank, world),
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            pin_memory=device.type == "cuda",
            drop_last=True,
        )
        parameters = completer.parameters()
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                parameters, settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
            )
        else:
            optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
        wrapper = AmpOptimWrapper(optimizer=optimizer) if settings.precision == "fp16" else OptimWrapper(optimizer)
        hooks: list[Hook] = [_Guard(history, advance)]
        if rank == 0:
            hooks += [_Validate(settings, history, validate, progress), _Save(settings, checkpoint, history)]
        runner = Runner(
            model=model,
            work_dir=str(checkpoint.parent / "log"),
            train_dataloader=loader,
            train_cfg={"type": _Loop, "max_iters": settings.steps},
            optim_wrapper=wrapper,
            param_scheduler=_schedule(optimizer, settings),
            default_hooks={"logger": None, "checkpoint": None, "sampler_seed": None, "timer": None},
            custom_hooks=[_Resume(saved), *hooks],
            launcher="pytorch" if world > 1 else "none",
            env_cfg={"dist_cfg": {"backend": "nccl" if device.type == "cuda" else "gloo"}},
            randomness={"seed": seed},
            log_level=logging.ERROR,
            experiment_name=f"complete-{uuid.uuid4().hex}",
            default_scope="mmengine",
        )
        runner.train()
    return history.rows


def read_checkpoint(path: Path, completer: Completer) -> dict[str, Any]:
    """Read a resumable checkpoint; loads its weights into the completer.

    Raises:
        CheckpointError: it is damaged, or of another network.
    """
    saved = load_plain(path)
    if not isinstance(saved, dict) or not {"step", "weights", "optimizer", "schedules", "history"} <= set(saved):
        raise CheckpointError(f"{path}: expected a checkpoint of `amodalpl complete`, got something else; delete it")
    load_weights(completer, saved["weights"], path)
    return saved


def load_plain(path: Path) -> Any:
    """Load tensors and plain values, never code.

    Raises:
        CheckpointError: missing, damaged, or holding anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: expected a weights file, found none") from None
    except Exception as error:  # torch raises half a dozen types for damaged files
        first = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: expected a weights file, got a damaged or foreign one ({first})") from None


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


def _schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Any:
    if settings.schedule == "steps":
        return MultiStepLR(optimizer, milestones=list(settings.milestones), gamma=0.1, by_epoch=False)
    if settings.schedule == "one-cycle" and settings.steps > SHORTEST_CYCLE:
        rise = max(0.1, 2 / settings.steps)  # a tenth of the steps, but at least two, which mmengine divides by
        return OneCycleLR(
            optimizer, eta_max=settings.learning_rate, total_steps=settings.steps, pct_start=rise, by_epoch=False
        )
    return None


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Keep a schedule's counters; the rest of its state are functions and constants that the settings give again."""
    return {name: value for name, value in state.items() if isinstance(value, (bool, int, float))}


class _Trainable(BaseModel):
    """What mmengine trains: batches of the stream in, the method's loss out."""

    def __init__(self, completer: Completer, settings: TrainingSettings, device_type: str) -> None:
        super().__init__()
        self.completer = completer
        self.inside_weight = settings.inside_weight
        self.bf16 = settings.precision == "bf16"
        self.device_type = device_type

    def forward(self, target: torch.Tensor, mode: str = "loss", **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.autocast(self.device_type, torch.bfloat16, enabled=self.bf16):
            outputs = self.completer(**inputs)
        return {"loss": self.completer.loss(outputs, target, inputs["occluder"], self.inside_weight)}


class _StepSampler(Sampler[int]):
    """Sample numbers from a given step on, every `world`-th of each step for one process."""

    def __init__(self, start: int, steps: int, batch: int, rank: int, world: int) -> None:
        self.numbers = range(start * batch * world + rank, steps * batch * world, world)

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


class _Loop(IterBasedTrainLoop):
    """mmengine's loop without its re-reading of samples that were trained on: our sampler starts at the right one."""

    def run(self) -> torch.nn.Module:
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        while self._iter < self._max_iters:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


class _History:
    """The rows of the curves, and the losses not yet averaged into one."""

    def __init__(self, rows: History) -> None:
        self.rows = rows
        self.pending: list[torch.Tensor] = []

    def average(self, step: int) -> None:
        """Make one row of the losses since the last one; stops the training when that is no number."""
        loss = torch.stack(self.pending).mean().item()
        self.pending.clear()
        if not math.isfinite(loss):
            raise TrainingError(
                f"training.learning_rate: the loss is {loss} at step {step}; try a third of the learning rate"
            )
        self.rows.append({"step": step, "loss": loss})


class _Resume(Hook):
    priority = "VERY_HIGH"

    def __init__(self, saved: dict[str, Any] | None) -> None:
        self.saved = saved

    def before_train(self, runner: Runner) -> None:
        if self.saved is None:
            return
        runner.train_loop._iter = int(self.saved["step"])
        runner.optim_wrapper.load_state_dict(self.saved["optimizer"])
        for scheduler, state in zip(runner.param_schedulers or [], self.saved["schedules"], strict=True):
            scheduler.load_state_dict(state)


class _Guard(Hook):
    """Collects the loss without waiting for the device at every step, and stops when it is no longer a number."""

    def __init__(self, history: _History, advance: Callable[[int], None]) -> None:
        self.history = history
        self.advance = advance

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        step = batch_idx + 1
        self.history.pending.append(outputs["loss"].detach())
        if step % LOSS_EVERY == 0 or step == runner.max_iters:
            self.history.average(step)
        self.advance(1)


class _Validate(Hook):
    def __init__(
        self,
        settings: TrainingSettings,
        history: _History,
        validate: Callable[[Completer], dict[str, float]],
        progress: Progress,
    ) -> None:
        self.settings, self.history, self.validate, self.progress = settings, history, validate, progress

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        step = batch_idx + 1
        if step % self.settings.validate_every and step != runner.max_iters:
            return
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        model.eval()
        scores = self.validate(model.completer)
        model.train()
        self.history.rows.append({"step": step, **scores})
        self.progress.note(f"step {step}: " + "  ".join(f"{name} {value:.3f}" for name, value in scores.items()))


class _Save(Hook):
    priority = "VERY_LOW"

    def __init__(self, settings: TrainingSettings, checkpoint: Path, history: _History) -> None:
        self.settings, self.checkpoint, self.history = settings, checkpoint, history

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        # mmengine steps the schedule before this hook (its priority is "LOW"), so the state saved is that of step + 1
        step = batch_idx + 1
        if step % self.settings.checkpoint_every and step != runner.max_iters:
            return
        if self.history.pending:  # a loss point must not span a restart
            self.history.average(step)
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        state = {
            "step": step,
            "weights": model.completer.state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedules": [_plain(scheduler.state_dict()) for scheduler in runner.param_schedulers or []],
            "history": self.history.rows,
        }
        write_whole(self.checkpoint, lambda part: torch.save(state, part))
