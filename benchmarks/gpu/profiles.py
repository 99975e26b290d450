"""Where the time goes: the kernels of a training step, and the functions around the network in labelling."""

from __future__ import annotations

import cProfile
import io
import pstats
import shutil
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

from amodalpl.builtin import BUILTIN, completer_folder
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.runtime.progress import SILENT
from amodalpl.settings_values import resolve

from .context import Context
from .detectors import train_here
from .training_speed import Way, run

STEPS = 12
_SHOWN = 30


def measure(context: Context) -> None:
    """Write a table each of the completer's and the detector's training, and of labelling."""
    steps = min(STEPS, context.sizes.timed_steps)

    def completer() -> None:
        run(context, Way("asbu", context.usual), steps, context.sizes.batch, SILENT)

    def detector() -> None:
        train_here(context, "profile", steps, SILENT, {"precision": context.usual, "workers": 0})

    with context.attempt("profile of the completer's training"):
        _kernels(context, "completer", completer)
    with context.attempt("profile of the detector's training"):
        _kernels(context, "detector", detector)
    with context.attempt("profile of labelling"):
        _functions(context)


def _kernels(context: Context, name: str, work: Callable[[], None]) -> None:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if context.on_gpu else [])]
    with profile(activities=activities) as found:
        work()
    order = "self_cuda_time_total" if context.on_gpu else "self_cpu_time_total"
    average = found.key_averages()
    (context.out / f"profile_{name}.txt").write_text(average.table(sort_by=order, row_limit=_SHOWN), encoding="utf-8")

    def own(event: object) -> float:
        return float(getattr(event, "self_device_time_total" if context.on_gpu else "self_cpu_time_total", 0.0))

    most = max(average, key=own)
    total = sum(map(own, average)) or 1.0
    context.say(f"{name}: most of the time in {most.key[:60]}", own(most) / total, f"see profile_{name}.txt")


def _functions(context: Context) -> None:
    out = context.work / "labels"
    shutil.rmtree(out, ignore_errors=True)
    settings = resolve({"labels": {"batch_size": 64 if context.on_gpu else 8, "workers": 1}})
    profiler = cProfile.Profile()
    profiler.enable()
    make_labels(*context.photos(), completer_folder(BUILTIN), out, settings, device=context.device.type)
    profiler.disable()
    text = io.StringIO()
    statistics = pstats.Stats(profiler, stream=text)
    statistics.sort_stats("tottime").print_stats(_SHOWN)
    (context.out / "profile_labelling.txt").write_text(text.getvalue(), encoding="utf-8")
    context.say("labelling, profiled", statistics.total_tt, "s; see profile_labelling.txt")  # type: ignore[attr-defined]
