"""How wide the gaps between neighbours of a data set are."""

from __future__ import annotations

from ..data.records import AnnotationSet, ImageRecord, Instance
from ..masks import ownership
from ..masks.gaps import GapTolerance, derive_tolerance, pair_gaps
from ..runtime.progress import Progress

PHOTOS_MEASURED = 300


def measure_gaps(data: AnnotationSet, progress: Progress) -> GapTolerance:
    """Measure the gaps between neighbours in up to `PHOTOS_MEASURED` photos, spread evenly over the file.

    Args:
        data: annotations; only photos with several modal masks say anything.
        progress: shown while it works.
    """
    several = [r for r in data.images if len(instances_to_label(data, r)) > 1]
    chosen = several[:: max(1, -(-len(several) // PHOTOS_MEASURED))]
    gaps: list[int] = []
    with progress.task("measuring gaps", len(chosen)) as advance:
        for record in chosen:
            modal = [i.modal for i in instances_to_label(data, record) if i.modal is not None]
            gaps += pair_gaps(ownership.resolve(modal, record.size_hw).masks)
            advance(1)
    return derive_tolerance(gaps)


def instances_to_label(data: AnnotationSet, record: ImageRecord) -> list[Instance]:
    """Return the objects of a photo that get a label: those with a modal mask that are no crowd."""
    return [i for i in data.by_image[record.id] if not i.is_crowd and i.modal is not None]
