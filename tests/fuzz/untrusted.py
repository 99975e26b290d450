"""Everything of amodalpl that reads a file of somebody else's, with a valid file for each."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn_completer import write_completer
from drawn_data_sets import data_set, drawn, write_photos
from drawn_labels import label, write_doubt, write_labels, write_order
from drawn_labels import write_photos as drawn_photos
from PIL import Image
from sandbox import Reader

from amodalpl.completion.checkpoint import load_completer
from amodalpl.convert.format_table import FORMATS
from amodalpl.data.label_folder import read_doubts, read_label_folder
from amodalpl.data.read import read_annotations
from amodalpl.data.review_file import (
    Decision,
    Review,
    carry_over,
    fingerprint,
    read_review,
    require_same_labels,
    write_review,
)
from amodalpl.evaluation.completion import evaluate_completion
from amodalpl.evaluation.detections import evaluate_detections
from amodalpl.evaluation.order import evaluate_order
from amodalpl.io.files import hash_file
from amodalpl.io.images import check_image, image_path, read_image
from amodalpl.masks import rle
from amodalpl.pipeline.apply_review import apply_review
from amodalpl.pipeline.rerun import rerun
from amodalpl.report.label_page import write_label_page
from amodalpl.settings import RunSettings
from amodalpl.settings_values import explicit_values, read_config, resolve, resolve_as
from amodalpl.tools.check import check

SIZE_HW = (12, 16)
SQUARE = [1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 1.0, 9.0]
BAR = [6, 3, 14, 3, 14, 6, 6, 6]
WRITTEN = ("labelme", "cvat", "via", "label-studio", "yolo", "png-index", "png-instances", "coco-modal", "lvis")
CORPUS = (  # format, folder of tests/files, source: EXIF notes and outlines, results that belong together, spellings
    ("via", "via_drawn_on_stored", "via.json"),
    ("label-studio", "label_studio_two_results", "export.json"),
    ("labelme", "labelme_ignore", "a.json"),
    ("coco", "coco_bad_part", "i.json"),
    ("coco", "coco_odd_ids", "name.json"),
    ("darwin", "darwin_v2", "releases"),
    ("voc", "voc_boxes", "a.xml"),
    ("voc", "voc_polygons", "train"),
)
CVAT_SHAPES = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>cup</name><attributes><attribute>
<name>rank</name><input_type>number</input_type></attribute></attributes></label></labels></task></meta>
<image id="0" name="a.png" width="60" height="40">
<box label="cup" occluded="1" xtl="1.5" ytl="2" xbr="20" ybr="30" rotation="30" z_order="1" group_id="3"></box>
<ellipse label="cup" cx="20" cy="20" rx="9.5" ry="5" z_order="0"><attribute name="rank">2</attribute></ellipse>
<polygon label="cup" points="1,1;20,1;20,20.5" z_order="2"/>
<mask label="cup" rle="3,4,5" left="2" top="3" width="4" height="3" z_order="0"/>
</image></annotations>"""


def _mask(mask: np.ndarray) -> dict[str, Any]:
    return rle.to_json(rle.encode(mask))


def _square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def _coco_like(*annotations: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "info": {"year": 2026},
        "images": [
            {"id": 7, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1], "license": 1},
            {"id": 9, "file_name": "sub/b.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1]},
        ],
        "categories": [{"id": 1, "name": "cup", "supercategory": "thing"}, {"id": 3, "name": "tray"}],
        "annotations": [
            {"id": n, "image_id": 7 + 2 * (n % 2), "category_id": 1, "iscrowd": 0, "area": 9, "bbox": [1, 1, 3, 3], **a}
            for n, a in enumerate(annotations, 1)
        ],
    }


