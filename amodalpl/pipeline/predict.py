"""`amodalpl predict`: photos or a video and a detector in; labels as `pseudolabel` writes them, results, pictures out.

Detections go part by part, a few photos each, as files with a line per photo; a killed run loses one part at most. The
labels are made of the parts: of the masks as the detector gives them, or of a completer's answers behind them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..builtin import completer_folder
from ..completion.checkpoint import CARD, load_completer
from ..convert.shared.photo_folder import unique_stems
from ..data import coco
from ..data.doubtful import same_object
from ..data.label_file import read_label_head, read_labels
from ..data.label_folder import LABELS, STATS, rle_of
from ..data.photo_source import PhotoSource, find_photos
from ..data.records import AnnotationSet, Dropped, ImageRecord, Instance, Mask, reason_kind
from ..detector import require_mmdetection
from ..errors import CheckpointError, DataError, SettingsError
from ..io.files import hash_file, hash_listing, read_json, write_json
from ..io.images import check_image, image_path, opencv_silent, read_image, write_image
from ..io.parallel import usable_cores
from ..io.video import Video, write_video
from ..labelling.assemble import entries_of
from ..labelling.class_rules import class_rules
from ..labelling.detections import label_detections
from ..labelling.write_files import write_label_files
from ..masks import boxed, rle
from ..masks.boxed import BoxedMasks
from ..report.label_page import REPORT_FILE, write_label_page
from ..report.objects_picture import PicturedObject, draw_objects
from ..runtime.distributed import pick_device
from ..runtime.next_command import argument
from ..runtime.parts import PARTS, Parts, read_parts
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun
from ..runtime.summary import Summary
from ..settings import PipelineSettings, PredictSettings
from .make_labels import make_labels
from .stage_table import STAGES

ROW = STAGES["predict"]
LABEL_FOLDER, FRAMES, OVERLAYS = "labels", "frames", "overlays"
RESULTS, MODAL, VIDEO = "detections.json", "modal.json", "video.mp4"
_READERS = 4  # threads that read photos while nothing else is done


@dataclass(frozen=True)
class Photos:
    """What is looked at.

    Attributes:
        folder: of the photos.
        records: in order.
        dropped: unusable ones, with reasons.
    """

    folder: Path
    records: list[ImageRecord]
    dropped: list[Dropped]


def predict(
    source: Path,
    detector: Path,
    out: Path,
    settings: PipelineSettings,
    *,
    checkpoint: Path | None = None,
    completer: Path | str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Detect objects; a run that was interrupted goes on after the last finished part.

    Args:
        source: a photo, a folder, a pattern of photos, or a video.
        detector: output folder of `amodalpl train-detector`, or a config of any MMDetection model with masks.
        out: output folder: `labels/`, a folder as `amodalpl pseudolabel` writes it, `detections.json` (COCO results:
            masks as the model gives them, or those of the labels with a completer), `overlays/`, and of a video
            `frames/` and `video.mp4`.
        settings: `seed`, `left_out_photos` and `predict` are used, `labels` with a completer.
        checkpoint: weights of an MMDetection config.
        completer: output folder of `amodalpl complete`, or `builtin`: the masks are taken as visible ones, and
            completed.
        device: auto, cpu or cuda.
        progress: shown while it works.

    Raises:
        MissingPackageError: mmdet is not installed, or an operation that the model needs.
        DataError: there are no photos, too many are unusable, or the model predicts no masks.
        CheckpointError: the weights are missing, damaged, of another model, or no numbers.
        SettingsError: float16 without a GPU, or a checkpoint that does not go with the detector.
        OutputError: the folder belongs to another run.
    """
    arguments = ROW.arguments(source=source, detector=detector, checkpoint=checkpoint, completer=completer)
    require_mmdetection(ROW.name)
    from ..detector import inference, trained

    where = pick_device(device)
    if settings.predict.precision == "fp16" and where.type != "cuda":
        raise SettingsError("predict.precision: expected fp32 on the CPU, got 'fp16'")
    found = find_photos(source)
    video = Video(found.video) if found.video else None
    photos = None if video else _usable(found, settings.left_out_photos, progress)
    opened = trained.open_detector(detector, checkpoint, where)
    shown = {"video": hash_file(found.video)} if found.video else {"images": hash_listing(found.folder, found.names)}
    inputs = {**shown, **opened.identity}
    if completer is not None:
        completer = completer_folder(completer)
        load_completer(completer, where)  # a damaged one is known before anything is detected
        inputs["completer"] = hash_file(completer / CARD)
        names = {entry["id"]: entry["name"] for entry in opened.categories}
        class_rules(settings.labels.per_class, names, str(detector))
    run = StageRun.open(out, ROW.name, ROW.settings_of(settings), inputs, settings.seed, arguments)
    if run.is_new:
        shutil.rmtree(out / PARTS, ignore_errors=True)  # of a run on other photos that was given up
    if not run.done:
        with run.released_on_bad_input(), _parts_removed_on_bad_input(run):
            counts: dict[str, Any] = {}
            if video:
                photos = _frames(video, out, settings.predict.every_frame, counts, progress)
            assert photos
            opened.require_seen((photos.folder / record.file_name, record.size_hw) for record in photos.records)
            parts = detect_in_parts(photos, opened, out, settings.predict, progress, inference)
            data = AnnotationSet(photos.records, [], opened.categories, photos.dropped, path=source)
            counts |= _label(data, photos, parts, opened.name, out, completer, settings, device, progress)
            results = (result for line in read_parts(parts) for result in line["detections"])
            inference.write_results(out / RESULTS, _completed(out / LABEL_FOLDER / LABELS) if completer else results)
        if not counts["detections"]:
            counts["warnings"] = [
                f"nothing was detected from score {settings.predict.score_threshold} on; lower predict.score_threshold"
            ]
        if found.others:
            counts["files that are no photos"] = found.others
        made = [RESULTS, LABEL_FOLDER, *_pictures(photos, out, video, settings.predict, progress)]
        run.finish({**counts, "device": where.type}, [*made, *([FRAMES] if video else [])])
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return _summary(out, out / FRAMES if video else found.folder, run.counts)


