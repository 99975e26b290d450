"""`pseudolabel --add`: label more photos in the same folder; labels of photos that did not change stay.

These labels are copied aside before the run on the new file claims the folder (`data/kept_labels.py`), so that the run
can be killed at any moment. The completer, its fit and the measured gaps stay those of the first run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.kept_labels import KEPT, MADE_FROM, KeptLabels, keep_labels, photos_of_folder, read_made_from
from ..data.label_folder import STATS
from ..data.review_file import REVIEW_FILE, Review, read_review
from ..errors import OutputError
from ..io.files import read_json
from ..runtime.parts import read_parts
from ..settings import LabelSettings

ADDED = "added to"
"""Entry of run.json: folder of what was kept, and the gaps that were measured for it."""
ANY_KEPT = ".kept-*"
GAP, INSET = "gap px", "tight px"


@dataclass(frozen=True)
class Added:
    """What an added run keeps of the one before.

    Attributes:
        kept: labels of photos that did not change.
        gap_px: tolerance for gaps that they were made with.
        contour_inset_px: by how much masks were grown for them.
    """

    kept: KeptLabels
    gap_px: int
    contour_inset_px: int

    @classmethod
    def of_record(cls, out: Path, record: Mapping[str, Any]) -> Added | None:
        """Return what the record of a run says of it; None where it was not added to."""
        noted = record.get(ADDED)
        return Added(KeptLabels(out / noted["folder"]), noted[GAP], noted[INSET]) if noted else None

    def with_gaps(self, settings: LabelSettings) -> LabelSettings:
        """Return the settings; gaps that they leave open are those that the kept labels were made with."""
        return settings.measured(self.gap_px, self.contour_inset_px)

    def with_decisions(self, decided: Review | None) -> Review | None:
        """Return the decisions on kept labels, and those that are given now, which have the last word."""
        if not self.kept.review.exists():
            return decided
        earlier = read_review(self.kept.review)
        if decided is None:
            return earlier
        both = {decision.id: decision for decision in (*earlier.decisions, *decided.decisions)}
        return Review(decided.labels_sha256, tuple(both.values()))


def parts_folder(record: Mapping[str, Any], folder: str) -> str:
    """Return the name of the folder of parts: one of its own for what was added."""
    noted = record.get(ADDED)
    return folder + noted["folder"].replace(ANY_KEPT[:-2], "") if noted else folder


def take_over(out: Path, record: Mapping[str, Any], marks: Mapping[int, str], parts: str) -> dict[str, Any]:
    """Copy aside the labels of the run in a folder that still hold; it has finished, or was an `--add` that did not.

    Args:
        out: the folder.
        record: of the run in it.
        marks: of the photos as they are now.
        parts: name of the folder of parts of a run that was not added to.

    Returns:
        What the new run's record says of it.

    Raises:
        OutputError: the run has neither finished, nor kept labels of one that had; or it is of an earlier version.
    """
    folder = ANY_KEPT[:-1] + hashlib.sha256(json.dumps(sorted(marks.items())).encode()).hexdigest()[:12]
    noted = record.get(ADDED)
    if record.get("state") == "done":
        if not (out / MADE_FROM).exists():
            raise OutputError(
                f"{out / MADE_FROM}: expected what each label was made from, found no such file; the folder is of an "
                "earlier version, label into another one once"
            )
        counts = read_json(out / STATS, "the statistics of labels")["counts"]
        noted = {GAP: counts[GAP], INSET: counts[INSET]}
        keep_labels(photos_of_folder(out), read_made_from(out / MADE_FROM), marks, out / REVIEW_FILE, out / folder)
    elif noted:
        before = out / noted["folder"]
        files = [before / KEPT, *sorted((out / parts_folder(record, parts)).glob("[0-9]*.jsonl"))]
        keep_labels(read_parts(files), read_made_from(before / MADE_FROM), marks, before / REVIEW_FILE, out / folder)
    else:
        raise OutputError(
            f"{out}: has not finished with the annotations that it began with; start it on those again, then --add, or "
            "choose another --out"
        )
    return {ADDED: {**noted, "folder": folder}}
