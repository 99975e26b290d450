"""Mask scoring: how good a mask is, predicted, and the score of the class times that.

After Huang, Huang, Gong, Huang, Wang 2019 ("Mask Scoring R-CNN"), by MMDetection's head.
"""

from __future__ import annotations

from typing import Any

from ..mmdetection import MODELS, MaskIoUHead


@MODELS.register_module()
class MaskQualityHead(MaskIoUHead):
    """MMDetection's head that says the IoU of each mask with the truth; it stays in 0..1, and the best comes first."""

    def predict_by_feat(self, mask_iou_preds: Any, results_list: list[Any]) -> list[Any]:
        """Multiply the scores of each photo's detections by their masks' predicted IoU.

        Args:
            mask_iou_preds: of each photo, (n, C).
            results_list: of each photo, n detections.
        """
        within = [quality.clamp(0, 1) for quality in mask_iou_preds]
        results = super().predict_by_feat(within, results_list)
        return [found[found.scores.argsort(descending=True, stable=True)] for found in results]
