"""Our parts in MMDetection's registries: once this is imported, a config can name them.

`custom_imports` of each written config names this module, so that MMDetection's own tools run on an output folder.
"""

from __future__ import annotations

from .data.dataset import AmodalCocoDataset
from .data.transforms import LoadPairedMasks, LoadPhoto
from .heads.bbtp import TightBoxRoIHead
from .heads.blade import BladeHead
from .heads.boxinst import BoxInstHead, BoxPreprocessor
from .heads.ignore_assigner import IgnoringAssigner
from .heads.mask_quality import MaskQualityHead
from .heads.mask_truth import TrustingMaskHead
from .heads.orcnn import TwoMaskHead, TwoMaskRoIHead
from .heads.vrsp import VrspMaskHead, VrspRoIHead

PARTS = (
    AmodalCocoDataset,
    BladeHead,
    BoxInstHead,
    BoxPreprocessor,
    IgnoringAssigner,
    LoadPairedMasks,
    LoadPhoto,
    MaskQualityHead,
    TightBoxRoIHead,
    TrustingMaskHead,
    TwoMaskHead,
    TwoMaskRoIHead,
    VrspMaskHead,
    VrspRoIHead,
)
