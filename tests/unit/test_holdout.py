"""The hold-out: pasted occluders over photos, with the truth that follows."""

from __future__ import annotations

import json
from functools import partial
from itertools import combinations

import numpy as np
import pytest

from amodalpl.data.read import read_annotations
from amodalpl.drawn_scenes import draw_scene as draw_photo
from amodalpl.masks import rle
from amodalpl.masks.boxed import all_boxed, boxed
from amodalpl.masks.neighbours import near_pairs
from amodalpl.settings import SynthesisSettings
from amodalpl.synthesis.holdout import APART_PX, SURE, Source, draw_scene, place_as_pairs, place_wide, scene_entries

SETTINGS = SynthesisSettings(patch_px=32)


@pytest.fixture(scope="module")
def sources():
    photos = [draw_photo(np.random.default_rng(seed), (64, 80)) for seed in range(4)]
    return [
        Source(
            partial(np.asarray, p.image),
            all_boxed(p.modal),
            p.category_ids.tolist(),
            [(k + n) % 3 > 0 for k in range(len(p.modal))],
            10 + n,
        )
        for n, p in enumerate(photos)
    ]


def scenes(sources, settings=SETTINGS, count=4):
    for index in range(len(sources)):
        for number in range(count):
            yield index, draw_scene(sources, index, np.random.default_rng((index, number)), settings)


def test_truth_follows_from_the_pastes(sources):
    pasted = 0
    for index, scene in scenes(sources):
        kept = [o for o in scene.objects if any((o.amodal == m).all() for m in sources[index].masks)]
        occluders = scene.objects[len(kept) :]
        pasted += len(occluders)
        for depth, item in enumerate(scene.objects):  # the front last
            in_front = np.zeros((64, 80), bool)
            for other in scene.objects[depth + 1 :]:
                if not any(other is k for k in kept):
                    in_front |= other.amodal
            np.testing.assert_array_equal(item.modal, item.amodal & ~in_front)
        for a, b in combinations(scene.objects, 2):
            assert not (a.modal & b.modal).any()
    assert pasted > 8


def test_kept_objects_stand_apart(sources):
    for index, scene in scenes(sources, SETTINGS.model_copy(update={"holdout_occluded": 0.0})):
        masks = np.stack([o.amodal for o in scene.objects])
        assert near_pairs(masks, APART_PX - 1) == []
        assert all((o.modal == o.amodal).all() for o in scene.objects)
        np.testing.assert_array_equal(scene.image, sources[index].read())


def test_hidden_shares_keep_to_the_settings(sources):
    settings = SETTINGS.model_copy(update={"holdout_hidden": (0.1, 0.3), "holdout_occluded": 1.0})
    shares = []
    for _, scene in scenes(sources, settings):
        shares += [1 - o.modal.sum() / o.amodal.sum() for o in scene.objects]
    assert max(shares) <= 0.3 + 1e-9
    assert max(shares) > 0.1


def test_placed_as_pairs_the_crops_have_one_size():
    target, cutout = np.zeros((2, 200, 300), bool)
    target[80:120, 100:180] = True  # 80 x 40: a crop of sqrt(3 * 3200) = 98.0
    cutout[10:15, 10:50] = True  # 40 x 5: its crop is 1.1 times the longer side, 44
    settings = SETTINGS.model_copy(update={"scale": (1.0, 1.0), "shift": 0.0, "overlap_fraction": (0.5, 0.5)})
    side = np.sqrt(3 * 80 * 40)
    for seed in range(20):
        matrix, mask = place_as_pairs(boxed(target), boxed(cutout), np.random.default_rng(seed), settings)
        assert abs(matrix[0, 0]) == matrix[1, 1] == pytest.approx(side / 44)
        dx, dy = np.abs(matrix @ [30, 12.5, 1] - [140, 100]) / side  # between the middles of the boxes
        assert (1 - dx) * (1 - dy) == pytest.approx(0.5)
        assert mask.area_px == pytest.approx(40 * 5 * (side / 44) ** 2, rel=0.15)


