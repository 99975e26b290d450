"""How wide the gaps between neighbours are: measured on masks, where settings leave it open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..data.records import AnnotationSet
from ..masks import ownership
from ..masks.boxed import BoxedMasks
from ..masks.gaps import GapTolerance, derive_tolerance, pair_gaps
from ..runtime.progress import Progress
from ..settings import LabelSettings

PHOTOS_MEASURED = 300


def measured(settings: LabelSettings, photos: Iterable[BoxedMasks]) -> tuple[LabelSettings, GapTolerance | None]:
    """Return settings that say how wide gaps are.

    Args:
        settings: that may say it already.
        photos: disjoint masks of each; taken only where they do not.

    Returns:
        The settings, and what was measured for them, if anything.
    """
    if settings.gap_px is not None and settings.contour_inset_px is not None:
        return settings, None
    tolerance = derive_tolerance(gap_px for masks in photos for gap_px in pair_gaps(masks))
    return settings.measured(tolerance.gap_px, tolerance.contour_inset_px), tolerance


def some_photos(data: AnnotationSet, progress: Progress) -> Iterator[BoxedMasks]:
    """Yield the masks of up to `PHOTOS_MEASURED` photos, spread evenly over the file, each pixel with one owner.

    Args:
        data: annotations; only photos with several visible masks say anything of gaps.
        progress: shown while they are measured.
    """
    several = [record for record in data.images if len(data.completable[record.id]) > 1]
    chosen = several[:: max(1, -(-len(several) // PHOTOS_MEASURED))]
    with progress.task("measuring gaps", len(chosen)) as advance:
        for record in chosen:
            modal = [i.modal for i in data.completable[record.id] if i.modal is not None]
            yield ownership.resolve(modal, record.size_hw).masks
            advance(1)
