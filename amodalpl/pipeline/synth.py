"""`amodalpl synth`: annotations and photos in; cut-out bank, frozen hold-out and a preview out."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..data.doubtful import boxes_warning
from ..data.read import read_annotations
from ..data.records import AnnotationSet, ImageRecord, reason_kind
from ..errors import TooFewObjectsError
from ..io.files import write_json
from ..io.images import RecentPhotos, image_path, write_image
from ..io.json_stream import finite
from ..masks import ownership
from ..masks.gaps import derive_tolerance, pair_gaps
from ..masks.resampling import to_patch
from ..report import sanity_checks
from ..report.gaps import gap_histogram
from ..report.samples import sample_sheet
from ..runtime.memory import require_memory
from ..runtime.next_command import argument, beside
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import StageRun, input_hashes
from ..runtime.summary import Summary
from ..runtime.usable_photos import usable_photos
from ..settings import PipelineSettings, SynthesisSettings
from ..synthesis.bank import FIRST_OBJECT, Bank, BankWriter, cut_out, image_square, sure_to_be_whole, surroundings
from ..synthesis.holdout import HOLDOUT, HOLDOUT_IMAGES, Source, draw_scene, scene_entries
from ..synthesis.recipe_table import DEFAULT_RECIPE, recipe_of
from . import occluded_objects
from .cutting_out import held_out_photos, owners_of, why_not_usable
from .stage_table import STAGES

BANK, PREVIEW, GAPS = "bank", "preview.png", "gaps.png"
PREVIEW_SAMPLES = 24
ROW = STAGES["synth"]


def synth(
    annotations: Path,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    fmt: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Cut every usable instance out once and freeze a hold-out with known truth.

    With the recipe `occluded-objects` it makes test photos of hidden objects instead, see `occluded_objects`.

    Args:
        annotations: any supported annotation file; only its modal masks are used.
        images: folder of the photos.
        out: output folder: `bank/`, `holdout.json`, `holdout_images/`, `preview.png`, `gaps.png`, `run.json`.
        settings: `seed` and `synthesis` are used.
        fmt: format of the annotations, or "auto".
        progress: shown while it works.

    Returns:
        Counts of instances used and left out, each with a reason, the tolerance for gaps between masks, and `warnings`
        where something looks wrong.

    Raises:
        DataError: the file cannot be read, has fewer than two usable instances in two photos, or a photo does
            not fit into memory.
        OutputError: the folder belongs to another run.
    """
    arguments = ROW.arguments(annotations=annotations, images=images, fmt=fmt)
    data = usable_photos(read_annotations(annotations, fmt), images, progress, settings.left_out_photos)
    if warning := boxes_warning(data):
        progress.warn(warning)
    run = synth_of(data, images, out, settings, arguments, progress)
    if settings.synthesis.recipe == occluded_objects.RECIPE:
        return _hidden_summary(out, run.counts)
    return Summary(
        "synth",
        out,
        counts=run.counts,
        files={"preview": out / PREVIEW, "gaps": out / GAPS, "hold-out": out / HOLDOUT},
        next=f"amodalpl complete {argument(out)} --out {beside(out, 'synth', 'completer')}",
    )


def synth_of(
    data: AnnotationSet,
    images: Path,
    out: Path,
    settings: PipelineSettings,
    arguments: Mapping[str, Any],
    progress: Progress,
) -> StageRun:
    """Do what `synth` does with annotations that were read, and photos that were found usable, already."""
    data = _drawn_photos(data, settings)
    require_memory(data)
    run = StageRun.open(out, ROW.name, ROW.settings_of(settings), input_hashes(data, images), settings.seed, arguments)
    if settings.synthesis.recipe == occluded_objects.RECIPE and not run.done:
        with run.released_on_bad_input():
            counts = occluded_objects.build_occluded(data, images, out, settings, progress)
        run.finish(counts, occluded_objects.OUTPUTS)
    elif not run.done:
        with run.released_on_bad_input():
            counts = _build(data, images, out, settings, progress)
        bank = [f"{BANK}/{name}.npy" for name in ("table", "bits", "unknown")]
        outputs = [*bank, HOLDOUT, HOLDOUT_IMAGES, PREVIEW, GAPS]
        run.finish(counts, outputs)
    return run


