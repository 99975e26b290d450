"""Curves of a training, and of how far the uncertainty of labels can be believed, as PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from ..io.files import write_whole

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # Okabe and Ito


def training_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the loss over steps, and below it whatever was scored on the hold-out.

    Args:
        rows: in order of steps: {"step": 10, "loss": 0.3} and {"step": 100, "hold-out miou": 0.8, ...}; a key counts
            as a loss when its name holds "loss", as a score otherwise. Values that are no finite number are left out.
        path: of the PNG, written whole; equal rows give equal bytes.
    """
    losses, scores = _curves(rows, loss=True), _curves(rows, loss=False)
    panels = [p for p in ((losses, "loss"), (scores, "hold-out score")) if p[0]] or [({}, "loss")]
    figure = Figure(figsize=(7.5, 2.9 * len(panels) + 0.4), dpi=120, layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (curves, label) in zip(all_axes, panels, strict=True):
        _draw(axes, curves, label)
    values = [y for _, ys in losses.values() for y in ys]
    if values and min(values) > 0 and max(values) > 10 * min(values):
        all_axes[0].set_yscale("log")
        all_axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        all_axes[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        all_axes[0].yaxis.set_minor_locator(NullLocator())
    all_axes[-1].set_xlabel("step")
    _save(figure, path)


def reliability_diagram(diagrams: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw what was stated against what was seen: pixels on the left, labels on the right.

    Args:
        diagrams: "network" and "calibrated" (probabilities of pixels) and "labels" (uncertainties), each with bins:
            "stated", "seen" and "share" of the members, as `UncertaintyReport.reliability` has them.
        path: of the PNG, written whole; equal bins give equal bytes.
    """
    figure = Figure(figsize=(9.5, 4.9), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    error = "1 \N{MINUS SIGN} IoU"
    _style(left, "pixels behind occluders; bars: their share", "stated probability", "share that belongs")
    _style(right, "labels with an occluder, a tenth per point", f"uncertainty (expected {error})", f"mean {error}")
    for number, name in enumerate(("network", "calibrated", "labels")):
        bins = diagrams.get(name, {"stated": (), "seen": (), "share": ()})
        axes, colour = (right if name == "labels" else left), COLOURS[number]
        axes.plot(bins["stated"], bins["seen"], color=colour, marker="o", markersize=4, linewidth=1.6, label=name)
        if axes is left:
            axes.bar(bins["stated"], bins["share"], width=0.025, color=colour, alpha=0.25)
        else:
            most = max((*bins["stated"], *bins["seen"], 0.1))
            axes.set(xlim=(0, min(1, 1.1 * most)), ylim=(0, min(1, 1.1 * most)), aspect="equal")
    left.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    for axes in (left, right):
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="stated = measured")
        axes.legend(frameon=False, loc="upper left")
    _save(figure, path)


def risk_coverage(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw the mean error of the least uncertain labels over how many of them are kept.

    Args:
        curves: row -> "coverage" and "risk", as `UncertaintyReport.risk_coverage` has them.
        path: of the PNG, written whole; equal curves give equal bytes.
    """
    figure = Figure(figsize=(6.4, 4.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    _style(axes, "", "share of labels kept, the least uncertain first", "their mean 1 \N{MINUS SIGN} IoU")
    for number, (name, curve) in enumerate(curves.items()):
        axes.plot(curve["coverage"], curve["risk"], label=name, color=COLOURS[number % len(COLOURS)], linewidth=1.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    if curves:
        axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    write_whole(path, lambda part: figure.savefig(part, metadata={"Software": None}))


def _style(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(True, color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _curves(rows: Sequence[Mapping[str, Any]], loss: bool) -> dict[str, tuple[list[float], list[float]]]:
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if name != "step" and ("loss" in name) == loss and is_number:
                steps, values = curves.setdefault(name, ([], []))
                steps.append(row["step"])
                values.append(value)
    return curves


def _draw(axes: Axes, curves: Mapping[str, tuple[list[float], list[float]]], label: str) -> None:
    for number, (name, (steps, values)) in enumerate(curves.items()):
        few = len(steps) <= 25
        axes.plot(
            steps,
            values,
            label=name.removeprefix("hold-out ").replace("_", " "),
            color=COLOURS[number % len(COLOURS)],
            linewidth=1.6,
            marker="o" if few else None,
            markersize=3.5,
        )
    axes.set_ylabel(label)
    axes.grid(True, color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    if not curves:
        axes.text(0.5, 0.5, "nothing was recorded", ha="center", transform=axes.transAxes, color="#666666")
    elif len(curves) > 1:
        axes.legend(frameon=False, loc="center right")  # the best place takes long to find, and warns of it
