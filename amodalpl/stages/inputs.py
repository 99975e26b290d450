"""What every stage checks of the user's data before it starts: photos there, of the stated size, identified by hash."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..images import image_path, image_size_hw
from ..progress import Progress
from ..provenance import hash_file, hash_listing
from ..records import AnnotationSet


def require_photos(data: AnnotationSet, images: Path, progress: Progress) -> None:
    """Make sure that every photo with instances can be opened and has the size its masks were drawn on.

    Raises:
        DataError: the folder or a photo is missing, unreadable, or of another size; says how many are.
    """
    if not images.is_dir():
        raise DataError(f"{images}: expected the folder of the photos, found no such folder")
    used = [record for record in data.images if data.by_image[record.id]]
    problems = []
    with progress.task("checking photos", len(used)) as advance:
        for record in used:
            path = image_path(images, record.file_name)
            height, width = record.size_hw
            if not path.is_file():
                problems.append(f"{path}: expected a photo, found no such file")
            else:
                try:
                    found = image_size_hw(path)
                except DataError as error:
                    problems.append(str(error))
                else:
                    if found != record.size_hw:
                        got = f"{found[1]} x {found[0]}"
                        problems.append(f"{path}: expected {width} x {height} pixels as annotated, got {got}")
            advance(1)
    if problems:
        others = f" (and {len(problems) - 1} more of {len(used)} photos)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{others}; `amodalpl check` lists all")


def input_hashes(data: AnnotationSet, images: Path) -> dict[str, str]:
    """Return the hashes that identify a run's inputs: the annotations' bytes, the photos' names and sizes."""
    if data.path.is_dir():
        annotations = hash_listing(data.path, [p.name for p in data.path.glob("*.json")])
    else:
        annotations = hash_file(data.path)
    return {"annotations": annotations, "images": hash_listing(images, [i.file_name for i in data.images])}
