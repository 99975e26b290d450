"""Which photos a stage can work with: a few damaged ones are left out and counted, more of them stop it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..data.records import AnnotationSet, Dropped
from ..errors import DataError
from ..io.images import check_image, image_path
from .progress import Progress

_MISSING = "expected a photo, found no such file"


def usable_photos(
    data: AnnotationSet, images: Path, progress: Progress, most_left_out: float, *, with_empty: bool = False
) -> AnnotationSet:
    """Leave out photos that are missing, damaged, or of another size than their masks were drawn on.

    Args:
        data: annotations; photos without instances are neither looked at nor left out, unless they are asked for.
        images: folder of the photos.
        progress: shown while it works.
        most_left_out: share of the photos looked at, 0 to 1; of a hundred photos, 0.01 is one.
        with_empty: photos without instances are used too.

    Returns:
        The annotations without those photos; `dropped` has an entry for each of their instances.

    Raises:
        DataError: there is no such folder, no annotation could be read, or more photos are unusable; says how many,
            and why the first.
    """
    if not images.is_dir():
        raise DataError(f"{images}: expected the folder of the photos, found no such folder")
    if data.dropped and not data.instances:
        first, count = data.dropped[0], len(data.dropped)
        others = f"; none of {count} annotations can be used, `amodalpl check` lists all" if count > 1 else ""
        raise DataError(f"{data.path}: {first.place}: {first.reason}{others}")
    used = [record for record in data.images if with_empty or data.by_image[record.id]]
    problems: dict[int, str] = {}
    with progress.task("checking photos", len(used)) as advance:
        for record in used:
            problem = _problem(image_path(images, record.file_name), record.size_hw)
            if problem is not None:
                problems[record.id] = problem
            advance(1)
    if not problems:
        return data
    nothing_there = len(problems) == len(used) and all(p.endswith(_MISSING) for p in problems.values())
    if nothing_there and (labels := sum(1 for _ in images.glob("*.json"))):
        raise DataError(
            f"{images}: expected the folder of the photos, found none of {len(used)} there, but {labels} JSON files; "
            "give the folder that has the photos"
        )
    allowed = int(most_left_out * len(used))
    if len(problems) > allowed:
        others = f" (and {len(problems) - 1} more of {len(used)} photos)" if len(problems) > 1 else ""
        limit = f"; up to {allowed} would be left out" if allowed else ""
        raise DataError(f"{next(iter(problems.values()))}{others}; `amodalpl check` lists all{limit}")
    for problem in problems.values():
        progress.warn(f"left out: {problem}")
    dropped = [
        Dropped(instance.place, instance.id, instance.image_id, f"unusable photo: {problems[instance.image_id]}")
        for instance in data.instances
        if instance.image_id in problems
    ]
    return replace(
        data,
        images=[record for record in data.images if record.id not in problems],
        instances=[instance for instance in data.instances if instance.image_id not in problems],
        dropped=[*data.dropped, *dropped],
    )


def require_photos(data: AnnotationSet, images: Path, progress: Progress) -> None:
    """Make sure that every photo with instances is whole and has the size its masks were drawn on.

    Raises:
        DataError: the folder or a photo is missing, unreadable, or of another size; says how many are.
    """
    usable_photos(data, images, progress, most_left_out=0)


def _problem(path: Path, size_hw: tuple[int, int]) -> str | None:
    if not path.is_file():
        return f"{path}: {_MISSING}"
    try:
        found = check_image(path, annotated_hw=size_hw)
    except DataError as error:
        return str(error)
    if found != size_hw:
        return f"{path}: expected {size_hw[1]} x {size_hw[0]} pixels as annotated, got {found[1]} x {found[0]}"
    return None
