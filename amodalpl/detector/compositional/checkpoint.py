"""A trained model on disk: a card in JSON, the model, and the backbone it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import CheckpointError
from ...io.checkpoints import load_plain
from ...io.files import read_json, write_json, write_whole
from .features import BACKBONES, FeatureExtractor, build_extractor
from .model import CompositionalModel, Template

CARD, WEIGHTS, BACKBONE = "compositional.json", "weights.pth", "backbone.pth"
FORMAT = 1


@dataclass(frozen=True)
class BoxSegmenter:
    """What segments objects in boxes.

    Attributes:
        model: with a template of each class.
        extractor: of its features.
        category_ids: of its classes, by name.
    """

    model: CompositionalModel
    extractor: FeatureExtractor
    category_ids: dict[str, int]


def write_segmenter(folder: Path, segmenter: BoxSegmenter) -> None:
    """Write the three files, the card last."""
    model, extractor = segmenter.model, segmenter.extractor
    state = {n: v.cpu() for n, v in model.state_dict().items()}
    network = {n: v.cpu() for n, v in extractor.network.state_dict().items()}
    write_whole(folder / WEIGHTS, lambda part: torch.save(state, part))
    write_whole(folder / BACKBONE, lambda part: torch.save(network, part))
    card = {
        "format": FORMAT,
        "backbone": extractor.name,
        "kappa": model.kappa,
        "context_share": model.context_share,
        "hidden_prior": model.hidden_prior,
        "categories": segmenter.category_ids,
    }
    write_json(folder / CARD, card)


def read_segmenter(folder: Path, device: torch.device) -> BoxSegmenter:
    """Read a trained model.

    Raises:
        DataError: no card.
        CheckpointError: a file is missing, damaged, or of another version or model.
    """
    card = read_json(folder / CARD, "the card of a finished `amodalpl train-compositional`")
    if not isinstance(card, dict) or card.get("format") != FORMAT or card.get("backbone") not in BACKBONES:
        raise CheckpointError(
            f"{folder / CARD}: expected the card of a compositional model, format {FORMAT}; "
            "train again with `amodalpl train-compositional`"
        )
    try:
        categories = {str(name): int(number) for name, number in card["categories"].items()}
        model = _model(load_plain(folder / WEIGHTS), card, categories)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS}: expected the model that {CARD} describes ({type(error).__name__}); train again"
        ) from None
    source = str(folder / BACKBONE)
    extractor = build_extractor(card["backbone"], load_plain(folder / BACKBONE), source, seed=0)
    return BoxSegmenter(model.to(device), extractor.to(device), categories)


def _model(state: dict[str, torch.Tensor], card: dict[str, Any], categories: dict[str, int]) -> CompositionalModel:
    templates = {c: Template(*(state[f"{n}_{c}"] for n in Template.__dataclass_fields__)) for c in categories.values()}
    numbers = {name: float(card[name]) for name in ("kappa", "context_share", "hidden_prior")}
    return CompositionalModel(state["concepts"], state["outliers"], templates, **numbers)
