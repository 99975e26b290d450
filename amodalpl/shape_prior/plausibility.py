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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, DataError
from ..io.checkpoints import load_plain
from ..io.files import write_whole
from ..runtime.progress import SILENT, Progress
from .autoencoder import CROP_PX, PLANES, ShapeAutoencoder, crop_shapes, train_autoencoder
from .class_codes import ClassCodes, k_means

FEWEST_SHAPES = 20  # with fewer, a class has no ranks finer than 5 %
MOST_SHAPES = 10_000  # of all classes together; bounds time and memory for any data set
MOST_OF_CLASS = 512
CODES = 128  # per class
CODES_OF_ALL = 512
STEPS = 300  # the reconstruction loss hardly falls after these
FOLDS = 5  # parts of a class that are measured against the codes of the others
SCORE_BATCH = 512


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """A plausibility score for masks.

    Attributes:
        autoencoder: in eval mode, on the CPU.
        class_ids: classes with at least `FEWEST_SHAPES` whole shapes.
        codes: of these classes, in their order, and of all shapes together.
        ordinary: for each of these classes, then for all shapes together, (M,) float32, increasing: distances of whole
            shapes to codes made without them, in [0, 1].
    """

    autoencoder: ShapeAutoencoder
    class_ids: Sequence[int]
    codes: ClassCodes
    ordinary: Sequence[Tensor]

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
            for category in np.unique(wanted[filled]).tolist():
                members = np.flatnonzero(filled & (wanted == category))
                label = self.class_ids.index(category) if category in self.class_ids else -1
                codes, ordinary = self.codes.of(label), self.ordinary[label]
                for start in range(0, len(members), SCORE_BATCH):
                    batch = members[start : start + SCORE_BATCH]
                    views = _views(self.autoencoder, crop_shapes([masks[i] for i in batch]))
                    scores[batch] = share_as_far(least_distance(views, codes), ordinary).numpy()
        return scores


def least_distance(views: Tensor, codes: Tensor) -> Tensor:
    """Return how far each shape is from the nearest code: the least |z - c|^2 / (|z|^2 + |c|^2).

    1 minus Dice's coefficient, if the vectors held zeros and ones.

    Args:
        views: (N, V, D) float32, nowhere negative: latent vectors z of V views of each shape; the nearest view counts.
        codes: (K, D) float32, nowhere negative: codes c.

    Returns:
        (N,) float32 in [0, 1].

    >>> mirrored = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> round(least_distance(mirrored, torch.tensor([[0.0, 2.0]])).item(), 6)  # 1 / (1 + 4)
    0.2
    """
    lengths = (views**2).sum(-1, keepdim=True) + (codes**2).sum(-1)  # (N, V, K)
    relative = 1 - 2 * (views @ codes.T) / lengths.clamp_min(1e-12)
    return relative.clamp(0, 1).flatten(1).amin(1)


def share_as_far(distances: Tensor, ordinary: Tensor) -> Tensor:
    """Return the share of whole shapes that are at least this far away, counting the judged one in.

    Args:
        distances: (N,) float32.
        ordinary: (M,) float32, increasing, distances of whole shapes.

    Returns:
        (N,) float64 in [1 / (M + 1), 1].

    >>> share_as_far(torch.tensor([0.0, 0.2, 0.5]), torch.tensor([0.1, 0.2, 0.2, 0.4])).tolist()
    [1.0, 0.8, 0.2]
    """
    nearer = torch.searchsorted(ordinary, distances.contiguous())
    return (1 + len(ordinary) - nearer).double() / (1 + len(ordinary))


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
    categories = _check(masks, category_ids)
    rng = np.random.default_rng(seed)
    chosen = _sample(categories, rng)
    categories = categories[chosen]
    with _one_thread():
        crops = crop_shapes([masks[i] for i in chosen])
        autoencoder = _train(crops, seed, progress)
        views = _views(autoencoder, crops)
        own = [int(c) for c in np.unique(categories) if (categories == c).sum() >= FEWEST_SHAPES]
        known = []
        with progress.task("making shape codebooks", len(own) + 1) as advance:
            for category in own:
                members = torch.from_numpy(np.flatnonzero(categories == category))
                known.append(_codes_and_distances(views[members], CODES, rng))
                advance(1)
            some = torch.from_numpy(rng.permutation(len(views))[: 4 * CODES_OF_ALL])
            known.append(_codes_and_distances(views[some], CODES_OF_ALL, rng))
            advance(1)
    return _put_together(autoencoder, own, known)


