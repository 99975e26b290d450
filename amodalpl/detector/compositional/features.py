"""A box of a photo as a grid of unit feature vectors of a frozen backbone.

The box is scaled to a height of 10 cells and gets a margin of 2 cells around it: 14 cells in all, 224 pixels, as in the
authors' code. Width follows from the box's aspect; a box wider than `MOST_ASPECT` heights is scaled by its width
instead. The crop's centre is the box's, and its number of columns is even, so that the centre lies between cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ...errors import CheckpointError

STRIDE = 16
BOX_CELLS, MARGIN_CELLS = 10, 2
GRID_HEIGHT = BOX_CELLS + 2 * MARGIN_CELLS
MOST_ASPECT = 3.0
Rgb = tuple[float, float, float]
_IMAGENET: tuple[Rgb, Rgb] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass(frozen=True)
class Backbone:
    """A network up to stride 16, as MMDetection builds it.

    Attributes:
        config: of MMDetection.
        mean: of the pixels in RGB order.
        std: of the pixels in RGB order.
    """

    config: dict[str, Any]
    mean: Rgb = _IMAGENET[0]
    std: Rgb = _IMAGENET[1]


_THREE_STAGES: dict[str, Any] = {
    "depth": 50,
    "num_stages": 3,
    "strides": (1, 2, 2),
    "dilations": (1, 1, 1),
    "out_indices": (2,),
}
BACKBONES = {
    "resnext50": Backbone({"type": "mmdet.ResNeXt", "groups": 32, "base_width": 4, **_THREE_STAGES}),
    "resnet50": Backbone({"type": "mmdet.ResNet", **_THREE_STAGES}),
    "mobilenet_v2": Backbone({"type": "mmdet.MobileNetV2", "out_indices": (4,)}, (127.5,) * 3, (127.5,) * 3),
}


@dataclass(frozen=True)
class BoxCrop:
    """A box cut out at the scale of the grid.

    Attributes:
        pixels: (3, 16 h, 16 w) float32, as the photo has them (RGB, 0 to 255); beyond the photo, `outside` is true.
        outside: (h, w) bool, cells whose centre is beyond the photo.
        centre_xy: of the box, in pixels of the photo (pixel corners at whole numbers).
        scale: crop pixels per photo pixel.
    """

    pixels: np.ndarray
    outside: np.ndarray
    centre_xy: tuple[float, float]
    scale: float

    @property
    def size_hw(self) -> tuple[int, int]:
        """Cells of the grid."""
        return self.outside.shape[0], self.outside.shape[1]


def crop_box(image: np.ndarray, box_xywh: Sequence[float], fill: Rgb) -> BoxCrop:
    """Cut out a box with its margin.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_xywh: in pixels of the photo, larger than 0.
        fill: colour beyond the photo.
    """
    x, y, width, height = box_xywh
    scale = BOX_CELLS * STRIDE / max(height, width / MOST_ASPECT)
    columns = 2 * math.ceil(scale * width / STRIDE / 2) + 2 * MARGIN_CELLS
    size_hw = GRID_HEIGHT * STRIDE, columns * STRIDE
    centre = x + width / 2, y + height / 2
    reach = size_hw[1] / 2 / scale + 2, size_hw[0] / 2 / scale + 2  # of the photo; no more of it is worked on
    left, top = (max(0, math.floor(c - r)) for c, r in zip(centre, reach, strict=True))
    around = image[top : math.ceil(centre[1] + reach[1]), left : math.ceil(centre[0] + reach[0])]
    to_crop = np.array(
        [
            [scale, 0, size_hw[1] / 2 - scale * (centre[0] - left) + (scale - 1) / 2],
            [0, scale, size_hw[0] / 2 - scale * (centre[1] - top) + (scale - 1) / 2],
        ]
    )  # OpenCV has pixel centres at whole numbers
    if scale < 1:  # else thin lines would be skipped
        around = cv2.GaussianBlur(around, (0, 0), 0.4 / scale)
    wide_high = size_hw[1], size_hw[0]
    pixels = cv2.warpAffine(around, to_crop, wide_high, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    ys = (np.arange(GRID_HEIGHT) + 0.5 - GRID_HEIGHT / 2) * STRIDE / scale + centre[1]
    xs = (np.arange(columns) + 0.5 - columns / 2) * STRIDE / scale + centre[0]
    beyond_y, beyond_x = (ys < 0) | (ys > image.shape[0]), (xs < 0) | (xs > image.shape[1])
    outside = beyond_y[:, None] | beyond_x[None, :]
    return BoxCrop(pixels.transpose(2, 0, 1).astype(np.float32), outside, centre, scale)


def inside_box(size_hw: tuple[int, int]) -> np.ndarray:
    """Return (h, w) bool: cells of a crop's grid that are within its box, the margin left out."""
    mask = np.zeros(size_hw, dtype=bool)
    mask[MARGIN_CELLS : size_hw[0] - MARGIN_CELLS, MARGIN_CELLS : size_hw[1] - MARGIN_CELLS] = True
    return mask


