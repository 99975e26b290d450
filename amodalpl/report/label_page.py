"""The page beside a label file: labels to look at and decide on, how good they are, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ..data.label_folder import LabelEntry, LabelFolder, Overview, check_hold_out, read_label_folder
from ..io.files import read_json
from ..io.images import write_image
from ..runtime.progress import SILENT, Progress
from ..version import __version__
from . import draw
from .choice import choose, choose_photos
from .gallery import make_gallery
from .html_page import write_page
from .numbers import Curve, curve, histogram, lower_bound, rows

REPORT_FILE, SHEET_FILE = "report.html", "overlays.png"
PROMISE = "hold-out labels with an occluder: promise"  # its scores, as `amodalpl complete` names them
METRICS, CARD = "metrics.json", "completer.json"
PHOTOS, LABELS = 600, 8000  # shown at most: the page has to open at once
_HERE = Path(__file__).parent
_SCRIPTS = ("decisions.js", "zoom.js", "picture.js", "order.js", "gallery.js", "detail.js", "keys.js")
_SHEET_TILES = 30
_MEANINGS = {
    "no_occluder": "no other object is in front of it",
    "kept_modal": "its class is never completed (labels.per_class); left as drawn",
    "overlap_only": "hidden only where drawn masks overlap it; left as drawn",
    "unmasked_occluder": "goes on where no object has a mask; something that is not annotated is taken to hide it",
    "truncated": "touches the edge of the photo; what lies outside is not completed",
    "grew_to_border": "the completion reaches the edge of what the network saw",
    "runaway": "the completion was larger than `labels.max_growth` allows; only its most probable pixels were kept",
    "shared_pixels": "some of its drawn pixels belong to other masks, which were drawn over them",
    "fully_shared": "all of its pixels belong to other masks; left as drawn",
    "low_confidence": "the uncertainty is above `labels.low_confidence`",
    "uncalibrated": "nobody measured what its uncertainty is worth",
    "iscrowd": "rejected in a review: a region that detectors ignore",
}


def write_label_page(folder: Path, images: Path, completer: Path | None, progress: Progress = SILENT) -> None:
    """Write `report.html` and `overlays.png`, a contact sheet of labels to look at, into a folder of labels.

    The page holds everything itself and asks for no network; photos that make it too large go to `report/` beside it.
    Equal files give equal bytes. A photo that cannot be read, or is of another size than its masks, is shown as grey
    and counted on the page.

    Args:
        folder: of labels: `pseudo_amodal.json`, and where they are there `order.json`, `stats.json`, `doubt.jsonl` and
            `review.json`, whose decisions are shown.
        images: folder of the photos.
        completer: output folder of `amodalpl complete`, for its scores on the hold-out; None to leave them out.
        progress: shown while it works.

    Raises:
        DataError: a file is missing, damaged, or of another kind.
        OutputError: a file cannot be written.
    """
    labels = read_label_folder(folder)
    overview = labels.overview
    completed = [e for e in overview.labels if e.is_completed]
    shown = choose_photos(overview.labels, PHOTOS, LABELS)
    chosen = choose([e for e in completed if e.image_id in shown], _SHEET_TILES)
    gallery = make_gallery(labels, images, shown, {e.id for group in chosen.values() for e in group}, progress)
    write_page(
        folder / REPORT_FILE,
        "labels.html",
        ["labels.css"],
        _SCRIPTS,
        version=__version__,
        data=gallery.data,
        pictures=[Markup(picture) for picture in gallery.pictures],
        photos_missing=gallery.photos_missing,
        facts=_facts(labels, completed),
        stale=labels.stale,
        histograms=_histograms(overview),
        flags=[(name, count, _MEANINGS.get(name, "")) for name, count in sorted(overview.flags.items())],
        left_out=labels.stats.get("counts", {}).get("left out") or {},
        stats=list(rows(labels.stats)),
        not_promised=_why_not_promised(labels.stats),
        **_trust(completer),
    )
    write_image(folder / SHEET_FILE, _sheet(labels, chosen, gallery.thumbs))


def _facts(labels: LabelFolder, completed: Sequence[LabelEntry]) -> list[tuple[str, Any]]:
    overview = labels.overview
    growths = [e.growth for e in completed]
    return [
        ("photos", len(labels.file_names)),
        ("labels", len(overview.labels)),
        ("completed behind others", len(completed)),
        ("as drawn, nothing added", len(overview.labels) - len(completed)),
        ("with high uncertainty", overview.flags["low_confidence"]),
        ("median growth of the completed", f"+{100 * (float(np.median(growths)) - 1):.0f} %" if growths else None),
        ("made by", ", ".join(sorted(overview.completers)) or None),
    ]


def _histograms(overview: Overview) -> list[dict[str, Any]]:
    return [
        {
            "title": "Uncertainty",
            "unit": "expected 1 − IoU",
            "bars": histogram(overview.uncertainty, np.linspace(0, 1, 21)),
            "open": False,
        },
        {
            "title": "Growth",
            "unit": "whole over drawn area",
            "bars": histogram(overview.growth, np.linspace(1, 4, 16)),
            "open": True,
        },
        {
            "title": "Occlusion rate",
            "unit": "hidden share of the whole",
            "bars": histogram(overview.occlusion_rate, np.linspace(0, 1, 21)),
            "open": False,
        },
    ]


def _trust(completer: Path | None) -> dict[str, Any]:
    """Read what the completer's hold-out says; parts that its folder does not have are left out."""
    metrics, card = (
        read_json(completer / name, what) if completer is not None and (completer / name).exists() else {}
        for name, what in ((METRICS, "the scores of a completer"), (CARD, "the card of a completer"))
    )
    check_hold_out(completer or Path(), metrics, card)
    diagrams, scores = metrics.get("reliability") or {}, metrics.get("scores") or {}
    calibration = card.get("calibration") or {}
    pixels = [curve(name, diagrams[name]["stated"], diagrams[name]["seen"]) for name in diagrams if name != "labels"]
    of_labels: list[Curve] = []
    most = 1.0
    if "labels" in diagrams:
        stated, seen = diagrams["labels"]["stated"], diagrams["labels"]["seen"]
        most = max([0.1, *stated, *seen])
        of_labels = [curve("labels", stated, seen, most)]
    if not pixels and calibration.get("probability"):  # of an earlier version: what its labels are corrected by
        pixels = [curve("network", calibration["probability"], calibration["belongs"])]
    return {
        "scores": scores,
        "kept_promise": _kept_promise(scores.get(PROMISE, {}).get("labels") or {}),
        "pixels": pixels,
        "of_labels": of_labels,
        "most": most,
    }


