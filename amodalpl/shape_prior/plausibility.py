"""How ordinary a label's shape is: the shape prior of VRSP-Net as a score that can be stated in words.

After Xiao et al. 2021 ("Amodal Segmentation Based on Visible Region Segmentation and Shape Prior"): a small mask
auto-encoder, and per class a codebook of its latent vectors by k-means. They use it inside a detector; here it judges
finished masks, and these are the differences:

- It learns from whole shapes only, and a class with fewer than `FEWEST_SHAPES` of them is judged by the codebook of all
  classes together.
- The tight box is scaled with its aspect kept, not stretched. The hollows of the shape (its convex hull minus itself)
  are shown beside it: a bite of an occluder and a foreign piece that sticks out both make one, and few whole shapes do.
- The distance to the nearest code is relative to the lengths of both vectors (theirs is a mean over the whole box, so
  that thin shapes are close to everything), over the mask and its mirror image.
- The score is not the distance, but its rank among the distances of whole shapes to codebooks made without them (the
  auto-encoder has seen them; it only describes shapes, and remembers none).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import CheckpointError, DataError
from ..io.checkpoints import load_plain
from ..io.files import write_whole
from ..masks.boxes import tight_box
from ..runtime.progress import SILENT, Progress
from .autoencoder import ShapeAutoencoder

CROP_PX = 28  # the paper's
PLANES = 2  # the mask and its hollows
FEWEST_SHAPES = 20  # with fewer, a class has no ranks finer than 5 %
MOST_SHAPES = 10_000  # of all classes together; bounds time and memory for any data set
MOST_OF_CLASS = 512
CODES = 128  # per class; a class with fewer shapes keeps each of them as a code
CODES_OF_ALL = 512
FOLDS = 5  # parts of a class that are measured against the codebook of the others
STEPS, BATCH, LEARNING_RATE = 300, 64, 3e-3  # the reconstruction loss hardly falls after these
KMEANS_ROUNDS = 10
SCORE_BATCH = 512


@dataclass(frozen=True, eq=False)
class Codebook:
    """What is known of the whole shapes of one class, or of all classes.

    Attributes:
        codes: (K, D) float32, latent vectors.
        ordinary: (M,) float32, increasing: distances of whole shapes to codebooks made without them, in [0, 1].
    """

    codes: Tensor
    ordinary: Tensor

    def score(self, distances: Tensor) -> Tensor:
        """Return the share of whole shapes that are at least this far away, counting the judged one in.

        Args:
            distances: (N,) float32.

        Returns:
            (N,) float64 in [1 / (M + 1), 1].
        """
        nearer = torch.searchsorted(self.ordinary, distances.contiguous())
        return (1 + len(self.ordinary) - nearer).double() / (1 + len(self.ordinary))


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """A plausibility score for masks.

    Attributes:
        autoencoder: in eval mode, on the CPU.
        codebooks: by category id, of the classes with at least `FEWEST_SHAPES` whole shapes.
        any_class: of all shapes together, for every other class.
    """

    autoencoder: ShapeAutoencoder
    codebooks: Mapping[int, Codebook]
    any_class: Codebook

    def score(self, masks: Sequence[np.ndarray], category_ids: Sequence[int]) -> np.ndarray:
        """Say how ordinary each mask is.

        The score is an empirical p-value: the share of whole shapes of the class (of all classes, when the class is
        rare) that are as far or further from the nearest code than this mask is. Whole shapes that were not learnt from
        spread evenly over 0 to 1, so one in twenty of them is below 0.05. 1 is as ordinary as possible; near 0 is
        unlike any whole shape seen.

        Args:
            masks: N masks, each (h, w) bool in any frame; only the content of the tight box counts.
            category_ids: N category ids; unknown ones are rare classes.

        Returns:
            (N,) float64 in [0, 1]; 0 for a mask without a pixel.

        Raises:
            DataError: not one class per mask.
        """
        wanted = _class_of_each(masks, category_ids)
        scores = np.zeros(len(masks))
        filled = np.array([bool(mask.any()) for mask in masks], dtype=bool)
        with _one_thread():
            for category in np.unique(wanted[filled]):
                codebook = self.codebooks.get(int(category), self.any_class)
                members = np.flatnonzero(filled & (wanted == category))
                for start in range(0, len(members), SCORE_BATCH):
                    batch = members[start : start + SCORE_BATCH]
                    crops = _crops([masks[i] for i in batch])
                    scores[batch] = codebook.score(_distances(_views(self.autoencoder, crops), codebook.codes)).numpy()
        return scores


def learn_shape_prior(
    masks: Sequence[np.ndarray], category_ids: Sequence[int], seed: int, progress: Progress = SILENT
) -> ShapePrior:
    """Learn what whole shapes look like.

    The same masks and seed give the same prior, whatever the number of threads. Of a large data set a sample is used:
    at most `MOST_OF_CLASS` shapes of a class and about `MOST_SHAPES` in all.

    Args:
        masks: N masks of objects that nothing hides or cuts off, each (h, w) bool in any frame.
        category_ids: N category ids.
        seed: of the sample, of the network's start and of k-means.
        progress: shows the training steps, then the codebooks.

    Raises:
        DataError: fewer than `FEWEST_SHAPES` masks, one without a pixel, or not one class per mask.
    """
    if len(masks) < FEWEST_SHAPES:
        raise DataError(
            f"shape prior: expected at least {FEWEST_SHAPES} whole shapes to tell what is ordinary, got {len(masks)}"
        )
    categories = _class_of_each(masks, category_ids)
    empty = next((i for i, mask in enumerate(masks) if not mask.any()), None)
    if empty is not None:
        raise DataError(f"shape prior: masks[{empty}]: expected at least one pixel, got none")
    rng = np.random.default_rng(seed)
    chosen = _sample(categories, rng)
    categories = categories[chosen]
    with _one_thread():
        crops = _crops([masks[i] for i in chosen])
        autoencoder = _train(crops, seed, progress)
        views = _views(autoencoder, crops)
        own = [int(c) for c in np.unique(categories) if (categories == c).sum() >= FEWEST_SHAPES]
        with progress.task("making shape codebooks", len(own) + 1) as advance:
            codebooks = {}
            for category in own:
                members = torch.from_numpy(np.flatnonzero(categories == category))
                codebooks[category] = _codebook(views[members], CODES, rng)
                advance(1)
            some = torch.from_numpy(rng.permutation(len(views))[: 4 * CODES_OF_ALL])
            any_class = _codebook(views[some], CODES_OF_ALL, rng)
            advance(1)
    return ShapePrior(autoencoder, codebooks, any_class)


def save_shape_prior(path: Path, prior: ShapePrior) -> None:
    """Write a prior as plain tensors, whole.

    Raises:
        OutputError: it cannot be written.
    """
    content = {
        "autoencoder": dict(prior.autoencoder.state_dict()),
        "any_class": vars(prior.any_class),
        "codebooks": {category: vars(codebook) for category, codebook in prior.codebooks.items()},
    }
    write_whole(path, lambda part: torch.save(content, part))


def load_shape_prior(path: Path) -> ShapePrior:
    """Read what `save_shape_prior` wrote.

    Raises:
        CheckpointError: missing, damaged, or something else.
    """
    content = load_plain(path)
    try:
        autoencoder = ShapeAutoencoder(PLANES)
        autoencoder.load_state_dict(content["autoencoder"])
        with torch.no_grad():
            latent = autoencoder.encode(torch.zeros(1, PLANES, CROP_PX, CROP_PX))
        if not all(torch.isfinite(weight).all() for weight in autoencoder.state_dict().values()):
            raise ValueError("a weight is not a number")
        codebooks = {_whole_number(c): _read_codebook(entry, latent) for c, entry in content["codebooks"].items()}
        return ShapePrior(autoencoder.eval(), codebooks, _read_codebook(content["any_class"], latent))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        problem = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: expected a shape prior, got a damaged or foreign file ({problem})") from None


def _whole_number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"category id {value!r}")
    return value


def _read_codebook(entry: Any, latent: Tensor) -> Codebook:
    codes, ordinary = entry["codes"], entry["ordinary"]
    if codes.dtype != torch.float32 or codes.ndim != 2 or len(codes) == 0 or codes.shape[1] != latent.shape[1]:
        raise ValueError(f"codes: {codes.dtype} {tuple(codes.shape)}, expected float32 (K, {latent.shape[1]})")
    if ordinary.dtype != torch.float32 or ordinary.ndim != 1 or len(ordinary) == 0:
        raise ValueError(f"ordinary: {ordinary.dtype} {tuple(ordinary.shape)}, expected float32 (M,)")
    if not (torch.isfinite(codes).all() and torch.isfinite(ordinary).all() and (ordinary.diff() >= 0).all()):
        raise ValueError("a codebook holds impossible numbers")
    return Codebook(codes, ordinary)


def _class_of_each(masks: Sequence[np.ndarray], category_ids: Sequence[int]) -> np.ndarray:
    if len(category_ids) != len(masks):
        raise DataError(f"shape prior: expected a class for each of {len(masks)} masks, got {len(category_ids)}")
    return np.asarray(category_ids, dtype=np.int64)


def _sample(categories: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose indices, in increasing order: the rarer the class, the larger its share that stays."""
    counts = np.unique(categories, return_counts=True)[1]
    most = MOST_OF_CLASS
    while most > FEWEST_SHAPES and np.minimum(counts, most).sum() > MOST_SHAPES:
        most = max(most // 2, FEWEST_SHAPES)
    kept = [rng.permutation(np.flatnonzero(categories == category))[:most] for category in np.unique(categories)]
    return np.sort(np.concatenate(kept))


def _crops(masks: Sequence[np.ndarray]) -> Tensor:
    """Return (N, 2, CROP_PX, CROP_PX) float32 in [0, 1]: each mask in its tight box, centred, and its hollows."""
    crops = np.zeros((len(masks), PLANES, CROP_PX, CROP_PX), dtype=np.float32)
    for crop, mask in zip(crops, masks, strict=True):
        x, y, w, h = tight_box(mask)
        shape = np.ascontiguousarray(mask[y : y + h, x : x + w]).astype(np.uint8)
        hull = np.zeros_like(shape)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.argwhere(shape)[:, ::-1].astype(np.int32)), 1)
        # even sizes leave equal margins, so that a mirrored mask has the mirrored crop
        width, height = (max(2, 2 * round(CROP_PX / 2 * side / max(w, h))) for side in (w, h))
        top, left = (CROP_PX - height) // 2, (CROP_PX - width) // 2
        method = cv2.INTER_AREA if max(w, h) > CROP_PX else cv2.INTER_LINEAR
        for plane, part in zip(crop, (shape, hull & ~shape), strict=True):
            resized = cv2.resize(part.astype(np.float32), (width, height), interpolation=method)
            plane[top : top + height, left : left + width] = resized
    return torch.from_numpy(crops)