def _drawn_photos(data: AnnotationSet, settings: PipelineSettings) -> AnnotationSet:
    """Leave all photos out but `synthesis.photos` of those with objects."""
    candidates = [i.id for i in data.images if any(not a.is_crowd for a in data.by_image[i.id])]
    if settings.synthesis.photos is None or settings.synthesis.photos >= len(candidates):
        return data
    drawn = np.random.default_rng((settings.seed, 5)).permutation(len(candidates))[: settings.synthesis.photos]
    kept = {candidates[k] for k in drawn}
    return replace(
        data,
        images=[record for record in data.images if record.id in kept],
        instances=[instance for instance in data.instances if instance.image_id in kept],
        dropped=[entry for entry in data.dropped if entry.image_id in kept],
    )


def _hidden_summary(out: Path, counts: dict[str, Any]) -> Summary:
    files = {
        "preview": out / occluded_objects.PREVIEW,
        "truth": out / occluded_objects.TRUTH,
        "boxes": out / occluded_objects.BOXES,
        "to learn from": out / occluded_objects.TRAIN,
    }
    scores = f"amodalpl evaluate boxes {argument(files['truth'])} {argument(out / occluded_objects.IMAGES)}"
    return Summary("synth", out, counts=counts, files=files, next=scores)


@dataclass
class _Found:
    """What cutting out has found so far."""

    left_out: Counter[str]
    sources: list[Source] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    photos: RecentPhotos = field(default_factory=RecentPhotos)
    overlaps: int = 0
    shared_px: int = 0


def _build(
    data: AnnotationSet, images: Path, out: Path, settings: PipelineSettings, progress: Progress
) -> dict[str, Any]:
    synthesis = settings.synthesis
    held_out = held_out_photos(data, settings)
    writer = BankWriter(out / BANK, _image_px(synthesis))
    found = _Found(Counter(reason_kind(d.reason) for d in data.dropped))
    with progress.task("cutting out", len(data.images)) as advance:
        for record in data.images:
            _cut_out_of(record, data, images, None if record.id in held_out else writer, synthesis, found)
            advance(1)
    in_bank = writer.close()
    in_holdout = sum(len(s.masks) for s in found.sources)
    if in_bank < 2 or in_holdout < 1:
        raise TooFewObjectsError(
            f"{data.path}: expected at least 2 usable instances for training and 1 in other photos for the hold-out, "
            f"got {in_bank} and {in_holdout} in {len(data.images)} photos; run `amodalpl check` to see what is left out"
            + (", or set synthesis.holdout_whole=false" if synthesis.holdout_whole else "")
        )
    bank = Bank(out / BANK, synthesis.only_unoccluded)
    scenes = _write_holdout(data, found.sources, out, settings, progress)
    _write_preview(bank, out / PREVIEW, settings)
    tolerance = derive_tolerance(found.gaps)
    gap_histogram(tolerance, out / GAPS)
    table = np.load(out / BANK / "table.npy", allow_pickle=False)
    warnings = sanity_checks.of_gaps(len(found.gaps), len(data.images))
    return {
        "photos": len(data.images),
        "instances": len(data.instances) + len(data.dropped),
        "in bank": in_bank,
        "in bank, nothing near": int(table["alone"].sum()),
        "in bank, cut off by the photo": int(table["truncated"].sum()),
        "in bank, sure to be whole": int(sure_to_be_whole(table).sum()),
        "in hold-out photos": in_holdout,
        "left out": {reason: n for reason, n in sorted(found.left_out.items()) if n},
        "instances with shared pixels": found.overlaps,
        "shared pixels": found.shared_px,
        "gap px": tolerance.gap_px,
        "tight px": tolerance.contour_inset_px,
        **scenes,
        **({"warnings": warnings} if warnings else {}),
    }


def _image_px(settings: SynthesisSettings) -> int | None:
    return settings.patch_px * 3 // 2 if settings.with_image else None


