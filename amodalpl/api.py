"""amodalpl from Python: one photo or its masks in, its amodal masks, their uncertainty and their order out.

The same answers as `amodalpl pseudolabel` and `amodalpl predict` write for this one photo. `docs/api.md` shows it at
work.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .builtin import completer_folder
from .completed_image import CompletedImage
from .completion import checkpoint
from .completion.checkpoint import CompleterBundle
from .data.doubtful import same_object
from .data.mask_parsing import brief, read_masks
from .detector import require_mmdetection
from .errors import DataError
from .io.images import check_size, image_size_hw, read_image
from .labelling import assemble
from .labelling.assemble import DrawnPhoto, complete_photos
from .labelling.class_rules import class_rules
from .labelling.detections import label_detections
from .labelling.gap_tolerance import measured
from .labelling.plan import plan_labels
from .masks import ownership, rle
from .masks.rle import Rle
from .runtime.distributed import pick_device
from .settings_values import resolve

if TYPE_CHECKING:
    from .detector.trained import Detector

AnyPath = str | os.PathLike[str]
Masks = np.ndarray | Sequence[Any]


def load_completer(folder: AnyPath, device: str = "auto", backend: str = "torch") -> CompleterBundle:
    """Open a trained completer.

    Args:
        folder: output folder of `amodalpl complete`, or "builtin" for the completer that comes with the package, with
            the thresholds that it came with; `labels/refit/completer` of `amodalpl pseudolabel` has those of your data.
        device: "auto", "cpu" or "cuda".
        backend: "torch", or "onnx" to run what `amodalpl export-onnx` wrote by onnxruntime.

    Raises:
        SettingsError: an unknown device or backend, or one that is not there.
        DataError: the folder holds no completer.
        CheckpointError: files are missing, damaged, or do not belong together.
        MissingPackageError: onnxruntime is asked for and not installed.
    """
    return checkpoint.load_completer(completer_folder(os.fspath(folder)), pick_device(device), backend)


def complete_image(
    completer: CompleterBundle,
    masks: Masks,
    image: np.ndarray | Image.Image | AnyPath | None = None,
    *,
    category_ids: Sequence[int] | None = None,
    size_hw: tuple[int, int] | None = None,
    **settings: Any,
) -> CompletedImage:
    """Complete all objects of one photo.

    Masks that overlap are resolved as everywhere in amodalpl: a shared pixel belongs to the smallest mask that claims
    it, of equal ones to the last; `shared_px` says how many there were.

    Args:
        completer: of `load_completer`.
        masks: (N, H, W) bool, or N arrays (H, W) bool, the visible parts; or N segmentations as COCO has them
            (polygons, compressed or uncompressed RLE; also RLE as pycocotools returns it); or N pictures, of PIL or as
            files, that are black where the object is not. All objects of the photo together: an object is completed
            behind the others.
        image: the photo, (H, W, 3) uint8 RGB, a picture of PIL or a file; needed only by completers that were trained
            to look at it, and by `plot`. A file is read as the stages do: its pixels as stored, but turned as its EXIF
            note says where the size of the masks fits only the turned photo.
        category_ids: N classes, for `plausibility` and `per_class`.
        size_hw: height and width of the photo, for polygons without an image, or drawn on a turned one.
        settings: those of the section `labels`, such as `occluders="parents"`; `amodalpl settings` lists them.
            `gap_px` and `contour_inset_px` are measured on this photo unless given: take them from `stats.json` to
            label as `amodalpl pseudolabel` did for a whole file. In `per_class`, classes are called by their ids.

    Returns:
        The masks of whole objects, and what is to be known of them.

    Raises:
        DataError: masks, image or classes have the wrong type or shape, do not fit together, or a mask is empty.
        SettingsError: an unknown setting, or one out of range.
    """
    names = {} if category_ids is None else {c: str(c) for c in category_ids}
    return _complete(completer, masks, image, category_ids=category_ids, size_hw=size_hw, names=names, **settings)


def _complete(
    completer: CompleterBundle,
    masks: Masks,
    image: np.ndarray | Image.Image | AnyPath | None,
    *,
    category_ids: Sequence[int] | None,
    size_hw: tuple[int, int] | None,
    names: Mapping[int, str],
    **settings: Any,
) -> CompletedImage:
    """Complete all objects of one photo; `names` are those of the classes, which settings may call them by."""
    _require_completer(completer)
    labels = resolve({"labels": settings}).labels
    if labels.per_class and category_ids is None:
        raise DataError("category_ids: expected the class of each mask, since per_class names classes; got None")
    rules = class_rules(labels.per_class, names, "category_ids")
    masks = _from_pictures(masks)
    size_hw = None if size_hw is None else _checked("size_hw", size_hw)
    photo = None if image is None else _read_photo(image, size_hw or _stated_size(masks))
    frame = size_hw if photo is None else _same(photo.shape[:2], size_hw)
    drawn, size = _read_drawn(masks, frame)
    if category_ids is not None and len(category_ids) != len(drawn):
        raise DataError(f"category_ids: expected one per mask, got {len(category_ids)} for {len(drawn)} masks")
    if completer.completer.uses_image and photo is None:
        raise DataError("image: expected the photo, since this completer was trained to look at it; got None")
    owned = ownership.resolve(drawn, size)
    labels, _ = measured(labels, [owned.masks])
    seen = photo if completer.completer.uses_image else None
    plan = plan_labels(completer, labels, rules)
    (completed,) = complete_photos(plan, [DrawnPhoto(owned, seen, category_ids)])
    return CompletedImage.of(completed, photo, category_ids)


@dataclass(frozen=True, repr=False, kw_only=True)
class DetectedImage(CompletedImage):
    """The objects that a detector found on one photo, by falling score, with all that a `CompletedImage` says.

    Without a completer, `uncertainty` is 1 - score, which nobody calibrated, and the visible parts are those that the
    model predicts, else what no whole mask of a higher score covers (flag `visible_by_score`).

    Attributes:
        scores: (N,) float64 in [0, 1].
        class_names: of the classes in `category_ids`.
        boxes_xyxy: (N, 4) float64, left, top, right, bottom in pixels, as the model gives them.
    """

    scores: np.ndarray
    class_names: list[str]
    boxes_xyxy: np.ndarray


def load_detector(path: AnyPath, checkpoint: AnyPath | None = None, device: str = "auto") -> Detector:
    """Open a trained detector.

    Args:
        path: output folder of `amodalpl train-detector`, or a config of any MMDetection model with masks. A config is
            Python, which is run.
        checkpoint: weights of the config.
        device: "auto", "cpu" or "cuda".

    Raises:
        MissingPackageError: mmdet is not installed.
        DataError: no such folder or config.
        CheckpointError: weights are missing, damaged, of another model, or no numbers.
        OutputError: the folder is of another stage, or unfinished.
        SettingsError: an unknown device, or a checkpoint that does not go with the path.
    """
    require_mmdetection("load_detector")
    from .detector.trained import open_detector

    return open_detector(Path(path), None if checkpoint is None else Path(checkpoint), pick_device(device))


def detect_image(
    detector: Detector,
    image: np.ndarray | AnyPath,
    completer: CompleterBundle | None = None,
    *,
    score_threshold: float = 0.3,
    **settings: Any,
) -> DetectedImage:
    """Find the objects of one photo.

    Args:
        detector: of `load_detector`.
        image: (H, W, 3) uint8 RGB, or a file, which is taken upright where its EXIF note turns it by a quarter.
        completer: of `load_completer`: takes the masks as visible ones, and completes them. Of a model that predicts
            visible masks it completes those.
        score_threshold: detections below it are left out.
        settings: those of the section `labels`, as for `complete_image`.

    Returns:
        The objects, one that was found twice once; arrays of length 0 where there are none.

    Raises:
        DataError: the photo cannot be read or is none, or the model predicts no masks.
        SettingsError: an unknown setting, or one out of range.
    """
    from .detector.inference import detect_photos

    least = resolve({"predict": {"score_threshold": score_threshold}}).predict.score_threshold
    if isinstance(image, (str, os.PathLike)):
        height, width = image_size_hw(Path(image))
        photo = _read_photo(image, (width, height))
    else:
        photo = _read_photo(image, None)
    (found,) = detect_photos(detector, [photo], least_score=least, batch_size=1)
    doubles = {double for double, _, _ in same_object([o.mask for o in found])} if found else set()
    objects = [o for k, o in enumerate(found) if k not in doubles]
    scores = np.array([o.score for o in objects], dtype=np.float64)
    category_ids = tuple(o.category_id for o in objects)
    if completer is None or not objects:
        told = [o.visible_mask for o in objects if o.visible_mask is not None]
        size_hw = (photo.shape[0], photo.shape[1])
        visible = _decoded(told, size_hw) if told else None
        whole = label_detections(_decoded([o.mask for o in objects], size_hw), visible, scores)
    else:
        seen = [o.visible_mask if o.visible_mask and rle.area_px(o.visible_mask) else o.mask for o in objects]
        whole = _complete(
            completer, seen, photo, category_ids=category_ids, size_hw=None, names=detector.class_names,
            **settings,
        )  # fmt: skip
    return DetectedImage(
        **{field.name: getattr(whole, field.name) for field in fields(assemble.CompletedImage)},
        image=photo,
        scores=scores,
        category_ids=category_ids,
        class_names=[detector.class_names[c] for c in category_ids],
        boxes_xyxy=np.array([o.box_xyxy for o in objects], dtype=np.float64).reshape(-1, 4),
    )


def _decoded(masks: Sequence[Rle], size_hw: tuple[int, int]) -> np.ndarray:
    return np.stack([rle.decode(mask) for mask in masks]) if masks else np.zeros((0, *size_hw), dtype=bool)


def complete_images(
    completer: CompleterBundle,
    photos: Iterable[Masks],
    images: Iterable[np.ndarray | Image.Image | AnyPath | None] | None = None,
    **settings: Any,
) -> Iterator[CompletedImage]:
    """Complete the objects of several photos, one after another, since masks of many take much memory.

    Args:
        completer: of `load_completer`.
        photos: the masks of each, as `complete_image` takes them.
        images: the photos, as many; None where the completer needs none.
        settings: as `complete_image` takes them, for all photos.

    Yields:
        What `complete_image` returns, in order.

    Raises:
        DataError: as `complete_image`, with the number of the photo; or fewer or more images than photos.
        SettingsError: an unknown setting, or one out of range.
    """
    _require_completer(completer)
    listed = list(photos)
    beside = [None] * len(listed) if images is None else list(images)
    if len(beside) != len(listed):
        raise DataError(f"images: expected one per photo, got {len(beside)} for {len(listed)} photos")
    for number, (masks, image) in enumerate(zip(listed, beside, strict=True)):
        try:
            yield complete_image(completer, masks, image, **settings)
        except DataError as error:
            raise DataError(f"photos[{number}]: {error}") from None


def _require_completer(completer: Any) -> None:
    if isinstance(completer, CompleterBundle):
        return
    if isinstance(completer, (str, os.PathLike)):
        path = os.fspath(completer)
        raise DataError(f"completer: expected a trained completer, got a path; give load_completer({path!r})")
    raise DataError(f"completer: expected what load_completer returns, got {type(completer).__name__}")


def _from_pictures(masks: Any) -> Any:
    """Read masks that are pictures, of PIL or in files: (N, H, W) bool, true where they are not black."""
    if not isinstance(masks, Sequence) or isinstance(masks, (str, bytes)) or not masks:
        return masks
    if not all(isinstance(mask, (str, os.PathLike, Image.Image)) for mask in masks):
        return masks
    pictures = [mask if isinstance(mask, Image.Image) else read_image(Path(mask)) for mask in masks]
    pixels = [np.asarray(picture.convert("L") if isinstance(picture, Image.Image) else picture) for picture in pictures]
    return [p > 0 if p.ndim == 2 else p.any(axis=2) for p in pixels]


def _read_photo(image: np.ndarray | Image.Image | AnyPath, annotated_hw: tuple[int, int] | None) -> np.ndarray:
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    if isinstance(image, (str, os.PathLike)):
        return read_image(Path(image), annotated_hw)
    photo = _as_array("image", image)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise DataError(f"image: expected (H, W, 3) uint8 RGB, got {photo.shape} {photo.dtype}")
    return photo


def _stated_size(masks: Masks) -> tuple[int, int] | None:
    """Return the size that masks say they were drawn in; None where they say none, or nothing that could be one."""
    size: Any
    if hasattr(masks, "__array__"):
        size = np.shape(masks)[1:]
    else:
        listed = masks if isinstance(masks, Sequence) else ()
        arrays = [mask for mask in listed if hasattr(mask, "__array__")]
        size = np.shape(arrays[0]) if arrays else _rle_size(listed)
    is_size = isinstance(size, Sequence) and len(size) == 2
    return (
        (int(size[0]), int(size[1])) if is_size and all(isinstance(side, (int, np.integer)) for side in size) else None
    )


def _rle_size(values: Sequence[Any]) -> Any:
    return next((v["size"] for v in values if isinstance(v, Mapping) and "size" in v), None)


def _read_drawn(masks: Masks, frame: tuple[int, int] | None) -> tuple[list[Rle], tuple[int, int]]:
    """Return the masks, none empty, and the size of the photo they are in."""
    if not isinstance(masks, np.ndarray) and not hasattr(masks, "__array__"):
        if not isinstance(masks, Sequence) or isinstance(masks, (str, bytes)):
            raise DataError(f"masks: expected (N, H, W) bool or a list of segmentations, got {type(masks).__name__}")
        if not any(hasattr(mask, "__array__") for mask in masks):
            return _read_segmentations(masks, frame)
    array = _as_array("masks", masks)
    if array.ndim != 3:
        hint = "; for a single mask, give masks[None]" if array.ndim == 2 else ""
        raise DataError(f"masks: expected (N, H, W) bool, got the shape {array.shape}{hint}")
    if array.dtype != bool:
        cut = "masks > 0.5" if np.issubdtype(array.dtype, np.floating) else "masks > 0"
        raise DataError(f"masks: expected (N, H, W) bool, got {array.dtype}; give `{cut}`, or wherever yours begin")
    size = _checked("masks", _same(array.shape[1:], frame))
    for index, mask in enumerate(array):
        if not mask.any():
            raise DataError(f"masks[{index}]: empty mask: expected at least one true pixel; leave it out")
    return [rle.encode(mask) for mask in array], size


def _read_segmentations(values: Sequence[Any], frame: tuple[int, int] | None) -> tuple[list[Rle], tuple[int, int]]:
    stated = _rle_size(values)
    if frame is None and stated is None:
        raise DataError(
            "masks: expected `image` or `size_hw` beside them, since they do not say how large the photo is"
        )
    size = _checked("masks", stated if frame is None else frame)
    found = read_masks([_plain(value) for value in values], [size] * len(values))
    for index, mask in enumerate(found):
        if isinstance(mask, str):
            raise DataError(f"masks[{index}]: {mask}; correct it or leave it out")
    return [mask for mask in found if not isinstance(mask, str)], size


def _plain(segmentation: Any) -> Any:
    """Return a segmentation as JSON has it; pycocotools returns counts as bytes."""
    if isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), bytes):
        return {**segmentation, "counts": segmentation["counts"].decode("ascii", "replace")}
    return segmentation


def _as_array(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value) if hasattr(value, "__array__") else np.stack([np.asarray(part) for part in value])
    except (TypeError, ValueError) as error:  # parts of different sizes; a tensor on a GPU
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{name}: expected an array, could not make one ({reason})") from None


def _same(found: Sequence[int], expected: tuple[int, int] | None) -> tuple[int, int]:
    height, width = (int(side) for side in found)
    if expected is not None and (height, width) != tuple(expected):
        raise DataError(
            f"masks, image and size_hw: expected one size for all, got {height} x {width} (height x width) and "
            f"{expected[0]} x {expected[1]}"
        )
    return height, width


def _checked(name: str, size_hw: Any) -> tuple[int, int]:
    pair = isinstance(size_hw, Sequence) and len(size_hw) == 2
    if not pair or not all(isinstance(side, (int, np.integer)) for side in size_hw):
        raise DataError(f"{name}: expected height and width in whole pixels, got {brief(size_hw)}")
    size = (int(size_hw[0]), int(size_hw[1]))
    check_size(Path(name), "the photo", size)
    return size
