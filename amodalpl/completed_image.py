"""What `complete_image` returns: the masks, and ways to look at them, keep them and hand them on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .errors import MissingPackageError, OutputError
from .io.files import write_json
from .io.images import write_image
from .labelling import assemble
from .masks import rle
from .report.draw import overlay

_GREY = 128  # of a picture without its photo
_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, repr=False)
class CompletedImage(assemble.CompletedImage):
    """The amodal masks of one photo, in the order of the masks that were given; see `assemble.CompletedImage`.

    Attributes:
        image: (H, W, 3) uint8 RGB; None where none was given.
        category_ids: N classes; None where none were given.
    """

    image: np.ndarray | None = None
    category_ids: Sequence[int] | None = None

    @classmethod
    def of(
        cls, found: assemble.CompletedImage, image: np.ndarray | None, category_ids: Sequence[int] | None
    ) -> CompletedImage:
        """Put photo and classes beside the masks."""
        known = {field.name: getattr(found, field.name) for field in fields(assemble.CompletedImage)}
        return cls(**known, image=image, category_ids=None if category_ids is None else tuple(category_ids))

    def __repr__(self) -> str:
        """Say how many objects there are, and how much of them is hidden."""
        count, height, width = self.amodal.shape
        hidden = sum(bool(mask.any()) for mask in self.hidden)
        return (
            f"{type(self).__name__}({count} objects, {height} x {width} pixels, {hidden} with a hidden part, "
            f"{len(self.order)} pairs in order)"
        )

    def plot(self, path: str | os.PathLike[str] | None = None) -> Image.Image:
        """Draw all objects on the photo, or on grey: outlines, and hidden parts hatched; notebooks show it.

        Args:
            path: write it there, too; PNG or JPEG by its suffix.

        Raises:
            OutputError: another suffix, or the file cannot be written.
        """
        height, width = self.amodal.shape[1:]
        drawn = np.full((height, width, 3), _GREY, dtype=np.uint8) if self.image is None else self.image
        for visible, amodal in zip(self.visible, self.amodal, strict=True):
            drawn = overlay(drawn, visible, amodal)
        picture = Image.fromarray(drawn)
        if path is not None:
            _require_suffix(Path(path), _PICTURES)
            write_image(Path(path), drawn)
        return picture

    def to_coco(self, image_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """Return the annotations as COCO has them, with whole masks as `segmentation` and visible ones beside.

        Args:
            image_id: of the photo.
            first_id: of the first annotation; the others count on from it.
        """
        classes = self.category_ids or [1] * len(self.amodal)
        return [
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": int(classes[index]),
                "iscrowd": 0,
                "segmentation": rle.to_json(whole := rle.encode(amodal)),
                "bbox": list(rle.box_xywh(whole)),
                "area": rle.area_px(whole),
                "visible_mask": rle.to_json(rle.encode(visible)),
                "amodalpl": {
                    "occluders": [first_id + int(front) for front in self.occluders[index]],
                    "uncertainty": round(float(self.uncertainty[index]), 6),
                    "flags": list(self.flags[index]),
                },
            }
            for index, (amodal, visible) in enumerate(zip(self.amodal, self.visible, strict=True))
        ]

    def save(self, path: str | os.PathLike[str], file_name: str = "photo.jpg") -> None:
        """Write a COCO file (`.json`), or a picture (`.png`, `.jpg`).

        Args:
            path: of the file.
            file_name: of the photo, as the COCO file says it.

        Raises:
            OutputError: another suffix, or the file cannot be written.
        """
        file = Path(path)
        _require_suffix(file, (".json", *_PICTURES))
        if file.suffix.lower() != ".json":
            self.plot(file)
            return
        height, width = self.amodal.shape[1:]
        annotations = self.to_coco()
        classes = sorted({entry["category_id"] for entry in annotations})
        photo = {"id": 1, "file_name": file_name, "height": height, "width": width}
        categories = [{"id": number, "name": str(number) if self.category_ids else "object"} for number in classes]
        write_json(file, {"images": [photo], "annotations": annotations, "categories": categories})

    def to_supervision(self) -> Any:
        """Return `supervision.Detections` with whole masks and their boxes; confidence is 1 - uncertainty.

        Raises:
            MissingPackageError: supervision is not installed.
        """
        try:
            from supervision import Detections
        except ImportError:
            raise MissingPackageError("to_supervision needs supervision: pip install supervision") from None
        classes = None if self.category_ids is None else np.array(self.category_ids, dtype=int)
        return Detections(
            xyxy=np.array([(x, y, x + w, y + h) for x, y, w, h in self._boxes_xywh()], dtype=float).reshape(-1, 4),
            mask=self.amodal,
            confidence=1 - self.uncertainty,
            class_id=classes,
            data={"visible": self.visible},
        )

    def to_fiftyone(self, filepath: str | os.PathLike[str], names: Sequence[str] | None = None) -> Any:
        """Return a `fiftyone.Sample` of the photo, with whole masks in the field `amodal`, visible ones in `visible`.

        Args:
            filepath: of the photo.
            names: N labels; classes by number, or `object`, where they are not given.

        Raises:
            MissingPackageError: FiftyOne is not installed.
        """
        try:
            import fiftyone
        except ImportError:
            raise MissingPackageError("to_fiftyone needs FiftyOne: pip install fiftyone") from None
        labels = list(names or [str(c) for c in self.category_ids or ()] or ["object"] * len(self.amodal))

        def detections(masks: np.ndarray) -> Any:
            height, width = masks.shape[1:]
            found = []
            for index, mask in enumerate(masks):
                if not mask.any():
                    continue
                x, y, w, h = rle.box_xywh(rle.encode(mask))
                found.append(
                    fiftyone.Detection(
                        label=labels[index],
                        bounding_box=[x / width, y / height, w / width, h / height],
                        mask=mask[y : y + h, x : x + w],
                        confidence=1 - float(self.uncertainty[index]),
                        index=index,
                    )
                )
            return fiftyone.Detections(detections=found)

        sample = fiftyone.Sample(filepath=os.fspath(filepath))
        sample["amodal"], sample["visible"] = detections(self.amodal), detections(self.visible)
        return sample

    def _boxes_xywh(self) -> list[tuple[int, int, int, int]]:
        return [rle.box_xywh(rle.encode(mask)) for mask in self.amodal]


def _require_suffix(file: Path, known: tuple[str, ...]) -> None:
    if file.suffix.lower() not in known:
        raise OutputError(f"{file}: expected a name that ends in {', '.join(known)}, got {file.suffix or 'none'!r}")
