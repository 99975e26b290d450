"""How fast completers train: in which arithmetic, and compiled or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from amodalpl.completion.training import train
from amodalpl.models.completer import build_completer
from amodalpl.pipeline.synth import BANK
from amodalpl.runtime.progress import Progress
from amodalpl.settings import TrainingSettings
from amodalpl.settings_values import resolve
from amodalpl.synthesis.dataset import SampleStream

from .. import drawn
from ..watch import Watch
from .context import Context

WANTED_PER_S = 1500.0  # ASBU samples on an H100; docs/gpu_and_cluster.md says why
WANTED_BUSY = 0.85


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        method: of the completer.
        precision: of its network.
        compiled: whether the network goes through `torch.compile`.
        hoped: whether the targets are for it.
    """

    method: str
    precision: Literal["fp32", "bf16", "fp16"]
    compiled: bool = False
    hoped: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.precision}{', compiled' if self.compiled else ''}"


WAYS = (
    Way("asbu", "bf16", hoped=True),
    Way("layered", "bf16"),
    Way("asbu", "fp32"),
    Way("layered", "fp32"),
    Way("asbu", "fp16"),
    Way("asbu", "bf16", compiled=True),
)


def measure(context: Context) -> None:
    """Train each way for a few hundred steps; a way that fails does not stop the others."""
    for way in WAYS[: context.sizes.ways]:
        if way.precision == "fp16" and not context.on_gpu:
            continue  # of training; it needs a GPU
        with context.attempt(str(way)):
            watch = Watch("training the completer", context.device)
            if context.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            run(context, way, context.sizes.timed_steps, context.sizes.batch, watch)
            per_s = context.sizes.batch / watch.seconds_per_unit()
            context.say(str(way), per_s, "samples/s", at_least=WANTED_PER_S if way.hoped else None)
            if watch.busy is not None:
                context.say(f"{way}: card busy", watch.busy, "of the time", at_least=WANTED_BUSY if way.hoped else None)
            if context.on_gpu:
                context.say(f"{way}: memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")


def run(context: Context, way: Way, steps: int, batch: int, progress: Progress) -> None:
    """Train a fresh completer one way."""
    values: dict[str, Any] = {"completer": {"method": way.method}, "synthesis": {"patch_px": context.sizes.patch_px}}
    settings = resolve(values)
    torch.manual_seed(drawn.SEED)
    completer = build_completer(way.method, context.sizes.width, False, settings.completer.init_gain)
    if way.compiled:
        torch._dynamo.reset()
        completer.network.compile(backend=context.sizes.compiler)
    training = TrainingSettings(
        steps=steps,
        batch_size=batch,
        workers=context.sizes.workers,
        precision=way.precision,
        validate_every=10**6,
        checkpoint_every=10**6,
    )
    checkpoint = context.work / "speed" / "checkpoint.pth"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.unlink(missing_ok=True)  # of the way before, which is over
    sees_boundary = "boundary" in completer.method.channels
    bank = context.prepared() / BANK
    train(
        completer,
        SampleStream(bank, settings.synthesis, drawn.SEED, steps * batch, completer.method.recipe, sees_boundary),
        training,
        seed=drawn.SEED,
        device=context.device,
        checkpoint=checkpoint,
        validate=lambda completer: {},
        progress=progress,
    )
