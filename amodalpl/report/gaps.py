"""How far apart the masks of a data set are, and which of its gaps are contact, as PNG."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ..io.files import write_whole
from ..masks.gaps import GapTolerance


def gap_histogram(tolerance: GapTolerance, path: Path) -> None:
    """Draw how many pairs of masks have 0, 1, 2 ... free pixels between them, and the tolerance that follows.

    Args:
        tolerance: what was measured.
        path: of the PNG, written whole; equal measurements give equal bytes.
    """
    figure = Figure(figsize=(6.4, 3.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    gaps = range(len(tolerance.counts))
    colours = ["#0072b2" if gap <= tolerance.gap_px else "#bbbbbb" for gap in gaps]  # blue of Okabe and Ito
    axes.bar(gaps, tolerance.counts, color=colours, width=0.8)
    axes.axhline(tolerance.by_chance, color="#d55e00", linewidth=1.2, linestyle="--", label="put there by chance")
    tight = f"; contours are loosened by {tolerance.contour_inset_px}" if tolerance.contour_inset_px else ""
    axes.set_title(f"up to {tolerance.gap_px} free pixels count as contact (blue){tight}", fontsize=10)
    axes.set_xlabel("free pixels between two masks")
    axes.set_ylabel("pairs")
    if max(tolerance.counts) > 0:
        axes.set_yscale("symlog", linthresh=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    write_whole(path, lambda part: figure.savefig(part, metadata={"Software": None}))