def save_shape_prior(path: Path, prior: ShapePrior) -> None:
    """Write a prior as plain tensors, whole.

    Raises:
        OutputError: it cannot be written.
    """
    entries = [
        {"codes": prior.codes.of(label).clone(), "ordinary": prior.ordinary[label]}
        for label in (*range(len(prior.class_ids)), -1)
    ]
    content = {
        "autoencoder": dict(prior.autoencoder.state_dict()),
        "any_class": entries[-1],
        "codebooks": dict(zip(prior.class_ids, entries[:-1], strict=True)),
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
        if not all(torch.isfinite(weight).all() for weight in autoencoder.state_dict().values()):
            raise ValueError("a weight is not a number")
        with torch.no_grad():
            length = autoencoder.encode(torch.zeros(1, PLANES, CROP_PX, CROP_PX)).shape[1]
        of_all = _read_entry(content["any_class"], length)
        entries = {_whole_number(c): _read_entry(entry, length) for c, entry in content["codebooks"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        problem = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: expected a shape prior, got a damaged or foreign file ({problem})") from None
    return _put_together(autoencoder.eval(), list(entries), [*entries.values(), of_all])


def _put_together(
    autoencoder: ShapeAutoencoder, class_ids: Sequence[int], known: Sequence[tuple[Tensor, Tensor]]
) -> ShapePrior:
    """Make a prior of the codes and ordinary distances of each class, then of all shapes."""
    *of_classes, (of_all, _) = known
    most = max((len(codes) for codes, _ in of_classes), default=0)
    codes = ClassCodes(len(class_ids), most, of_all.shape[1], len(of_all))
    for label, (own, _) in enumerate(of_classes):
        codes.put(label, own)
    codes.any_class.copy_(of_all)
    return ShapePrior(autoencoder, class_ids, codes, [ordinary for _, ordinary in known])


def _whole_number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"category id {value!r}")
    return value


def _read_entry(entry: Any, length: int) -> tuple[Tensor, Tensor]:
    codes, ordinary = entry["codes"], entry["ordinary"]
    if codes.dtype != torch.float32 or codes.ndim != 2 or len(codes) == 0 or codes.shape[1] != length:
        raise ValueError(f"codes: {codes.dtype} {tuple(codes.shape)}, expected float32 (K, {length})")
    if ordinary.dtype != torch.float32 or ordinary.ndim != 1 or len(ordinary) == 0:
        raise ValueError(f"ordinary: {ordinary.dtype} {tuple(ordinary.shape)}, expected float32 (M,)")
    if not (torch.isfinite(codes).all() and torch.isfinite(ordinary).all() and (ordinary.diff() >= 0).all()):
        raise ValueError("a codebook holds impossible numbers")
    return codes, ordinary


def _check(masks: Sequence[np.ndarray], category_ids: Sequence[int]) -> np.ndarray:
    if len(masks) < FEWEST_SHAPES:
        raise DataError(
            f"shape prior: expected at least {FEWEST_SHAPES} whole shapes to tell what is ordinary, got {len(masks)}"
        )
    categories = _class_of_each(masks, category_ids)
    empty = next((i for i, mask in enumerate(masks) if not mask.any()), None)
    if empty is not None:
        raise DataError(f"shape prior: masks[{empty}]: expected at least one pixel, got none")
    return categories


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


def _train(crops: Tensor, seed: int, progress: Progress) -> ShapeAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        autoencoder = ShapeAutoencoder(PLANES)
        train_autoencoder(autoencoder, crops, STEPS, lambda b, step: b.flip(-1) if step % 2 else b, progress)
    return autoencoder


def _views(autoencoder: ShapeAutoencoder, crops: Tensor) -> Tensor:
    """Return (N, 2, D) float32: the latent vectors of each crop and of its mirror image."""
    with torch.no_grad():
        parts = [
            torch.stack([autoencoder.encode(part), autoencoder.encode(part.flip(-1))], dim=1)
            for part in crops.split(SCORE_BATCH)
        ]
    return torch.cat(parts)


def _codes_and_distances(views: Tensor, most_codes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Make codes of (N, 2, D) views, and measure each part of them against codes of the other parts, increasing."""
    fold = torch.from_numpy(rng.permutation(len(views)) % FOLDS)
    distances = [
        least_distance(views[fold == k], k_means(views[fold != k, 0], most_codes, rng))
        for k in range(FOLDS)
    ]  # fmt: skip
    return k_means(views[:, 0], most_codes, rng), torch.cat(distances).sort().values


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sum in one order on every machine; networks this small gain nothing from more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