def middle_of_box(size_hw: tuple[int, int]) -> np.ndarray:
    """Return (h, w) bool: the middle half of a crop's box, each way."""
    mask = np.zeros(size_hw, dtype=bool)
    top, left = (MARGIN_CELLS + (cells - 2 * MARGIN_CELLS) // 4 for cells in size_hw)
    mask[top : size_hw[0] - top, left : size_hw[1] - left] = True
    return mask


class FeatureExtractor(nn.Module):
    """A frozen backbone that answers with unit vectors.

    Args:
        name: of `BACKBONES`.
        network: pixels (B, 3, 16 h, 16 w), normalised, to a sequence whose last map is (B, C, h, w).
        first_centre_px: where in the picture its first cell looks. Convolutions of odd size that step by 2 look at
            pixel 0, not at the middle of the first 16; unless the picture is moved, objects seem to lie half a cell
            further down and to the right than they do.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, network: nn.Module, first_centre_px: int = 0) -> None:
        super().__init__()
        self.moved_px = STRIDE // 2 - first_centre_px
        self.name = name
        self.network = network.requires_grad_(False)
        self.network.eval()  # of MMDetection's networks this returns None
        self.register_buffer("mean", torch.tensor(BACKBONES[name].mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(BACKBONES[name].std).view(3, 1, 1))

    @property
    def fill(self) -> Rgb:
        """The colour that stands beyond the photo: 0 once it is normalised."""
        return BACKBONES[self.name].mean

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, h, w, C) unit vectors of (B, 3, 16 h, 16 w) pixels, 0 to 255."""
        moved = nn.functional.pad((pixels - self.mean) / self.std, (-self.moved_px, self.moved_px) * 2)
        features = self.network(moved)[-1]
        return nn.functional.normalize(features, dim=1).permute(0, 2, 3, 1)

    def of_crops(self, crops: Sequence[BoxCrop], batch_size: int) -> list[Tensor]:
        """Return the features (h, w, C) of each crop, in their order, on the extractor's device."""
        found: dict[int, Tensor] = {}
        for batch in alike([crop.size_hw for crop in crops], batch_size):
            pixels = torch.from_numpy(np.stack([crops[i].pixels for i in batch])).to(self.mean.device)
            found |= dict(zip(batch, self(pixels), strict=True))
        return [found[i] for i in range(len(crops))]


def alike(sizes: Sequence[tuple[int, int]], batch_size: int) -> Iterator[list[int]]:
    """Group indices of equal size into batches."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, size in enumerate(sizes):
        by_size.setdefault(size, []).append(i)
    for group in by_size.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def build_extractor(name: str, state: dict[str, Tensor] | None, source: str, seed: int) -> FeatureExtractor:
    """Build a backbone and load its weights.

    Args:
        name: of `BACKBONES`.
        state: of the backbone under MMDetection's names, with or without the prefix `backbone.`, or of a whole
            detector; None leaves it at random weights.
        source: of the weights, for messages.
        seed: of random weights.

    Raises:
        CheckpointError: a weight is missing or of another size.
        MissingPackageError: MMDetection is not installed.
    """
    from ..mmdetection import MODELS

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MODELS.build(BACKBONES[name].config)
    if state is not None:
        given = {n.removeprefix("backbone."): v for n, v in state.items()}
        wanted = {n: v for n, v in network.state_dict().items() if not n.endswith("num_batches_tracked")}
        wrong = [n for n, v in wanted.items() if n not in given or given[n].shape != v.shape]
        if wrong:
            raise CheckpointError(
                f"{source}: expected the {len(wanted)} weights of {name}, {len(wrong)} are missing or of another size "
                f"(first: {wrong[0]}); give the file of compositional.backbone={name}, or --init none"
            )
        network.load_state_dict({n: given[n] for n in wanted}, strict=False)
    return FeatureExtractor(name, network)
