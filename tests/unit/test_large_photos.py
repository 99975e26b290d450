"""Memory follows the area of the objects, not objects times photo: a whole mask of these photos has 256 MB."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

from amodalpl.calibration.holdout import Case
from amodalpl.completion.predictor import Scene
from amodalpl.evaluation.completer_on_holdout import count_order
from amodalpl.evaluation.completion import evaluate_completion
from amodalpl.evaluation.order import evaluate_order
from amodalpl.labelling.label_scenes import SceneLabels
from amodalpl.labelling.ordering import OcclusionEdge
from amodalpl.masks import rle
from amodalpl.masks.boxed import BoxedMask, BoxedMasks
from amodalpl.report import draw

SIDE_PX = 2**14
MOST_MB = 40


@contextmanager
def little_memory():
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MB * 1e6
    finally:
        tracemalloc.stop()


def rectangle(x, y, w, h):
    return BoxedMask(np.ones((h, w), bool), (x, y, w, h), (SIDE_PX, SIDE_PX))


FRONT = rectangle(9000, 9000, 100, 60)
WHOLE = rectangle(9080, 9000, 50, 60)  # 20 of its 50 columns are behind the front one
VISIBLE = rectangle(9100, 9000, 30, 60)


def test_orders_of_the_hold_out():
    modal, amodal = (BoxedMasks(masks, (SIDE_PX, SIDE_PX)) for masks in ((FRONT, VISIBLE), (FRONT, WHOLE)))
    with little_memory():
        rows = dict(count_order(Case(Scene(modal), amodal), SceneLabels([], [OcclusionEdge(0, 1, 5.0)]), 0, 2))
    assert rows["labels"].correct == rows["labels"].pairs == 1
    assert rows["larger in front"].hits == 1 and rows["smaller in front"].hits == 0


@pytest.fixture
def files(tmp_path):
    """Truth, and labels that say of the back one only what is visible."""
    shape = {"height": SIDE_PX, "width": SIDE_PX}
    content = {"images": [{"id": 1, "file_name": "a.png", **shape}], "categories": [{"id": 1, "name": "cup"}]}
    found = []
    for name, back in (("truth", WHOLE), ("labels", VISIBLE)):
        annotations = [
            {"id": n, "image_id": 1, "category_id": 1, "segmentation": rle.to_json(whole.encode()),
             "visible_mask": rle.to_json(seen.encode())}
            for n, (whole, seen) in enumerate(((FRONT, FRONT), (back, VISIBLE)), 1)
        ]  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps({**content, "annotations": annotations}))
        found.append(tmp_path / f"{name}.json")
    return found


def test_completion_of_labels(files):
    with little_memory():
        scores = evaluate_completion(*files).scores["completion, micro (PCNet/ASBU): all"]
    assert scores["labels"]["miou"] == (100 + 30) / (100 + 50) and scores["labels"]["invisible_miou"] == 0


def test_order_of_labels(files):
    with little_memory():
        scores = evaluate_order(files[0], files[0]).scores["order, O-Acc (PCNet/ASBU)"]
    assert scores["labels"] == {"pairs": 1, "accuracy": 1.0, "accuracy_all_pairs": 1.0}


def test_a_close_up_of_boxed_masks_is_that_of_whole_ones():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)
    ys, xs = np.mgrid[:90, :120]
    for x, y in ((50, 40), (5, 3), (115, 85)):
        modal = (xs - x) ** 2 + (ys - y) ** 2 < 200
        amodal = modal | ((abs(xs - x - 9) < 14) & (abs(ys - y) < 9))
        masks = [BoxedMask.cut(mask, (0, 0), mask.shape) for mask in (modal, amodal)]
        np.testing.assert_array_equal(draw.close_up(photo, *masks, 60), draw.close_up(photo, modal, amodal, 60))
