"""Hashes of what a stage reads."""

from __future__ import annotations

from pathlib import Path

from ..data.records import AnnotationSet, ImageRecord
from ..errors import DataError
from ..io.files import hash_file, hash_listing
from ..io.images import image_path, image_size_hw


def any_turned(data: AnnotationSet, images: Path) -> bool:
    """Tell whether a photo with instances fits its masks only when it is turned as its EXIF note says."""
    return any(data.by_image[record.id] and _is_turned(images, record) for record in data.images)


def _is_turned(images: Path, record: ImageRecord) -> bool:
    try:
        return image_size_hw(image_path(images, record.file_name)) != record.size_hw
    except DataError:  # which is told when it is read
        return False


def input_hashes(data: AnnotationSet, images: Path) -> dict[str, str]:
    """Return the hashes that identify a run's inputs: the annotations' bytes, the photos' names and sizes."""
    if data.path.is_dir():
        annotations = hash_listing(data.path, [p.name for p in data.path.glob("*.json")])
    else:
        annotations = hash_file(data.path)
    return {"annotations": annotations, "images": hash_listing(images, [i.file_name for i in data.images])}
