"""Masks that loader processes send: the same ones, not written into a pipe."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from torch.utils.data import DataLoader

from amodalpl.detector.data.paired_masks import PairedMasks
from amodalpl.detector.data.shared_memory import masks_as_bits
from amodalpl.detector.mmdetection import BitmapMasks

SIZE_HW = (300, 400)


@pytest.fixture(autouse=True)
def installed():
    before = dict(ForkingPickler._extra_reducers)
    with masks_as_bits():
        yield
    assert before == ForkingPickler._extra_reducers  # MMDetection's own loop sends them as ever


def plain(count):
    return BitmapMasks(np.random.default_rng(count).integers(0, 2, (count, *SIZE_HW), np.uint8), *SIZE_HW)


def paired(count):
    maps = {"visible": plain(count).masks, "doubt": plain(count).masks}
    return PairedMasks(plain(count).masks, *SIZE_HW, maps, {"uncertainty": np.linspace(0, 1, count, dtype=np.float32)})


def arrays(masks):
    companions = getattr(masks, "companions", {})
    return {"": masks.masks, **{name: maps.masks for name, maps in companions.items()}, **getattr(masks, "numbers", {})}


@pytest.mark.parametrize("make", [plain, paired])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_loader_process_sends_the_same_masks(make, count):
    expected = make(count)
    (found,) = DataLoader([expected], batch_size=None, num_workers=1)
    assert type(found) is type(expected) and (found.height, found.width) == SIZE_HW
    assert arrays(found).keys() == arrays(expected).keys()
    for name, array in arrays(expected).items():
        np.testing.assert_array_equal(arrays(found)[name], array)
    assert found.flip().masks.shape == (count, *SIZE_HW)
    found.masks[:] = 1  # and they can be written to


def test_their_pixels_go_past_the_pipe():
    assert len(ForkingPickler.dumps(paired(5))) < 5000 < plain(5).masks.nbytes
