"""The demo on the device and on the processor: its scores side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from amodalpl.pipeline.demo import demo

from .context import Context


def measure(context: Context) -> None:
    """Run the demo on each device, and keep every score of both."""
    found: dict[str, dict[str, float]] = {}
    for device in dict.fromkeys([context.device.type, "cpu"]):
        with context.attempt(f"demo on {device}"):
            began = time.monotonic()
            summary = demo(context.work / f"demo_{device}", context.sizes.demo, device)
            context.say(f"demo on {device}", time.monotonic() - began, "s")
            found[device] = dict(_flat(summary.scores))
            file = context.out / f"demo_{device}.json"
            file.write_text(json.dumps(found[device], indent=1) + "\n", encoding="utf-8")
    if len(found) < 2:
        return
    ours, theirs = found[context.device.type], found["cpu"]
    for name in (name for name in ours if name in theirs):
        if _is_told(name):
            context.say(f"{name}: {context.device.type}", ours[name])
            context.say(f"{name}: cpu", theirs[name])


def _flat(scores: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name} / ")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{before}{name}", float(value)


def _is_told(name: str) -> bool:
    """Pick the few scores that README tells; all are in the files."""
    protocol, *_, metric = name.split(" / ")
    return " / labels / " in name or (" / detector / " in name and metric in ("AP", "AP50"))