def _cut_out_of(
    record: ImageRecord,
    data: AnnotationSet,
    images: Path,
    writer: BankWriter | None,
    settings: SynthesisSettings,
    found: _Found,
) -> None:
    """Put the usable instances of a photo into the bank, or the photo among the sources of the hold-out (no writer)."""
    instances = data.completable[record.id]
    crowds = [i.modal for i in data.by_image[record.id] if i.is_crowd and i.modal is not None]
    owned = ownership.resolve([i.modal for i in instances if i.modal is not None], record.size_hw)
    reasons = [why_not_usable(i, m, settings) for i, m in zip(instances, owned.masks, strict=True)]
    found.left_out["crowd region"] += sum(i.is_crowd for i in data.by_image[record.id])
    found.left_out.update(r for r in reasons if r)
    found.overlaps += int((owned.lost_px > 0).sum())
    found.shared_px += int(owned.lost_px.sum())
    found.gaps += pair_gaps(owned.masks)
    kept = [k for k, reason in enumerate(reasons) if reason is None]
    if not kept:
        return
    image_px = _image_px(settings)
    read = partial(found.photos.read, image_path(images, record.file_name), record.size_hw)
    owners = owners_of(owned.masks, crowds)
    cut_outs = {k: cut_out(owned.masks[k], settings.cutout_px) for k in kept}
    around = {k: surroundings(owners, FIRST_OBJECT + k, cut_outs[k], settings.enlarge_box) for k in kept}
    if writer is None:
        used = [k for k in kept if around[k].sure_to_be_whole] if settings.holdout_whole else kept
        categories = [instances[k].category_id for k in used]
        whole = [around[k].sure_to_be_whole for k in used]
        found.sources.append(Source(read, owned.masks.subset(used), categories, whole, record.id))
        return
    photo = read() if image_px else None
    for k in kept:
        look = None
        if image_px and photo is not None:
            square = image_square(cut_outs[k], settings.enlarge_box)
            look = to_patch(photo, square.patch_from_raster(image_px), image_px, linear=True)
        writer.add(cut_outs[k], (instances[k].id, record.id, instances[k].category_id), look, around[k])


def _write_holdout(
    data: AnnotationSet, sources: list[Source], out: Path, settings: PipelineSettings, progress: Progress
) -> dict[str, int]:
    folder = out / HOLDOUT_IMAGES
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with progress.task("drawing the hold-out", len(sources) * settings.synthesis.holdout_scenes) as advance:
        for index, source in enumerate(sources):
            for number in range(settings.synthesis.holdout_scenes):
                rng = np.random.default_rng((settings.seed, 3, index, number))
                scene = draw_scene(sources, index, rng, settings.synthesis)
                advance(1)
                if scene is None:
                    continue
                name = f"{len(images) + 1:06d}.jpg"
                write_image(folder / name, scene.image)
                # half of the photos choose thresholds and calibration, the other half is only reported
                extra = {"photo_id": source.image_id, "part": ("choose", "report")[index % 2]}
                image, entries = scene_entries(scene, len(images) + 1, name, len(annotations) + 1, extra)
                images.append(image)
                annotations.extend(entries)
    if len({image["part"] for image in images}) == 1:
        for image in images:
            image["part"] = "both"
    write_json(out / HOLDOUT, {"images": images, "annotations": annotations, "categories": finite(data.categories)})
    return {
        "hold-out scenes": len(images),
        "hold-out objects": len(annotations),
        "hold-out objects occluded": sum(a["occlude_rate"] >= 0.01 for a in annotations),
    }


def _write_preview(bank: Bank, path: Path, settings: PipelineSettings) -> None:
    draw = recipe_of(settings.synthesis, DEFAULT_RECIPE)
    samples = []
    for number in range(PREVIEW_SAMPLES):
        rng = np.random.default_rng((settings.seed, 4, number))
        samples.append(draw(bank, int(rng.integers(len(bank))), rng, settings.synthesis))
    write_image(path, sample_sheet(samples))
