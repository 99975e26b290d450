"""`amodalpl audit`: a random sample of labels to judge in the browser, and what the judgements say of all labels."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration.fit import RiskGuarantee
from ..calibration.restate import restate_by
from ..data.label_file import DOUBTFUL_FROM, NOTHING_IN_FRONT, read_label_head, read_labels, write_label_file
from ..data.label_folder import LABELS, ORDER, ShownLabel
from ..data.read import read_annotations
from ..errors import DataError, OutputError, nearest
from ..io.files import hash_file, read_json, write_whole
from ..metrics.label_audit import Statement, Stratum, draw_sample, state
from ..report.audit_page import write_audit_page
from ..runtime.next_command import argument
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from .promise import is_promised, promise_of
from .scores_file import label_file

FORMAT, VERSION = "amodalpl-audit", 1
PAGE, JUDGEMENTS = "audit.html", "audit.json"
AUDIT = "audit of labels"
RESTATED = "uncertainty restated by the audit"
DOUBTFUL = "low_confidence"
RIGHT = "right"
VERDICTS = {
    RIGHT: "Right",
    "too-small": "Too small",
    "too-large": "Too large",
    "wrong-front": "Wrong object in front",
    "unmarked": "Hidden by something unmarked",
}


def audit(
    labels: Path,
    images: Path,
    *,
    out: Path | None = None,
    judgements: Path | None = None,
    sample: int = 120,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Summary:
    """Write a page with a random sample of labels to judge; or, given the judgements, state what they say of all.

    Labels are drawn by stratum: grown or as drawn, promised or not. On the page they come in random order, so that the
    first of them are a random sample too; one that was passed over counts as wrong.

    Args:
        labels: output folder of `amodalpl pseudolabel`, or its label file.
        images: folder of the photos.
        out: folder for `audit.html`; with judgements, for the label file with its uncertainties restated by them,
            which may be left out.
        judgements: what the page saved; then no page is written, and the sample is the one it names.
        sample: labels to judge.
        seed: of the draw.
        progress: shown while it works.

    Returns:
        Without judgements the page; with them the scores of each stratum, of the promised labels and of all, and the
        mean uncertainty as stated and restated.

    Raises:
        DataError: no label file, none of its photos, or judgements of other labels, or damaged ones.
        OutputError: the page cannot be written.
    """
    file = label_file(labels)
    if judgements is None and not images.is_dir():
        raise DataError(f"{images}: expected the folder of the photos, found no such folder")
    if judgements is None and out is None:
        raise OutputError("audit: expected --out DIR for the page to judge on, or --judgements FILE that it saved")
    sha256 = hash_file(file) if file.is_file() else ""
    head = read_label_head(file)
    strata: dict[str, list[int]] = defaultdict(list)
    promise = promise_of(file)
    for entry in read_labels(file, *head):
        strata[_stratum_of(entry, promise)].append(entry["id"])
    made = _read_judgements(judgements, sha256) if judgements else None
    if made:
        seed, sample = made.seed, made.sample
    drawn = draw_sample(dict(sorted(strata.items())), sample, seed)
    order = _mixed(drawn, seed)
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{out}: expected a folder to write to ({error.strerror})") from None
    if made is not None:
        summary = _state(file, strata, drawn, order, made)
        return _with_restated(summary, file, out, strata, made, order[: summary.counts["judged"]])
    assert out is not None
    wanted = set(order)
    found = {e["id"]: ShownLabel(e) for e in read_labels(file, *head) if e["id"] in wanted}
    names = {image.id: image.file_name for image in head[0]}
    shown = sorted({names[label.image_id] for label in found.values()})
    if shown and not any((images / name).is_file() for name in shown):
        raise DataError(f"{images}: expected photos of {file}, found none of {len(shown)}, {shown[0]} the first")
    about = {"format": FORMAT, "version": VERSION, "labels_sha256": sha256, "seed": seed, "sample": sample}
    missing = write_audit_page(
        out / PAGE,
        [found[number] for number in order],
        {c["id"]: str(c.get("name", c["id"])) for c in head[1]},
        names,
        images,
        {**about, "verdicts": VERDICTS, "all": sum(map(len, strata.values()))},
        progress,
    )
    counts = {"labels": sum(map(len, strata.values())), "to judge": len(order), "photos missing": missing}
    return Summary(
        "audit",
        out,
        counts={**counts, "strata": {name: f"{len(drawn[name])} of {len(strata[name])}" for name in drawn}},
        files={"page": out / PAGE},
        next=f"open {argument(out / PAGE)}",
        then=f"amodalpl audit {argument(labels)} {argument(images)} --judgements {JUDGEMENTS}",
    )


def _stratum_of(label: Mapping[str, Any], promise: RiskGuarantee | None) -> str:
    notes = label["amodalpl"]
    grown = "grown" if notes.get("added_px") else "as drawn"
    if NOTHING_IN_FRONT.intersection(notes.get("flags") or ()):
        return f"{grown}, no occluder"
    return f"{grown}, {'promised' if is_promised(notes, promise) else 'not promised'}"


def _mixed(drawn: Mapping[str, list[int]], seed: int) -> list[int]:
    """Return the sample in the order it is shown; labels of a stratum stay in the order they were drawn."""
    places = np.random.default_rng(seed).permutation([name for name, ids in drawn.items() for _ in ids])
    waiting = {name: iter(ids) for name, ids in drawn.items()}
    return [next(waiting[str(name)]) for name in places]


@dataclass(frozen=True)
class _Judgements:
    """What the page saved."""

    path: Path
    seed: int
    sample: int
    verdicts: dict[int, str]


def _read_judgements(path: Path, sha256: str) -> _Judgements:
    content = read_json(path, "judgements that audit.html saved")
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise DataError(f"{path}: expected format {FORMAT!r}, version {VERSION}; save the judgements from audit.html")
    if content.get("labels_sha256") != sha256:
        raise DataError(
            f"{path}: labels_sha256: expected that of the label file, {sha256[:12]}; is it of other labels?"
        )
    try:
        seed, sample = content["seed"], content["sample"]
        given = [(int(entry["id"]), str(entry["verdict"])) for entry in content["judgements"]]
        if type(seed) is not int or type(sample) is not int or seed < 0 or sample < 0:
            raise ValueError("seed and sample are whole numbers")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected seed, sample and judgements with id and verdict ({type(error).__name__}: {error}); "
            "save them from audit.html again"
        ) from None
    for number, verdict in given:
        if verdict not in VERDICTS:
            raise DataError(
                f"{path}: label {number}: unknown verdict {verdict[:40]!r}{nearest(verdict[:40], VERDICTS)}"
            )
    if len({number for number, _ in given}) < len(given):
        raise DataError(f"{path}: judgements: expected one per label")
    return _Judgements(path, seed, sample, dict(given))


def _state(
    file: Path,
    strata: Mapping[str, list[int]],
    drawn: Mapping[str, list[int]],
    order: list[int],
    made: _Judgements,
) -> Summary:
    stray = made.verdicts.keys() - set(order)
    if stray:
        raise DataError(f"{made.path}: label {min(stray)}: expected one of the sample of seed {made.seed}")
    last = max((n for n, number in enumerate(order) if number in made.verdicts), default=-1)
    reached = order[: last + 1]
    if not reached:
        raise DataError(f"{made.path}: judgements: expected at least one label judged, got none")
    verdicts = {number: made.verdicts.get(number, "passed over") for number in reached}
    judged = {
        name: Stratum(
            len(strata[name]),
            sum(number in verdicts for number in ids),
            sum(verdicts.get(number) == RIGHT for number in ids),
        )
        for name, ids in drawn.items()
    }
    promised = {name: stratum for name, stratum in judged.items() if name.endswith(", promised")}
    rows = {name: state([stratum]) for name, stratum in judged.items()}
    rows |= {"promised": state(list(promised.values()))} if promised else {}
    rows["all"] = whole = state(list(judged.values()))
    promise = promise_of(file)
    counts: dict[str, Any] = {
        "statement": str(whole),
        "judged": len(reached),
        "verdicts": dict(Counter(VERDICTS.get(verdict, verdict) for verdict in verdicts.values()).most_common()),
        "promise": str(promise) if promise else "none was given",
    }
    return Summary("audit", None, counts=counts, scores={AUDIT: {name: _row(row) for name, row in rows.items()}})


def _row(statement: Statement) -> dict[str, Any]:
    return {
        "labels": statement.labels,
        "judged": statement.judged,
        "right": statement.share,
        "right_at_least": statement.at_least,
        "confidence": statement.confidence,
    }


def _with_restated(
    summary: Summary,
    file: Path,
    out: Path | None,
    strata: Mapping[str, list[int]],
    made: _Judgements,
    judged: Sequence[int],
) -> Summary:
    """Return the summary with the uncertainties before and after; write the label file with the latter."""
    images, categories = read_label_head(file)
    stated = {e["id"]: float(e["amodalpl"].get("uncertainty") or 0.0) for e in read_labels(file, images, categories)}
    stands_for = {number: len(ids) / max(1, len(set(ids) & set(judged))) for ids in strata.values() for number in ids}
    found = restate_by(
        np.array([stated[number] for number in judged]),
        np.array([made.verdicts.get(number) == RIGHT for number in judged]),
        np.array([stands_for[number] for number in judged]),
    )
    before = np.array(list(stated.values()))
    restated = dict(zip(stated, np.round(found(before), 6).tolist(), strict=True))
    row = {"mean_stated": float(before.mean()), "mean_restated": float(np.mean(list(restated.values())))}
    scores = {**summary.scores, RESTATED: {"all": {**row, "shift": found.shift, "slope": found.slope}}}
    summary = replace(summary, scores=scores)
    if out is None:
        return summary
    data = read_annotations(file)
    entries = read_labels(file, images, categories)
    write_label_file(out / LABELS, data, (_restated_entry(entry, restated[entry["id"]]) for entry in entries))
    if (order := file.with_name(ORDER)).exists():
        write_whole(out / ORDER, lambda part: shutil.copyfile(order, part))
    return replace(summary, out=out, files={"labels": out / LABELS})


def _restated_entry(entry: Mapping[str, Any], uncertainty: float) -> dict[str, Any]:
    """Return a label with another uncertainty, and the flag that goes with it; what was promised holds no longer."""
    notes = entry["amodalpl"]
    flags = [flag for flag in notes.get("flags") or () if flag != DOUBTFUL]
    flags += [DOUBTFUL] if uncertainty > DOUBTFUL_FROM else []
    return {**entry, "amodalpl": {**notes, "uncertainty": uncertainty, "flags": flags}}
