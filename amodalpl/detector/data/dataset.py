"""The photos and labels of a training as MMDetection's data sets."""

from __future__ import annotations

import contextlib
import io
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler

from ...errors import DataError
from ...runtime.mmengine_runner import seed_step
from ..mmdetection import DATASETS, CocoDataset

_CARRIED = ("visible_mask", "doubt", "uncertainty")  # of an annotation, beside its whole mask


@DATASETS.register_module()
class AmodalCocoDataset(CocoDataset):
    """MMDetection's data set that keeps visible masks and doubt, is silent while it reads, and names bad photos."""

    def load_data_list(self) -> list[dict]:
        """Read the annotation file."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super().load_data_list()

    def parse_data_info(self, raw_data_info: dict) -> Any:
        """Read the entries of one photo; what MMDetection does not know of stands beside `mask`."""
        found: Any = super().parse_data_info(raw_data_info)
        entries = {id(entry.get("segmentation")): entry for entry in raw_data_info["raw_ann_info"]}
        for instance in found["instances"]:  # fewer than the entries: MMDetection leaves some out
            entry = entries.get(id(instance.get("mask")), {})
            instance.update({key: entry[key] for key in _CARRIED if key in entry})
        return found

    def prepare_data(self, idx: int) -> Any:
        """Read and transform one photo.

        Raises:
            DataError: it cannot be read (loader processes pass the error on to the main one).
        """
        try:
            return super().prepare_data(idx)
        except Exception as error:
            path = self.get_data_info(idx)["img_path"]
            raise DataError(f"{path}: expected a readable photo, got {type(error).__name__}: {error}") from None


class LabelDataset(AmodalCocoDataset):
    """The data set of our own training, whose random choices are the same after a restart.

    Items are asked for by `draw * photos + photo`, and the random choices of the transforms follow from that number
    alone: they are the same for any number of loader processes.
    """

    def __getitem__(self, idx: int) -> Any:
        if not self.test_mode:
            seed_step(idx)
        return super().__getitem__(idx % len(self))


class ResumedSampler(InfiniteSampler):
    """The endless shuffled order of photos, begun where an earlier run stopped; see `LabelDataset` for the numbers."""

    def __init__(self, dataset: Any, start: int, seed: int) -> None:
        super().__init__(dataset, shuffle=True, seed=seed)
        self.start, self.photos = start, len(dataset)
        deque(islice(self.indices, start), maxlen=0)

    def __iter__(self) -> Iterator[int]:
        for drawn, photo in enumerate(self.indices, start=self.start):
            yield (drawn * self.world_size + self.rank) * self.photos + photo
