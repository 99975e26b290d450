"""A folder that FiftyOne's importer of COCO loads: `modal.json`, and `amodal.json` where there are whole masks.

Photos are not copied: FiftyOne takes their folder beside the labels. Three lines load both masks as fields of one data
set (IMAGES is the folder of photos, OUT the folder written here; run `fo.launch_app(dataset)` after them):

    import fiftyone as fo
    coco = dict(dataset_type=fo.types.COCODetectionDataset, data_path="IMAGES", label_types="segmentations")
    dataset = fo.Dataset.from_dir(labels_path="OUT/modal.json", label_field="modal", **coco)
    dataset.merge_dir(labels_path="OUT/amodal.json", label_field="amodal", **coco)
"""

from __future__ import annotations

from pathlib import Path

from ..data import coco
from ..data.format_losses import UnsupportedFields
from ..data.records import AnnotationSet

MODAL_FILE, AMODAL_FILE = "modal.json", "amodal.json"


def write(data: AnnotationSet, out: Path) -> UnsupportedFields:
    """Write the folder.

    Args:
        data: what to write.
        out: the folder; made when missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    losses = coco.write(data, out / MODAL_FILE)
    if any(instance.amodal_mask for instance in data.instances):
        losses |= coco.write_amodal(data, out / AMODAL_FILE)
    for in_the_other_file in ("whole masks (amodal)", "visible masks"):
        del losses[in_the_other_file]
    return losses
