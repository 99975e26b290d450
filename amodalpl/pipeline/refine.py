"""`amodalpl refine`: labels and photos in; labels that rounds of self-training kept or changed out.

Each round trains a detector on the labels of the round before, runs it on their photos, and judges every label by
`labelling.agreement`. The photos of the hold-out are never trained on: its pasted occlusions, whose truth is known, say
which round is the best one, and when to stop.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from ..calibration.detection_error import DetectionErrors, SeenObject, fit_detection_errors
from ..calibration.holdout import HOLDOUT, HOLDOUT_IMAGES, Holdout, read_holdout
from ..data.label_file import REFINED, read_label_head, read_labels, refined_entry, write_label_file
from ..data.label_folder import DOUBT, LABELS, ORDER, STATS, check_stats, read_label_folder, rle_of
from ..data.read import read_annotations
from ..data.records import AnnotationSet
from ..detector import model_table, require_mmdetection
from ..detector.folder import DETECTIONS, VAL
from ..detector.weights import start_identity
from ..errors import DataError, SettingsError
from ..io.files import hash_file, read_json, write_json, write_whole
from ..io.json_stream import finite, read_lines, write_lines
from ..labelling.agreement import Action, Match, Rival, Rule, match_labels
from ..masks import rle
from ..masks.rle import Rle
from ..metrics.detection import coco_scores, protocol
from ..report.label_page import REPORT_FILE, SHEET_FILE, write_label_page
from ..runtime.distributed import Ranks, join_processes, pick_device
from ..runtime.next_command import argument, beside
from ..runtime.parts import PARTS, read_parts
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import require_photos
from ..settings import PipelineSettings, PredictSettings, RefineSettings
from .apply_review import finished_labels
from .predict import Photos, detect_in_parts
from .stage_table import STAGES
from .train_detector import train_detector

ROW = STAGES["refine"]
HISTORY, FOLDER, LEARNT, DETECTOR = "rounds.json", "labels", "learnt.json", "detector"
CHOOSE, REPORT = "choose", "report"
"""Halves of the hold-out: on the first rounds are chosen, the second says how good the choice is."""
_ONE_CLASS = "object"  # the name of the class of detectors that know one only
_COUNTS = "refined"  # in the statistics of a round
_ACTIONS: tuple[Action, ...] = ("kept", "reweighted", "replaced", "dropped")


@dataclass(frozen=True)
class _Work:
    """What does not change from round to round."""

    data: AnnotationSet
    images: Path
    holdout: Holdout
    synth_dir: Path
    init: str | None
    settings: PipelineSettings
    device: str
    progress: Progress

    @property
    def held_out(self) -> set[int]:
        """Ids of photos that the hold-out shows."""
        return {int(record.raw["photo_id"]) for record in self.holdout.data.images if "photo_id" in record.raw}


def refine(
    labels: Path,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    *,
    synth_dir: Path,
    init: str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Improve labels in rounds; an interrupted run goes on in the round and the step where it stopped.

    Under `torchrun` all processes train; the first one does everything else while the others wait.

    Args:
        labels: output folder of `amodalpl pseudolabel`, or of `apply-review`.
        images: folder of the photos.
        out: output folder: `labels/` of the best round, a folder as `pseudolabel` writes it; `rounds.json`; and
            `round_0`, `round_1`, ... with the labels, the detector and what it found of each round.
        settings: `seed`, `detector`, `refine` and `labels.near_px` are used.
        synth_dir: output folder of `amodalpl synth` on the same annotations.
        init: start weights of every detector, see `train_detector`.
        device: auto, cpu or cuda.
        progress: shown while it works.

    Raises:
        MissingPackageError: mmdet is not installed.
        DataError: labels, photos or hold-out cannot be used, or are not of the same annotations.
        SettingsError: the model learns from boxes, or is that of a file.
        CheckpointError: the start weights cannot be used.
        OutputError: a folder is unfinished, or belongs to another run.
    """
    arguments = ROW.arguments(labels=labels, images=images, synth_dir=synth_dir, init=init)
    require_mmdetection(ROW.name)
    join_processes(pick_device(device))
    first = Ranks.of_this_process().is_first
    progress = progress if first else SILENT
    record = finished_labels(labels)
    data = read_annotations(labels / LABELS)
    read_label_folder(labels)
    require_photos(data, images, progress)
    work = _Work(data, images, read_holdout(synth_dir), synth_dir, init, _trusting(settings), device, progress)
    _require_holdout(work)
    hashes = input_hashes(data, images)
    inputs = {
        "labels": hashes["annotations"],
        "images": hashes["images"],
        "hold-out": hash_file(synth_dir / HOLDOUT),
        "init": start_identity(init, settings.detector),
        **({"completer": record["inputs"]["completer"]} if "completer" in record["inputs"] else {}),
    }
    if (labels / DOUBT).exists():
        inputs["doubt"] = hash_file(labels / DOUBT)
    from ..detector import training

    run = training.first_then_others(
        partial(StageRun.open, out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments)
    )
    if run.done:
        return _summary(out, images, run.counts)
    history = _rounds(work, labels, out)
    counts = {"best round": _best(history, settings.refine.least_gain), "rounds": history}
    if first:
        _finish(run, images, counts, progress)
    return _summary(out, images, counts)


