"""`amodalpl convert`: annotations of one format in, the same of another out, and a list of what did not fit."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..convert.format_table import FORMATS, Format, reader, writer
from ..convert.shared.mask_choice import known_choice, rejected, with_chosen_masks
from ..data.dataset_builder import DrawnOn
from ..data.doubtful import doubtful, merged
from ..data.format_losses import UnsupportedFields
from ..data.label_folder import LABELS
from ..data.merge import Merged, merge
from ..data.records import AnnotationSet, Dropped, reason_kind
from ..errors import AmodalplError, DataError, OutputError
from ..io.files import write_json
from ..runtime.next_command import argument, arguments_of, shortened
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import RUN_FILE
from ..runtime.summary import Summary

LOSSES_SUFFIX = ".losses.json"
IDS_SUFFIX = ".ids.json"


def convert(
    source: Path | Sequence[Path],
    out: Path,
    images: Path | None = None,
    from_format: str = "auto",
    to_format: str = "coco",
    min_score: float = 0.0,
    progress: Progress = SILENT,
    *,
    drawn_on: DrawnOn = "auto",
    crowds_are_objects: bool = False,
    merge_doubles: bool = False,
    mask: str = "auto",
) -> Summary:
    """Convert annotations.

    Args:
        source: a file or folder of a format that can be read, or an output folder of ours with labels; several become
            one data set (`data.merge`), and `<out>.ids.json` says which ids have changed.
        out: the file or folder to write, as the format is; must not exist yet.
        images: folder of the photos; needed by formats that do not state the sizes of photos.
        from_format: name of a format, or "auto" to tell it from the content.
        to_format: name of a format.
        min_score: detections below it are left out; objects without a score stay.
        progress: is shown per step.
        drawn_on: the frame that objects were drawn in where a photo has a note on how to turn it (EXIF): "stored",
            "shown", or "auto", told by sizes and outlines.
        crowds_are_objects: regions of many objects (`iscrowd`) are single objects, as tools mark their RLE.
        merge_doubles: objects of one photo that cover the same pixels (IoU from 0.9) become one.
        mask: "modal" (visible), "amodal" (whole) or "both"; "auto" is both where the format holds both, else the whole
            masks of a label file of ours, else the visible ones.

    Returns:
        `counts` has `from`, `to`, `photos`, `objects`, `categories`, `masks` (which were written), `left_out` (kind ->
        how many) and `lost` (what the format could not hold -> how many); where there are any, also `mended` (kept, but
        not quite as the file has it), `turned` (photos with a note on how to turn them) and `look at` (what seems wrong
        with the whole). All are listed in full in `<out>.losses.json`.

    Raises:
        SettingsError: no such format, or it has no place for the masks that were chosen.
        DataError: the source cannot be read, or no object of it is kept; nothing but that list is written then.
        OutputError: `out` exists, or cannot be written.
    """
    target = writer(to_format)
    known_choice(mask)
    _require_new(out)
    if images is not None and not images.exists():
        raise DataError(f"{images}: expected the folder of photos, found no such folder; check --images")
    sources = [_labels_in(path) for path in ([source] if isinstance(source, Path) else source)]
    origins = [reader(from_format, path) for path in sources]
    origin = origins[0]
    assert target.write  # `writer` returns no others
    with progress.task(f"converting {origin.name} to {target.name}", 2) as advance:
        together = merge([_read(row, path, images, drawn_on) for row, path in zip(origins, sources, strict=True)])
        data = _only_scored(together.data, min_score)
        if crowds_are_objects:
            data = replace(data, instances=[replace(i, is_crowd=False) for i in data.instances])
        if merge_doubles:
            data = merged(data)
        advance(1)
        of_both = [row.name for row in FORMATS.values() if row.write and row.holds == "both masks"]
        chosen, choice, not_chosen = with_chosen_masks(data, mask, target.holds, target.name, of_both)
        lost = not_chosen | (_write_whole(target, chosen, out) if data.instances else Counter())
        advance(1)
    lists = _write_lists(out, origin, target, data, lost, together if len(sources) > 1 else None, sources)
    if not data.instances:
        raise DataError(_nothing_kept(sources, data.left_out, lists))
    return Summary(
        "convert",
        out,
        counts={
            "from": ", ".join(dict.fromkeys(row.name for row in origins)),
            "to": target.name,
            "photos": len(data.images),
            "objects": len(data.instances),
            "categories": len(data.categories),
            "masks": choice,
            "left_out": dict(_kinds(data.left_out).most_common()),
            "lost": dict(lost.most_common()),
            **_notes(data, target, lost, together.shared_photos),
        },
        files={"annotations": out, **lists},
        next=_next(target, out, _photos_of(data, sources[0]), choice),
    )


def _kinds(left_out: Iterable[tuple[str, str]]) -> Counter[str]:
    return Counter(reason_kind(reason) for _, reason in left_out)


def _nothing_kept(sources: Sequence[Path], left_out: Sequence[tuple[str, str]], lists: Mapping[str, Path]) -> str:
    """Say why no object is left: how many for which reason, and the first of those that most have."""
    wanted = f"{', '.join(map(str, sources))}: expected objects to convert, "
    if not left_out:
        return f"{wanted}the source has none; nothing is written"
    kinds = _kinds(left_out).most_common()
    first = next(f"{place}: {reason}" for place, reason in left_out if reason_kind(reason) == kinds[0][0])
    why = ", ".join(f"{count} {kind}" for kind, count in kinds)
    return f"{wanted}none could be kept ({why}); {first}; nothing is written but the list, {lists['not converted']}"


def _notes(data: AnnotationSet, target: Format, lost: UnsupportedFields, shared_photos: int) -> dict[str, Any]:
    """Return what else is to be known of the data, counted."""
    mended = Counter(reason_kind(entry.reason) for entry in data.mended)
    looks = [*doubtful(data), *_background(data, target, lost)]
    if shared_photos:
        looks.append(
            f"{shared_photos} photos are in several sources: their objects are together now; --merge-doubles "
            "makes one of those that cover the same pixels"
        )
    notes = {"mended": dict(mended.most_common()), "turned": data.turned, "look at": looks}
    return {name: note for name, note in notes.items() if note}


def _write_lists(
    out: Path,
    origin: Format,
    target: Format,
    data: AnnotationSet,
    lost: UnsupportedFields,
    together: Merged | None,
    sources: Sequence[Path],
) -> dict[str, Path]:
    """Write what did not fit, and of several sources which ids have changed, each where there is any; return files."""
    losses, ids = (out.with_name(out.name + suffix) for suffix in (LOSSES_SUFFIX, IDS_SUFFIX))
    for earlier in (losses, ids):  # of a conversion whose output was deleted
        earlier.unlink(missing_ok=True)
    files = {}
    if data.left_out or lost or data.mended:
        _write_losses(losses, origin, target, data, lost)
        files["not converted"] = losses
    if together:
        changed = [{"source": str(p), **m.to_json()} for p, m in zip(sources, together.ids, strict=True)]
        write_json(ids, {"changed": changed})
        files["ids"] = ids
    return files


def _labels_in(path: Path) -> Path:
    """Return the label file of a folder of labels that a stage wrote, or wrote within its own; else the path."""
    ours = any((folder / RUN_FILE).is_file() for folder in (path, path.parent))
    return path / LABELS if ours and (path / LABELS).is_file() else path


def _read(row: Format, path: Path, images: Path | None, drawn_on: DrawnOn) -> AnnotationSet:
    assert row.read  # `reader` returns no others
    return row.read(path, images, drawn_on)


def list_formats() -> Summary:
    """Return the table of formats: which way each works, what is kept and what is not."""
    return Summary(
        "formats",
        None,
        counts={
            row.name: {
                "title": row.title,
                "works": " and ".join(way for way, works in (("read", row.read), ("written", row.write)) if works),
                "kept": row.kept,
                **({"not kept": row.not_kept} if row.not_kept else {}),
            }
            for row in FORMATS.values()
        },
    )


def _require_new(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out}: expected a new or empty folder, found files in it; choose another --out")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: expected a new file, found one of that name; choose another --out or delete it")


def _only_scored(data: AnnotationSet, min_score: float) -> AnnotationSet:
    """Leave out what scores less, the highest first, so that it is told where nothing is left."""
    scored = [(instance.score, instance) for instance in data.instances if instance.score is not None]
    below = [instance for score, instance in sorted(scored, key=lambda pair: -pair[0]) if score < min_score]
    if not below:
        return data
    dropped = {instance.id for instance in below}
    return replace(
        data,
        instances=[instance for instance in data.instances if instance.id not in dropped],
        front_of=[pair for pair in data.front_of if dropped.isdisjoint(pair)],
        dropped=[
            *data.dropped,
            *(
                Dropped(
                    f"object {instance.id}",
                    instance.id,
                    instance.image_id,
                    f"score below --min-score: {instance.score:.4g}",
                )
                for instance in below
            ),
        ],
    )


def _write_whole(target: Format, data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write beside the final place and rename: a file or a folder is there whole or not at all."""
    assert target.write
    parts: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        parts = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".parts", dir=out.parent))
        losses = target.write(data, parts / out.name)
        if out.is_dir():
            out.rmdir()
        os.replace(parts / out.name, out)
    except AmodalplError as error:
        inside = str(parts / out.name) if parts else str(out)
        raise type(error)(str(error).replace(inside, str(out))) from None
    except OSError as error:
        raise OutputError(f"{out}: could not write it ({error.strerror or error}); check space and rights") from None
    finally:
        if parts:
            shutil.rmtree(parts, ignore_errors=True)
    return +losses


