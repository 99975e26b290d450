"""The Python API: what the stage writes for the same photo, from arrays or COCO masks; clear words on bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import amodalpl
from amodalpl import complete_image, load_completer
from amodalpl.calibration.fit import Calibration
from amodalpl.completion.checkpoint import CompleterBundle, save_completer
from amodalpl.completion.predictor import CropSpec
from amodalpl.drawn_scenes import draw_scene
from amodalpl.errors import AmodalplError, DataError, SettingsError
from amodalpl.masks import rle
from amodalpl.models.completer import build_completer
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.settings import CompleterSettings, SynthesisSettings
from amodalpl.settings_values import resolve

SIZE_HW = (64, 80)


def rectangle(rows, columns):
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


BACK, FRONT, SMALL = rectangle((10, 50), (5, 40)), rectangle((20, 60), (35, 70)), rectangle((25, 30), (36, 40))
POLYGON = [[5, 10, 40, 10, 40, 50, 5, 50]]  # the same pixels as BACK


def write_completer(folder, image=False):
    """Write a network with random weights: it grows here and there, which is all that is needed."""
    torch.manual_seed(2)
    completer = build_completer("layered", 4, image, init_gain=1.0).eval()
    trained = CompleterBundle(completer, CropSpec(32), calibration=Calibration((0.0, 1.0), (0.05, 0.9)))
    folder.mkdir()
    save_completer(folder, trained, CompleterSettings(width=4, image=image), SynthesisSettings(patch_px=32))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_completer(tmp_path_factory.mktemp("api") / "completer")


@pytest.fixture(scope="module")
def completer(folder):
    return load_completer(folder, device="cpu")


@pytest.fixture(scope="module")
def scene():
    """Drawn masks, two more that overlap, and one that smaller ones cover whole."""
    drawn = draw_scene(np.random.default_rng(4), SIZE_HW)
    return np.stack([*drawn.modal, BACK, FRONT, SMALL, SMALL])


def test_same_as_the_stage(folder, completer, scene, tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((*SIZE_HW, 3), np.uint8))
    entries = [
        {"id": 100 + n, "image_id": 7, "category_id": 1, "segmentation": rle.to_json(rle.encode(mask))}
        for n, mask in enumerate(scene)
    ]
    photo = {"id": 7, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
    file = {"images": [photo], "annotations": entries, "categories": [{"id": 1, "name": "shape"}]}
    (tmp_path / "a.json").write_text(json.dumps(file))
    out = tmp_path / "labels"
    make_labels(tmp_path / "a.json", tmp_path / "images", folder, out, resolve({}), device="cpu")
    labels = json.loads((out / "pseudo_amodal.json").read_text())["annotations"]
    (order,) = json.loads((out / "order.json").read_text())["images"]

    found = complete_image(completer, scene)
    assert [rle.to_json(rle.encode(mask)) for mask in found.amodal] == [a["segmentation"] for a in labels]
    assert [rle.to_json(rle.encode(mask)) for mask in found.visible] == [a["visible_mask"] for a in labels]
    theirs = [a["amodalpl"] for a in labels]
    assert [round(float(u), 6) for u in found.uncertainty] == [a["uncertainty"] for a in theirs]
    assert [[100 + k for k in group] for group in found.occluders] == [a["occluders"] for a in theirs]
    assert found.flags == [a["flags"] for a in theirs]
    assert [(100 + p.front, 100 + p.back, round(p.score, 6)) for p in found.order] == [
        (p["front"], p["back"], p["score"]) for p in order["pairs"]
    ]
    assert found.hidden.any() and found.order and any("fully_shared" in flags for flags in found.flags)


def test_what_always_holds(completer, scene):
    found = complete_image(completer, scene)
    assert found.amodal.shape == found.visible.shape == scene.shape and found.amodal.dtype == bool
    assert (found.visible.sum(axis=0) <= 1).all()
    assert not (scene & ~found.amodal).any() and not (found.visible & ~scene).any()
    np.testing.assert_array_equal(found.hidden, found.amodal & ~found.visible)
    np.testing.assert_array_equal(found.shared_px, (scene & ~found.visible).sum(axis=(1, 2)))
    assert found.uncertainty.dtype == np.float64 and ((found.uncertainty >= 0) & (found.uncertainty <= 1)).all()
    assert found.plausibility is None


def test_shared_pixels_belong_to_the_smaller_mask_and_are_reported(completer):
    found = complete_image(completer, np.stack([BACK, SMALL]))
    assert found.shared_px.tolist() == [20, 0]  # SMALL's 5 rows of 4 columns lie within BACK
    assert "shared_pixels" in found.flags[0] and "shared_pixels" not in found.flags[1]
    np.testing.assert_array_equal(found.visible[0], BACK & ~SMALL)
    np.testing.assert_array_equal(found.amodal[0], BACK)  # what was given stays the object's


def bytes_of(mask):
    return {"size": list(SIZE_HW), "counts": rle.encode(mask)["counts"]}


@pytest.mark.parametrize(
    ("masks", "more"),
    [
        pytest.param([BACK, FRONT], {}, id="a list of arrays"),
        pytest.param([rle.to_json(rle.encode(BACK)), rle.to_json(rle.encode(FRONT))], {}, id="compressed RLE"),
        pytest.param([bytes_of(BACK), bytes_of(FRONT)], {}, id="RLE of pycocotools, counts as bytes"),
        pytest.param([POLYGON, bytes_of(FRONT)], {}, id="a polygon beside RLE that has a size"),
        pytest.param([POLYGON, bytes_of(FRONT)], {"size_hw": SIZE_HW}, id="size_hw"),
        pytest.param([POLYGON, bytes_of(FRONT)], {"image": np.zeros((*SIZE_HW, 3), np.uint8)}, id="a photo"),
        pytest.param(torch.from_numpy(np.stack([BACK, FRONT])), {}, id="a tensor"),
    ],
)
def test_masks_in_any_spelling(completer, masks, more):
    expected = complete_image(completer, np.stack([BACK, FRONT]))
    found = complete_image(completer, masks, **more)
    np.testing.assert_array_equal(found.amodal, expected.amodal)
    np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)


@pytest.mark.parametrize(
    ("masks", "more"),
    [
        pytest.param(np.zeros((0, *SIZE_HW), dtype=bool), {}, id="an array"),
        pytest.param([], {"size_hw": SIZE_HW}, id="a list"),
    ],
)
def test_no_masks(completer, masks, more):
    found = complete_image(completer, masks, category_ids=[], **more)
    assert found.amodal.shape == found.hidden.shape == (0, *SIZE_HW)
    assert found.uncertainty.shape == found.shared_px.shape == (0,)
    assert found.occluders == found.order == found.flags == []


def test_one_mask_alone(completer):
    found = complete_image(completer, BACK[None])
    np.testing.assert_array_equal(found.amodal[0], BACK)
    assert found.uncertainty.tolist() == [0] and found.flags == [["no_occluder"]]


def test_settings_of_labels(completer):
    near = [rectangle((10, 50), (5, 40)), rectangle((10, 50), (44, 60))]  # four pixels free between them
    assert complete_image(completer, near, gap_px=0, low_confidence=0).flags == [["no_occluder"]] * 2
    both = complete_image(completer, near, gap_px=4, occluders="neighbours", low_confidence=0)
    assert both.occluders == [(1,), (0,)] and all("low_confidence" in flags for flags in both.flags)


def test_settings_of_classes_by_their_ids(completer):
    masks = np.stack([BACK, FRONT])
    free = complete_image(completer, masks, category_ids=np.array([3, 5]))
    (pair,) = free.order
    front, back = (int(free.category_ids[k]) for k in (pair.front, pair.back))
    kept = complete_image(completer, masks, category_ids=[3, 5], per_class={back: {"keep_modal": True}})
    assert kept.flags[pair.back] == ["kept_modal"] and not kept.hidden[pair.back].any() and kept.order == free.order
    turned = complete_image(completer, masks, category_ids=[3, 5], per_class={back: {"in_front_of": [front]}})
    assert [(p.front, p.back) for p in turned.order] == [(pair.back, pair.front)]


def test_shapes_are_judged_where_classes_are_given(completer):
    shapes = SimpleNamespace(score=lambda masks, ids: np.array([mask.sum() * i for mask, i in zip(masks, ids)]))  # noqa: B905
    knowing = replace(completer, shapes=shapes)
    assert complete_image(knowing, BACK[None], category_ids=[3]).plausibility.tolist() == [3 * BACK.sum()]
    assert complete_image(knowing, BACK[None]).plausibility is None
    assert complete_image(completer, BACK[None], category_ids=[3]).plausibility is None


GREY = np.zeros(SIZE_HW, np.uint8)


@pytest.mark.parametrize(
    ("masks", "more", "message"),
    [
        pytest.param(BACK, {}, r"masks: expected \(N, H, W\) bool, got the shape .*give masks\[None\]", id="one mask"),
        pytest.param(np.zeros(3, bool), {}, r"got the shape \(3,\)", id="one axis"),
        pytest.param(BACK[None] * 1, {}, r"expected \(N, H, W\) bool, got int64; give `masks > 0`", id="integers"),
        pytest.param(BACK[None] * 0.5, {}, r"got float64; give `masks > 0.5`", id="probabilities"),
        pytest.param([BACK, BACK[:3]], {}, "expected an array, could not make one", id="two sizes"),
        pytest.param([BACK, POLYGON], {}, "expected an array, could not make one", id="an array beside a polygon"),
        pytest.param([BACK, BACK & False], {}, r"masks\[1\]: empty mask: expected at least one", id="an empty mask"),
        pytest.param(np.zeros((1, 0, 5), bool), {}, "expected sides of 1 to", id="no height"),
        pytest.param(None, {}, "expected .* or a list of segmentations, got NoneType", id="nothing"),
        pytest.param("masks.npy", {}, "got str", id="a file name"),
        pytest.param([], {}, "expected `image` or `size_hw` beside them", id="no masks and no size"),
        pytest.param([POLYGON], {}, "expected `image` or `size_hw` beside them", id="polygons and no size"),
        pytest.param([[[1, 2, 3, 4]]], {"size_hw": (9, 9)}, r"masks\[0\]: polygon with fewer than 3", id="two points"),
        pytest.param([{"size": [4, 4], "counts": "0"}], {}, r"masks\[0\]: corrupt RLE", id="broken RLE"),
        pytest.param([{"size": [4, 4], "counts": b"\xff"}], {}, r"masks\[0\]: corrupt RLE", id="broken bytes"),
        pytest.param([{"size": "4x4", "counts": "0"}], {}, "expected height and width in whole", id="size as text"),
        pytest.param([{"size": [10**9, 10**9], "counts": "0"}], {}, "expected sides of 1 to", id="huge"),
        pytest.param([bytes_of(BACK)], {"size_hw": (9, 9)}, "RLE of the wrong size: expected", id="of another size"),
        pytest.param(BACK[None], {"size_hw": (9, 9)}, "expected one size for all, got 64 x 80", id="another size_hw"),
        pytest.param(BACK[None], {"size_hw": 9}, "size_hw: expected height and width", id="size_hw is a number"),
        pytest.param(BACK[None], {"image": GREY}, r"image: expected \(H, W, 3\) uint8 RGB, got \(64, 80\)", id="grey"),
        pytest.param(BACK[None], {"image": np.zeros((9, 9, 3), np.uint8)}, "one size for all", id="another photo"),
        pytest.param(BACK[None], {"image": "nowhere.png"}, "nowhere.png: expected a photo, found no", id="no photo"),
        pytest.param(BACK[None], {"image": 7}, "image: expected an array, could not make one", id="no image"),
        pytest.param(
            BACK[None], {"per_class": {3: {"threshold": 0.4}}}, "since per_class names classes", id="no class"
        ),
        pytest.param(BACK[None], {"category_ids": [1, 2]}, "one per mask, got 2 for 1 masks", id="too many classes"),
    ],
)
def test_bad_input(completer, masks, more, message):
    with pytest.raises(DataError, match=message):
        complete_image(completer, masks, **more)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"gap": 3}, r"unknown setting 'labels.gap'; did you mean 'gap_px'\?", id="misspelt"),
        pytest.param(
            {"category_ids": [1], "per_class": {3: {"threshold": 0.4}}},
            "category_ids has no class '3'; known: 1",
            id="class",
        ),
        pytest.param({"gap_px": -1}, "labels.gap_px: .*, got -1", id="out of range"),
    ],
)
def test_bad_settings(completer, settings, message):
    with pytest.raises(SettingsError, match=message):
        complete_image(completer, BACK[None], **settings)


def test_completer_that_looks_at_the_photo(tmp_path):
    looking = load_completer(write_completer(tmp_path / "completer", image=True), device="cpu")
    with pytest.raises(DataError, match="image: expected the photo, since this completer was trained to look at it"):
        complete_image(looking, [BACK, FRONT])
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo[:, :, ::-1])
    given, read = (
        complete_image(looking, [BACK, FRONT], photo),
        complete_image(looking, [BACK, FRONT], tmp_path / "photo.png"),
    )
    np.testing.assert_array_equal(given.uncertainty, read.uncertainty)
    other = complete_image(looking, [BACK, FRONT], 255 - photo)
    assert given.uncertainty.tolist() != other.uncertainty.tolist()


STORED = {  # the inverse of what a viewer does with EXIF's orientations
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: np.rot90,
    7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),
    8: lambda shown: np.rot90(shown, -1),
}


@pytest.fixture(scope="module")
def looking(tmp_path_factory):
    return load_completer(write_completer(tmp_path_factory.mktemp("looking") / "completer", image=True), device="cpu")


def save_turned(path, shown, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](shown))).save(path, exif=exif)
    return path


MASKS_THAT_SAY_THEIR_SIZE = [
    pytest.param(np.stack([BACK, FRONT]), {}, id="an array"),
    pytest.param([BACK, FRONT], {}, id="a list of arrays"),
    pytest.param(torch.from_numpy(np.stack([BACK, FRONT])), {}, id="a tensor"),
    pytest.param([POLYGON, bytes_of(FRONT)], {}, id="RLE beside a polygon"),
    pytest.param([POLYGON, [[35, 20, 70, 20, 70, 60, 35, 60]]], {"size_hw": SIZE_HW}, id="polygons and a size"),
]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_file_is_turned_where_only_that_fits_the_masks(looking, tmp_path, orientation):
    shown = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    path = save_turned(tmp_path / "a.png", shown, orientation)
    expected = complete_image(looking, [BACK, FRONT], shown)
    np.testing.assert_array_equal(complete_image(looking, [BACK, FRONT], path).uncertainty, expected.uncertainty)
    stored = np.ascontiguousarray(STORED[orientation](shown))
    lying = [np.ascontiguousarray(STORED[orientation](mask)) for mask in (BACK, FRONT)]
    found = complete_image(looking, lying, path)  # drawn on the pixels as stored
    np.testing.assert_array_equal(found.uncertainty, complete_image(looking, lying, stored).uncertainty)


@pytest.mark.parametrize(("masks", "more"), MASKS_THAT_SAY_THEIR_SIZE)
def test_any_masks_that_say_their_size_turn_the_file(looking, tmp_path, masks, more):
    shown = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    path = save_turned(tmp_path / "a.png", shown, 6)
    expected = complete_image(looking, [BACK, FRONT], shown)
    np.testing.assert_array_equal(complete_image(looking, masks, path, **more).uncertainty, expected.uncertainty)


def test_polygons_alone_do_not_turn_a_file(looking, tmp_path):
    path = save_turned(tmp_path / "a.png", np.zeros((*SIZE_HW, 3), np.uint8), 6)
    assert complete_image(looking, [POLYGON], path).amodal.shape == (1, *SIZE_HW[::-1])


@pytest.mark.parametrize("orientation", [2, 3])
def test_half_turns_and_mirror_images_are_read_as_stored(looking, tmp_path, orientation):
    shown = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    path = save_turned(tmp_path / "a.png", shown, orientation)
    stored, as_shown = (
        complete_image(looking, [BACK, FRONT], np.ascontiguousarray(photo))
        for photo in (STORED[orientation](shown), shown)
    )
    found = complete_image(looking, [BACK, FRONT], path)
    np.testing.assert_array_equal(found.uncertainty, stored.uncertainty)
    assert found.uncertainty.tolist() != as_shown.uncertainty.tolist()


def test_no_completer(tmp_path):
    with pytest.raises(DataError, match="expected the card of a trained completer"):
        load_completer(str(tmp_path), device="cpu")
    with pytest.raises(SettingsError, match="expected auto, cpu or cuda, got 'gpu'"):
        load_completer(tmp_path, device="gpu")


def test_import_alone_is_quick():
    heavy = "[name for name in ('torch', 'cv2', 'numpy') if name in sys.modules]"
    code = f"import sys, amodalpl; assert 'complete_image' in dir(amodalpl); print({heavy})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_names():
    assert all(getattr(amodalpl, name).__name__ == name for name in amodalpl.__all__)
    assert amodalpl.AmodalplError is AmodalplError
    with pytest.raises(AttributeError, match="module 'amodalpl' has no attribute 'complete_photo'"):
        amodalpl.complete_photo  # noqa: B018
