"""What the shape auto-encoder sees of a mask."""

from __future__ import annotations

import numpy as np
import torch

from amodalpl.shape_prior.crops import crop_shapes


def test_mirrored_masks_have_mirrored_crops():
    for width in (5, 10, 17, 30, 61):  # 10 and 30 of 40 rows are 7 and 21 of 28: odd
        mask = np.tril(np.ones((40, width), bool))
        crop, mirrored = crop_shapes([mask, mask[:, ::-1]])
        assert torch.allclose(crop, mirrored.flip(-1), atol=1e-6)
        assert crop.min() >= 0 and crop.max() <= 1


def test_crop_shows_the_mask_and_its_hollows():
    mask = np.zeros((28, 28), bool)
    mask[:, :14] = mask[14:] = True  # an L: its hull adds a triangle
    shape, hollows = crop_shapes([mask])[0]
    assert torch.equal(shape, torch.from_numpy(mask).float())
    assert (hollows * shape).sum() == 0
    assert hollows[13, 14] == 1 and hollows[0, 27] == 0
    assert 70 < hollows.sum() < 110  # half of 14 x 14 is 98
    assert crop_shapes([np.ones((9, 30), bool)])[0, 1].sum() == 0
