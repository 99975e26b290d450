"""The page on which a person judges a random sample of labels, one at a time."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.label_folder import ShownLabel
from ..io.images import encode_image, read_fitting_image
from ..masks import boxed
from ..runtime.progress import SILENT, Progress
from . import draw
from .html_page import write_page

_HERE = Path(__file__).parent
_SIDE_PX = 720
_MARGIN = 0.6  # of the object's longer side: what hides it has to be seen


def write_audit_page(
    path: Path,
    labels: Sequence[ShownLabel],
    names: Mapping[int, str],
    file_names: Mapping[int, str],
    images: Path,
    data: Mapping[str, Any],
    progress: Progress = SILENT,
) -> int:
    """Write the page; it holds everything itself and asks for no network.

    Args:
        path: of the page.
        labels: to judge, in the order they are shown.
        names: of classes, by category id.
        file_names: of photos, by image id.
        images: folder of the photos.
        data: what the page saves with the judgements, and `verdicts`: name -> words on the button.
        progress: shows the labels drawn.

    Returns:
        How many pictures are grey, because the photo cannot be read or is of another size.
    """
    shown, missing = [], 0
    with progress.task("drawing the labels", len(labels)) as advance:
        for label in labels:
            photo = read_fitting_image(images, file_names[label.image_id], label.amodal["size"])
            missing += photo is None
            ground = np.full((*label.amodal["size"], 3), 96, dtype=np.uint8) if photo is None else photo
            picture = draw.close_up(ground, boxed.decode(label.modal), boxed.decode(label.amodal), _SIDE_PX, _MARGIN)
            name = names.get(label.annotation["category_id"], str(label.annotation["category_id"]))
            jpeg = base64.b64encode(encode_image(picture, ".jpg")).decode("ascii")
            shown.append({"id": str(label.id), "name": name, "picture": jpeg})
            advance(1)
    write_page(path, "audit.html", ["labels.css"], ["audit.js"], data={**data, "labels": shown})
    return missing