def _summary(out: Path, shown: Path, counts: dict[str, Any]) -> Summary:
    labels = out / LABEL_FOLDER
    review = f"amodalpl apply-review {argument(labels)} {argument(shown)} review.json "
    review += f"--out {argument(out.with_name(out.name + '_corrected'))}"  # `corrected` may be that of other labels
    files = {
        "labels": labels / LABELS,
        "report": labels / REPORT_FILE,
        "detections": out / RESULTS,
        "video": out / VIDEO,
        "overlays": out / OVERLAYS,
    }
    return Summary(
        ROW.name,
        out,
        counts,
        files={name: file for name, file in files.items() if file.exists()},
        next=f"open {argument(labels / REPORT_FILE)}",
        then=review if counts["detections"] else "",
    )


@contextmanager
def _parts_removed_on_bad_input(run: StageRun) -> Iterator[None]:
    """Leave nothing of a run whose input proves unusable, as `StageRun.released_on_bad_input` does."""
    try:
        yield
    except (DataError, CheckpointError):
        if run.is_new:
            shutil.rmtree(run.out / PARTS, ignore_errors=True)
        raise


def _usable(found: PhotoSource, most_left_out: float, progress: Progress) -> Photos:
    """Look whether photos are whole, and how large; a photo that its EXIF note turns by a quarter is taken turned.

    Raises:
        DataError: more are unusable than may be left out.
    """
    records: list[ImageRecord] = []
    dropped: list[Dropped] = []
    with progress.task("checking photos", len(found.names)) as advance:
        for number, name in enumerate(found.names, 1):
            try:
                path = image_path(found.folder, name)
                height, width = check_image(path)
                records.append(ImageRecord(number, name, check_image(path, annotated_hw=(width, height))))
            except DataError as error:
                dropped.append(Dropped(name, None, number, f"unusable photo: {error}"))
            advance(1)
    allowed = int(most_left_out * len(found.names))
    if len(dropped) > allowed:
        others = f" (and {len(dropped) - 1} more of {len(found.names)} photos)" if len(dropped) > 1 else ""
        raise DataError(
            f"{dropped[0].reason.partition(': ')[2]}{others}; up to {allowed} would be left out, "
            "--set left_out_photos=1 leaves out any"
        )
    for entry in dropped:
        progress.warn(f"left out: {entry.reason.partition(': ')[2]}")
    if not records:
        raise DataError(f"{found.folder}: expected at least one usable photo, found none")
    return Photos(found.folder, records, dropped)


