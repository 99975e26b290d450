"""Builds a data set while a file is read: photos and their sizes, classes, objects, and what is left out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from ..errors import DataError
from ..io.images import check_size, image_path, image_size_hw, orientation
from . import exif
from .mask_parsing import brief
from .photo_names import PhotoNames
from .records import AnnotationSet, Dropped, ImageRecord, Instance, LeftOut, Mask

DrawnOn = Literal["auto", "stored", "shown"]
_MOST_QUOTED = 600  # characters of the first reason, where nothing can be read


@dataclass(frozen=True)
class Canvas:
    """A photo while objects are put on it.

    Attributes:
        photo: with the size of its stored pixels.
        shown_hw: height and width of the frame that the objects were drawn in.
        turn: EXIF orientation that leads from the stored to the shown frame; 1 when both are one.
        is_stated: the file says which frame that is, by the photo's size.
    """

    photo: ImageRecord
    shown_hw: tuple[int, int]
    turn: int = 1
    is_stated: bool = False


class Builder:
    """Reads entry by entry; what cannot be read is left out with its place and a reason.

    Args:
        path: of the source, for messages.
        images: folder of the photos; None when it was not given.
        must_be_there: a photo that is not in `images` is left out; else the size that the file states is believed.
        drawn_on: the frame that objects were drawn in, where a photo has a note on how to turn it: "stored", "shown",
            or "auto", told by stated sizes and by outlines that fit in one of both only.
        in_fractions: outlines are in fractions of the photo, so that they fit in any frame.
    """

    def __init__(
        self,
        path: Path,
        images: Path | None,
        must_be_there: bool = True,
        drawn_on: DrawnOn = "auto",
        in_fractions: bool = False,
    ) -> None:
        self.path, self.images = path, images
        self.data = AnnotationSet([], [], [], path=path, folder=images)
        self._must_be_there, self._drawn_on = must_be_there, drawn_on
        self._folder = None if images is None else PhotoNames(images)
        self._canvases: dict[int, Canvas] = {}
        self._in_fractions = in_fractions
        self._as_asked = 0  # photos with a note that are left as drawn because the user says so
        self._stored_by_size = 0  # photos with a note whose stated size is that of the stored pixels
        self._names: dict[str, str] = {}
        self._classes: dict[str, int] = {}

    @contextmanager
    def entry(self, place: str) -> Iterator[None]:
        """Read one entry: what raises `LeftOut` inside is listed, and reading goes on after it."""
        try:
            yield
        except LeftOut as reason:
            self.leave_out(place, str(reason))

    def mend(self, place: str, what: str) -> None:
        """List what was kept, but not quite as the file has it."""
        self.data.mended.append(Dropped(place, None, None, what))

    def leave_out(self, place: str, reason: str) -> None:
        """List what could not be read."""
        self.data.dropped.append(Dropped(place, None, None, reason))

    def photo(
        self,
        name: Any,
        place: str,
        stated_hw: tuple[int, int] | None = None,
        as_shown: bool = True,
        extra: dict[str, Any] | None = None,
        id: int | None = None,
        may_be_missing: bool = False,
    ) -> Canvas:
        """Add a photo.

        Args:
            name: as the file has it.
            place: of its entry.
            stated_hw: height and width that the file states; None when it states none.
            as_shown: the tool follows EXIF notes, so that sizes and coordinates are of the shown photo.
            extra: of `ImageRecord`.
            id: of `ImageRecord`; the next free number by default.
            may_be_missing: the size that the file states is believed when the photo is not there.

        Raises:
            LeftOut: a name outside the folder, a photo that is missing, taken, or of another size.
        """
        file_name = self._found(self._inside(name), place)
        if file_name in self._names:
            raise LeftOut(f"second entry of a photo: {file_name} was read from {self._names[file_name]}")
        stored_hw, shown_hw, turn, is_stated = self._sizes(file_name, stated_hw, as_shown, may_be_missing)
        photo = ImageRecord(len(self.data.images) + 1 if id is None else id, file_name, stored_hw, extra or {})
        self._names[file_name] = place
        self.data.images.append(photo)
        canvas = self._canvases[photo.id] = Canvas(photo, shown_hw, turn, is_stated)
        return canvas

    def _inside(self, name: Any) -> str:
        """Return a photo's name relative to the folder; of one from the root of another machine, as far as it is there.

        Raises:
            LeftOut: as `photo_name` does.
        """
        try:
            return photo_name(name, self.images)
        except LeftOut:
            plain = name.replace("\\", "/") if isinstance(name, str) and is_text(name) else ""
            is_whole = plain.startswith("/") or PureWindowsPath(plain).drive
            found = self.other_name(plain.partition(":")[2] or plain) if is_whole and ".." not in plain else None
            if found is None:
                raise
            return photo_name(found, self.images)

    def other_name(self, name: str) -> str | None:
        """Return the photo in the folder that a name means; None when there is none."""
        return self._folder.find_quietly(name) if self._folder else None

    def _found(self, file_name: str, place: str) -> str:
        """Return the photo in the folder that a name means, the name itself when there is none."""
        found = self._folder.find(file_name) if self._folder else None
        if found in (None, file_name):
            return file_name
        self.mend(place, f"photo under another name: {file_name} is {found}")
        return str(found)

    def _sizes(
        self, file_name: str, stated_hw: tuple[int, int] | None, as_shown: bool, may_be_missing: bool
    ) -> tuple[tuple[int, int], tuple[int, int], int, bool]:
        """Return the stored size, the size objects were drawn in, the turn between them, and whether that is sure."""
        path = None if self.images is None else image_path(self.images, file_name)
        if path is None or not os.path.isfile(path):
            if path is not None and self._must_be_there and not may_be_missing:
                raise LeftOut(f"missing photo: {file_name[:120]}")
            if stated_hw is None:
                raise LeftOut("photo of unknown size: the file states none; give the folder of photos with --images")
            try:
                check_size(self.path, file_name, stated_hw)
            except DataError as error:
                raise LeftOut(f"impossible size: {error}") from None
            return stated_hw, stated_hw, 1, True
        try:
            stored_hw = image_size_hw(path)
        except DataError as error:
            raise LeftOut(f"unreadable photo: {error}") from None
        if stated_hw == stored_hw and not as_shown and self._drawn_on == "auto":
            return stored_hw, stored_hw, 1, True
        turn = orientation(path)
        shown_hw = exif.shown_size(stored_hw, turn)
        if stated_hw not in (None, stored_hw, shown_hw):
            (h, w), (stated_h, stated_w) = stored_hw, stated_hw
            raise LeftOut(
                f"size differs from the photo: expected {w} x {h} as {file_name} has, got {stated_w} x {stated_h}"
            )
        size_tells = stated_hw is not None and stored_hw != shown_hw
        if self._drawn_on != "auto":
            follows = self._drawn_on == "shown"
            self._as_asked += turn != 1 and not follows
        else:
            follows = stated_hw == shown_hw if size_tells else as_shown
            self._stored_by_size += size_tells and not follows
        is_sure = size_tells or self._drawn_on != "auto"
        return (stored_hw, shown_hw, turn, is_sure) if follows else (stored_hw, stored_hw, 1, True)

    def category(self, name: Any) -> int:
        """Return the id of a class, which is added when it is new.

        Raises:
            LeftOut: no name.
        """
        if isinstance(name, int | float) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not name.strip() or not is_text(name):
            raise LeftOut(f"object without a class: got {brief(name)}")
        if name not in self._classes:
            self._classes[name] = len(self._classes) + 1
            self.data.categories.append({"id": self._classes[name], "name": name})
        return self._classes[name]

    def add_categories(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add the classes of a file, whose ids were checked; letters that no file can hold become question marks."""
        for index, entry in enumerate(entries):
            name = str(entry.get("name", entry["id"]))
            plain = name.encode("utf-8", "replace").decode()
            if plain != name:
                self.leave_out(f"categories[{index}].name", f"letters that no file can hold: in {plain[:60]!r}")
            self.data.categories.append({**entry, "name": plain})

    def add(self, canvas: Canvas, category_id: int, outline: Mask, **fields: Any) -> int:
        """Add an object and return its id.

        Args:
            canvas: of its photo.
            category_id: of its class.
            outline: of its visible part, in the frame of the photo as it was shown.
            fields: other attributes of `Instance`.
        """
        modal = replace(outline, size_hw=canvas.shown_hw)
        instance = Instance(len(self.data.instances) + 1, canvas.photo.id, category_id, modal, **fields)
        self.data.instances.append(instance)
        return instance.id

    def finish(self) -> AnnotationSet:
        """Return the data set.

        Raises:
            DataError: nothing could be read.
        """
        data = self.data
        self._turn_back()
        for photo in data.images:
            self._make_storable(f"photo {photo.id}", photo.raw)
        for instance in data.instances:
            self._make_storable(f"object {instance.id}", instance.extra)
        for category in data.categories:
            self._make_storable(f"class {category['id']}", category)
        self._make_storable("the file", data.raw)
        if not data.images:
            first = ": ".join(data.left_out[0])[:_MOST_QUOTED] if data.dropped else "it names none"
            raise DataError(
                f"{self.path}: expected annotated photos, could read none of {len(data.dropped)} entries ({first})"
            )
        return data

    def _turn_back(self) -> None:
        """Bring objects that were drawn on turned photos into the frame of the stored pixels.

        Where no size tells the frame, an outline that leaves one frame and fits the other one does, for its photo and,
        when all such outlines agree, for every other photo of the file; else the tool is taken to follow the note.
        """
        data = self.data
        turned = {photo_id: canvas for photo_id, canvas in self._canvases.items() if canvas.turn != 1}
        evidence: dict[int, str] = {}
        for instance in data.instances:
            canvas = turned.get(instance.image_id)
            if canvas and not canvas.is_stated and not self._in_fractions and (fits := _only_fits(instance, canvas)):
                evidence[instance.image_id] = fits
        said = {*evidence.values()} | ({"stored"} if self._stored_by_size else set())
        said |= {"shown" for canvas in turned.values() if canvas.is_stated}
        of_file = said.pop() if len(said) == 1 else ""
        whys: Counter[str] = Counter()
        for photo_id, canvas in turned.items():
            frame = "shown" if canvas.is_stated else evidence.get(photo_id, of_file) or "shown"
            if self._drawn_on != "auto":
                by = "as --drawn-on says"
            elif canvas.is_stated:
                by = "by stated sizes"
            elif evidence.get(photo_id) or (of_file and evidence):
                by = "by outlines that fit in no other way"
            else:
                by = "by stated sizes of other photos" if of_file else "as the tool does today"
            whys[f"{'turned back' if frame == 'shown' else 'left as drawn'} {by}"] += 1
            if frame == "stored":
                turned[photo_id] = replace(canvas, turn=1)
        whys["left as drawn by stated sizes"] += self._stored_by_size
        whys["left as drawn as --drawn-on says"] += self._as_asked
        data.turned = dict(+whys)
        if any(canvas.turn != 1 for canvas in turned.values()):
            data.instances = [_as_stored(i, turned[i.image_id]) if i.image_id in turned else i for i in data.instances]

    def _make_storable(self, place: str, extra: dict[str, Any]) -> None:
        """Replace carried values that no file can hold: NaN, infinity, broken text."""
        try:
            json.dumps(extra, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            bad = [key for key, value in extra.items() if _storable(value) != value or not is_text(key)]
            for key in bad:
                value = extra.pop(key)
                if is_text(key):
                    extra[key] = _storable(value)
            self.leave_out(place, f"value that no file can hold: of {brief(bad)}")


def on_photos(records: AnnotationSet, images: Path | None, drawn_on: DrawnOn = "auto") -> AnnotationSet:
    """Bring a file in COCO's frame onto its photos: names and sizes are those of the files, masks of stored pixels.

    Args:
        records: the file, with masks as drawn.
        images: folder of the photos; None: what the file says of them is believed.
        drawn_on: of `Builder`.

    Raises:
        DataError: none of the photos is there.
    """
    builder = Builder(records.path, images, drawn_on=drawn_on)
    data = builder.data
    data.raw, data.format, data.odd_crowds = records.raw, records.format, records.odd_crowds
    builder.add_categories(records.categories)
    canvases: dict[int, Canvas] = {}
    for index, image in enumerate(records.images):
        with builder.entry(place := f"images[{index}]"):
            canvases[image.id] = builder.photo(image.file_name, place, image.size_hw, False, image.extra, image.id)
    data.dropped += records.dropped
    data.mended += records.mended
    for instance in records.instances:
        with builder.entry(instance.place):
            canvas = canvases.get(instance.image_id)
            if canvas is None:
                raise LeftOut(f"photo not read: expected the id of one of the images, got {instance.image_id}")
            whole = None if instance.is_crowd else instance.amodal_mask  # a region of many objects has no whole
            data.instances.append(replace(instance, amodal_mask=whole))
    kept = {instance.id for instance in data.instances}
    data.front_of = [pair for pair in records.front_of if kept.issuperset(pair)]
    return builder.finish()


def _as_stored(instance: Instance, canvas: Canvas) -> Instance:
    """Return an instance in the frame of the stored photo; boxes and areas of its file were of the other one."""
    if canvas.turn == 1:
        return instance
    modal, amodal = (
        mask and exif.stored(mask, canvas.photo.size_hw, canvas.turn)
        for mask in (instance.modal_mask, instance.amodal_mask)
    )
    extra = {key: value for key, value in instance.extra.items() if key not in ("bbox", "area")}
    return replace(instance, modal_mask=modal, amodal_mask=amodal, extra=extra)


def _only_fits(instance: Instance, canvas: Canvas) -> DrawnOn | None:
    """Return the frame that an object's polygons fit in, where they leave the other one by more than a pixel."""
    masks = (instance.modal_mask, instance.amodal_mask)
    rings = [ring for mask in masks if mask for ring in mask.polygons]
    if not rings:
        return None
    right, bottom = (max(max(ring[axis::2]) for ring in rings) for axis in (0, 1))
    fits = [right <= width + 1 and bottom <= height + 1 for height, width in (canvas.photo.size_hw, canvas.shown_hw)]
    return None if fits[0] == fits[1] else "stored" if fits[0] else "shown"


def _storable(value: Any) -> Any:
    try:
        text = json.dumps(value, ensure_ascii=True)
    except RecursionError:
        return None
    plain = json.loads(text, parse_constant=lambda name: None)
    return json.loads(json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace"))


def is_text(name: str) -> bool:
    """Tell whether a name can be written as UTF-8, which names out of JSON or of files need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def photo_name(name: Any, images: Path | None) -> str:
    """Return a photo's name relative to the folder of photos, with forward slashes.

    Backslashes are those of Windows unless the folder has a file of that very name.

    Raises:
        LeftOut: no name, or one that leaves the folder, links followed.
    """
    if not isinstance(name, str) or not name:
        raise LeftOut(f"photo without a name: got {brief(name)}")
    if not is_text(name):
        raise LeftOut(f"photo whose name is no text: {name[:120]!r}")
    as_it_is = images is not None and "\\" in name and os.path.isfile(images / name)
    plain = name if as_it_is else name.replace("\\", "/")
    pure = PurePosixPath(plain)
    if pure.is_absolute() or ".." in pure.parts or "\0" in plain or PureWindowsPath(name).drive or not pure.parts:
        raise LeftOut(f"photo outside the folder: {name[:120]!r}")
    try:
        image_path(images if images is not None else Path("."), str(pure))
    except DataError:
        raise LeftOut(f"photo outside the folder: {name[:120]!r}") from None
    return str(pure)
