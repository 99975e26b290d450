"""What the card can do at best: the time of everything else is read beside it."""

from __future__ import annotations

import shutil
import subprocess

import torch

from ..machine import best_seconds
from .context import Context

_ASKED = "name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu"
_SIDE = {"cuda": 8192, "cpu": 512}
_BYTES = {"cuda": 2**32, "cpu": 2**24}


def measure(context: Context) -> None:
    """Name the card and its clocks, then copy much and multiply large matrices."""
    context.say("torch", torch.__version__)
    if context.on_gpu:
        context.say("card", torch.cuda.get_device_name())
        context.say("CUDA of torch", str(torch.version.cuda))
        context.say(f"before: {_ASKED}", _card())
    side, count = _SIDE[context.device.type], _BYTES[context.device.type]
    source = torch.randint(256, (count,), dtype=torch.uint8, device=context.device)
    target = torch.empty_like(source)
    seconds = best_seconds(lambda: target.copy_(source), context.device, 10)
    context.say("copy on the device, read and written", 2 * count / seconds / 1e9, "GB/s")
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        if name == "fp16" and not context.on_gpu:
            continue  # for which a CPU has no arithmetic
        a, b = torch.randn(2, side, side, device=context.device).to(dtype)
        seconds = best_seconds(lambda a=a, b=b: torch.mm(a, b), context.device, 10)  # type: ignore[misc]
        context.say(f"matrix product in {name}", 2 * side**3 / seconds / 1e12, "TFLOP/s")
    host = torch.empty(count // 16, dtype=torch.uint8, pin_memory=context.on_gpu)
    part = target[: len(host)]
    seconds = best_seconds(lambda: part.copy_(host, non_blocking=True), context.device, 10)
    context.say("copy from the host, pinned", len(host) / seconds / 1e9, "GB/s")
    if context.on_gpu:
        context.say(f"after: {_ASKED}", _card())


def _card() -> str:
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi here"
    command = ["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader", "--id=0"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return (answer.stdout or answer.stderr).strip()
