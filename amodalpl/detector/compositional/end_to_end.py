"""The end-to-end stage: α and β of all classes tuned together, by class, likelihood and box (section 3.5).

L = CE(scores of the classes, y) + γ1 (-score of y) + γ2 (L_tight + 0.05 L_near), with the score of a class the mean
over cells of log(p α·x + (1-p) β·x) under its best pose, and L_tight, L_near those of BBTP on the logits
log p α·x - log (1-p) β·x. The likelihood keeps its gradient, which the authors' code takes from it. Backbone, concepts
and priors stay as they are, as in that code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..heads.box_losses import roughness, tightness_loss
from .mixtures import Examples, log_likelihood, on_grid
from .model import Template

NEIGHBOUR_WEIGHT = 0.05  # of L_near, as in BBTP
DECAY = 0.98  # of the rate, after each epoch; the paper's
_TINY = 1e-30
_SURELY_NOT = -10.0  # logit of cells beyond the photo


@dataclass(frozen=True)
class TuningExample:
    """An unoccluded object to tune on.

    Attributes:
        category_id: of its class.
        seen: (h, w, K) activations; 0 beyond the photo.
        inside: (h, w) bool, cells of its box.
        valid: (h, w) bool, cells within the photo.
    """

    category_id: int
    seen: Tensor
    inside: Tensor
    valid: Tensor


class TunedTemplates(nn.Module):
    """Templates whose α and β are parameters, as logits, so that they stay distributions.

    Args:
        templates: by category id.
    """

    def __init__(self, templates: Mapping[int, Template]) -> None:
        super().__init__()
        self._fixed = dict(templates)
        self.logits = nn.ParameterDict(
            {
                f"{part}_{category_id}": nn.Parameter(getattr(template, part).clamp_min(_TINY).log())
                for category_id, template in templates.items()
                for part in ("foreground", "context")
            }
        )

    @property
    def categories(self) -> list[int]:
        """Category ids, in order."""
        return sorted(self._fixed)

    def template(self, category_id: int) -> Template:
        """Return the template of a class as it is now."""
        fixed = self._fixed[category_id]
        foreground, context = (self.logits[f"{part}_{category_id}"].softmax(-1) for part in ("foreground", "context"))
        return Template(foreground, context, fixed.prior, fixed.surroundings)


def losses(templates: TunedTemplates, example: TuningExample) -> dict[str, Tensor]:
    """Return the class's cross entropy, minus the log-likelihood, and what the box says of the cells.

    Args:
        templates: of all classes.
        example: an object.
    """
    scores = {c: _likelihoods(templates.template(c), example).amax() for c in templates.categories}
    found = torch.stack([scores[c] for c in templates.categories])
    wanted = torch.tensor([templates.categories.index(example.category_id)], device=found.device)
    boxes = _on_grid(example.inside, templates.template(example.category_id))
    logits = object_logits(templates.template(example.category_id), example)
    return {
        "class": functional.cross_entropy(found[None], wanted),
        "likelihood": -scores[example.category_id],
        "box": tightness_loss(logits[None], boxes[None])[0] + NEIGHBOUR_WEIGHT * roughness(logits[None])[0],
    }


def object_logits(template: Template, example: TuningExample) -> Tensor:
    """Return log p α·x - log (1-p) β·x of each cell under the best pose, (H, W) of the template's grid."""
    pose = int(_likelihoods(template, example).argmax())
    seen, valid = _on_grid(example.seen, template), _on_grid(example.valid, template)
    prior = template.prior[pose]
    here = (prior * (seen * template.foreground[pose]).sum(-1)).clamp_min(_TINY).log()
    around = ((1 - prior) * (seen * template.context[pose]).sum(-1)).clamp_min(_TINY).log()
    return torch.where(valid, here - around, _SURELY_NOT)


def tune(
    templates: TunedTemplates,
    optimizer: torch.optim.Optimizer,
    examples: Iterable[TuningExample],
    likelihood_weight: float,
    box_weight: float,
) -> float:
    """Take a step for each object, and return the mean loss.

    Args:
        templates: of all classes.
        optimizer: of their logits.
        examples: of one epoch.
        likelihood_weight: γ1; 2 in the paper.
        box_weight: γ2; 1 in the paper.
    """
    seen: list[Tensor] = []  # on their device: a number is asked for once
    for example in examples:
        of = losses(templates, example)
        loss = of["class"] + likelihood_weight * of["likelihood"] + box_weight * of["box"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.detach())
    return float(torch.stack(seen).mean()) if seen else 0.0


def _likelihoods(template: Template, example: TuningExample) -> Tensor:
    """Return the score of each pose, (M,)."""
    on_it = [_on_grid(cells, template)[None] for cells in (example.seen, example.inside, example.valid)]
    return log_likelihood(Examples(*on_it), template)[0]


def _on_grid(cells: Tensor, template: Template) -> Tensor:
    return on_grid(cells, template.size_hw[1])
