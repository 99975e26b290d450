"""`amodalpl show`: one object, or all objects of one photo, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.label_folder import LABELS
from ..data.mask_parsing import read_masks
from ..data.read import read_annotations
from ..data.records import AnnotationSet, ImageRecord, Instance
from ..errors import DataError, OutputError, nearest
from ..io.files import read_json
from ..io.images import image_path, read_image, write_image
from ..masks import boxed
from ..masks.boxed import BoxedMask
from ..report import draw
from ..runtime.summary import Summary

_CLOSE_UP_PX, _TILE_PX, _PHOTO_PX = 480, 300, 1230  # the photo as wide as four tiles
_MOST = 23  # objects beside the photo
_MOST_NAMED = 5  # photos in a message


class _Shown(NamedTuple):
    instance: Instance
    visible: BoxedMask
    whole: BoxedMask
    shared: BoxedMask  # hidden pixels that were drawn and belong to another mask
    notes: Mapping[str, Any]  # what a label file says of it

    @property
    def completed_px(self) -> int:
        return self.whole.without(self.visible).without(self.shared).area_px


def show(annotations: Path, images: Path, what: str, out: Path | None = None) -> Summary:
    """Draw one object, or a photo with its objects, the most completed first.

    Args:
        annotations: any supported annotation file, or the folder of `amodalpl pseudolabel`.
        images: folder of the photos.
        what: id of an annotation, or file name of a photo; its last part is enough where that is unique, and so is
            either without its suffix, or a beginning that is no number.
        out: PNG to write; None names it after `what`, in the present folder.

    Returns:
        What is drawn, in words, and the picture's path.

    Raises:
        DataError: no such annotation or photo, or one that cannot be read.
        OutputError: the picture's name does not end in .png, or is that of a file among the photos.
    """
    target = out or Path(f"show_{Path(what).stem}.png")
    if target.suffix.lower() != ".png":
        raise OutputError(f"{target}: expected a name that ends in .png")
    if target.exists() and target.resolve().is_relative_to(images.resolve()):
        raise OutputError(f"{target}: is one of the photos' files; choose another --out")
    file = annotations / LABELS if (annotations / LABELS).is_file() else annotations
    data = read_annotations(file)
    one = next((i for i in data.instances if str(i.id) == what), None)
    record = data.image_by_id[one.image_id] if one else _photo(data, what)
    image = read_image(image_path(images, record.file_name), record.size_hw)
    instances = [i for i in ([one] if one else data.by_image[record.id]) if i.modal or i.amodal]
    notes = _notes(data, {i.id for i in instances}, file)
    objects = [_shown(i, notes.get(i.id, {})) for i in instances]
    if image.shape[:2] != record.size_hw:
        raise DataError(f"{images / record.file_name}: expected {record.size_hw} pixels, got {image.shape[:2]}")
    titles = [_title(shown, data.category_names) for shown in objects]
    pictures = _close_up(image, objects[0], titles[0]) if one and objects else _overview(image, objects, titles)
    legend = f"{draw.LEGEND}   |   {record.file_name}"
    if len(pictures) < 3:
        sheet = draw.contact_sheet(pictures, len(pictures), _CLOSE_UP_PX, legend=legend)
    else:
        objects_sheet = draw.contact_sheet(pictures[1:], min(4, len(pictures) - 1), _TILE_PX)
        sheet = draw.stacked(draw.contact_sheet(pictures[:1], 1, _PHOTO_PX, legend=legend), objects_sheet)
    write_image(target, sheet)
    counts = {
        "photo": record.file_name,
        "objects": [title.replace("\n", "   ", 1).replace("\n", ", ") for title in titles],
    }
    return Summary("show", None, counts=counts, files={"picture": target})


def _photo(data: AnnotationSet, what: str) -> ImageRecord:
    wanted = Path(what)
    for is_meant in (
        lambda path: path == wanted,
        lambda path: path.parent / path.stem == wanted,
        lambda path: path.name == wanted.name,
        lambda path: path.stem == wanted.name,
        lambda path: not _is_number(what) and path.name.startswith(wanted.name),
    ):
        found = [record for record in data.images if is_meant(Path(record.file_name))]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(record.file_name for record in found[:_MOST_NAMED])
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            raise DataError(
                f"{data.path}: {len(found)} photos are called {what}: {names}{more}; give the whole file name of one"
            )
    if what.isdigit():
        raise DataError(f"{data.path}: expected the id of an annotation or the name of a photo, got {what}")
    close = nearest(what, (r.file_name for r in data.images))
    hint = close if "did you mean" in close else f"; the first of {len(data.images)} is {data.images[0].file_name}"
    raise DataError(f"{data.path}: no photo is called {what}{hint if data.images else ''}")


def _is_number(text: str) -> bool:
    """Tell whether a text may be an id, which has no zeros before it."""
    return text.isdecimal() and (text == "0" or not text.startswith("0"))


def _notes(data: AnnotationSet, wanted: set[int], file: Path) -> dict[int, Mapping[str, Any]]:
    """Read what label files say of each label; in files that others wrote, anything may stand under that key."""
    entries = read_json(file, "an annotation file")["annotations"] if file.is_file() and data.format == "d2sa" else []
    return {
        e["id"]: e["amodalpl"]
        for e in entries
        if isinstance(e, dict)
        and type(e.get("id")) is int
        and isinstance(e.get("amodalpl"), dict)
        and e["id"] in wanted
    }


def _shown(instance: Instance, notes: Mapping[str, Any]) -> _Shown:
    """Decode the masks; where a file has the visible or the whole one only, it stands for both."""
    visible = boxed.decode(instance.modal or instance.amodal)  # type: ignore[arg-type]
    whole = visible if instance.amodal is None else boxed.decode(instance.amodal).united(visible)
    hidden = whole.without(visible)
    return _Shown(instance, visible, whole, _shared(hidden, notes), notes)


def _shared(hidden: BoxedMask, notes: Mapping[str, Any]) -> BoxedMask:
    """Return the hidden pixels that were drawn, so that another mask owns them; none where a file does not say it."""
    if notes.get("added_px") == 0:
        return hidden
    [drawn] = read_masks([notes.get("drawn")], [hidden.size_hw])
    if isinstance(drawn, str):
        return BoxedMask.nothing(hidden.size_hw)
    return hidden.without(hidden.without(boxed.decode(drawn)))


def _title(shown: _Shown, names: Mapping[int, str]) -> str:
    """Say what it is, how large its parts are, and what the label file tells, in a line each."""
    uncertainty, occluders = shown.notes.get("uncertainty"), shown.notes.get("occluders")
    of_others = f"{shown.shared.area_px} px of other masks" if shown.shared.any() else ""
    told = [f"uncertainty {uncertainty:.2f}"] if isinstance(uncertainty, int | float) else []
    told += [f"behind {', '.join(f'#{k}' for k in occluders)}"] if isinstance(occluders, list) and occluders else []
    name = names.get(shown.instance.category_id, str(shown.instance.category_id))
    pixels = f"{shown.visible.area_px} px visible, {shown.completed_px} completed"
    return "\n".join(filter(None, (f"#{shown.instance.id} {name}", pixels, of_others, ", ".join(told))))


def _close_up(image: np.ndarray, shown: _Shown, title: str) -> list[tuple[str, np.ndarray]]:
    if not shown.whole.any():
        return [(f"{title}: an empty mask", image)]
    return [
        ("the photo", image),
        (title, draw.close_up(image, shown.visible, shown.whole, _CLOSE_UP_PX, shared=shown.shared)),
    ]


def _overview(image: np.ndarray, objects: Sequence[_Shown], titles: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    ranked = sorted(zip(objects, titles, strict=True), key=lambda pair: -pair[0].completed_px)
    of_photo = [draw.DrawnObject(shown.visible, shown.whole, shown.shared) for shown, _ in reversed(ranked)]
    whole_photo = draw.overlay_all(image, of_photo)
    close_ups = [
        (title, draw.close_up(image, shown.visible, shown.whole, _TILE_PX, shared=shown.shared))
        for shown, title in ranked[:_MOST]
        if shown.whole.any()
    ]
    more = f", {len(ranked) - _MOST} more not shown beside it" if len(ranked) > _MOST else ""
    return [(f"{len(objects)} objects{more}", whole_photo), *close_ups]
