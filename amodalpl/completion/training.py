"""Training a completer: mmengine's Runner with live objects, resumable at any moment."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.optim import AmpOptimWrapper, MultiStepLR, OneCycleLR, OptimWrapper
from torch.utils.data import DataLoader, Sampler

from ..errors import SettingsError
from ..models.completer import Completer
from ..models.conv_avx2 import train_at_full_speed
from ..models.losses import pixel_weight
from ..models.sync_batchnorm import share_statistics
from ..models.unet import freeze_idle_biases
from ..runtime.distributed import Ranks, join_processes, mean_over_processes
from ..runtime.forecast import Forecast
from ..runtime.malloc import keep_freed_memory
from ..runtime.mmengine_runner import (
    Checkpoints,
    Curve,
    Point,
    QuietRunner,
    StepLoop,
    bare,
    read_checkpoint,
    run_training,
)
from ..runtime.progress import Progress
from ..settings import TrainingSettings
from ..synthesis.dataset import SampleStream

LOSS_EVERY = 20  # steps averaged into one point of the loss curve
OUTSIDE_WEIGHT = 10.0  # of pixels without a mask, where neighbours may lack theirs; 1 would leave them to themselves
SHORTEST_CYCLE = 4  # fewer steps have no room to rise and fall


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
) -> list[Point]:
    """Train in place, from the checkpoint if there is one.

    Under `torchrun` every process takes its share of each step's samples, and batches are normalised over all of them:
    N processes learn what one process with N times the batch learns, up to rounding.

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
        Points of the curves: {"step", "loss"} and {"step", score...}.

    Raises:
        CheckpointError: the checkpoint is damaged or of another network.
        SettingsError: a precision that the device does not have.
        TrainingError: the loss is no longer a number.
    """
    if settings.precision == "fp16" and device.type != "cuda":
        raise SettingsError("training.precision: fp16 needs a CUDA device, got the CPU; use fp32 or bf16")
    if device.type == "cpu":
        keep_freed_memory()
        train_at_full_speed(completer)
    else:
        freeze_idle_biases(completer)
    saved = read_checkpoint(checkpoint)
    start = int(saved["step"]) if saved else 0
    ranks = Ranks.of_this_process()
    world = ranks.world
    model = CompleterWithLoss(completer, settings, device.type, stream.settings.layers.unmasked).to(device)
    if world > 1:
        share_statistics(completer)
    loader = _loader(stream, settings, start, ranks, device)
    optimizer = build_optimizer(completer, settings, fused=device.type == "cuda")
    wrapper = AmpOptimWrapper(optimizer=optimizer) if settings.precision == "fp16" else OptimWrapper(optimizer)
    with progress.task("training the completer", settings.steps, done=start) as advance:
        numbers = StepSampler(0, settings.steps, settings.batch_size * world, 0, 1)  # of all processes
        advice = "try a third of training.learning_rate"
        curve = Curve(LOSS_EVERY, advance, advice, lambda step, _: {"samples": numbers.of_step(step)})
        join_processes(device)
        checkpoints = Checkpoints(checkpoint, settings.checkpoint_every, saved, curve)
        runner = QuietRunner(
            model=model,
            work_dir=str(checkpoint.parent / "log"),
            train_dataloader=loader,
            train_cfg={"type": StepLoop, "max_iters": settings.steps, "seed": seed},
            optim_wrapper=wrapper,
            param_scheduler=_schedule(optimizer, settings),
            # none of mmengine's but the one of the schedule; runtime_info would wait for the loss at every step
            default_hooks=dict.fromkeys(("logger", "checkpoint", "sampler_seed", "timer", "runtime_info")),
            custom_hooks=[
                curve,
                _Validate(settings.validate_every, curve, validate, progress),
                checkpoints,
                Forecast(progress, "--config coco_cpu is for CPUs, fewer training.steps end earlier"),
            ],
            launcher="pytorch" if world > 1 else "none",
            env_cfg={"dist_cfg": {"backend": "nccl" if device.type == "cuda" else "gloo"}},
            randomness={"seed": seed},
            log_level=logging.ERROR,
            experiment_name=f"complete-{uuid.uuid4().hex}",  # mmengine keeps them apart by name within a process
            default_scope="mmengine",
        )
        run_training(runner, checkpoints, progress)
    return curve.points


def _loader(
    stream: SampleStream, settings: TrainingSettings, start: int, ranks: Ranks, device: torch.device
) -> DataLoader:
    """Return this process's batches from a step on."""
    return DataLoader(
        stream,
        batch_size=settings.batch_size,
        sampler=StepSampler(start, settings.steps, settings.batch_size, ranks.rank, ranks.world),
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        pin_memory=device.type == "cuda",
        drop_last=True,
    )


