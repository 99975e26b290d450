"""From boxes and classes of unoccluded objects to a model, part by part; a run that was interrupted keeps its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from ...io.checkpoints import load_plain
from ...io.files import write_whole
from ...runtime.progress import Progress
from ...settings import CompositionalSettings
from .concepts import activations, fit_outliers, fit_vmf
from .end_to_end import DECAY, TunedTemplates, TuningExample, tune
from .features import BoxCrop, FeatureExtractor, crop_box, inside_box, middle_of_box
from .mixtures import Examples, fit_poses, on_grid
from .model import CompositionalModel, Template

CELLS_PER_OBJECT = 20  # that concepts are learnt from, as in the authors' code
CONTEXT_KERNELS, CONTEXT_KAPPA = 5, 30.0  # of each class, as in the authors' code
LEAST_OBJECT = 0.2  # share of a box that must be left as object at the start, else all of it is
OUTER_ROUNDS = 3  # poses are fitted, then what is object is told anew; 3 in the authors' code
OBJECTS_PER_POSE = 5
_GRID_QUANTILE = 0.95  # of the widths of a class's crops
_MOST_CELLS = 50_000  # that concepts are fitted to
_TOGETHER = 64  # crops held in memory
Concepts = dict[str, Tensor]


@dataclass(frozen=True)
class BoxObject:
    """An object to learn from, whole in its box."""

    image_id: int
    category_id: int
    box_xywh: tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxTrainer:
    """What a training is made of.

    Attributes:
        objects: to learn from; those of a photo should follow each other.
        read_photo: id of a photo to (H, W, 3) uint8 RGB.
        extractor: of features.
        settings: of the section `compositional`.
        seed: of every random choice.
        folder: where parts are kept.
        progress: shown while it works.
    """

    objects: Sequence[BoxObject]
    read_photo: Callable[[int], np.ndarray]
    extractor: FeatureExtractor
    settings: CompositionalSettings
    seed: int
    folder: Path
    progress: Progress

    def fit(self) -> CompositionalModel:
        """Learn concepts and outliers, then the template of each class.

        Raises:
            DataError: no objects, or a photo that cannot be read.
        """
        if not self.objects:
            raise DataError("expected boxes to learn from, got none")
        concepts = self._part("concepts.pth", self._fit_concepts)
        device = self.extractor.mean.device
        templates = {}
        categories = sorted({o.category_id for o in self.objects})
        with self.progress.task("classes", len(categories)) as advance:
            for category_id in categories:
                stored = self._part(f"class_{category_id}.pth", partial(self._fit_class, category_id, concepts))
                templates[category_id] = Template(**{n: v.to(device) for n, v in stored.items()})
                advance(1)
        if self.settings.epochs:
            templates = self._tuned(templates, concepts)
        wanted = self.settings
        return CompositionalModel(
            concepts["concepts"].to(device),
            concepts["outliers"].to(device),
            templates,
            kappa=wanted.kappa,
            context_share=wanted.context_share,
            hidden_prior=wanted.hidden_prior,
        )

    def _part(self, name: str, make: Callable[[], Concepts]) -> Concepts:
        path = self.folder / name
        if not path.exists():
            made = {n: v.cpu().contiguous() for n, v in make().items()}
            write_whole(path, lambda part: torch.save(made, part))
        return load_plain(path)

    def _fit_concepts(self) -> Concepts:
        """Sample cells of boxes, of their margins, and of the photos at large, and cluster each."""
        rng = np.random.default_rng(self.seed)
        of_objects: list[Tensor] = []
        anywhere: list[Tensor] = []
        margins: dict[int, list[Tensor]] = {}
        middles: dict[int, list[Tensor]] = {}
        with self.progress.task("features for concepts", len(self.objects)) as advance:
            for o, crop, features in self._features(self.objects):
                inside = inside_box(crop.size_hw) & ~crop.outside
                of_objects.append(_some(features, inside, rng))
                around = ~inside_box(crop.size_hw) & ~crop.outside
                margins.setdefault(o.category_id, []).append(_some(features, around, rng))
                middles.setdefault(o.category_id, []).append(_some(features, middle_of_box(crop.size_hw), rng))
                advance(1)
        with self.progress.task("features of the photos at large", len(self.objects)) as advance:
            for _, crop, features in self._features(list(self._moved(rng))):
                anywhere.append(_some(features, ~crop.outside, rng))
                advance(1)
        cells = torch.cat(of_objects)
        if len(cells) > _MOST_CELLS:
            cells = cells[torch.from_numpy(np.sort(rng.permutation(len(cells))[:_MOST_CELLS]))]
        count = max(1, min(self.settings.concepts, len(cells) // 4))  # a concept of one cell is that cell
        kappa = self.settings.kappa
        concepts = fit_vmf(cells, count, kappa, seed=self.seed, rounds=self.settings.concept_rounds)
        seen = activations(torch.cat(anywhere), concepts, kappa)
        found = {"concepts": concepts, "outliers": fit_outliers(seen, self.settings.outliers, seed=self.seed)}
        for category_id, parts in sorted(margins.items()):
            margin = torch.cat(parts)
            if len(margin):
                kernels = fit_vmf(margin, min(CONTEXT_KERNELS, len(margin)), CONTEXT_KAPPA, seed=self.seed)
                found[f"context_{category_id}"] = kernels
                alike = ((cells @ kernels.T).amax(dim=1) for cells in (margin, torch.cat(middles[category_id])))
                found[f"context_from_{category_id}"] = best_threshold(*alike)
        return found

    def _fit_class(self, category_id: int, concepts: Concepts) -> Concepts:
        """Learn a class: what is object by the context kernels first, then by the model itself (eq. 9)."""
        mine = [o for o in self.objects if o.category_id == category_id]
        device = self.extractor.mean.device
        kernels, known_from = (concepts.get(f"{n}_{category_id}") for n in ("context", "context_from"))
        parts = []
        for _, crop, features in self._features(mine):
            inside = torch.from_numpy(inside_box(crop.size_hw)).to(device)
            valid = torch.from_numpy(~crop.outside).to(device)
            here = inside & valid
            if kernels is not None and known_from is not None:
                unlike = (features @ kernels.to(device).T).amax(dim=-1) < known_from.to(device)
                here = here & unlike if (here & unlike).sum() >= LEAST_OBJECT * here.sum() else here
            seen = activations(features, concepts["concepts"].to(device), self.settings.kappa)
            parts.append((seen * valid[..., None], here, inside, valid))
        columns = int(np.quantile([len(valid[0]) for *_, valid in parts], _GRID_QUANTILE, method="higher"))
        seen, here, inside, valid = (torch.stack([on_grid(p[i], columns) for p in parts]) for i in range(4))
        examples = Examples(seen, here, valid)
        poses = max(1, min(self.settings.poses, len(mine) // OBJECTS_PER_POSE))
        template, pose = fit_poses(examples, poses, seed=self.seed)
        for _ in range(OUTER_ROUNDS - 1):
            examples = replace(examples, foreground=inside & valid & more_likely_object(seen, template, pose))
            template, pose = fit_poses(examples, poses, seed=self.seed, start=pose)
        return dict(vars(template))

    def _tuned(self, templates: dict[int, Template], concepts: Concepts) -> dict[int, Template]:
        """Tune all templates together, see `end_to_end`; an epoch that is stored is not done again."""
        tuned = TunedTemplates(templates)
        optimizer = torch.optim.Adagrad(tuned.parameters(), lr=self.settings.learning_rate)
        done = 0
        while (self.folder / f"tuned_{done}.pth").exists():
            done += 1
        if done:
            _restore(load_plain(self.folder / f"tuned_{done - 1}.pth"), tuned, optimizer)
        with self.progress.task("tuning end to end", self.settings.epochs, done=done) as advance:
            for epoch in range(done, self.settings.epochs):
                for group in optimizer.param_groups:
                    group["lr"] = self.settings.learning_rate * DECAY**epoch
                gammas = self.settings.likelihood_weight, self.settings.box_weight
                tune(tuned, optimizer, self._examples(concepts, epoch), *gammas)
                write_whole(self.folder / f"tuned_{epoch}.pth", partial(torch.save, _to_store(tuned, optimizer)))
                advance(1)
        with torch.no_grad():
            return {c: tuned.template(c) for c in tuned.categories}

    def _examples(self, concepts: Concepts, epoch: int) -> Iterator[TuningExample]:
        """Yield the objects in an order of the epoch's own, those of a photo together."""
        rng = np.random.default_rng((self.seed, 1, epoch))
        of_photo: dict[int, list[BoxObject]] = {}
        for o in self.objects:
            of_photo.setdefault(o.image_id, []).append(o)
        photos = list(of_photo)
        mixed = [o for k in rng.permutation(len(photos)) for o in of_photo[photos[k]]]
        device = self.extractor.mean.device
        for o, crop, features in self._features(mixed):
            valid = torch.from_numpy(~crop.outside).to(device)
            seen = activations(features, concepts["concepts"].to(device), self.settings.kappa) * valid[..., None]
            inside = torch.from_numpy(inside_box(crop.size_hw)).to(device)
            yield TuningExample(o.category_id, seen, inside, valid)

    def _moved(self, rng: np.random.Generator) -> Iterator[BoxObject]:
        """Move each box to anywhere in its photo."""
        size_hw: dict[int, tuple[int, int]] = {}
        for o in self.objects:
            if o.image_id not in size_hw:
                size_hw = {o.image_id: self.read_photo(o.image_id).shape[:2]}
            height, width = size_hw[o.image_id]
            w, h = o.box_xywh[2:]
            x, y = rng.uniform(0, max(1e-6, width - w)), rng.uniform(0, max(1e-6, height - h))
            yield replace(o, box_xywh=(x, y, w, h))

    def _features(self, objects: Sequence[BoxObject]) -> Iterator[tuple[BoxObject, BoxCrop, Tensor]]:
        """Yield features (h, w, C) of objects, in their order; neighbours of one photo read it once."""
        photo: tuple[int, np.ndarray] | None = None
        for start in range(0, len(objects), _TOGETHER):
            some = objects[start : start + _TOGETHER]
            crops = []
            for o in some:
                if photo is None or photo[0] != o.image_id:
                    photo = o.image_id, self.read_photo(o.image_id)
                crops.append(crop_box(photo[1], o.box_xywh, self.extractor.fill))
            yield from zip(some, crops, self.extractor.of_crops(crops, self.settings.batch_size), strict=True)


