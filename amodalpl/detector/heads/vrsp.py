"""VRSP-Net: each mask refined by the other, and the whole one by shapes of its class.

After Xiao, Xu, Zhong, Luo, Li, Gao 2021 ("Amodal Segmentation Based on Visible Region Segmentation and Shape Prior").
Where their code does otherwise than their paper, and what we take, is in `docs/methods.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...shape_prior.codebook import Codebook
from ..mmdetection import MODELS, multiclass_nms
from .mask_losses import MaskTruth, mask_iou, mask_loss, matching_loss, of_class, weighted_class_loss
from .orcnn import TwoMaskHead, TwoMaskRoIHead

Rule = Literal["code", "product", "off"]
_AT_ONCE = 128  # candidates whose masks are made together when rescoring


@dataclass(frozen=True)
class Pass:
    """What a mask head says in one pass.

    Attributes:
        logits: (N, 28, 28), of the regions' classes.
        features: maps of its last convolution, (N, channels, 14, 14), and of its upsampling, (N, channels, 28, 28).
    """

    logits: Tensor
    features: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Passes:
    """What VRSP says of N regions.

    Attributes:
        coarse_amodal: f_a(F).
        coarse_visible: f_v(F).
        visible: f_v(F * coarse amodal).
        amodal: f_a(F * visible, shapes).
        class_logits: (N, C), reclassification of F * visible.
        shapes: (N, k, 28, 28), the codebook's.
    """

    coarse_amodal: Pass
    coarse_visible: Pass
    visible: Pass
    amodal: Pass
    class_logits: Tensor
    shapes: Tensor


@MODELS.register_module()
class VrspMaskHead(TwoMaskHead):
    """The mask heads of VRSP-Net with their codebook; both heads have the same weights in the coarse and refined pass.

    Args:
        amodal: config of the head for whole masks.
        visible: config of the head for visible parts.
        codes: of each class in the codebook, at most.
        neighbours: k, shapes shown to the amodal head; 0 shows none.
        hidden_channels: of the reclassification's two layers.
        visible_attention: multiply the features of the amodal refinement by the visible mask.
        query: what of the coarse mask looks for shapes: its probabilities, its 0-1 mask, or (in their code) its logits.
        class_attention: what of the visible mask multiplies the reclassification's features: probabilities, or (in
            their code) logits.
        class_weight: of the reclassification loss, lambda_rc.
        true_class_weight: of the same on features of the true visible part, relative to `class_weight`.
        matching: features of the coarse pass shall be like those of the refined one ("predicted", as in the paper), or
            like those of a pass whose attention is the true mask ("truth", as in their code).
        matching_weights: of the last convolution and the upsampling, lambda_4 and lambda_5; 0 for none.
        truth_pass_weight: of the mask losses of a pass whose attention is the true mask; only their code has it.
        warm_up: weigh the refined losses of a region by the IoU of the mask that was its attention.
        trust: fields of `Trust`.
        init_cfg: MMEngine's.
    """

    def __init__(
        self,
        amodal: Mapping[str, Any],
        visible: Mapping[str, Any],
        codes: int,
        neighbours: int = 16,
        hidden_channels: int = 1024,
        visible_attention: bool = True,
        query: Literal["probability", "mask", "logits"] = "probability",
        class_attention: Literal["probability", "logits"] = "probability",
        class_weight: float = 0.25,
        true_class_weight: float = 0.1,
        matching: Literal["predicted", "truth"] = "predicted",
        matching_weights: tuple[float, float] = (0.01, 0.05),
        truth_pass_weight: float = 0.0,
        warm_up: bool = True,
        trust: Mapping[str, float] | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(amodal, visible, trust=trust, init_cfg=init_cfg)
        channels, classes = amodal["in_channels"], amodal["num_classes"]
        self.neighbours = neighbours
        self.visible_attention = visible_attention
        self.query = query
        self.class_attention = class_attention
        self.class_weight, self.true_class_weight = class_weight, true_class_weight
        self.matching, self.matching_weights = matching, tuple(matching_weights)
        self.truth_pass_weight = truth_pass_weight
        self.warm_up = warm_up
        self.codebook = Codebook(classes, codes)
        self.fuse = nn.Conv2d(channels + neighbours, channels, 3, padding=1) if neighbours else None
        self.classify = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * 14 * 14, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, classes),
        )

    def train(self, mode: bool = True) -> VrspMaskHead:
        """Set the mode of everything but the codebook, which is never learnt."""
        super().train(mode)
        self.codebook.eval()
        return self

    def passes(self, features: Tensor, labels: Tensor) -> Passes:
        """Run the coarse pass, refine the visible mask by the amodal one, and that by the visible one and by shapes.

        Args:
            features: (N, channels, 14, 14), F.
            labels: (N,) int64: the true classes in training, the predicted ones in use.
        """
        coarse_amodal = run_head(self.amodal, features, labels)
        coarse_visible = run_head(self.visible, features, labels)
        visible = run_head(self.visible, features * attention(coarse_amodal.logits), labels)
        pooled = pool(visible.logits)
        seen = torch.sigmoid(pooled) if self.class_attention == "probability" else pooled
        class_logits = self.classify(features * seen)
        shapes = self.shapes(coarse_amodal.logits, labels)
        return Passes(
            coarse_amodal,
            coarse_visible,
            visible,
            self._amodal_pass(features, attention(visible.logits), shapes, labels),
            class_logits,
            shapes,
        )

    def shapes(self, coarse: Tensor, labels: Tensor) -> Tensor:
        """Return the k shapes of the codebook that are nearest to coarse masks, without gradients.

        Shapes: (N, 28, 28) logits, (N,) -> (N, k, 28, 28) in [0, 1].
        """
        of = {
            "probability": torch.sigmoid,
            "mask": lambda logits: (logits > 0).float(),
            "logits": lambda logits: logits,
        }
        return self.codebook.nearest(of[self.query](coarse.detach().float()), labels, self.neighbours)

    def _amodal_pass(self, features: Tensor, seen: Tensor, shapes: Tensor, labels: Tensor) -> Pass:
        attended = features * seen if self.visible_attention else features
        if self.fuse is not None:
            prior = functional.avg_pool2d(shapes, 2).to(features.dtype)  # (N, k, 14, 14)
            attended = self.fuse(torch.cat([attended, prior], dim=1))
        return run_head(self.amodal, attended, labels)

    def losses(self, features: Tensor, truth: MaskTruth) -> dict[str, Tensor]:
        """Return the paper's equation 6 without the box head's part: L_ca + L_cv + L_ra + L_rv + L_rc + L_afm + L_vfm.

        Args:
            features: (N, channels, 14, 14).
            truth: of the regions.
        """
        said = self.passes(features, truth.labels)
        amodal_trust, visible_trust = self.weights(said, truth)
        losses = {
            "loss_mask_coarse_amodal": mask_loss(said.coarse_amodal.logits, truth.amodal, truth),
            "loss_mask_coarse_visible": mask_loss(said.coarse_visible.logits, truth.visible, truth),
            "loss_mask_amodal": mask_loss(said.amodal.logits, truth.amodal, truth, amodal_trust),
            "loss_mask_visible": mask_loss(said.visible.logits, truth.visible, truth, visible_trust),
            "loss_reclassify": self.class_weight * self._class_loss(features, said, truth),
        }
        wanted = {"amodal": said.amodal, "visible": said.visible}
        if self.matching == "truth" or self.truth_pass_weight:
            told = self._truth_passes(features, said, truth)
            if self.matching == "truth":
                wanted = told
            if self.truth_pass_weight:
                targets = {"amodal": truth.amodal, "visible": truth.visible}
                for name, spoken in told.items():
                    loss = mask_loss(spoken.logits, targets[name], truth)
                    losses[f"loss_mask_{name}_by_truth"] = self.truth_pass_weight * loss
        if any(self.matching_weights):
            for name, coarse in (("amodal", said.coarse_amodal), ("visible", said.coarse_visible)):
                terms = zip(self.matching_weights, coarse.features, wanted[name].features, strict=True)
                losses[f"loss_match_{name}"] = torch.stack([w * matching_loss(f, g) for w, f, g in terms]).sum()
        return losses

    def weights(self, said: Passes, truth: MaskTruth) -> tuple[Tensor | None, Tensor | None]:
        """Return how far each region's refined amodal and visible loss counts: as good as its attention was.

        The amodal one by the IoU of the coarse visible mask, the visible one by that of the coarse amodal mask.

        Returns:
            (N,) and (N,) in [0, 1]; None for all alike.
        """
        if not self.warm_up:
            return None, None
        return mask_iou(said.coarse_visible.logits, truth.visible), mask_iou(said.coarse_amodal.logits, truth.amodal)

    def _class_loss(self, features: Tensor, said: Passes, truth: MaskTruth) -> Tensor:
        weights = mask_iou(said.visible.logits, truth.visible) if self.warm_up else None
        loss = weighted_class_loss(said.class_logits, truth.labels, weights)
        if self.true_class_weight:
            seen = pool(truth.visible).to(features.dtype)
            loss = loss + self.true_class_weight * weighted_class_loss(self.classify(features * seen), truth.labels)
        return loss

    def _truth_passes(self, features: Tensor, said: Passes, truth: MaskTruth) -> dict[str, Pass]:
        """Run both heads with the true masks as attention."""
        whole, seen = (pool(m).to(features.dtype) for m in (truth.amodal, truth.visible))
        return {
            "amodal": self._amodal_pass(features, seen, said.shapes, truth.labels),
            "visible": run_head(self.visible, features * whole, truth.labels),
        }

    def masks(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the refined logits of the whole and the visible mask, of the regions' classes."""
        said = self.passes(features, labels)
        return said.amodal.logits, said.visible.logits