def test_occluders_are_put_anywhere_over_an_object_or_beside_it():
    """The middle of their boxes lies from -0.3 to 1.3 sides of the object's box, evenly."""
    whole = np.zeros((200, 300), bool)
    whole[50:110, 100:180] = True
    target, rng = boxed(whole), np.random.default_rng(0)
    matrices = [place_wide(target, target, rng, SETTINGS)[0] for _ in range(400)]
    middles = (np.array([m @ (140, 80, 1) for m in matrices]) - (100, 50)) / (80, 60)
    assert middles.min(axis=0) == pytest.approx([-0.3, -0.3], abs=0.02)
    assert middles.max(axis=0) == pytest.approx([1.3, 1.3], abs=0.02)


@pytest.mark.parametrize("place", [place_wide, place_as_pairs])
def test_half_of_the_occluders_are_mirrored_and_their_masks_with_them(place):
    target, cutout = np.zeros((2, 200, 300), bool)
    target[80:120, 100:180] = True
    cutout[50:90, 50:60] = cutout[80:90, 50:90] = True  # an L, its weight on the left
    mirrored = []
    for seed in range(40):
        matrix, mask = place(boxed(target), boxed(cutout), np.random.default_rng(seed), SETTINGS)
        ys, xs = np.nonzero(mask)
        if not len(xs) or min(xs.min(), ys.min()) == 0 or xs.max() == 299 or ys.max() == 199:
            continue  # cut off
        mirrored.append(bool(matrix[0, 0] < 0))
        weight_on_the_right = xs.mean() > (xs.min() + xs.max()) / 2
        assert weight_on_the_right == mirrored[-1]
    assert len(mirrored) > 20 and 0.2 < np.mean(mirrored) < 0.8


def test_pairs_are_a_placement_of_the_holdout(sources):
    areas = {}
    for placement in ("wide", "pairs"):
        settings = SETTINGS.model_copy(update={"holdout_placement": placement, "holdout_hidden": (0.001, 0.9)})
        areas[placement] = [s.objects[-1].amodal.sum() for _, s in scenes(sources, settings) if len(s.objects) > 1]
    assert len(areas["pairs"]) > 8
    assert areas["pairs"] != areas["wide"]


def test_photo_changes_only_under_the_occluders(sources):
    for index, scene in scenes(sources):
        changed = (scene.image != sources[index].read()).any(axis=2)
        kept = [o for o in scene.objects if any((o.amodal == m).all() for m in sources[index].masks)]
        covered = np.zeros_like(changed)
        for occluder in scene.objects[len(kept) :]:
            covered |= occluder.amodal
        assert not (changed & ~covered).any()
        if covered.any():
            assert changed[covered].mean() > 0.5


def test_sources_are_left_as_they_were(sources):
    before = [(s.read().copy(), np.asarray(s.masks)) for s in sources]
    list(scenes(sources))
    for source, (image, masks) in zip(sources, before, strict=True):
        np.testing.assert_array_equal(source.read(), image)
        np.testing.assert_array_equal(source.masks, masks)