def _to_store(tuned: TunedTemplates, optimizer: torch.optim.Optimizer) -> Concepts:
    """Return the logits, and Adagrad's sums of squares, by name."""
    named = dict(tuned.logits.items())
    sums = {f"sum {name}": optimizer.state[parameter]["sum"] for name, parameter in named.items()}
    return {name: value.detach().cpu() for name, value in {**named, **sums}.items()}


def _restore(stored: Concepts, tuned: TunedTemplates, optimizer: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        for name, parameter in tuned.logits.items():
            parameter.copy_(stored[name])
            optimizer.state[parameter]["sum"].copy_(stored[f"sum {name}"])


def more_likely_object(seen: Tensor, template: Template, pose: Tensor) -> Tensor:
    """Return (N, H, W) bool: p α·x > (1-p) β·x of each object's pose (eq. 9), where nothing is hidden.

    Args:
        seen: (N, H, W, K) activations.
        template: of the class.
        pose: (N,) int64.
    """
    pose = pose.to(seen.device)
    prior = template.prior[pose]
    here = prior * (seen * template.foreground[pose]).sum(dim=-1)
    return here > (1 - prior) * (seen * template.context[pose]).sum(dim=-1)


def best_threshold(above: Tensor, below: Tensor) -> Tensor:
    """Return the value that tells two samples apart best: fewest of both, as shares, on the wrong side of it.

    Args:
        above: (N,) values that should reach it.
        below: (M,) values that should not.
    """
    values = torch.cat([above, below]).sort().values
    missed = torch.searchsorted(above.sort().values, values) / len(above)  # share below each value
    wrong = 1 - torch.searchsorted(below.sort().values, values) / max(1, len(below))
    return values[(missed + wrong).argmin()]


def _some(features: Tensor, wanted: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Return up to `CELLS_PER_OBJECT` of the wanted cells, (n, C)."""
    ys, xs = np.nonzero(wanted)
    picked = np.sort(rng.permutation(len(ys))[:CELLS_PER_OBJECT])
    return features[torch.from_numpy(ys[picked]), torch.from_numpy(xs[picked])]