def _finish(run: StageRun, images: Path, counts: dict[str, Any], progress: Progress) -> None:
    """Write the labels of the best round, their page and what came of each round."""
    out, best = run.out, counts["best round"]
    for name in (LABELS, ORDER, DOUBT, STATS):
        source = out / f"round_{best}" / FOLDER / name
        if source.exists():
            (out / FOLDER).mkdir(exist_ok=True)
            write_whole(out / FOLDER / name, partial(shutil.copyfile, source))
    write_json(out / HISTORY, {"best": best, "rounds": counts["rounds"]})
    write_label_page(out / FOLDER, images, None, progress)
    for entry in counts["rounds"]:
        shutil.rmtree(out / f"round_{entry['round']}" / PARTS, ignore_errors=True)
    run.finish(counts, [HISTORY, FOLDER])


def _summary(out: Path, images: Path, counts: dict[str, Any]) -> Summary:
    best = counts["best round"]
    pages = out / FOLDER
    rows = {
        protocol("segm"): {
            f"round {entry['round']}, {half}": {"AP": entry["AP on the hold-out"][half]}
            for entry in counts["rounds"]
            for half in entry["AP on the hold-out"]
        }
    }
    return Summary(
        ROW.name,
        out,
        counts=counts,
        scores=rows,
        files={
            "labels": pages / LABELS,
            "report": pages / REPORT_FILE,
            "overlays": pages / SHEET_FILE,
            "rounds": out / HISTORY,
            "best detector": out / f"round_{best}" / DETECTOR,
        },
        next=f"open {argument(pages / REPORT_FILE)}",
        then=f"amodalpl predict {argument(images)} --detector {argument(out / f'round_{best}' / DETECTOR)} "
        f"--out {beside(out, 'refined', 'found')}",
    )


def _trusting(settings: PipelineSettings) -> PipelineSettings:
    """Return settings whose detector lets uncertain labels weigh less.

    Raises:
        SettingsError: the model cannot, since it learns from boxes or is that of a file.
    """
    wanted = settings.detector
    if model_table.learns_from_boxes(wanted) or wanted.model == "mmdet-config":
        raise SettingsError(
            f"refine: expected a model that learns from masks and weighs labels, got detector.model={wanted.model}; "
            "take one of mask-rcnn, mask-rcnn-c8, orcnn, vrsp"
        )
    if wanted.trust.labels > 0:
        return settings
    trust = wanted.trust.model_copy(update={"labels": settings.refine.trust})
    return settings.model_copy(update={"detector": wanted.model_copy(update={"trust": trust})})


def _require_holdout(work: _Work) -> None:
    """Refuse a hold-out without both halves, or of other photos.

    Raises:
        DataError: that.
    """
    place = work.synth_dir / HOLDOUT
    known = {record.id for record in work.data.images}
    if not work.held_out <= known or not work.held_out:
        other = sorted(work.held_out - known)[:5] or "none"
        raise DataError(
            f"{place}: expected scenes of photos of {work.data.path}, got photo_id {other}; give the folder of "
            "`amodalpl synth` that the completer was trained from"
        )
    for half in (CHOOSE, REPORT):
        if not work.holdout.cases(half):
            raise DataError(
                f"{place}: expected scenes to {half} on, found none; run `amodalpl synth` with more of them"
            )
    if known == work.held_out:
        raise DataError(f"{place}: expected photos of {work.data.path} that are not held out, found none to learn from")


