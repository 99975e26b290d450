"""The stream of samples: sample i depends on the seed and i alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from amodalpl.settings import SynthesisSettings
from amodalpl.synthesis.bank import BankWriter, cut_out
from amodalpl.synthesis.dataset import SampleStream

SETTINGS = SynthesisSettings(patch_px=16)
SIZE = 7  # cut-outs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    writer = BankWriter(folder, 16)
    for number in range(SIZE):
        mask = np.zeros((40, 40), bool)
        mask[5 : 15 + number, 5 : 20 - number] = True
        mask[5 : 8 + number, 5:8] = False
        writer.add(cut_out(mask, 512), (number, 1, 1), np.full((16, 16, 3), number, np.uint8))
    writer.close()
    return folder


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_item_is_what_the_docstring_says(folder):
    item = SampleStream(folder, SETTINGS, 0, 10)[3]
    assert item.keys() == {"modal", "occluder", "boundary", "target"}
    assert all(t.shape == (1, 16, 16) and t.dtype == torch.bool for t in item.values())
    with_image = SampleStream(folder, SETTINGS.model_copy(update={"with_image": True}), 0, 10)[3]
    assert with_image["image"].shape == (3, 16, 16) and with_image["image"].dtype == torch.uint8
    assert same(item, {name: with_image[name] for name in item})


def test_order_of_access_does_not_matter(folder):
    forwards = SampleStream(folder, SETTINGS, 0, 30)
    straight = [forwards[i] for i in range(30)]
    backwards = SampleStream(folder, SETTINGS, 0, 30)
    for i in reversed(range(30)):
        assert same(backwards[i], straight[i])
    assert same(SampleStream(folder, SETTINGS, 0, 1000)[17], straight[17])  # nor does the length


def test_seed_and_place_change_the_sample(folder):
    stream, other = SampleStream(folder, SETTINGS, 0, 30), SampleStream(folder, SETTINGS, 1, 30)
    assert not same(stream[0], other[0])
    assert not all(same(stream[i], stream[i + SIZE]) for i in range(SIZE))


def test_number_of_workers_does_not_matter(folder):
    stream = SampleStream(folder, SETTINGS, 3, 12)
    alone, shared = (list(DataLoader(stream, batch_size=4, num_workers=n)) for n in (0, 2))
    assert len(alone) == len(shared) == 3
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_every_epoch_visits_each_cut_out_once_in_another_order(folder):
    stream = SampleStream(folder, SETTINGS, 0, 4 * SIZE)
    epochs = [[stream._target_of(e * SIZE + i) for i in range(SIZE)] for e in range(4)]
    assert all(sorted(epoch) == list(range(SIZE)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
