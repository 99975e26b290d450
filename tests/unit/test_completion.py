"""Asking the network about objects: crops out, answers back in image pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.completion.predictor import Query, Scene, View, ask
from amodalpl.masks.boxes import Square
from amodalpl.masks.geometry import occlusion_boundary
from amodalpl.models.completer import METHODS, Completer, build_completer

VIEW = View(64, gap_px=0)


class Fake(nn.Module):
    """Answers with a function of its input, as PCNet-M's logits; keeps what it was shown."""

    def __init__(self, inside):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.inside = inside
        self.shown = []

    def forward(self, x):
        self.shown.append(x.clone())
        logit = torch.where(self.inside(x), 40.0, -40.0)
        return torch.stack([-logit / 2, logit / 2], dim=1)


def fake(inside, method="pcnet-m", uses_image=False):
    return Completer(Fake(inside), METHODS[method], uses_image).eval()


def everywhere(x):
    return torch.ones_like(x[:, 0], dtype=torch.bool)


def rectangle(rows, columns, size_hw=(60, 80)):
    mask = np.zeros(size_hw, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


# a square, a bar that touches it, another bar with two free pixels between
SQUARE, BAR, FAR_BAR = rectangle((20, 40), (20, 40)), rectangle((20, 40), (40, 44)), rectangle((20, 40), (42, 46))
SCENE = Scene(np.stack([SQUARE, BAR]))


def ask_one(completer, scene=SCENE, query=None, view=VIEW):
    (answer,) = ask(completer, [scene], [query or Query(0, 0, (1,))], view, 4)
    return answer


def in_frame(answer, part, size_hw=(60, 80)):
    frame = np.zeros(size_hw, part.dtype)
    frame[answer.window] = part
    return frame


def test_window_is_the_crop_in_whole_pixels():
    answer = ask_one(fake(everywhere))
    # side sqrt(3 * 400) = 34.64 about (30, 30): 12.68 to 47.32
    assert answer.window == (slice(12, 48), slice(12, 48))
    assert answer.probability.shape == answer.behind.shape == answer.modal.shape == (36, 36)


def test_a_crop_can_be_given():
    completer = fake(everywhere, "layered")
    answer = ask_one(completer, query=Query(0, 0, (1,), Square(30.5, 20.0, 20.0)))
    assert answer.window == (slice(20, 40), slice(30, 51))
    np.testing.assert_array_equal(answer.modal, SQUARE[answer.window])
    np.testing.assert_array_equal(answer.behind, BAR[answer.window])
    assert len(completer.network.shown) == 1  # what reaches its edge is not asked again in a wider one
    shown = completer.network.shown[0][0, 0]
    assert (
        shown[:, : int(9.5 / 20 * 64)].all() and not shown[:, 32:].any()
    )  # the square ends after 9.5 of its 20 pixels


def test_a_crop_may_leave_the_image_and_miss_the_object():
    answer = ask_one(fake(everywhere), query=Query(0, 0, (1,), Square(70.0, 50.0, 30.0)))
    assert answer.window == (slice(50, 60), slice(70, 80)) and not answer.modal.any()


def test_what_is_visible_and_what_is_behind():
    answer = ask_one(fake(everywhere))
    np.testing.assert_array_equal(in_frame(answer, answer.modal), SQUARE)
    np.testing.assert_array_equal(in_frame(answer, answer.behind), BAR)


def test_network_that_is_sure_everywhere_is_sure_in_the_whole_window():
    answer = ask_one(fake(everywhere))
    assert answer.probability[1:-1, 1:-1].min() > 0.999


def test_network_that_repeats_the_occluder_returns_it_in_place():
    answer = ask_one(fake(lambda x: x[:, 1] > 0))
    np.testing.assert_array_equal(in_frame(answer, answer.probability) > 0.5, BAR)
    answer = ask_one(fake(lambda x: x[:, 0] > 0))
    np.testing.assert_array_equal(in_frame(answer, answer.probability) > 0.5, SQUARE)


def test_network_is_shown_the_boundary_between_the_two():
    completer = fake(everywhere, "boundary-pcnet-m")
    ask_one(completer)
    plain = fake(everywhere, "pcnet-m")
    ask_one(plain)
    modal, occluder = (plain.network.shown[0][0, n].numpy().astype(bool) for n in (0, 1))
    np.testing.assert_array_equal(
        completer.network.shown[0][0, 1].numpy().astype(bool), occlusion_boundary(modal, occluder, 5)
    )


@pytest.mark.parametrize(("gap_px", "closed"), [(0, 0), (1, 0), (2, 2), (3, 2)])
def test_gap_is_given_to_the_occluder(gap_px, closed):
    answer = ask_one(fake(everywhere), Scene(np.stack([SQUARE, FAR_BAR])), view=View(64, gap_px=gap_px))
    behind = in_frame(answer, answer.behind)
    rows = behind[22:38]  # away from the corners
    assert rows[:, 40:42].sum() == 16 * closed
    assert behind[20:40, 42:46].all() and not (behind & SQUARE).any()


def test_closed_gap_brings_the_boundary_back():
    """The reference's boundary is empty when masks are some pixels apart at patch scale."""
    far = Scene(np.stack([SQUARE, rectangle((20, 40), (43, 47))]))  # 3 px = 5.5 patch pixels
    widths = {}
    for gap_px in (0, 3):
        completer = fake(everywhere, "boundary-pcnet-m")
        ask_one(completer, far, view=View(64, gap_px=gap_px))
        widths[gap_px] = int(completer.network.shown[0][0, 1].sum())
    assert widths[0] == 0 and widths[3] > 100


def test_occluders_are_united():
    third = rectangle((40, 44), (20, 40))
    scene = Scene(np.stack([SQUARE, BAR, third]))
    answer = ask_one(fake(everywhere), scene, Query(0, 0, (1, 2)))
    np.testing.assert_array_equal(in_frame(answer, answer.behind), BAR | third)


@pytest.mark.parametrize("method", ["pcnet-m", "asbu"])
def test_batches_equal_singles_and_keep_their_order(method):
    torch.manual_seed(1)
    completer = build_completer(method, 4, False, init_gain=1.0).eval()
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(2):
        masks = np.zeros((4, 50, 70), bool)
        for mask in masks:
            y, x = rng.integers(0, 30, 2)
            mask[y : y + rng.integers(5, 20), x : x + rng.integers(5, 30)] = True
        for index in range(4):
            masks[index] &= ~masks[:index].any(axis=0)
        scenes.append(Scene(masks))
    queries = [
        Query(s, t, tuple(o for o in range(4) if o != t)) for s in (1, 0) for t in range(4) if scenes[s].masks[t].any()
    ]
    singles = list(ask(completer, scenes, queries, View(32), 1))
    for size in (4, 100):
        batched = list(ask(completer, scenes, iter(queries), View(32), size))
        assert [a.query for a in batched] == queries
        for one, many in zip(singles, batched, strict=True):
            assert one.window == many.window
            np.testing.assert_allclose(one.probability, many.probability, atol=1e-4)
            np.testing.assert_array_equal(one.behind, many.behind)
    assert len({a.probability.tobytes() for a in singles}) > 4


def test_batch_size_is_what_the_network_sees():
    completer = fake(everywhere)
    assert len(list(ask(completer, [SCENE], [Query(0, 0, (1,))] * 5, VIEW, 2))) == 5
    assert [len(x) for x in completer.network.shown] == [2, 2, 1]


def test_no_queries_no_calls():
    completer = fake(everywhere)
    assert list(ask(completer, [SCENE], [], VIEW, 4)) == []
    assert completer.network.shown == []


def test_object_at_the_edge_of_the_image():
    masks = np.stack([rectangle((0, 20), (60, 80)), rectangle((0, 20), (50, 60))])
    answer = ask_one(fake(everywhere), Scene(masks))
    assert answer.window == (slice(0, 28), slice(52, 80))
    np.testing.assert_array_equal(in_frame(answer, answer.modal), masks[0])


def test_photo_is_cropped_like_the_masks():
    image = np.zeros((60, 80, 3), np.uint8)
    image[SQUARE] = (200, 0, 0)
    completer = fake(lambda x: x[:, 2] > 0, uses_image=True)  # red above its mean
    answer = ask_one(completer, Scene(SCENE.masks, image))
    found = in_frame(answer, answer.probability) > 0.5
    assert (found & SQUARE).sum() / (found | SQUARE).sum() > 0.95