def _train(crops: Tensor, seed: int, progress: Progress) -> ShapeAutoencoder:
    with torch.random.fork_rng(devices=[]), progress.task("learning whole shapes", STEPS) as advance:
        torch.manual_seed(seed)
        autoencoder = ShapeAutoencoder(PLANES)
        optimizer = torch.optim.Adam(autoencoder.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
        for step in range(STEPS):
            batch = crops[torch.randint(len(crops), (BATCH,))]
            batch = batch.flip(-1) if step % 2 else batch
            loss = functional.mse_loss(autoencoder(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(1)
    return autoencoder.eval()


def _views(autoencoder: ShapeAutoencoder, crops: Tensor) -> Tensor:
    """Return (N, 2, D) float32: the latent vectors of each crop and of its mirror image."""
    with torch.no_grad():
        parts = [
            torch.stack([autoencoder.encode(part), autoencoder.encode(part.flip(-1))], dim=1)
            for part in crops.split(SCORE_BATCH)
        ]
    return torch.cat(parts)


def _distances(views: Tensor, codes: Tensor) -> Tensor:
    """Return (N,) float32: the least |z - c|^2 / (|z|^2 + |c|^2) over both views z and all codes c.

    In [0, 1], because no latent vector has a negative entry; 1 minus Dice's coefficient if they held zeros and ones.
    """
    lengths = (views**2).sum(-1, keepdim=True) + (codes**2).sum(-1)  # (N, 2, K)
    relative = 1 - 2 * (views @ codes.T) / lengths.clamp_min(1e-12)
    return relative.clamp(0, 1).flatten(1).amin(1)


def _codebook(views: Tensor, most_codes: int, rng: np.random.Generator) -> Codebook:
    """Make a codebook of (N, 2, D) views, and measure each part of them against a codebook of the other parts."""
    fold = torch.from_numpy(rng.permutation(len(views)) % FOLDS)
    ordinary = [
        _distances(views[fold == k], _kmeans(views[fold != k, 0], most_codes, rng))
        for k in range(FOLDS)
    ]  # fmt: skip
    return Codebook(_kmeans(views[:, 0], most_codes, rng), torch.cat(ordinary).sort().values)


def _kmeans(points: Tensor, most_codes: int, rng: np.random.Generator) -> Tensor:
    """Return (K, D) centres after Lloyd 1982, started at random points; the points themselves if they are few."""
    if len(points) <= most_codes:
        return points.clone()
    centres = points[torch.from_numpy(rng.permutation(len(points))[:most_codes])]
    for _ in range(KMEANS_ROUNDS):
        nearest = torch.cdist(points, centres).argmin(1)  # (N,)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        counts = torch.bincount(nearest, minlength=most_codes)[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    return centres


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sum in one order on every machine; networks this small gain nothing from more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