def _write_losses(file: Path, origin: Format, target: Format, data: AnnotationSet, lost: UnsupportedFields) -> None:
    value: dict[str, Any] = {
        "from": origin.name,
        "to": target.name,
        "left_out": [{"place": place, "reason": reason} for place, reason in data.left_out],
        "lost": dict(lost.most_common()),
        **({"mended": [{"place": e.place, "what": e.reason} for e in data.mended]} if data.mended else {}),
    }
    write_json(file, value)


def _background(data: AnnotationSet, target: Format, lost: UnsupportedFields) -> list[str]:
    """Say what becomes of rejected labels where a format has nothing to ignore."""
    regions = rejected(data)
    if not regions or not lost["crowd regions"]:
        return []
    photos = len({region.image_id for region in regions})
    return [
        f"{len(regions)} rejected labels are left out, since {target.name} cannot mark regions to ignore: a trainer "
        f"takes these objects for background; leave out their photos ({photos}), or write --to coco"
    ]


def _photos_of(data: AnnotationSet, source: Path) -> str:
    """Return the folder of the photos as an argument: as given, or as a label folder's record has it; else a name."""
    known = [data.folder] if data.folder is not None else []
    if source.name == LABELS:
        given = [arguments_of(folder) for folder in source.parents[:2]]
        recorded = [arguments.get(name) for arguments in given for name in ("images", "source")]
        known += [Path(folder) for folder in recorded if isinstance(folder, str) and "\0" not in folder]
    return next((argument(shortened(folder)) for folder in known if folder.is_dir()), "IMAGES")


def _next(target: Format, out: Path, photos: str, choice: str) -> str:
    """Return the command that follows: looking at what the pipeline reads, or the photos to where readers want them."""
    if target.photos_in is not None:
        return f"cp -r {photos}/. {argument(out / target.photos_in)}"
    if not target.feeds_pipeline or choice == "amodal":
        return ""
    return f"amodalpl check {argument(out)} {photos}"