def _frames(video: Video, out: Path, every: int, counts: dict[str, Any], progress: Progress) -> Photos:
    """Write the frames of a video as photos; count what its header promised and it has not."""
    with progress.task("reading frames", video.stated_frames) as advance:
        files, seen = video.write_frames(out / FRAMES, every, advance)
    counts["frames"] = seen
    if seen < video.stated_frames:
        counts["frames missing at the end"] = video.stated_frames - seen
        progress.warn(f"{video.path}: ends early, after {seen} of {video.stated_frames} frames; these are looked at")
    size_hw = check_image(files[0])
    return Photos(out / FRAMES, [ImageRecord(k, file.name, size_hw) for k, file in enumerate(files, 1)], [])


def detect_in_parts(
    photos: Photos, opened: Any, out: Path, settings: PredictSettings, progress: Progress, inference: Any
) -> list[Path]:
    """Detect objects on the photos of the parts that are not there yet; return the files of all."""

    def detect(records: Sequence[ImageRecord]) -> Iterator[dict[str, Any]]:
        with opencv_silent():  # once for all threads
            images = list(readers.map(lambda r: read_image(photos.folder / r.file_name, r.size_hw), records))
        found = inference.detect_photos(
            opened,
            images,
            least_score=settings.score_threshold,
            batch_size=settings.batch_size,
            half=settings.precision == "fp16",
        )
        for record, objects in zip(records, found, strict=True):
            yield {"image_id": record.id, "detections": [one.to_coco(record.id) for one in objects]}

    parts = Parts(out / PARTS, photos.records, settings.photos_per_part)
    with ThreadPoolExecutor(min(_READERS, usable_cores())) as readers:
        for part in parts.missing("detecting objects", progress):
            part.write(detect(part.photos))
    return parts.files


def _label(
    data: AnnotationSet,
    photos: Photos,
    parts: Sequence[Path],
    model: str,
    out: Path,
    completer: Path | None,
    settings: PipelineSettings,
    device: str,
    progress: Progress,
) -> dict[str, Any]:
    """Write the folder of labels; return counts."""
    objects = _objects(data, parts)
    counts: dict[str, Any] = {"photos": len(data.images), "detections": sum(len(group) for group in objects.values())}
    if data.dropped:
        counts["left out"] = _by_reason(data.dropped)
    folder = out / LABEL_FOLDER
    if completer is None or not counts["detections"]:
        folder.mkdir(exist_ok=True)
        counts |= _write_labels(folder, data, objects, model)
        write_label_page(folder, photos.folder, None, progress)
        return counts
    instances = [
        Instance(number, result["image_id"], result["category_id"], Mask(rle=_modal(result)), score=result["score"])
        for group in objects.values()
        for number, result in group
    ]
    coco.write(AnnotationSet(data.images, instances, data.categories), out / MODAL)
    made = make_labels(out / MODAL, photos.folder, completer, folder, settings, device=device, progress=progress)
    return counts | {"completer": made.counts}


def _completed(labels: Path) -> Iterator[dict[str, Any]]:
    """Yield the labels of detections as COCO results, so that whole masks are scored and not the parts."""
    kept = ("image_id", "category_id", "bbox", "score", "segmentation", "visible_mask")
    for label in read_json(labels, "the labels of the detections")["annotations"]:
        yield {name: label[name] for name in kept}


def _by_reason(dropped: Sequence[Dropped]) -> dict[str, int]:
    reasons = [reason_kind(entry.reason) for entry in dropped]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


