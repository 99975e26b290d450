"""Photos whose masks were drawn on the photo as a viewer shows it: every stage reads them turned, so that masks fit."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from amodalpl.calibration.fit import Calibration
from amodalpl.completion.checkpoint import CompleterBundle, save_completer
from amodalpl.completion.predictor import CropSpec
from amodalpl.data.exif import any_turned
from amodalpl.data.read import read_annotations
from amodalpl.io.images import read_fitting_image, read_image
from amodalpl.masks import rle
from amodalpl.models.completer import build_completer
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.synth import synth
from amodalpl.runtime.progress import SILENT
from amodalpl.runtime.usable_photos import require_photos, usable_photos
from amodalpl.settings import CompleterSettings, SynthesisSettings
from amodalpl.settings_values import resolve
from amodalpl.tools.check import check
from amodalpl.tools.show import show

SIZE_HW = (60, 96)  # as shown
RED = (255, 0, 0)
BOXES = (
    (8, 6, 24, 20),
    (8, 26, 24, 18),
    (40, 60, 14, 30),
)  # y, x, height, width: nothing maps them to themselves
STORED = {  # the inverse of what a viewer does
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: np.rot90(shown),
    7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),
    8: lambda shown: np.rot90(shown, -1),
}
PHOTOS = 6
GREY = np.full((*SIZE_HW, 3), 120, np.uint8)


def write(folder, orientation, photos=PHOTOS, ground=GREY):
    """Write red objects on a ground, in photos that are stored turned."""
    (folder / "photos").mkdir(parents=True)
    shown = ground.copy()
    annotations = []
    for y, x, h, w in BOXES:
        shown[y : y + h, x : x + w] = RED
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown)))
    for n in range(photos):
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
    images = [{"id": n + 1, "file_name": f"{n}.png", "height": 60, "width": 96} for n in range(photos)]
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
    assert np.array_equal(read_fitting_image(data / "photos", "0.png", SIZE_HW), photo)


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


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_completer_that_looks_at_photos_gives_the_labels_of_upright_ones(orientation, tmp_path):
    """Beside red objects the photos have a gradient, so that no turn shows the completer the same."""
    torch.manual_seed(2)
    network = build_completer("layered", 4, True, init_gain=1.0).eval()
    trained = CompleterBundle(network, CropSpec(32), calibration=Calibration((0.0, 1.0), (0.05, 0.9)))
    (tmp_path / "completer").mkdir()
    save_completer(
        tmp_path / "completer", trained, CompleterSettings(width=4, image=True), SynthesisSettings(patch_px=32)
    )
    gradient = np.add.outer(np.arange(60), 2 * np.arange(96)).astype(np.uint8)[..., None].repeat(3, axis=2)
    labels = {}
    for name, turn in {"turned": orientation, "upright": 1, "black": 1}.items():
        folder = write(tmp_path / name, turn, 1, gradient * (name != "black"))
        out = folder / "labels"
        make_labels(folder / "in.json", folder / "photos", tmp_path / "completer", out, resolve({}), device="cpu")
        labels[name] = (out / "pseudo_amodal.json").read_bytes()
    assert labels["turned"] == labels["upright"] != labels["black"]


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_half_turns_and_mirror_images_stay_as_stored(orientation, tmp_path):
    """Their size is that of the stored photo and says nothing; COCO counts stored pixels."""
    folder = write(tmp_path / "a", orientation, 1)
    stored = np.asarray(Image.open(folder / "photos" / "0.png"))
    records = read_annotations(folder / "in.json")
    assert np.array_equal(read_image(folder / "photos" / "0.png", SIZE_HW), stored)
    assert not any_turned(records, folder / "photos")
    assert usable_photos(records, folder / "photos", SILENT, 0) is records


@pytest.mark.parametrize("orientation", [6, 8])
def test_turned_squares_stay_as_stored(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    square = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(square).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png", (40, 40)), square)


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_detector_learns_from_photos_that_fit_their_masks(orientation, tmp_path):
    """What MMDetection's data set hands to the network, after resizing by two: red where the masks are."""
    pytest.importorskip("mmdet")
    from amodalpl.detector import require_mmdetection

    require_mmdetection("a test")
    from mmdet.datasets import CocoDataset
    from mmengine.registry import DefaultScope

    import amodalpl.detector.mmdet_registry  # noqa: F401  (what a written config imports)
    from amodalpl.detector.config import train_pipeline
    from amodalpl.detector.data.coco_export import categories, to_coco
    from amodalpl.settings import DetectorSettings

    folder = write(tmp_path / "a", 6, 2)
    if orientation == 3:  # one more, whose masks were drawn on its stored pixels: a half turn stays as it is
        stored = np.asarray(Image.open(write(tmp_path / "upright", 1, 1) / "photos" / "0.png"))
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.fromarray(stored).save(folder / "photos" / "0.png", exif=exif)
    records = read_annotations(folder / "in.json")
    assert any_turned(records, folder / "photos")
    (folder / "train.json").write_text(json.dumps(to_coco(records, categories(records, False)).coco))
    pipeline = train_pipeline(DetectorSettings(image_scale=(192, 120)), any_turned(records, folder / "photos"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        data_set = CocoDataset(
            ann_file=str(folder / "train.json"),
            data_prefix={"img": str(folder / "photos")},
            metainfo={"classes": ("cup",)},
            pipeline=pipeline,
        )
    for index in range(2):
        entry = data_set[index]
        picture = entry["inputs"].numpy().transpose(1, 2, 0)  # BGR
        masks = entry["data_samples"].gt_instances.masks.to_ndarray().astype(bool)
        assert picture.shape == (120, 192, 3) and len(masks) == len(BOXES)
        for mask in masks:
            inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
            assert inner.any() and (picture[inner] == RED[::-1]).all()


def test_the_detector_loads_them(data):
    pytest.importorskip("mmcv")
    from amodalpl.detector.config import test_pipeline, train_pipeline
    from amodalpl.detector.data.transforms import LoadPhoto
    from amodalpl.settings import DetectorSettings

    results = LoadPhoto()({"img_path": str(data / "photos" / "0.png"), "height": 60, "width": 96})
    assert results["img_shape"] == results["ori_shape"] == SIZE_HW
    y, x, h, w = BOXES[2]
    assert (results["img"][y : y + h, x : x + w] == RED[::-1]).all()
    for pipeline in (train_pipeline, test_pipeline):
        stock, ours = (pipeline(DetectorSettings(), turned)[0]["type"] for turned in (False, True))
        assert (stock, ours) == (
            "LoadImageFromFile",
            "LoadPhoto",
        )


@pytest.mark.usefixtures("mmdet_scope")
def test_mmdetection_finds_it_by_its_name():
    pytest.importorskip("mmdet")
    from amodalpl.detector import require_mmdetection

    require_mmdetection("a test")
    from mmdet.registry import TRANSFORMS

    import amodalpl.detector.mmdet_registry  # noqa: F401  (what a written config imports)

    loaded = TRANSFORMS.build({"type": "LoadPhoto"})
    assert type(loaded).__name__ == "LoadPhoto"
