"""BoxInst: masks from boxes, by the extent of each mask and by neighbours of one colour.

After Tian, Shen, Wang, Chen 2021 ("BoxInst: High-Performance Instance Segmentation with Box Annotations"), on the mask
heads of Tian, Shen, Chen 2020 ("Conditional Convolutions for Instance Segmentation").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from mmengine import MessageHub
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional

from ..data.paired_masks import VISIBLE, PairedMasks
from ..mmdetection import MODELS, DetDataPreprocessor, MaskFeatModule, aligned_bilinear, relative_coordinate_maps
from . import box_losses

Losses = dict[str, tuple[Tensor, Tensor]]
_AT_ONCE = 8  # masks brought into the frame of the photo together
_SIZE_OF_INTEREST = 8  # relative coordinates are counted in 8 strides of the object's level; CondInst's


class Probabilities(NamedTuple):
    """Of the masks of n objects, (n, h, w) each.

    Attributes:
        whole: of whole masks.
        visible: of visible ones, where the model has them.
        hidden: of whole masks in places where the object is known not to be seen, where the model tells them.
    """

    whole: Tensor
    visible: Tensor | None = None
    hidden: Tensor | None = None


@MODELS.register_module()
class BoxPreprocessor(DetDataPreprocessor):
    """MMDetection's preprocessor, which makes of the filled boxes what is learnt from boxes.

    Each photo gets `colour_edges`, (8, h, w) bool on cells of `stride` pixels. Its objects get `whole_boxes` and
    `visible_boxes`, (N, 4); `bboxes` are those that FCOS regresses, and there are no `masks` any more, so that the
    middle of an object is that of its box.

    Args:
        stride: pixels of a cell.
        distance: of neighbours, in cells.
        threshold: least similarity of colours.
        regress: the box that FCOS regresses.
        more: as for MMDetection's preprocessor.
    """

    def __init__(
        self,
        *,
        stride: int,
        distance: int,
        threshold: float,
        regress: Literal["whole", "visible"],
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.stride, self.distance, self.threshold, self.regress = stride, distance, threshold, regress

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise and pad photos; in training, add what is said above."""
        batch: Any = super().forward(data, training)
        if training:
            cells = functional.avg_pool2d((batch["inputs"] * self.std + self.mean).float(), self.stride)
            for lab, sample in zip(box_losses.to_lab(cells), batch["data_samples"], strict=True):
                self._add(sample, lab)
        return batch

    def _add(self, sample: Any, lab: Tensor) -> None:
        height, width = sample.img_shape
        valid = torch.zeros(lab.shape[1:], dtype=torch.bool, device=lab.device)
        valid[: height // self.stride, : width // self.stride] = True
        sample.colour_edges = box_losses.colour_edges(lab, valid, self.distance, self.threshold)
        for objects in (sample.gt_instances, sample.ignored_instances):
            masks = objects.pop("masks")
            objects.whole_boxes = objects.bboxes
            objects.visible_boxes = objects.bboxes
            if isinstance(masks, PairedMasks):
                visible = masks.companions[VISIBLE].get_bboxes("hbox").tensor
                objects.visible_boxes = visible.to(objects.bboxes)
            objects.bboxes = objects.visible_boxes if self.regress == "visible" else objects.whole_boxes


@MODELS.register_module()
class BoxInstHead(BaseModule):
    """Mask heads whose weights FCOS predicts for each object, learnt from boxes.

    MMDetection's own head of this kind (`CondInstMaskHead`) only works where its layers are as wide as its features.

    Args:
        features: config of MMDetection's `MaskFeatModule`.
        heads: inputs and outputs of the layers of each head, see `fcos.layer_sizes`.
        distance: of neighbours, in cells.
        warm_up_steps: over which the pairwise loss grows to its weight.
        fill_steps: over which the loss of masks that do not fill their boxes falls from weight 1 to 0; 0 has none.
        masks_per_photo: most masks of a photo that are learnt from in a step, divided among its objects.
        train_cfg: MMDetection's, not used.
        test_cfg: MMDetection's, with `mask_thr`.
        init_cfg: MMEngine's.
    """

    def __init__(
        self,
        features: dict[str, Any],
        heads: Sequence[Sequence[tuple[int, int]]],
        distance: int,
        warm_up_steps: int,
        fill_steps: int,
        masks_per_photo: int,
        train_cfg: Any = None,
        test_cfg: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.features = MaskFeatModule(**features)
        self.heads = heads
        self.distance = distance
        self.warm_up_steps, self.fill_steps = warm_up_steps, fill_steps
        self.masks_per_photo = masks_per_photo
        self.test_cfg = test_cfg

    def loss(self, x: Any, batch_data_samples: list[Any], positive_infos: list[Any], **_: Any) -> dict[str, Tensor]:
        """Return the losses on the objects at locations where FCOS learns, each a mean over all photos."""
        sums: dict[str, Tensor] = {}
        counts: dict[str, Tensor] = {}
        for features, sample, found in zip(self.features(x), batch_data_samples, positive_infos, strict=True):
            chosen = surest(found, self.masks_per_photo)
            logits = self.logits(features, chosen)
            for name, (value, count) in self.photo_losses(logits, sample, chosen.pos_assigned_gt_inds).items():
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + count
        warm, filled = _share_done(self.warm_up_steps), 1 - _share_done(self.fill_steps)
        weights = {"pairwise": warm, "fill": filled}
        return {
            f"loss_mask_{name}": value / counts[name].clamp_min(1) * weights.get(name.partition("_")[0], 1.0)
            for name, value in sums.items()
        }

    def photo_losses(self, logits: tuple[Tensor, ...], sample: Any, objects: Tensor) -> Losses:
        """Return the losses of one photo: by name, a sum, and the number of what was summed.

        Args:
            logits: of each head, (n, h, w).
            sample: of the photo.
            objects: (n,) which object each mask is of.
        """
        return self.mask_losses(logits[0], sample.gt_instances.whole_boxes[objects], sample.colour_edges)

    def mask_losses(self, logits: Tensor, boxes_xyxy: Tensor, colour_edges: Tensor) -> Losses:
        """Return BoxInst's two losses as `photo_losses` does: over masks, and over edges that begin in their boxes.

        With `fill_steps`, how far masks are from filling their boxes too, over masks.

        Args:
            logits: (n, h, w).
            boxes_xyxy: (n, 4) in pixels of the photo.
            colour_edges: (8, h, w) bool.
        """
        boxes = self.maps(boxes_xyxy, logits)
        edges = colour_edges & boxes[:, None]
        fill = {"fill": box_losses.summed(box_losses.fill_loss(logits, boxes))} if self.fill_steps else {}
        return {
            "projection": box_losses.summed(box_losses.projection_loss(logits, boxes)),
            "pairwise": (box_losses.pairwise_loss(logits, edges, self.distance), edges.sum()),
            **fill,
        }

    def maps(self, boxes_xyxy: Tensor, logits: Tensor) -> Tensor:
        """Fill boxes, (n, 4) in pixels of the photo, on the map of the logits: (n, h, w) bool."""
        return box_losses.box_maps(boxes_xyxy, (logits.shape[1], logits.shape[2]), self._stride)

    def logits(self, features: Tensor, found: Any) -> tuple[Tensor, ...]:
        """Return what each head says of each object.

        Args:
            features: (C, h/2, w/2) of the photo.
            found: `param_preds`, `points` and `strides` of n objects.

        Returns:
            (n, h, w) of each head; for no objects, such that all weights have gradients of 0.
        """
        inputs, weights = self.inputs(features, found), self.weights(found.param_preds)
        return tuple(self.finer(apply(layers, inputs)) for layers in weights)

    def inputs(self, features: Tensor, found: Any) -> Tensor:
        """Return the features beside the coordinates relative to each object, (n, 2 + C, h/2, w/2)."""
        height, width = features.shape[1:]
        stride = 2 * self._stride
        ys, xs = (torch.arange(size, device=features.device) * stride + stride / 2 for size in (height, width))
        cells = torch.stack([xs.repeat(height), ys.repeat_interleave(width)], dim=1)
        relative = relative_coordinate_maps(cells, found.points, found.strides, _SIZE_OF_INTEREST, (height, width))
        return torch.cat([relative, features.expand(len(found), -1, -1, -1)], dim=1)

    def weights(self, parameters: Tensor) -> list[list[tuple[Tensor, Tensor]]]:
        """Divide the predicted numbers, (n, K), into weights (n, outputs, inputs) and biases (n, outputs) of layers.

        Of each head, MMDetection's order: weights of all layers, then biases of all layers.
        """
        sizes = [size for head in self.heads for size in (*(i * o for i, o in head), *(o for _, o in head))]
        parts = iter(parameters.split(sizes, dim=1))
        divided = []
        for head in self.heads:
            weights = [next(parts).view(-1, outputs, inputs) for inputs, outputs in head]
            divided.append([(weight, next(parts)) for weight in weights])
        return divided

    def finer(self, maps: Tensor) -> Tensor:
        """Double the resolution of (n, h, w)."""
        if not len(maps):
            return maps.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        return aligned_bilinear(maps[:, None], 2)[:, 0]

    def predict(
        self, x: Any, batch_data_samples: list[Any], results_list: list[Any], rescale: bool = False
    ) -> list[Any]:
        """Add masks, (n, H, W) bool in the frame of the photo, to what FCOS found on each photo."""
        for features, sample, found in zip(self.features(x), batch_data_samples, results_list, strict=True):
            self.add_masks(found, self.logits(features, found), sample, rescale)
        return results_list

    def add_masks(self, found: Any, logits: tuple[Tensor, ...], sample: Any, rescale: bool) -> None:
        """Add the masks of the only head to the objects found on a photo."""
        found.masks = self.masks_in_photo(self.probabilities(logits).whole, sample, rescale)
        if rescale:
            found.bboxes = found.bboxes / found.bboxes.new_tensor(sample.scale_factor).repeat(2)

    def probabilities(self, logits: tuple[Tensor, ...]) -> Probabilities:
        """Return the probabilities of masks."""
        return Probabilities(logits[0].sigmoid())

    def masks_in_photo(self, probability: Tensor, sample: Any, rescale: bool) -> Tensor:
        """Return masks in the frame of the photo: (n, h, w) probabilities -> (n, H, W) bool.

        A few at a time: with numbers for all pixels of all objects, a CPU waits for memory as long as it computes.
        """
        parts = probability.split(_AT_ONCE)
        return torch.cat([self.in_photo(part, sample, rescale) > self.test_cfg["mask_thr"] for part in parts])

    def in_photo(self, probability: Tensor, sample: Any, rescale: bool) -> Tensor:
        """Return probabilities in the frame of the photo, as it was (`rescale`) or as the network saw it.

        Shapes: (n, h, w) -> (n, H, W).
        """
        height, width = sample.img_shape[:2]
        if not len(probability):
            size_hw = sample.ori_shape[:2] if rescale else (height, width)
            return probability.new_zeros((0, *size_hw))
        full = aligned_bilinear(probability[:, None], self._stride)[..., :height, :width]
        if rescale:
            full = functional.interpolate(full, tuple(sample.ori_shape[:2]), mode="bilinear", align_corners=False)
        return full[:, 0]

    @property
    def _stride(self) -> int:
        return self.features.mask_stride // 2


def apply(layers: Sequence[tuple[Tensor, Tensor]], inputs: Tensor) -> Tensor:
    """Run each object's own 1 x 1 convolutions on its inputs, with ReLU between them.

    Args:
        layers: weights (n, outputs, inputs) and biases (n, outputs); the last has one output.
        inputs: (n, inputs, h, w).

    Returns:
        (n, h, w).
    """
    count, _, height, width = inputs.shape
    values = inputs.flatten(2)
    for index, (weight, bias) in enumerate(layers):
        values = torch.baddbmm(bias[:, :, None], weight, values.relu() if index else values)
    return values.view(count, height, width).float()


def surest(found: Any, most: int) -> Any:
    """Choose, for each object, the locations with the highest score times centredness.

    Args:
        found: MMDetection's `positive_infos` of a photo.
        most: masks of the photo, divided among its objects; each keeps at least one.
    """
    objects = found.pos_assigned_gt_inds
    each = max(most // max(len(objects.unique()), 1), 1)
    sure = found.scores.sigmoid().amax(dim=1) * found.centernesses.sigmoid().flatten()
    kept = []
    for index in objects.unique():
        places = (objects == index).nonzero()[:, 0]
        kept.append(places[sure[places].argsort(descending=True, stable=True)[:each]])
    return found[torch.cat(kept)] if kept else found


def _share_done(steps: int) -> float:
    """Return how far a warm-up of some steps has come, 0 to 1; mmengine tells the step."""
    step = MessageHub.get_current_instance().get_info("iter", 0)
    return min(step / steps, 1.0) if steps else 1.0