def _objects(data: AnnotationSet, parts: Sequence[Path]) -> dict[int, list[tuple[int, dict[str, Any]]]]:
    """Return the detections of each photo, numbered from 1; an object that was found twice counts once.

    `data.dropped` gets the second ones: both would claim all pixels, and each would seem to hide the other.
    """
    objects: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    number = 0
    for line in read_parts(parts):
        group = objects[line["image_id"]] = []
        masks = [rle_of(result["segmentation"]) for result in line["detections"]]
        doubles = {double: iou for double, _, iou in same_object(masks)} if masks else {}
        for index, result in enumerate(line["detections"]):
            number += 1
            if index in doubles:
                reason = f"second detection of one object: IoU {doubles[index]:.2f} with one of a higher score"
                data.dropped.append(Dropped(f"[{number - 1}]", number, line["image_id"], reason))
            else:
                group.append((number, result))
    return objects


def _modal(result: dict[str, Any]) -> Any:
    """Return the visible mask where the model predicts one that is not empty; else the mask."""
    seen = result.get("visible_mask")
    return rle_of(seen) if seen and rle.area_px(rle_of(seen)) else rle_of(result["segmentation"])


def _write_labels(
    folder: Path, data: AnnotationSet, objects: dict[int, list[tuple[int, dict[str, Any]]]], model: str
) -> dict[str, Any]:
    """Write the label file, the order and the statistics of what the detector says by itself."""
    photos = (_photo_labels(record, objects[record.id], model) for record in data.images)
    stats = write_label_files(folder, data, photos, "inside").to_json(data)
    write_json(folder / STATS, stats)
    return {name: stats["counts"][name] for name in ("labels", "ordered pairs", "flags")}


def _photo_labels(record: ImageRecord, group: Sequence[tuple[int, dict[str, Any]]], model: str) -> dict[str, Any]:
    """Return the entries of a photo in the files of the label folder."""
    amodal = _masks([result["segmentation"] for _, result in group], record)
    told = [result["visible_mask"] for _, result in group if "visible_mask" in result]
    scores = [result["score"] for _, result in group]
    found = label_detections(amodal, _masks(told, record) if told else None, scores)
    instances = [
        Instance(number, record.id, result["category_id"], None, score=result["score"]) for number, result in group
    ]
    return {**entries_of(found, record.id, instances, found.seen, model), "left_out": []}


def _masks(masks: Sequence[dict[str, Any]], record: ImageRecord) -> BoxedMasks:
    return BoxedMasks((boxed.decode(rle_of(mask)) for mask in masks), record.size_hw)


def _pictures(
    photos: Photos | None, out: Path, video: Video | None, settings: PredictSettings, progress: Progress
) -> list[str]:
    """Draw the labels on the photos, or on the frames of a video; return what was written."""
    assert photos
    with progress.task("drawing overlays", len(photos.records)) as advance:
        drawn = _drawn(photos, out / LABEL_FOLDER / LABELS, steady=video is not None)
        if video:

            def frames() -> Iterator[np.ndarray]:
                for _, picture in drawn:
                    yield picture
                    advance(1)

            write_video(out / VIDEO, frames(), video.fps / settings.every_frame)
            return [VIDEO]
        stems = unique_stems(photos.records)
        for record, picture in drawn:
            path = out / OVERLAYS / f"{stems[record.id]}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture, quality=82)
            advance(1)
    return [OVERLAYS]


def _drawn(photos: Photos, labels: Path, *, steady: bool) -> Iterator[tuple[ImageRecord, np.ndarray]]:
    """Yield each photo with its labels drawn on it.

    Args:
        photos: that were looked at.
        labels: the label file, by photo.
        steady: colour by class, which stays from frame to frame; else each object has its own colour.
    """
    images, categories = read_label_head(labels)
    names = {entry["id"]: entry["name"] for entry in categories}
    by_photo = groupby(read_labels(labels, images, categories), key=lambda entry: entry["image_id"])
    following = next(by_photo, None)
    for record in photos.records:
        entries: list[dict[str, Any]] = []
        if following is not None and following[0] == record.id:
            entries = list(following[1])
            following = next(by_photo, None)
        objects = [
            PicturedObject(
                boxed.decode(rle_of(entry["segmentation"])),
                boxed.decode(rle_of(entry["visible_mask"])),
                f"{names[entry['category_id']]} {entry['score']:.2f}",
                entry["category_id"] if steady else number,
            )
            for number, entry in enumerate(sorted(entries, key=lambda entry: -entry["score"]))
        ]
        yield record, draw_objects(read_image(image_path(photos.folder, record.file_name), record.size_hw), objects)