def annotation_files() -> dict[str, Any]:
    """Return a valid file per format of the pipeline's own readers."""
    square, bar = _mask(_square(2, 3, 6)), _mask(_square(3, 4, 2))
    runs = {"size": [*SIZE_HW], "counts": [20, 5, 7, 5, 155]}
    region = {"segmentation": SQUARE, "visible_mask": bar, "name": "a", "isStuff": 0, "occlude_rate": 0.1, "order": 1}
    record = {"image_id": 7, "url": "http://x/a.png", "regions": [region, {"segmentation": BAR, "order": 2}]}
    record["depth_constraint"] = "1-2"
    records = [{**record, "id": 1, "size": 2}, {**record, "image_id": 9}]
    return {
        "coco": _coco_like(
            {"segmentation": [SQUARE, BAR]}, {"segmentation": square}, {"segmentation": runs, "iscrowd": 1},
            {"segmentation": SQUARE},
        ),
        "cocoa": {"images": _coco_like()["images"], "annotations": records},
        "cocoa-record": record,
        "kins": _coco_like({"segmentation": [SQUARE], "inmodal_seg": bar, "inmodal_bbox": [1, 2, 3, 4]}),
        "kins2020": _coco_like({"i_segm": [BAR], "a_segm": [SQUARE, BAR]}, {"i_segm": [BAR], "a_segm": [BAR]}),
        "d2sa": _coco_like({"segmentation": square, "visible_mask": bar}, {"segmentation": [SQUARE]}),
    }  # fmt: skip


def _photo_bytes() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    found = {}
    for name, mode in {
        "a.png": "RGB", "grey.png": "I;16", "p.png": "P", "a.jpg": "RGB", "cmyk.jpg": "CMYK", "a.webp": "RGBA",
        "a.bmp": "RGB", "a.tif": "RGB",  # not GIF, which OpenCV reads from 4.12 on
    }.items():  # fmt: skip
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200 if mode == "I;16" else pixels)
        exif = Image.Exif()
        exif[0x0112] = 6
        buffer = io.BytesIO()
        options = {"exif": exif} if name == "a.jpg" else {}
        format = {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], name.partition(".")[2].upper())
        (image if mode == "I;16" else image.convert(mode)).save(buffer, format, **options)
        found[name] = buffer.getvalue()
    return found


def _read_and_decode(folder: Path) -> None:
    data = read_annotations(folder / "in.json")
    for instance in data.instances:
        for mask in (instance.modal, instance.amodal):
            if mask is not None and mask["size"][0] * mask["size"][1] <= 2**24:
                assert rle.decode(mask).any()
    assert data.category_names is not None
    json.dumps([vars(entry) for entry in data.dropped])


def _converted(source: str, fmt: str, folder: Path) -> None:
    images = folder / "photos"
    out = folder / "out.json"
    data = FORMATS[fmt].read(folder / source, images)
    out.unlink(missing_ok=True)
    FORMATS["coco"].write(data, out)
    read_annotations(out)


def _content(path: Path) -> Any:
    data = path.read_bytes()
    if path.suffix == ".json":
        return json.loads(data)
    return data.decode() if path.suffix in (".xml", ".txt", ".yaml", ".jsonl") else data


