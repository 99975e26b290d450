"""The stream of samples: sample i depends on the seed and i alone."""

from __future__ import annotations

import drawn_cutouts
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from amodalpl.settings import SynthesisSettings
from amodalpl.synthesis.dataset import SampleStream
from amodalpl.synthesis.recipe_table import RECIPES
from amodalpl.synthesis.sample import Sample

SIZE = drawn_cutouts.SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn_cutouts.write_bank(tmp_path_factory.mktemp("bank"))


def stream_of(folder, seed=0, length=10, made_for="pair", with_boundary=True, **synthesis):
    return SampleStream(folder, SynthesisSettings(patch_px=16, **synthesis), seed, length, made_for, with_boundary)


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_item_is_what_the_docstring_says(folder):
    item = stream_of(folder, length=10)[3]
    assert item.keys() == {"modal", "occluder", "boundary", "target"}
    assert all(t.shape == (1, 16, 16) and t.dtype == torch.bool for t in item.values())
    with_image = stream_of(folder, length=10, with_image=True)[3]
    assert with_image["image"].shape == (3, 16, 16) and with_image["image"].dtype == torch.uint8
    assert same(item, {name: with_image[name] for name in item})


@pytest.mark.parametrize("recipe", RECIPES)
def test_without_the_boundary_all_else_is_the_same(folder, recipe, monkeypatch):
    whole = [stream_of(folder, recipe=recipe)[i] for i in range(10)]
    monkeypatch.setattr(Sample, "boundary", property(lambda sample: pytest.fail("the boundary is drawn all the same")))
    plain = stream_of(folder, recipe=recipe, with_boundary=False)
    for i in range(10):
        assert same({**plain[i], "boundary": whole[i]["boundary"]}, whole[i])


def test_order_of_access_does_not_matter(folder):
    forwards = stream_of(folder, length=30)
    straight = [forwards[i] for i in range(30)]
    backwards = stream_of(folder, length=30)
    for i in reversed(range(30)):
        assert same(backwards[i], straight[i])
    assert same(stream_of(folder, length=1000)[17], straight[17])  # nor does the length


def test_every_object_comes_once_per_round_in_the_order_of_the_seed(folder):
    """The order is part of what a seed means: the same samples of the same seed, in every version."""
    for seed in (0, 3):
        stream = stream_of(folder, seed=seed, length=2 * SIZE)
        for epoch in (0, 1):
            found = [stream.start(epoch * SIZE + place)[0] for place in range(SIZE)]
            assert found == np.random.default_rng((seed, 0, epoch)).permutation(SIZE).tolist()


def test_seed_and_place_change_the_sample(folder):
    stream, other = stream_of(folder, length=30), stream_of(folder, seed=1, length=30)
    assert not same(stream[0], other[0])
    assert not all(same(stream[i], stream[i + SIZE]) for i in range(SIZE))


@pytest.mark.parametrize("recipe", RECIPES)
def test_number_of_workers_does_not_matter(folder, recipe):
    stream = stream_of(folder, seed=3, length=12, recipe=recipe)
    alone, shared = (list(DataLoader(stream, batch_size=4, num_workers=n)) for n in (0, 2))
    assert len(alone) == len(shared) == 3
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_every_epoch_visits_each_cut_out_once_in_another_order(folder):
    stream = stream_of(folder, length=4 * SIZE)
    epochs = [[stream.start(e * SIZE + i)[0] for i in range(SIZE)] for e in range(4)]
    assert all(sorted(epoch) == list(range(SIZE)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_settings_choose_the_recipe_else_the_method(folder):
    methods = {name: stream_of(folder, made_for=name)[2] for name in RECIPES}
    for name, item in methods.items():
        assert same(stream_of(folder, made_for="pair", recipe=name)[2], item)
    assert len({item["modal"].numpy().tobytes() for item in methods.values()}) == len(RECIPES)


@pytest.mark.parametrize("image", [False, True], ids=["masks", "photos"])
def test_only_the_recipe_that_knows_gives_unknown(folder, image):
    for name in RECIPES:
        item = stream_of(folder, recipe=name, with_image=image)[3]
        assert ("unknown" in item) == (name == "ais") and ("image" in item) == image
    unknown = stream_of(folder, recipe="ais")[3]["unknown"]
    assert unknown.shape == (1, 16, 16) and unknown.dtype == torch.bool and unknown.any()


@pytest.mark.parametrize("recipe", RECIPES)
def test_only_unoccluded_objects_are_shown(folder, recipe):
    """The first four cut-outs are alone; the photo of number k is 25 * (k + 1) in red."""
    stream = stream_of(
        folder, length=40, recipe=recipe, only_unoccluded=True, with_image=True, feather_px=0, photo_wear=0
    )
    assert len(stream.bank) == 4
    colours = {int(c) for k in range(40) for c in stream[k]["image"][0, stream[k]["modal"][0]].unique()}
    others = {int(c) for k in range(40) for c in stream[k]["image"][0, stream[k]["occluder"][0]].unique()}
    whole = {25, 50, 75, 100}
    assert colours == whole and others - {0} == whole  # nothing is stored beyond the square around a cut-out


def test_photos_are_worn_and_nothing_else_changes(folder):
    """Of the same sample, all masks stay; with a chance of 1 every photo is another one."""
    plain, worn = (stream_of(folder, made_for="layers", with_image=True, photo_wear=wear) for wear in (0, 1))
    for k in range(5):
        before, after = plain[k], worn[k]
        assert not torch.equal(before.pop("image"), after.pop("image")) and same(before, after)
