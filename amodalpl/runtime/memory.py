"""Whether the largest photo of a stage fits into memory, asked before the stage begins."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..data.records import AnnotationSet, ImageRecord
from ..errors import DataError
from ..masks import rle

PER_PIXEL = 12  # bytes: of the photo, a scene drawn on it, and who owns each pixel
PER_BOX_PIXEL = 6  # of an object's box: what is visible, grown, completed and drawn of it, and crops around it
PER_OBJECT = 3 * 10**5  # what the network says, in its own pixels


def require_memory(data: AnnotationSet, free: int | None = None) -> None:
    """Refuse photos with which a stage would be killed half-way.

    Args:
        data: annotations of the photos.
        free: bytes; what the system tells by default.

    Raises:
        DataError: the photo that takes most is not expected to fit.
    """
    if free is None:
        free = free_bytes()
    if free is None or not data.images:
        return
    needed, record = max(((needed_bytes(data, r), r) for r in data.images), key=lambda pair: pair[0])
    if needed > free:
        height, width = record.size_hw
        raise DataError(
            f"{data.path}: {record.file_name}: expected {needed / 1e9:.2f} GB of free memory for {width} x {height} "
            f"pixels with {len(data.by_image[record.id])} objects, got {free / 1e9:.2f} GB; make the photo smaller "
            "together with its annotations, cut it into tiles, or leave it out"
        )


def needed_bytes(data: AnnotationSet, record: ImageRecord) -> int:
    """Return about how much memory a photo takes while a stage works on it."""
    height, width = record.size_hw
    boxes = rle.boxes_xywh([i.modal for i in data.completable[record.id] if i.modal is not None])
    of_boxes = int((boxes[:, 2] * boxes[:, 3]).sum())
    return PER_PIXEL * height * width + PER_BOX_PIXEL * of_boxes + PER_OBJECT * len(boxes)


def free_bytes() -> int | None:
    """Return the memory that is free, or can be freed at once, within the limit of a container; None off Linux."""
    free = None
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        cached = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        reclaimable = sum(int(line.split()[1]) for line in cached if line.startswith("inactive_file "))
        left = limit - used + reclaimable
        free = left if free is None else min(free, left)
    return free
