"""`amodalpl apply-review`: a label folder and the decisions of a person in; the corrected label folder out."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..builtin import completer_folder
from ..data.label_file import decided_entry, write_label_file
from ..data.label_folder import (
    DOUBT,
    FITTED,
    LABELS,
    ORDER,
    STATS,
    LabelFolder,
    check_stats,
    read_label_folder,
    read_orders,
)
from ..data.read import read_annotations
from ..data.records import AnnotationSet, reason_kind
from ..data.review_file import (
    NO_LONGER_FIT,
    REVIEW_FILE,
    Decision,
    Lost,
    Review,
    Verdict,
    carry_over,
    fingerprint,
    read_review,
    require_same_labels,
    write_review,
)
from ..errors import DataError
from ..io.files import hash_file, read_json, write_json, write_whole
from ..io.json_stream import finite
from ..report.label_page import CARD, write_label_page
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE, Renewal, StageRun, finished_run, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import require_photos
from .label_summary import summary_of_labels, training_on
from .stage_table import STAGES

ROW = STAGES["apply-review"]
_MAY_GROW = ("labels", "images", "review", "earlier review")  # inputs of a run that `--add` continues
_OFFER = "--add carries the decisions in it over; else choose another --out or delete it"
_ADDED, _ASIDE = "added to", ".earlier-review.json"
_COUNTED: dict[Verdict | None, str] = {
    "accept": "accepted",
    "reject": "rejected",
    "keep-modal": "kept modal",
    None: "undecided",
}


def apply_review(
    labels: Path,
    images: Path,
    review: Path,
    out: Path,
    *,
    completer: Path | str | None = None,
    add: bool = False,
    progress: Progress = SILENT,
) -> Summary:
    """Write a label folder in which the decisions of a review are carried out.

    A rejected label becomes a crowd region (`iscrowd` 1) of its visible mask, which detectors neither learn nor are
    wrong to find; one that is kept modal gets its visible mask as whole mask. What the completer proposed stays beside
    it, so a later review can take a decision back by accepting the label. Decisions of an earlier review in the folder
    stay where the new one says nothing.

    Args:
        labels: output folder of `amodalpl pseudolabel`, or of this stage.
        images: folder of the photos, for the report.
        review: decisions, as `report.html` exports them.
        out: another folder, for the same files with the decisions carried out, and `review.json`.
        completer: the completer that made the labels, as `amodalpl pseudolabel` was given it, for its scores in the
            report.
        add: `out` was made of an earlier state of the labels, or by an earlier review: its decisions stay where this
            review says nothing.
        progress: shown while it works.

    Returns:
        Counts of what was accepted, rejected, kept modal, left undecided, and a row for each decision that no longer
        fits its label and was therefore not applied.

    Raises:
        DataError: the review is damaged or of other labels, or the labels or photos cannot be used.
        OutputError: `labels` is no finished folder, or `out` belongs to another run.
    """
    arguments = ROW.arguments(labels=labels, images=images, review=review, completer=completer, add=add)
    decided = read_review(review)
    record = finished_labels(labels)
    file = labels / LABELS
    data = read_annotations(file)
    _require_whole(data)
    require_photos(data, images, progress)
    made_by = record["inputs"].get("completer")
    if completer is not None:
        completer = _completer_of(completer_folder(completer), record, labels)
    read = read_label_folder(labels)
    read_orders(labels, ())  # which is copied, and must not turn out damaged when the report is drawn
    hashes = input_hashes(data, images)
    kept, lost = carry_over(decided, (e.annotation for e in read.labels), hashes["annotations"])
    require_same_labels(review, decided, kept, lost, file)
    inputs = {"labels": hashes["annotations"], "images": hashes["images"], "review": hash_file(review)}
    earlier = labels / REVIEW_FILE
    if earlier.exists():
        inputs["earlier review"] = hash_file(earlier)
    if made_by:
        inputs["completer"] = made_by
    settings = {"report": {"with_scores": completer is not None}}
    renewal = Renewal(_MAY_GROW, add, _OFFER, lambda before: _put_aside(out, before))
    run = StageRun.open(out, ROW.name, settings, inputs, record["seed"], arguments, renewal=renewal)
    if not run.done:
        reviews = [kept]
        aside = [out / _ASIDE] if _ADDED in run.record else []
        for made_before in (*aside, earlier):  # the later one has the last word
            if made_before.exists():
                before, gone = carry_over(read_review(made_before), (e.annotation for e in read.labels))
                reviews.insert(len(reviews) - 1, before)
                lost += gone
        decisions = {decision.id: decision.decision for review in reviews for decision in review.decisions}  # last wins
        counts = _write(read, out, data, decisions, lost)
        write_label_page(out, images, completer, progress)
        run.finish(counts, [p.name for p in out.iterdir() if p.name != RUN_FILE and not p.name.startswith(".")])
        (out / _ASIDE).unlink(missing_ok=True)
    then = training_on(out, images, "corrected")
    return summary_of_labels(ROW.name, out, run.counts, then, review=REVIEW_FILE, statistics=STATS)


def _put_aside(out: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the decisions in a folder from being overwritten, should the new run be killed; return what it notes."""
    if (out / REVIEW_FILE).exists() and record.get("state") == "done":
        write_whole(out / _ASIDE, partial(shutil.copyfile, out / REVIEW_FILE))
    return {_ADDED: record["inputs"].get("labels")}


