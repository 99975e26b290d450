"""Formats that are recognised but not read: what a source is, and what to export instead."""

from __future__ import annotations

from typing import Any

from ..data.coco_parsing import INSTEAD_OF_PANOPTIC, is_panoptic
from ..data.source import Source

_EXPORT = "export COCO JSON with instance masks"


def explain_unsupported(source: Source) -> str | None:
    """Return which format a source has that no reader knows, and what to do; None when that is unknown."""
    for data in (source.data, *source.some_data):
        if found := _of_json(data):
            return found
    if source.head.lstrip(b"#").startswith(b"filename,file_size,file_attributes"):
        return "VIA's CSV; export annotations as JSON"
    if any(column in source.head[:300] for column in (b"EncodedPixels", b"MaskPath", b"ImageId,")):
        return "a table of masks (CSV); write a PNG per object and use --from png-instances, or COCO JSON"
    why = source.why_no_json
    if why and (source.path.suffix.lower() == ".json" or "something else" not in why):
        return why
    return None


def _of_json(data: Any) -> str | None:
    if isinstance(data, dict):
        if is_panoptic(data.get("annotations")):
            return f"COCO panoptic; {INSTEAD_OF_PANOPTIC}"
        if isinstance(data.get("assets"), dict) or ("asset" in data and "regions" in data):
            return f"VoTT; {_EXPORT}"
        if isinstance(data.get("instances"), list) and isinstance(data.get("metadata"), dict):
            return f"SuperAnnotate; {_EXPORT}"
        if isinstance(data.get("metadata"), dict) and isinstance(data.get("file"), dict) and "view" in data:
            return f"VIA 3, which draws on videos; {_EXPORT}, or annotate photos with VIA 2"
        if isinstance(data.get("info"), dict) and data["info"].get("description") == "ISAT":
            return f"ISAT; {_EXPORT}"
        if isinstance(data.get("items"), list) and "categories" in data:
            return f"Datumaro JSON; {_EXPORT}"
        if isinstance(data.get("objects"), list) and any(
            isinstance(o, dict) and "classTitle" in o for o in data["objects"]
        ):
            return f"Supervisely; {_EXPORT}"
    if isinstance(data, list) and data and isinstance(data[0], dict):
        if isinstance(data[0].get("annotations"), list) and "image" in data[0]:
            return f"CreateML, which has boxes only; {_EXPORT}"
        parts = [value for value in data[0].values() if isinstance(value, list)]
        if any(isinstance(part, dict) and "original_width" in part for values in parts for part in values):
            return "Label Studio's JSON-MIN; export as JSON"
        if isinstance(data[0].get("labels"), list) and "name" in data[0]:
            return f"BDD100K or Scalabel; {_EXPORT}"
        if "Labeled Data" in data[0] or "data_row" in data[0]:
            return f"Labelbox; {_EXPORT}"
    return None