def _rounds(work: _Work, labels: Path, out: Path) -> list[dict[str, Any]]:
    """Go round by round; return what came of each."""
    from ..detector import training

    wanted, first = work.settings.refine, Ranks.of_this_process().is_first
    history: list[dict[str, Any]] = []
    before, found = labels, None
    for number in range(wanted.rounds + 1):
        folder = out / f"round_{number}"
        work.progress.note(f"round {number} of at most {wanted.rounds}")
        if first:
            _write_labels(work, before, folder / FOLDER, number, found)
        training.wait_for_all()
        actions = count_actions(folder / FOLDER)
        if number and not any(actions[action] for action in _ACTIONS[1:]):
            work.progress.note("no label would change: this is the end")
            training.wait_for_all()
            if first:
                shutil.rmtree(folder)
            break
        scores = _train(work, folder)
        history.append({"round": number, "labels": actions, "AP on the hold-out": scores})
        if _best(history, wanted.least_gain) != number:
            break
        if number < wanted.rounds:
            found = _detect(work, folder) if first else None
            before = folder / FOLDER
    return history


def _best(history: Sequence[Mapping[str, Any]], least_gain: float) -> int:
    """Return the last round that gained enough AP over the one before, on the half that chooses."""
    best = 0
    for number, score in enumerate(entry["AP on the hold-out"][CHOOSE] or 0 for entry in history):
        before = history[best]["AP on the hold-out"][CHOOSE] or 0
        best = number if score > before and score >= before + least_gain else best
    return best


def _train(work: _Work, folder: Path) -> dict[str, float | None]:
    """Train a detector on the labels of a round, without the photos of the hold-out; return its AP on both halves."""
    from ..detector import training

    done = train_detector(
        folder / FOLDER / LEARNT,
        work.images,
        folder / DETECTOR,
        work.settings,
        val=work.synth_dir / HOLDOUT,
        val_images=work.synth_dir / HOLDOUT_IMAGES,
        init=work.init,
        device=work.device,
        progress=work.progress,
    )
    training.wait_for_all()
    truth = read_json(done.out / VAL, "the validation annotations") if done.out else {}
    found = read_json(folder / DETECTOR / DETECTIONS, "COCO results")
    scores = {}
    for half in (CHOOSE, REPORT):
        scenes = set(work.holdout.cases(half))
        part = {
            **truth,
            "images": [image for image in truth["images"] if image["id"] in scenes],
            "annotations": [entry for entry in truth["annotations"] if entry["image_id"] in scenes],
        }
        value = coco_scores(part, [entry for entry in found if entry["image_id"] in scenes], "segm")["AP"]
        scores[half] = None if value is None else float(value)
    return scores


@dataclass(frozen=True)
class _Found:
    """What the detector of a round says.

    Attributes:
        parts: files of what it found on all labelled photos.
        errors: of its masks, by the half of the hold-out that chooses.
        one_class: whether it was trained without classes.
    """

    parts: list[Path]
    errors: DetectionErrors
    one_class: bool


def _detect(work: _Work, folder: Path) -> _Found:
    """Run the detector of a round on all labelled photos, and learn on the hold-out how wrong its masks are."""
    from ..detector import inference, trained

    opened = trained.open_detector(folder / DETECTOR, None, pick_device(work.device))
    least_score = work.settings.refine.least_score
    photos = Photos(work.images, list(work.data.images), [])
    wanted = PredictSettings(score_threshold=least_score)
    parts = detect_in_parts(photos, opened, folder, wanted, work.progress, inference)
    truth = read_json(folder / DETECTOR / VAL, "the validation annotations")
    one_class = [entry["name"] for entry in truth["categories"]] == [_ONE_CLASS]
    detections = [d for d in read_json(folder / DETECTOR / DETECTIONS, "COCO results") if d["score"] >= least_score]
    return _Found(parts, _errors(work, truth["annotations"], detections, one_class), one_class)


def _errors(
    work: _Work, objects: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], one_class: bool
) -> DetectionErrors:
    """Match detections with the hold-out's objects as with labels, and learn from those that match."""
    seen: list[SeenObject] = []
    truth: list[Rle] = []
    for scene in work.holdout.cases(CHOOSE):
        entries = [entry for entry in objects if entry["image_id"] == scene]
        of_scene = [detection for detection in detections if detection["image_id"] == scene]
        for entry, match in zip(entries, _matches(entries, of_scene, work.settings.refine, one_class), strict=True):
            if match:
                seen.append(_seen(of_scene[match.index], entry["visible_mask"]))
                truth.append(rle_of(entry["segmentation"]))
    return fit_detection_errors(seen, truth)


def _matches(
    entries: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    settings: RefineSettings,
    one_class: bool,
) -> list[Match | None]:
    """Return the detection of each object of a photo."""
    return match_labels(
        [rle_of(entry["segmentation"]) for entry in entries],
        [entry["category_id"] for entry in entries],
        [rle_of(detection["segmentation"]) for detection in detections],
        None if one_class else [detection["category_id"] for detection in detections],
        [float(detection["score"]) for detection in detections],
        settings.match_iou,
    )


