"""A hold-out of one drawn scene, and a network whose answers about it are known."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import nn

from amodalpl.calibration.holdout import Holdout
from amodalpl.completion.checkpoint import CompleterBundle
from amodalpl.completion.predictor import CropSpec
from amodalpl.data.read import read_annotations
from amodalpl.masks import rle
from amodalpl.models.completer import Completer
from amodalpl.models.completer_table import METHODS
from amodalpl.settings import LabelSettings

SIZE_HW = (60, 80)
SETTINGS = LabelSettings(gap_px=0)
VIEW = CropSpec(64)


def rectangle(rows, columns):
    mask = np.zeros(SIZE_HW, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


# the square goes on behind the bar; a third object stands alone
BAR, ALONE = rectangle((20, 40), (40, 44)), rectangle((50, 58), (60, 68))
SQUARE, SQUARE_WHOLE = rectangle((20, 40), (20, 40)), rectangle((20, 40), (20, 44))


class Sure(nn.Module):
    """Gives squares one probability in the whole patch, and bars nothing."""

    def __init__(self, probability):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.logit = float(np.log(probability / (1 - probability)))

    def forward(self, x):
        square = x[:, 0].mean(dim=(1, 2)) > 0.2
        logit = torch.where(square, self.logit, -40.0).view(-1, 1, 1).expand_as(x[:, 0])
        return torch.stack([-logit / 2, logit / 2], dim=1)


def trained(probability, method="pcnet-m"):
    return CompleterBundle(Completer(Sure(probability), METHODS[method]).eval(), VIEW)


def holdout(folder, parts=("choose", "report"), square_whole=SQUARE_WHOLE, bar=BAR, sure=False, square=SQUARE):
    images, annotations = [], []
    for number, part in enumerate(parts, 1):
        images.append({"id": number, "file_name": f"{number}.jpg", "height": 60, "width": 80, "part": part})
        if sure:  # the bar and the square
            images[-1]["sure_to_be_whole"] = [len(annotations) + 1, len(annotations) + 2]
        for modal, amodal in ((bar, bar), (square, square_whole), (ALONE, ALONE)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": rle.to_json(rle.encode(amodal)),
                    "visible_mask": rle.to_json(rle.encode(modal)),
                }
            )
    path = folder / "holdout.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]})
    )
    return Holdout(read_annotations(path), None)