def run_head(head: Any, features: Tensor, labels: Tensor) -> Pass:
    """Run a mask head of MMDetection and keep the feature maps of its last two layers.

    Args:
        head: `FCNMaskHead`.
        features: (N, channels, 14, 14).
        labels: (N,) int64.
    """
    for layer in head.convs:
        features = layer(features)
    upsampled = head.relu(head.upsample(features))
    return Pass(of_class(head.conv_logits(upsampled), labels), (features, upsampled))


def pool(masks: Tensor) -> Tensor:
    """Return means of 2 x 2 pixels.

    Shapes: (N, 28, 28) -> (N, 1, 14, 14).
    """
    return functional.avg_pool2d(masks[:, None], 2)


def attention(logits: Tensor) -> Tensor:
    """Return by what features are multiplied to look at a mask: the probability of the pooled logits.

    Shapes: (N, 28, 28) -> (N, 1, 14, 14).
    """
    return torch.sigmoid(pool(logits))


def rescored(
    scores: Tensor, class_probability: Tensor | None, distance: Tensor | None, rule: Rule, alpha: float
) -> Tensor:
    """Return scores that say, beside the class, how sure a second look is of it and how ordinary the shape is.

    With p the second probability of the class and d the distance to the nearest shape, both where they are given:
    "product" is the paper's s p (1 - d); "code" is their code's geometric mean of s, 0.6 + 0.4 p and
    max(0, log(alpha - d) / log alpha).

    Args:
        scores: (N,) s.
        class_probability: (N,) p, or None.
        distance: (N,) d in [0, 1], or None.
        rule: "off" returns s.
        alpha: above 1; 2 on D2SA and COCOA, 3 on KINS in their code.
    """
    if rule == "off":
        return scores
    factors = []
    if class_probability is not None:
        factors.append(class_probability if rule == "product" else 0.6 + 0.4 * class_probability)
    if distance is not None:
        similar = (alpha - distance).clamp_min(1e-6).log() / math.log(alpha)
        factors.append(1 - distance if rule == "product" else similar.clamp_min(0))
    for factor in factors:
        scores = scores * factor
    return scores if rule == "product" else scores ** (1 / (1 + len(factors)))


