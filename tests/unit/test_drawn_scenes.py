import json

import numpy as np
import pytest

from amodalpl.data.read import read_annotations
from amodalpl.drawn_scenes import CATEGORIES, draw_scene, write_scenes
from amodalpl.io.images import read_image
from amodalpl.masks import rle


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng([5, index])) for index in range(40)]


def test_shapes_and_types(scenes):
    for scene in scenes:
        n = len(scene.category_ids)
        assert scene.image.shape == (120, 160, 3) and scene.image.dtype == np.uint8
        assert scene.amodal.shape == scene.modal.shape == (n, 120, 160)
        assert scene.amodal.dtype == scene.modal.dtype == bool
        assert 1 <= n <= 6 and sorted(scene.front_to_back) == list(range(n))
        assert set(scene.category_ids) <= {category["id"] for category in CATEGORIES}


def test_modal_is_amodal_without_what_is_in_front(scenes):
    for scene in scenes:
        covered = np.zeros(scene.image.shape[:2], dtype=bool)
        for index in scene.front_to_back:
            assert np.array_equal(scene.modal[index], scene.amodal[index] & ~covered)
            assert scene.modal[index].any()
            covered |= scene.amodal[index]


def test_about_half_are_hidden_by_5_to_60_percent(scenes):
    hidden = np.concatenate([1 - s.modal.sum((1, 2)) / s.amodal.sum((1, 2)) for s in scenes])
    assert 0.4 < (hidden > 0).mean() < 0.65
    assert hidden[hidden > 0].min() >= 0.05 and hidden.max() <= 0.6


def test_all_kinds_are_drawn_and_places_tell_nothing_about_depth(scenes):
    assert set(np.concatenate([scene.category_ids for scene in scenes])) == {1, 2, 3, 4}
    firsts = [scene.front_to_back[0] for scene in scenes]
    assert len(set(firsts)) > 3


def test_objects_differ_from_the_ground(scenes):
    for scene in scenes[:10]:
        ground = ~scene.amodal.any(axis=0)
        saturation = scene.image.max(-1).astype(int) - scene.image.min(-1)
        assert saturation[~ground].mean() > 2 * saturation[ground].mean()


def test_one_seed_one_scene():
    first, second = (draw_scene(np.random.default_rng(9), (64, 96), (2, 3)) for _ in range(2))
    assert first.image.shape == (64, 96, 3)
    assert np.array_equal(first.image, second.image) and np.array_equal(first.modal, second.modal)
    assert not np.array_equal(first.image, draw_scene(np.random.default_rng(10), (64, 96)).image)


def test_written_files_agree_with_the_scenes(tmp_path):
    files = write_scenes(tmp_path / "set", count=4, seed=3, size_hw=(80, 100))
    plain, truth = read_annotations(files.annotations), read_annotations(files.truth)
    assert (plain.format, truth.format) == ("coco", "d2sa")
    assert plain.dropped == [] and truth.dropped == []
    assert (
        [i.id for i in plain.instances] == [i.id for i in truth.instances] == list(range(1, len(plain.instances) + 1))
    )
    for index, image in enumerate(plain.images):
        scene = draw_scene(np.random.default_rng([3, index]), (80, 100))
        assert np.array_equal(read_image(files.images / image.file_name), scene.image)
        for at, (seen, whole) in enumerate(zip(plain.by_image[image.id], truth.by_image[image.id], strict=True)):
            assert np.array_equal(rle.decode(seen.modal), scene.modal[at])
            assert np.array_equal(rle.decode(whole.modal), scene.modal[at])
            assert np.array_equal(rle.decode(whole.amodal), scene.amodal[at])
            assert seen.category_id == whole.category_id == scene.category_ids[at]


def test_truth_has_box_area_and_rate_of_the_whole_mask(tmp_path):
    files = write_scenes(tmp_path, count=2, seed=0)
    for entry in json.loads(files.truth.read_text())["annotations"]:
        whole = rle.decode({**entry["segmentation"], "counts": entry["segmentation"]["counts"].encode()})
        seen = rle.decode({**entry["visible_mask"], "counts": entry["visible_mask"]["counts"].encode()})
        assert entry["area"] == whole.sum()
        assert entry["occlude_rate"] == pytest.approx((whole & ~seen).sum() / whole.sum(), abs=1e-6)
        columns, rows = np.flatnonzero(whole.any(0)), np.flatnonzero(whole.any(1))
        box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
        assert entry["bbox"] == box


def test_same_bytes_and_no_leftovers(tmp_path):
    first, second = write_scenes(tmp_path / "a", 3, seed=1), write_scenes(tmp_path / "b", 3, seed=1)
    listing = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(listing) == 5
    for name in listing:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    more = write_scenes(tmp_path / "c", 4, seed=1)  # scene i depends on the seed and i only
    for photo in first.images.iterdir():
        assert (more.images / photo.name).read_bytes() == photo.read_bytes()
    other = write_scenes(tmp_path / "d", 3, seed=2)
    assert other.annotations.read_bytes() != second.annotations.read_bytes()
