"""What the stages that write a label folder say at their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.label_folder import LABELS
from ..report.label_page import REPORT_FILE, SHEET_FILE
from ..runtime.next_command import argument, beside
from ..runtime.summary import Summary


def summary_of_labels(stage: str, out: Path, counts: dict[str, Any], then: str, **files: str) -> Summary:
    """Return the closing table of a label folder, whose report is to be opened.

    Args:
        stage: that wrote it.
        out: the folder.
        counts: of the run.
        then: the command after that.
        files: others to name, by what they are.
    """
    named = {"labels": LABELS, "report": REPORT_FILE, "overlays": SHEET_FILE, **files}
    return Summary(
        stage,
        out,
        counts,
        files={name: out / file for name, file in named.items()},
        next=f"open {argument(out / REPORT_FILE)}",
        then=then,
    )


def training_on(out: Path, images: Path, word: str) -> str:
    """Return the command that trains a detector on a label folder.

    Args:
        out: the folder.
        images: its photos.
        word: what it is usually called, which the folder of the detector takes the place of.
    """
    detector = beside(out, word, "detector")
    return f"amodalpl train-detector {argument(out / LABELS)} {argument(images)} --out {detector}"
