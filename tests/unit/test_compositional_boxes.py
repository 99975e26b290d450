"""From boxes of drawn photos to masks: crops, training in parts, and answers in the frame of the photo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.detector.compositional import training
from amodalpl.detector.compositional.features import (
    BACKBONES,
    FeatureExtractor,
    alike,
    crop_box,
    inside_box,
    middle_of_box,
)
from amodalpl.detector.compositional.inference import cell_masks, fill_between, predict_boxes, upsample, whole_box
from amodalpl.detector.compositional.mixtures import on_grid
from amodalpl.detector.compositional.model import CLUTTER, CONTEXT, OBJECT
from amodalpl.detector.compositional.training import BoxObject, BoxTrainer, best_threshold
from amodalpl.errors import DataError
from amodalpl.runtime.progress import SILENT
from amodalpl.settings import CompositionalSettings

GREY, FILL = 90, (90.0, 90.0, 90.0)


class Colours(nn.Module):
    """The mean colour of each cell, far from grey: features whose meaning anybody can see."""

    def forward(self, pixels):
        return [nn.functional.avg_pool2d(pixels, 16)]


@pytest.fixture(scope="module")
def colours():
    return FeatureExtractor("mobilenet_v2", Colours(), first_centre_px=8)


def test_a_crop_has_the_box_in_its_middle():
    image = np.full((200, 300, 3), GREY, np.uint8)
    image[40:140, 60:180] = (255, 0, 0)
    crop = crop_box(image, (60, 40, 120, 100), FILL)  # scale 1.6: 160 px high, 192 wide
    assert crop.size_hw == (14, 16) and crop.scale == pytest.approx(1.6) and crop.centre_xy == (120, 90)
    red = crop.pixels[0] > 172
    ys, xs = np.nonzero(red)
    assert (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1) == (32, 192, 32, 224)
    assert not crop.outside.any()
    assert inside_box(crop.size_hw).sum() == 10 * 12


def test_what_is_beyond_the_photo_is_told():
    crop = crop_box(np.zeros((100, 100, 3), np.uint8), (0, 0, 50, 100), FILL)
    assert crop.size_hw == (14, 10)
    assert crop.outside[:2].all() and crop.outside[-2:].all() and crop.outside[:, :2].all()
    assert not crop.outside[2:-2, 3:].any()
    assert (crop.pixels[:, :31] == 90).all() and crop.pixels[:, 40, 60].tolist() == [0, 0, 0]


@pytest.mark.parametrize("box", [(10, 10, 90, 10), (95, 2, 4, 90), (3, 3, 1, 1)], ids=["wide", "thin", "dot"])
def test_any_box_has_a_grid_of_bounded_size(box):
    crop = crop_box(np.zeros((100, 120, 3), np.uint8), box, FILL)
    assert crop.size_hw[0] == 14 and crop.size_hw[1] % 2 == 0 and crop.size_hw[1] <= 34
    assert crop.pixels.shape == (3, 224, 16 * crop.size_hw[1])


def test_batches_are_of_one_size():
    assert list(alike([(1, 2), (1, 3), (1, 2), (1, 2)], 2)) == [[0, 2], [3], [1]]


def test_masks_of_cells_by_hand():
    labels = np.full((5, 5), CONTEXT)
    labels[1:4, 1:4] = OBJECT
    labels[2, 2] = CONTEXT  # a hole
    labels[2, 3] = CLUTTER  # hidden, surely object
    labels[0, 1] = CLUTTER  # hidden, perhaps object
    prior = np.full((5, 5), 0.5)
    prior[2, 3] = 0.95
    visible, whole = cell_masks(labels, prior)
    assert visible.sum() == 7 and not visible[2, 2]
    assert whole.sum() == 9 and whole[1:4, 1:4].all()
    open_side = np.array([[1, 1], [1, 0]], bool)
    assert (fill_between(open_side) == open_side).all()


def test_the_whole_box_keeps_or_grows():
    prior = np.zeros((10, 20))
    prior[2:8, 4:16] = 0.9
    assert whole_box(prior, (4, 2, 16, 8), (10, 5)) == (4, 2, 16, 8)
    assert whole_box(prior, (4, 2, 12, 8), (10, 5)) == (4, 2, 12, 8)  # 8 of 12 columns are inside
    assert whole_box(prior, (3, 2, 10, 8), (10, 5)) == (3, 2, 17, 8)  # 6 of 12: evenly around the centre
    assert whole_box(np.zeros((10, 20)), (3, 2, 10, 8), (10, 5)) == (3, 2, 10, 8)


def test_cells_are_pasted_where_they_are():
    mask = np.zeros((6, 6), bool)
    mask[1:5, 2:5] = True
    pasted = upsample(mask, (10, 20), 8, (100, 90))
    exact = np.zeros((100, 90), bool)
    exact[28:60, 26:50] = True
    differs = pasted ^ exact
    assert differs.sum() <= 4 * 80  # the median takes the four corner cells
    ys, xs = np.nonzero(pasted)
    assert (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1) == (28, 60, 26, 50)


def test_grids_are_cut_and_padded_around_the_middle():
    cells = torch.arange(8).view(1, 8)
    assert on_grid(cells, 4).tolist() == [[2, 3, 4, 5]]
    assert on_grid(cells, 12).tolist() == [[0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 0, 0]]
    assert on_grid(cells, 8) is cells or on_grid(cells, 8).tolist() == cells.tolist()


def picture(seed, occluder=None):
    """A red and a blue half side by side, 60 x 40 px, on green ground; 160 x 120 px."""
    rng = np.random.default_rng(seed)
    image = np.empty((120, 160, 3), np.uint8)
    image[:] = (40, 200, 40)
    image[40:80, 50:80] = (220, 30, 30)
    image[40:80, 80:110] = (30, 30, 220)
    if occluder:
        x0, x1 = occluder
        image[30:90, x0:x1] = (230, 220, 40)
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def trainer(colours, folder, **settings):
    wanted = {"concepts": 12, "poses": 2, "kappa": 30, "outliers": 1, **settings}
    objects = [BoxObject(i, 3, (50, 40, 60, 40)) for i in range(12)]
    return BoxTrainer(objects, picture, colours, CompositionalSettings(**wanted), 0, folder, SILENT)


@pytest.fixture(scope="module")
def model(colours, tmp_path_factory):
    return trainer(colours, tmp_path_factory.mktemp("parts")).fit()


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def whole():
    mask = np.zeros((120, 160), bool)
    mask[40:80, 50:110] = True
    return mask


def test_boxes_are_learnt_and_an_unoccluded_object_is_found(colours, model):
    assert model.categories == [3] and model.template(3).size_hw == (14, 20)
    [found] = predict_boxes(model, colours, picture(99), [(50, 40, 60, 40)], [3])
    assert iou(found.amodal, whole()) > 0.9 and iou(found.visible, whole()) > 0.9
    assert found.amodal_box_xywh == pytest.approx((50, 40, 60, 40))
    assert found.score > 0 and 0 <= found.uncertainty <= 1


@pytest.mark.parametrize("centred", [False, True], ids=["centre searched", "centre known"])
def test_the_hidden_half_is_added(colours, model, centred):
    """A yellow wall that was never seen hides the right half; the box is of what is visible, or of the whole."""
    image = picture(99, occluder=(80, 125))
    box = (50, 40, 60, 40) if centred else (50, 40, 30, 40)
    [found] = predict_boxes(model, colours, image, [box], [3], centred=centred)
    visible = whole()
    visible[:, 80:] = False
    assert iou(found.amodal, whole()) > 0.85
    assert iou(found.visible, visible) > 0.85
    assert found.amodal_box_xywh == pytest.approx((50, 40, 60, 40), abs=5.1)  # a cell is 4 px
    assert not (found.visible & ~found.amodal).any()


def test_a_training_goes_on_after_its_last_part(colours, model, tmp_path, monkeypatch):
    again = trainer(colours, tmp_path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    def learnt_again(*_, **__):
        raise AssertionError("concepts are there")

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit_poses", killed)
        with pytest.raises(KeyboardInterrupt):
            again.fit()
    assert [p.name for p in tmp_path.iterdir()] == ["concepts.pth"]
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit_vmf", learnt_again)
        after = again.fit()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), after.state_dict().values(), strict=True))


def test_another_seed_is_another_model(colours, model, tmp_path):
    other = BoxTrainer(**{**vars(trainer(colours, tmp_path)), "seed": 1}).fit()
    assert not torch.equal(other.concepts, model.concepts)


def test_nothing_to_learn_from_is_one_line(colours, tmp_path):
    given = trainer(colours, tmp_path)
    with pytest.raises(DataError, match="expected boxes to learn from, got none"):
        BoxTrainer(**{**vars(given), "objects": []}).fit()


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_have_stride_16_and_unit_vectors(name):
    pytest.importorskip("mmdet")
    from mmengine.registry import DefaultScope

    from amodalpl.detector.compositional.features import build_extractor

    with DefaultScope.overwrite_default_scope("mmengine"):  # as a training in the same process leaves it
        extractor = build_extractor(name, None, "none", seed=0)
    features = extractor(torch.rand(1, 3, 64, 96) * 255)
    assert features.shape[:3] == (1, 4, 6) and features.norm(dim=-1).flatten().tolist() == pytest.approx([1] * 24)
    assert not any(p.requires_grad for p in extractor.parameters()) and not extractor.network.training


def test_the_threshold_that_tells_two_samples_apart_best():
    margin, middle = torch.tensor([0.5, 0.8, 0.9, 0.95]), torch.tensor([0.1, 0.2, 0.6, 0.3])
    found = float(best_threshold(margin, middle))
    wrong = [(float((margin < t).float().mean() + (middle >= t).float().mean())) for t in [*margin, *middle]]
    assert float((margin < found).float().mean() + (middle >= found).float().mean()) == pytest.approx(min(wrong))
    assert float(best_threshold(torch.tensor([0.7, 0.9]), torch.tensor([0.1, 0.3]))) == pytest.approx(0.7)


def test_the_middle_is_half_of_the_box_each_way():
    assert middle_of_box((14, 16)).sum() == 6 * 6 and middle_of_box((14, 16))[4:10, 5:11].all()


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_cells_look_at_their_middle(name):
    """The change that a dot makes to the features is even around the cell that holds it."""
    pytest.importorskip("mmdet")
    from amodalpl.detector.compositional.features import build_extractor

    extractor = build_extractor(name, None, "none", seed=0)
    changes = torch.zeros(13, 13)
    for seed in range(4):
        plain = torch.rand(1, 3, 208, 208, generator=torch.Generator().manual_seed(seed)) * 255
        dotted = plain.clone()
        dotted[..., 100:108, 100:108] = 255  # in the middle of cell (6, 6)
        changes += (extractor(dotted) - extractor(plain)).norm(dim=-1)[0]
    at = torch.arange(13).float()
    centre = [float((changes.sum(dim=1 - axis) * at).sum() / changes.sum()) for axis in (0, 1)]
    assert centre == pytest.approx([6, 6], abs=0.2)