def _seen(detection: Mapping[str, Any], visible: Mapping[str, Any]) -> SeenObject:
    return SeenObject(rle_of(detection["segmentation"]), rle_of(visible), float(detection["score"]))


def _write_labels(work: _Work, before: Path, folder: Path, number: int, found: _Found | None) -> None:
    """Write the label folder of a round: of the first the labels as they were, of others the judged ones.

    `learnt.json` beside them has only the photos that a detector may learn from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    actions: Counter[Action] = Counter()
    images, categories = read_label_head(before / LABELS)
    replaced: set[int] = set()

    def entries() -> Iterator[dict[str, Any]]:
        lines = _by_photo(found.parts) if found else iter(())
        following = next(lines, None)
        for image_id, group in groupby(
            read_labels(before / LABELS, images, categories), key=lambda entry: entry["image_id"]
        ):
            while following is not None and following[0] != image_id and found:
                following = next(lines, None)
            detections = following[1] if following is not None and following[0] == image_id else []
            for entry, action in _judged(list(group), detections, work.settings.refine, number, found):
                actions[action] += 1
                if action == "replaced":
                    replaced.add(entry["id"])
                yield finite(entry)

    write_label_file(folder / LABELS, work.data, entries())
    learnt = [record for record in images if record.id not in work.held_out]
    ids = {record.id for record in learnt}
    write_label_file(
        folder / LEARNT,
        AnnotationSet(learnt, [], work.data.categories, raw=work.data.raw),
        (entry for entry in read_labels(folder / LABELS, images, categories) if entry["image_id"] in ids),
    )
    if (before / ORDER).exists():
        write_whole(folder / ORDER, partial(shutil.copyfile, before / ORDER))
    if (before / DOUBT).exists():  # maps speak of the completer's masks
        lines = read_lines(before / DOUBT, "maps of doubt")
        write_lines(folder / DOUBT, (line for line in lines if line["id"] not in replaced))
    stats = read_json(before / STATS, "the statistics of a label folder") if (before / STATS).exists() else {}
    counts: dict[str, int] = {action: actions[action] for action in _ACTIONS}
    write_json(folder / STATS, {**check_stats(before / STATS, stats), _COUNTS: {"round": number, **counts}})


def count_actions(folder: Path) -> dict[str, int]:
    """Return how many labels of a round were treated how."""
    counts = read_json(folder / STATS, "the statistics of a label folder")[_COUNTS]
    return {action: counts[action] for action in _ACTIONS}


def _by_photo(parts: Sequence[Path]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    return ((line["image_id"], line["detections"]) for line in read_parts(parts))


def _judged(
    entries: Sequence[dict[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    settings: RefineSettings,
    number: int,
    found: _Found | None,
) -> Iterator[tuple[dict[str, Any], Action]]:
    """Yield the labels of a photo with what became of each; regions that detectors ignore stay."""
    rule = Rule(settings.match_iou, settings.agree_iou, settings.drop_above)
    judged = [k for k, entry in enumerate(entries) if found and not entry["iscrowd"]]
    matches: dict[int, Match | None] = {}
    if found and judged:
        of_judged = _matches([entries[k] for k in judged], detections, settings, found.one_class)
        matches = dict(zip(judged, of_judged, strict=True))
    for k, entry in enumerate(entries):
        notes, uncertainty = entry["amodalpl"], float(entry["amodalpl"].get("uncertainty") or 0.0)
        before: dict[str, Any] = {
            "source": str(notes.get("completer", "unknown")),
            "round": 0,
            "uncertainty": uncertainty,
        }
        before |= {key: value for key, value in (notes.get(REFINED) or {}).items() if key in before}
        if found is None or k not in matches:
            yield refined_entry(entry, None, uncertainty, {**before, "judged": number, "action": "kept"}), "kept"
            continue
        match, rival, whole = matches[k], None, None
        said = {**before, "judged": number}
        if match:
            seen = _seen(detections[match.index], entry["visible_mask"])
            whole = seen.whole
            rival = Rival(rle.iou(whole, rle_of(entry["segmentation"])), found.errors.of(seen))
            said |= {"iou": round(rival.iou, 6), "score": round(match.score, 6), "error": rival.error}
        action, after = rule.judge(float(before["uncertainty"]), rival)
        said["action"] = action
        if action == "replaced":
            said |= {"source": "detector", "round": number, "uncertainty": round(after, 6)}
        mask = rle.to_json(whole) if whole and action == "replaced" else None
        yield refined_entry(entry, mask, after, said, dropped=action == "dropped"), action
