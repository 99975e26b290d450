"""Photos whose masks were drawn on the photo as a viewer shows it: every stage reads them turned, so that masks fit."""

import json

import numpy as np
import pytest
from PIL import Image

from amodalpl.formats import read_annotations
from amodalpl.images import read_image
from amodalpl.masks import rle
from amodalpl.report.gallery import _photo
from amodalpl.running.progress import SILENT
from amodalpl.settings import resolve
from amodalpl.stages.check import check
from amodalpl.stages.inputs import any_turned
from amodalpl.stages.photos import require_photos, usable_photos
from amodalpl.stages.show import show
from amodalpl.stages.synth import synth

SIZE_HW = (60, 96)  # as shown
RED = (255, 0, 0)
BOXES = (
    (8, 6, 24, 20),
    (8, 26, 24, 18),
    (40, 60, 14, 30),
)  # y, x, height, width: nothing maps them to themselves
STORED = {  # the inverse of what a viewer does
    1: lambda shown: shown,
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: np.rot90(shown),
    7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),
    8: lambda shown: np.rot90(shown, -1),
}
PHOTOS = 6


def write(folder, orientation):
    """Write red objects on grey, in photos that are stored turned."""
    (folder / "photos").mkdir(parents=True)
    shown = np.full((*SIZE_HW, 3), 120, np.uint8)
    annotations = []
    for y, x, h, w in BOXES:
        shown[y : y + h, x : x + w] = RED
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown)))
    for n in range(PHOTOS):
        stored.save(folder / "photos" / f"{n}.png", exif=exif)
        for y, x, h, w in BOXES:
            ring = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": n + 1,
                    "category_id": 1,
                    "segmentation": [ring],
                }
            )
    images = [{"id": n + 1, "file_name": f"{n}.png", "height": 60, "width": 96} for n in range(PHOTOS)]
    content = {
        "images": images,
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": annotations,
    }
    (folder / "in.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(params=[5, 6, 7, 8])
def data(request, tmp_path):
    return write(tmp_path / "turned", request.param)


def test_masks_fit(data):
    records = read_annotations(data / "in.json")
    photo = read_image(data / "photos" / "0.png", SIZE_HW)
    assert records.by_image[1]
    for instance in records.by_image[1]:
        assert (photo[rle.decode(instance.modal)] == RED).all()
    assert np.array_equal(_photo(data / "photos", "0.png", SIZE_HW), photo)


def test_stages_take_them(data):
    records = read_annotations(data / "in.json")
    assert usable_photos(records, data / "photos", SILENT, 0.01) is records
    require_photos(records, data / "photos", SILENT)
    assert any_turned(records, data / "photos")
    for thorough in (False, True):
        assert check(data / "in.json", data / "photos", thorough=thorough).ok


def test_show_draws_them(data):
    show(data / "in.json", data / "photos", "1", data / "a.png")
    picture = read_image(data / "a.png").astype(int)
    assert ((picture[..., 0] > 200) & (picture[..., 1] < 60)).sum() > 100  # the red object is in the close-up


def test_synth_makes_of_them_what_it_makes_of_upright_ones(data, tmp_path):
    settings = {
        "synthesis": {"patch_px": 32, "holdout_fraction": 0.3, "holdout_scenes": 1},
        "seed": 1,
    }
    for folder in (data, write(tmp_path / "upright", 1)):
        synth(folder / "in.json", folder / "photos", folder / "synth", resolve(settings))
    pictures = sorted((data / "synth" / "holdout_images").iterdir())
    assert len(pictures) == 2
    for picture in pictures:
        other = tmp_path / "upright" / "synth" / "holdout_images" / picture.name
        assert np.array_equal(read_image(picture), read_image(other))


def test_the_detector_loads_them(data):
    pytest.importorskip("mmcv")
    from amodalpl.detector.config import test_pipeline, train_pipeline
    from amodalpl.detector.photos import LoadPhoto
    from amodalpl.settings import DetectorSettings

    results = LoadPhoto()({"img_path": str(data / "photos" / "0.png"), "height": 60, "width": 96})
    assert results["img_shape"] == results["ori_shape"] == SIZE_HW
    y, x, h, w = BOXES[2]
    assert (results["img"][y : y + h, x : x + w] == RED[::-1]).all()
    for pipeline in (train_pipeline, test_pipeline):
        stock, ours = (pipeline(DetectorSettings(), turned)[0]["type"] for turned in (False, True))
        assert (stock, ours) == (
            "LoadImageFromFile",
            "amodalpl.detector.photos.LoadPhoto",
        )


def test_mmdetection_finds_it_by_its_name():
    pytest.importorskip("mmdet")
    from amodalpl.stages.train_detector import require_detector

    require_detector()
    from mmdet.registry import TRANSFORMS

    loaded = TRANSFORMS.build({"type": "amodalpl.detector.photos.LoadPhoto"})
    assert type(loaded).__name__ == "LoadPhoto"