def test_same_generator_same_scene(sources):
    first, second = (draw_scene(sources, 1, np.random.default_rng(5), SETTINGS) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    assert len(first.objects) == len(second.objects)
    for a, b in zip(first.objects, second.objects, strict=True):
        np.testing.assert_array_equal(a.modal, b.modal)
        np.testing.assert_array_equal(a.amodal, b.amodal)


def test_one_photo_lends_to_itself(sources):
    (source,) = sources[:1]
    settings = SETTINGS.model_copy(update={"holdout_occluded": 1.0})
    occluders = []
    for number in range(4):
        scene = draw_scene([source], 0, np.random.default_rng(number), settings)
        kept = [o for o in scene.objects if any((o.amodal == m).all() for m in source.masks)]
        occluders += scene.objects[len(kept) :]
        assert any(o.modal.sum() < o.amodal.sum() for o in kept)
    assert len(occluders) >= 4 and {o.category_id for o in occluders} <= set(source.categories)


def test_photo_without_objects_gives_no_scene(sources):
    bare = Source(sources[0].read, all_boxed(np.zeros((0, 64, 80), bool)), [], [], 99)
    assert draw_scene([bare, sources[1]], 0, np.random.default_rng(0), SETTINGS) is None


def test_pasted_objects_are_never_empty(sources):
    """With a least hidden share of 0, a paste that leaves the frame or shrinks to nothing would be accepted."""
    settings = SETTINGS.model_copy(update={"holdout_hidden": (0.0, 0.5), "holdout_size": (0.0, 0.02)})
    for _, scene in scenes(sources, settings, count=8):
        assert all(o.amodal.any() and o.modal.any() for o in scene.objects)


def test_an_object_never_vanishes_behind_pastes(sources):
    settings = SETTINGS.model_copy(update={"holdout_hidden": (0.02, 1.0), "holdout_size": (2.0, 4.0)})
    for _, scene in scenes(sources, settings, count=6):
        assert all(o.modal.any() for o in scene.objects)


def test_entries_read_back_as_annotations(sources, tmp_path):
    scene = next(scene for _, scene in scenes(sources) if len({item.is_sure for item in scene.objects}) == 2)
    image, entries = scene_entries(scene, 5, "a.jpg", 40, {"part": "choose"})
    sure = [40 + k for k, item in enumerate(scene.objects) if item.is_sure]
    assert 0 < len(sure) < len(entries)
    assert image == {"id": 5, "file_name": "a.jpg", "height": 64, "width": 80, SURE: sure, "part": "choose"}
    file = tmp_path / "holdout.json"
    categories = [{"id": n, "name": str(n)} for n in range(1, 5)]
    file.write_text(json.dumps({"images": [image], "annotations": entries, "categories": categories}))
    data = read_annotations(file)
    assert data.format == "d2sa" and not data.dropped
    assert [i.id for i in data.instances] == list(range(40, 40 + len(scene.objects)))
    for instance, item, entry in zip(data.instances, scene.objects, entries, strict=True):
        np.testing.assert_array_equal(rle.decode(instance.modal), item.modal)
        np.testing.assert_array_equal(rle.decode(instance.amodal), item.amodal)
        assert entry["occlude_rate"] == pytest.approx(1 - item.modal.sum() / item.amodal.sum(), abs=1e-6)
        assert entry["area"] == item.amodal.sum() and instance.category_id == item.category_id


def test_occluders_that_nobody_annotated_hide_and_are_no_objects(sources):
    settings = SETTINGS.model_copy(update={"holdout_unmasked": 1.0, "holdout_occluded": 1.0})
    found = [scene for _, scene in scenes(sources, settings) if scene is not None]
    originals = [mask for source in sources for mask in source.masks]
    for scene in found:
        assert all(any(np.array_equal(item.amodal, mask) for mask in originals) for item in scene.objects)
    assert sum((item.amodal & ~item.modal).any() for scene in found for item in scene.objects) >= 4


def test_occluders_are_of_other_photos(sources):
    """Each photo has a class of its own here, so that an occluder tells where it is from."""
    marked = [Source(s.read, s.masks, [n] * len(s.categories), s.whole, s.image_id) for n, s in enumerate(sources)]
    settings = SETTINGS.model_copy(update={"holdout_occluded": 1.0})
    lent = set()
    for index, scene in scenes(marked, settings):
        kept = sum(any((o.amodal == m).all() for m in marked[index].masks) for o in scene.objects)
        lent |= {(index, o.category_id) for o in scene.objects[kept:]}
    assert len(lent) > 6 and all(own != other for own, other in lent)
