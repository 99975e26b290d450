"""What `complete_image` gives: looked at, kept, handed to other libraries; pictures and batches in."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import amodalpl
from amodalpl import complete_image, complete_images
from amodalpl.calibration.fit import Calibration
from amodalpl.completion.checkpoint import CompleterBundle
from amodalpl.completion.predictor import CropSpec
from amodalpl.data.read import read_annotations
from amodalpl.errors import DataError, MissingPackageError, OutputError
from amodalpl.masks import rle
from amodalpl.models.completer import build_completer

BACK, FRONT = np.zeros((2, 64, 80), dtype=bool)
BACK[10:50, 5:40] = True
FRONT[20:60, 40:70] = True
PHOTO = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def completer():
    torch.manual_seed(2)
    network = build_completer("layered", 4, False, init_gain=1.0).eval()
    return CompleterBundle(network, CropSpec(32), calibration=Calibration((0.0, 1.0), (0.05, 0.9)))


@pytest.fixture(scope="module")
def found(completer):
    return complete_image(completer, np.stack([BACK, FRONT]), PHOTO, category_ids=[3, 7])


def test_repr_is_short(found):
    hidden = sum(bool(mask.any()) for mask in found.hidden)
    assert repr(found) == (
        f"CompletedImage(2 objects, 64 x 80 pixels, {hidden} with a hidden part, {len(found.order)} pairs in order)"
    )


def test_pictures_and_files_are_masks_and_photos(completer, found, tmp_path):
    masks = [Image.fromarray(mask.astype(np.uint8) * 255) for mask in (BACK, FRONT)]
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file, mask in zip(files, masks, strict=True):
        mask.save(file)
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    for given in (masks, files, [str(file) for file in files]):
        for image in (Image.fromarray(PHOTO), tmp_path / "photo.png"):
            again = complete_image(completer, given, image)
            assert np.array_equal(again.amodal, found.amodal) and np.array_equal(again.image, PHOTO)


def test_a_batch_is_its_photos_one_by_one(completer, found):
    batch = list(complete_images(completer, [np.stack([BACK, FRONT]), FRONT[None]], [PHOTO, None]))
    assert np.array_equal(batch[0].amodal, found.amodal) and len(batch[1].amodal) == 1
    with pytest.raises(DataError, match="images: expected one per photo, got 1 for 2 photos"):
        next(complete_images(completer, [BACK[None], FRONT[None]], [PHOTO]))
    with pytest.raises(DataError, match=r"photos\[1\]: masks\[0\]: empty mask"):
        list(complete_images(completer, [BACK[None], np.zeros((1, 64, 80), dtype=bool)]))


def test_a_path_for_a_completer_is_one_line():
    with pytest.raises(DataError, match=r"got a path; give load_completer\('runs/completer'\)"):
        complete_image("runs/completer", BACK[None])
    with pytest.raises(DataError, match="expected what load_completer returns, got NoneType"):
        next(amodalpl.complete_images(None, [BACK[None]]))


def test_plot_and_save(found, completer, tmp_path):
    picture = found.plot(tmp_path / "a.png")
    assert picture.size == (80, 64) and np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)
    far = np.ones((64, 80), dtype=bool)
    far[5:, :] = False
    assert np.array_equal(np.asarray(picture)[far], PHOTO[far])  # where nothing is, the photo is as it was
    assert not np.array_equal(np.asarray(picture), PHOTO)
    found.save(tmp_path / "b.jpg")
    assert Image.open(tmp_path / "b.jpg").format == "JPEG"
    assert np.asarray(complete_image(completer, BACK[None]).plot())[0, 0].tolist() == [128, 128, 128]
    with pytest.raises(OutputError, match=r"expected a name that ends in .json, .png"):
        found.save(tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


def test_the_coco_file_is_one_that_we_read(found, tmp_path):
    found.save(tmp_path / "a.json", "x.jpg")
    data = read_annotations(tmp_path / "a.json")
    assert data.format == "d2sa" and data.images[0].file_name == "x.jpg" and not data.dropped
    assert [i.category_id for i in data.instances] == [3, 7]
    for instance, amodal, visible in zip(data.instances, found.amodal, found.visible, strict=True):
        assert np.array_equal(rle.decode(instance.amodal), amodal)
        assert np.array_equal(rle.decode(instance.modal), visible)
    entries = found.to_coco(image_id=9, first_id=100)
    assert [(e["id"], e["image_id"]) for e in entries] == [(100, 9), (101, 9)]
    assert [e["amodalpl"]["occluders"] for e in entries] == [[100 + k for k in fronts] for fronts in found.occluders]


def test_supervision(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=lambda **given: given))
    given = found.to_supervision()
    ys, xs = np.nonzero(found.amodal[1])
    assert given["xyxy"][1].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert given["mask"] is found.amodal and given["class_id"].tolist() == [3, 7]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingPackageError, match="pip install supervision"):
        found.to_supervision()


def test_supervision_itself_takes_it(found):
    supervision = pytest.importorskip("supervision")
    detections = found.to_supervision()
    assert isinstance(detections, supervision.Detections) and len(detections) == 2


def test_fiftyone(found, monkeypatch):
    fake = SimpleNamespace(
        Detection=lambda **given: given, Detections=lambda detections: detections, Sample=lambda filepath: {0: filepath}
    )
    monkeypatch.setitem(sys.modules, "fiftyone", fake)
    sample = found.to_fiftyone("x.jpg")
    assert sample[0] == "x.jpg" and [d["label"] for d in sample["amodal"]] == ["3", "7"]
    x, y, w, h = (
        round(v * side) for v, side in zip(sample["visible"][0]["bounding_box"], (80, 64, 80, 64), strict=True)
    )
    whole = np.zeros((64, 80), dtype=bool)
    whole[y : y + h, x : x + w] = sample["visible"][0]["mask"]
    assert np.array_equal(whole, found.visible[0])
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(MissingPackageError, match="pip install fiftyone"):
        found.to_fiftyone("x.jpg")
