"""The endless stream of training samples as a torch data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ..settings import SynthesisSettings
from .bank import Bank
from .recipe_table import recipe_of
from .worn_photos import wear


class SampleStream(Dataset):
    """Sample i depends on (seed, i) alone: the same for any number of workers, and after a restart.

    Every run of `len(bank)` consecutive samples visits each cut-out once, in a shuffled order.

    Items are dicts of tensors, all in the frame of the patch:
        modal, occluder, target: (1, P, P) bool
        boundary: (1, P, P) bool, only `with_boundary`
        unknown: (1, P, P) bool, only from the recipe `ais`, and from `layers` with `layers.unmasked`; see `Sample`
        image: (3, P, P) uint8 RGB, only with `with_image`
    """

    def __init__(
        self,
        bank_folder: Path,
        settings: SynthesisSettings,
        seed: int,
        length: int,
        made_for: str,
        with_boundary: bool = True,
    ) -> None:
        """Open the bank.

        Args:
            bank_folder: of the bank.
            settings: of the samples.
            seed: of the samples.
            length: number of samples.
            made_for: the recipe when `settings.recipe` leaves it to the method; see `models.completer_table.METHODS`.
            with_boundary: give the boundary too; a network that does not see it learns the same without, and sooner.

        Raises:
            DataError: see `Bank`.
        """
        self.bank = Bank(bank_folder, settings.only_unoccluded)
        self.settings = settings
        self.draw = recipe_of(settings, made_for)
        self.seed = seed
        self.with_boundary = with_boundary
        self._length = length
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        cv2.setNumThreads(0)  # workers are the parallelism here; OpenCV's own threads only get in their way
        cutout, rng = self.start(index)
        sample = self.draw(self.bank, cutout, rng, self.settings)
        masks = {"modal": sample.modal, "occluder": sample.occluder, "target": sample.target}
        if self.with_boundary:
            masks["boundary"] = sample.boundary
        if sample.unknown is not None:
            masks["unknown"] = sample.unknown
        item = {name: torch.from_numpy(np.ascontiguousarray(mask))[None] for name, mask in masks.items()}  # (1, P, P)
        if sample.image is not None:
            photo = wear(sample.image, rng, self.settings.photo_wear)
            item["image"] = torch.from_numpy(photo).permute(2, 0, 1)  # (3, P, P)
        return item

    def start(self, index: int) -> tuple[int, np.random.Generator]:
        """Return the cut-out that a sample is about, and the generator that decides all else of it."""
        return self._target_of(index), np.random.default_rng((self.seed, 1, index))

    def _target_of(self, index: int) -> int:
        epoch, place = divmod(index, len(self.bank))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.bank)))
        return int(self._order[1][place])