@MODELS.register_module()
class VrspRoIHead(TwoMaskRoIHead):
    """The head on regions that scores candidates anew by their masks, before overlapping ones are left out.

    Args:
        rescoring: see `rescored`.
        rescore_by_class: use the reclassification.
        rescore_by_shape: use the distance to the nearest shape.
        alpha: see `rescored`.
        more: as for `StandardRoIHead`.
    """

    def __init__(
        self,
        *,
        rescoring: Rule = "code",
        rescore_by_class: bool = True,
        rescore_by_shape: bool = True,
        alpha: float = 2.0,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.rescoring, self.alpha = rescoring, alpha
        self.rescore_by_class, self.rescore_by_shape = rescore_by_class, rescore_by_shape

    def predict_bbox(
        self,
        x: Any,
        batch_img_metas: list[dict],
        rpn_results_list: list[Any],
        rcnn_test_cfg: Any,
        rescale: bool = False,
    ) -> list[Any]:
        """Return boxes, classes and scores of each photo; boxes in the frame of the resized photo."""
        if self.rescoring == "off" or rcnn_test_cfg is None:
            return super().predict_bbox(x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale)
        candidates = super().predict_bbox(x, batch_img_metas, rpn_results_list, None, rescale=False)
        for photo, found in enumerate(candidates):
            scores = self._rescore(x, photo, found.bboxes, found.scores, rcnn_test_cfg.score_thr)
            boxes, labels = multiclass_nms(found.bboxes, scores, 0.0, rcnn_test_cfg.nms, rcnn_test_cfg.max_per_img)
            del found.bboxes, found.scores
            found.bboxes, found.scores, found.labels = boxes[:, :4], boxes[:, 4], labels
        return candidates

    def _rescore(self, x: Any, photo: int, boxes: Tensor, scores: Tensor, least: float) -> Tensor:
        """Return the scores of a photo's candidates, 0 where the first score is not above `least`.

        Shapes: (n, 4 C) or (n, 4), (n, C + 1) -> (n, C + 1).
        """
        anew = torch.zeros_like(scores)
        wanted = (scores[:, :-1] > least).nonzero()  # (M, 2): box, class
        if not len(wanted):
            return anew
        per_class = boxes.reshape(len(boxes), -1, 4)
        for part in wanted.split(_AT_ONCE):
            rows, labels = part.T
            own = per_class[rows, labels if per_class.shape[1] > 1 else 0]  # (m, 4)
            rois = torch.cat([own.new_full((len(own), 1), photo), own], dim=1)
            said = self.mask_head.passes(self._features(x, rois), labels)
            probability = distance = None
            if self.rescore_by_class:
                probability = said.class_logits.softmax(dim=1)[torch.arange(len(labels)), labels]
            if self.rescore_by_shape:
                distance = self.mask_head.codebook.distance((said.amodal.logits > 0).float(), labels)
            anew[rows, labels] = rescored(scores[rows, labels], probability, distance, self.rescoring, self.alpha)
        return anew