def finished_labels(folder: Path) -> dict[str, Any]:
    """Return the record of who made labels; those of `predict` and `refine` stand in a folder of its output.

    Raises:
        DataError: the record says nothing of inputs or of a seed.
        OutputError: it is no folder of finished labels.
    """
    if not (folder / RUN_FILE).exists() and (folder.parent / RUN_FILE).exists():
        above = read_json(folder.parent / RUN_FILE, "the record of a run")
        refined = isinstance(above, dict) and above.get("stage") == "refine"
        record = finished_run(folder.parent, "refine" if refined else "predict")
    else:
        record = read_json(folder / RUN_FILE, "the record of a finished `amodalpl pseudolabel`")
        again = isinstance(record, dict) and record.get("stage") == ROW.name
        record = finished_run(folder, ROW.name if again else "pseudolabel")
    if not isinstance(record.get("inputs"), dict) or type(record.get("seed")) is not int:
        raise DataError(f"{folder / RUN_FILE}: expected inputs and a seed, found none; it was changed by hand")
    return record


def _require_whole(data: AnnotationSet) -> None:
    """Refuse a label file with entries that the reader drops, other than those of which nothing is visible."""
    damaged = [entry for entry in data.dropped if reason_kind(entry.reason) != "fully hidden"]
    if damaged:
        raise DataError(
            f"{data.path}: {damaged[0].place}: expected a label, got {damaged[0].reason} "
            f"({len(damaged)} such entries); the file was changed by hand, run `amodalpl pseudolabel` again"
        )


def _completer_of(completer: Path, record: Mapping[str, Any], labels: Path) -> Path:
    """Return the completer that made labels: the one that is given, or what was fitted to their photos of it.

    Raises:
        DataError: the one that is given is neither.
    """
    card, fitted = completer / CARD, labels / FITTED
    given, of_labels = hash_file(card), record["inputs"].get("completer")
    if given not in (of_labels, record.get("fitted completer")):
        raise DataError(
            f"{card}: expected the completer that made {labels}, got another one; leave --completer out, or give "
            "the folder that `amodalpl pseudolabel` was given"
        )
    return fitted if given == of_labels and fitted.exists() else completer


def _write(
    folder: LabelFolder, out: Path, data: AnnotationSet, decisions: Mapping[int, Verdict], lost: Sequence[Lost]
) -> dict[str, Any]:
    labels = folder.path
    held: list[Decision] = []
    times: Counter[Verdict | None] = Counter()

    def annotations() -> Iterator[dict[str, Any]]:
        for label in folder.labels:
            verdict = decisions.get(label.id)
            annotation = decided_entry(label.annotation, verdict)
            times[verdict] += 1
            if verdict is not None:
                held.append(Decision(label.id, verdict, fingerprint(annotation)))
            yield finite(annotation)

    write_label_file(out / LABELS, data, annotations())
    write_review(out / REVIEW_FILE, Review(hash_file(out / LABELS), tuple(held)))
    for name in (ORDER, DOUBT):
        if (labels / name).exists():
            write_whole(out / name, partial(shutil.copyfile, labels / name))
    counts = {"labels": times.total(), **{words: times[verdict] for verdict, words in _COUNTED.items()}}
    rows = {NO_LONGER_FIT: [entry.to_json() for entry in lost]}
    stats = check_stats(labels / STATS, read_json(labels / STATS, "the statistics of a label folder"))
    write_json(out / STATS, {**stats, "review": counts, **rows})
    return {**counts, **rows}