def _why_not_promised(stats: Mapping[str, Any]) -> str | None:
    """Return why nothing is promised of these labels; None where something is, or nobody says."""
    rests_on = stats.get("promise rests on")
    reason = rests_on.get("reason") if isinstance(rests_on, Mapping) and stats.get("promise") is None else None
    return reason if isinstance(reason, str) else None


def _kept_promise(seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hold-out says of labels up to the bound of uncertainty; empty without a count of them."""
    count, share = seen.get("labels_up_to_it"), seen.get("share_seen")
    if not count or share is None:
        return {}
    good = round(share * count)
    return {**seen, "good": good, "at_least": lower_bound(good, count)}


def _sheet(
    labels: LabelFolder, chosen: Mapping[str, Sequence[LabelEntry]], thumbs: Mapping[int, np.ndarray]
) -> np.ndarray:
    entries = [e for group in chosen.values() for e in group]
    legend = (
        f"{draw.LEGEND}   |   " + ", ".join(title.lower() for title in chosen) if entries else "nothing was completed"
    )
    return draw.contact_sheet([(_title(labels, e), thumbs[e.id]) for e in entries], legend=legend)


def _title(labels: LabelFolder, entry: LabelEntry) -> str:
    name = labels.class_names.get(entry.category_id, str(entry.category_id))
    return f"{name}   +{100 * (entry.growth - 1):.0f} %\nuncertainty {entry.uncertainty:.2f}   #{entry.id}"