def build_optimizer(completer: Completer, settings: TrainingSettings, fused: bool) -> torch.optim.Optimizer:
    """Return the optimizer of the settings; `fused` ones update all weights in one kernel of a GPU."""
    parameters, rate, decay = completer.parameters(), settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, settings.momentum, weight_decay=decay, fused=fused)
    return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=fused)


def _schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Any:
    if settings.schedule == "steps":
        return MultiStepLR(optimizer, milestones=list(settings.milestones), gamma=0.1, by_epoch=False)
    if settings.schedule == "one-cycle" and settings.steps > SHORTEST_CYCLE:
        rise = max(0.1, 2 / settings.steps)  # a tenth of the steps, but at least two, which mmengine divides by
        return OneCycleLR(
            optimizer, eta_max=settings.learning_rate, total_steps=settings.steps, pct_start=rise, by_epoch=False
        )
    return None


class CompleterWithLoss(BaseModel):
    """What mmengine trains: batches of the stream in, the method's loss out."""

    def __init__(
        self, completer: Completer, settings: TrainingSettings, device_type: str, unmasked: float = 0.0
    ) -> None:
        super().__init__(BaseDataPreprocessor(non_blocking=True))
        self.completer = completer
        self.inside_weight = settings.inside_weight or completer.method.inside_weight
        self.outside_weight = settings.outside_weight or (OUTSIDE_WEIGHT if unmasked else 1.0)
        self.bf16 = settings.precision == "bf16"
        self.device_type = device_type

    def forward(
        self, target: torch.Tensor, unknown: torch.Tensor | None = None, mode: str = "loss", **inputs: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the loss of a batch of the stream."""
        with torch.autocast(self.device_type, torch.bfloat16, enabled=self.bf16):
            outputs = self.completer(**inputs)
        method = self.completer.method
        weight = pixel_weight(
            inputs["occluder"],
            self.inside_weight,
            unknown,
            modal=inputs["modal"],
            contact=method.contact_weight,
            elsewhere=self.outside_weight,
        )
        return {"loss": method.loss(outputs, target, weight)}

    def parse_losses(self, losses: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of this process's samples to learn from, and that of all processes' for the curve.

        The second is the mean of the first: all have as many samples, and a sample's weights do not enter its share.
        """
        loss = losses["loss"]
        return loss, {"loss": mean_over_processes(loss)}


class StepSampler(Sampler[int]):
    """Sample numbers from a given step on, every `world`-th of each step for one process."""

    def __init__(self, start: int, steps: int, batch: int, rank: int, world: int) -> None:
        self.numbers = range(start * batch * world + rank, steps * batch * world, world)
        self.batch = batch

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def of_step(self, step: int) -> list[int]:
        """Return the sample numbers of the step-th step after the start."""
        return list(self.numbers[step * self.batch : (step + 1) * self.batch])


class _Validate(Hook):
    """Scores the completer on the hold-out and adds the scores to the curve, on the first process."""

    priority = "VERY_LOW"  # as the checkpoint, which is registered after it: scores must be in what is saved

    def __init__(
        self, every: int, curve: Curve, validate: Callable[[Completer], dict[str, float]], progress: Progress
    ) -> None:
        self.every, self.curve, self.validate, self.progress = every, curve, validate, progress

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        step = batch_idx + 1
        if (step % self.every and step != runner.max_iters) or runner.rank:
            return
        completer = bare(runner.model).completer
        completer.eval()
        scores = self.validate(completer)
        completer.train()
        self.curve.points.append({"step": step, **scores})
        self.progress.note(f"step {step}: " + "  ".join(f"{name} {value:.3f}" for name, value in scores.items()))