def _files_below(folder: Path) -> dict[str, Any]:
    return {p.relative_to(folder).as_posix(): _content(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def _is_photo(name: str) -> bool:
    return name.endswith((".jpg", ".png"))


def _converters(scratch: Path) -> list[Reader]:
    photos = write_photos(scratch / "photos", data_set())
    fixed = {f"photos/{name}": content for name, content in _files_below(photos).items()}
    found = []
    for fmt in WRITTEN:
        folder = scratch / fmt
        folder.mkdir()
        source = {"cvat": "in.xml", "via": "in.json", "label-studio": "in.json"}.get(fmt, "in")
        source = "in.json" if fmt.startswith("coco") or fmt == "lvis" else source
        data = data_set()
        if fmt == "coco-modal":
            data.instances = [replace(thing, amodal_mask=thing.modal_mask) for thing in data.instances]
        FORMATS[fmt].write(data, folder / source)
        found.append((fmt, source, _files_below(folder)))
    found.append(("cvat", "in.xml", {"in.xml": CVAT_SHAPES}))
    proposal = {"segmentation": _mask(drawn((2, 2, 9, 9))), "predicted_iou": 0.9, "stability_score": 0.9, "area": 81}
    found.append(("sam", "in", {"in/a.json": [proposal, {**proposal, "bbox": [2, 2, 9, 9]}]}))
    results = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": proposal["segmentation"]}]
    polygon = [[5, 5], [20, 5], [20, 20]]
    objects = [{"label": "car", "polygon": polygon}, {"label": "cargroup", "polygon": [[x + 9, y] for x, y in polygon]}]
    scape = {"imgHeight": 40, "imgWidth": 60, "objects": objects}
    found.append(("cityscapes", "in", {"in/a_gtFine_polygons.json": scape}))
    fixed["photos/a_leftImg8bit.png"] = fixed["photos/a.png"]
    readers = [
        Reader(f"convert {fmt} {n}", files | fixed, partial(_converted, source, fmt), 0.5, frozenset(fixed))
        for n, (fmt, source, files) in enumerate(found)
    ]
    for fmt, folder, source in CORPUS:
        files = _files_below(Path(__file__).parents[1] / "files" / folder)
        files = {f"photos/{Path(name).name}" if _is_photo(name) else name: content for name, content in files.items()}
        readers.append(Reader(f"convert {folder}", files, partial(_converted, source, fmt), 0.5))
    known = {"images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 60}], "categories": [{"id": 1}]}
    files = {"in.json": results, "known.json": {**known, "annotations": []}}
    return [*readers, Reader("convert coco-results", files, _converted_results, 0.5)]


def _converted_results(folder: Path) -> None:
    data = FORMATS["coco-results"].read(folder / "in.json", folder / "known.json")
    (folder / "out.json").unlink(missing_ok=True)
    FORMATS["coco"].write(data, folder / "out.json")


def _labels(scratch: Path) -> dict[str, Any]:
    folder = write_labels(scratch / "labels", [label(1, occluders=[2]), label(2, growth=1.2), label(3)])
    write_order(folder, [(1, 2), (2, 3)], mutual=[(1, 3)], cycles=[[1, 2, 3]])
    write_doubt(folder, [1, 2])
    files = _files_below(folder)
    files["stats.json"] = {"counts": {"labels": 3}, "left_out": []}
    files["run.json"] = {
        "stage": "pseudolabel", "state": "done", "seed": 5, "settings": {"labels": {}}, "outputs": {"a": "0"},
        "inputs": {"completer": "c" * 64}, "arguments": {"annotations": "none", "images": "none", "completer": "."},
        "machine": {"cpu": "x"}, "counts": {},
    }  # fmt: skip
    decisions = [
        Decision(entry["id"], verdict, fingerprint(entry))
        for entry, verdict in zip(
            files["pseudo_amodal.json"]["annotations"], ("accept", "reject", "keep-modal"), strict=True
        )
    ]
    write_review(folder / "review.json", Review(hash_file(folder / "pseudo_amodal.json"), tuple(decisions)))
    files["review.json"] = _content(folder / "review.json")
    files["a.png"] = (drawn_photos(folder / "photos") / "a.png").read_bytes()
    shutil.rmtree(folder)
    return files


def _review(folder: Path) -> None:
    labels = folder / "pseudo_amodal.json"
    review = read_review(folder / "review.json")
    kept, lost = carry_over(review, json.loads(labels.read_bytes())["annotations"], hash_file(labels))
    require_same_labels(folder / "review.json", review, kept, lost, labels)


def _label_folder(folder: Path) -> None:
    found = read_label_folder(folder)
    for entry in found.labels:
        assert entry.growth >= 0 and entry.fingerprint and entry.flags is not None


def _apply_review(folder: Path) -> None:
    out = folder / "corrected"
    shutil.rmtree(out, ignore_errors=True)
    apply_review(folder, folder, folder / "review.json", out)


_METRICS = {"scores": {"hold-out": {"layered": {"mIoU": 0.9}}, "order": {"layered": {"accuracy": 0.5}}}}


def _report(folder: Path) -> None:
    write_label_page(folder, folder, folder)


def _rerun(folder: Path) -> None:
    out = folder / "again"
    shutil.rmtree(out, ignore_errors=True)
    rerun(folder / "run.json", out)


def _photos(name: str, folder: Path) -> None:
    path = image_path(folder, name)
    size_hw = check_image(path)
    image = read_image(path)
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    assert size_hw == image.shape[:2]


def _overrides(folder: Path) -> None:
    text = (folder / "set.txt").read_text(encoding="utf-8", errors="surrogateescape")
    resolve(explicit_values(None, text.split("\n")))


def _detections() -> dict[str, Any]:
    square = {"segmentation": _mask(_square(2, 3, 6)), "visible_mask": _mask(_square(3, 4, 2))}
    found = [
        {"image_id": 7, "category_id": 1, "score": 0.9, "bbox": [3, 2, 6, 6], **square},
        {"image_id": 9, "category_id": 3, "score": 0.2, **square},
    ]
    return {"truth.json": annotation_files()["d2sa"], "detections.json": found}


def readers(scratch: Path) -> list[Reader]:
    """Return them all.

    Args:
        scratch: an empty folder, in which valid files are made.
    """
    torch.set_num_threads(1)
    found = [
        Reader(f"annotations {name}", {"in.json": content}, _read_and_decode, 2.0)
        for name, content in annotation_files().items()
    ]
    photos = _photo_bytes()
    files = annotation_files()
    found += [
        Reader(
            f"check {name}",
            {"in.json": files[name], "a.png": photos["a.png"], "sub/b.jpg": photos["a.jpg"]},
            lambda folder: check(folder / "in.json", folder),
            0.2,
        )
        for name in ("coco", "cocoa", "d2sa")
    ]
    found += [Reader(f"photo {name}", {name: content}, partial(_photos, name)) for name, content in photos.items()]
    found += _converters(scratch)
    labels = _labels(scratch)
    found += [
        Reader("review", labels, _review, fixed=frozenset(set(labels) - {"review.json"})),
        Reader("doubt", {"doubt.jsonl": labels["doubt.jsonl"]}, lambda folder: read_doubts(folder, [1, 2, 3])),
        Reader("label folder", labels, _label_folder),
        Reader("apply-review", labels, _apply_review, 0.05),
        Reader("report", labels | {"metrics.json": _METRICS}, _report, 0.03, frozenset({"run.json", "review.json"})),
        Reader("rerun", {"run.json": labels["run.json"]}, _rerun, 0.3),
        Reader(
            "evaluate completion",
            {"truth.json": files["d2sa"], "labels.json": files["d2sa"]},
            lambda folder: evaluate_completion(folder / "truth.json", folder / "labels.json"),
            0.1,
        ),
        Reader(
            "evaluate order",
            {"truth.json": files["cocoa"], "labels.json": files["d2sa"]},
            lambda folder: evaluate_order(folder / "truth.json", folder / "labels.json"),
            0.1,
        ),
        Reader(
            "detections",
            _detections(),
            lambda folder: evaluate_detections(folder / "truth.json", folder / "detections.json"),
            0.05,
        ),
    ]
    config = (Path(__file__).parents[2] / "configs" / "coco_cpu.yaml").read_text(encoding="utf-8")
    config += "\ndata:\n  annotations: a.json\n  images: photos\n"
    found += [
        Reader(
            "settings file",
            {"a.yaml": config},
            lambda folder: resolve_as(RunSettings, read_config(folder / "a.yaml"), "a.yaml"),
            0.3,
        ),
        Reader("--set", {"set.txt": "training.steps=20\nlabels.gap_px=2\nsynthesis.patch_px=64"}, _overrides),
    ]
    completer = _files_below(write_completer(scratch / "completer"))
    cpu = torch.device("cpu")
    kept = frozenset({"weights.pth"})
    found.append(Reader("completer card", completer, lambda folder: load_completer(folder, cpu), 0.1, kept))
    found.append(
        Reader("weights", completer, lambda folder: load_completer(folder, cpu), 0.05, frozenset({"completer.json"}))
    )
    return found
