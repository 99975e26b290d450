"""Choosing and scoring on the hold-out, with a network whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.completion import Scene, View
from amodalpl.formats import read_annotations
from amodalpl.masks import rle
from amodalpl.models.completer import METHODS, Completer
from amodalpl.ordering import Pair
from amodalpl.scoring import Case, Holdout, _best, choose, quick_score, score
from amodalpl.settings import LabelSettings
from amodalpl.trained import TrainedCompleter

SIZE_HW = (60, 80)
SETTINGS = LabelSettings(gap_px=0)
VIEW = View(64, gap_px=0)


def rectangle(rows, columns):
    mask = np.zeros(SIZE_HW, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


# the square goes on behind the bar; a third object stands alone
BAR, ALONE = rectangle((20, 40), (40, 44)), rectangle((50, 58), (60, 68))
SQUARE, SQUARE_WHOLE = rectangle((20, 40), (20, 40)), rectangle((20, 40), (20, 44))


class Sure(nn.Module):
    """Gives squares one probability in the whole patch, and bars nothing."""

    def __init__(self, probability):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.logit = float(np.log(probability / (1 - probability)))

    def forward(self, x):
        square = x[:, 0].mean(dim=(1, 2)) > 0.2
        logit = torch.where(square, self.logit, -40.0).view(-1, 1, 1).expand_as(x[:, 0])
        return torch.stack([-logit / 2, logit / 2], dim=1)


def trained(probability, method="pcnet-m"):
    return TrainedCompleter(Completer(Sure(probability), METHODS[method]).eval(), VIEW)


def holdout(folder, parts=("choose", "report"), square_whole=SQUARE_WHOLE):
    images, annotations = [], []
    for number, part in enumerate(parts, 1):
        images.append({"id": number, "file_name": f"{number}.jpg", "height": 60, "width": 80, "part": part})
        for modal, amodal in ((BAR, BAR), (SQUARE, square_whole), (ALONE, ALONE)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": rle.to_json(rle.encode(amodal)),
                    "visible_mask": rle.to_json(rle.encode(modal)),
                }
            )
    path = folder / "holdout.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]})
    )
    return Holdout(read_annotations(path), None)


def test_parts(tmp_path):
    found = holdout(tmp_path, ("choose", "report", "both", "choose"))
    assert found.cases("choose") == [1, 3, 4] and found.cases("report") == [2, 3]
    assert [len(chunk) for chunk in found.chunks([1] * 20)] == [8, 8, 4]


def test_true_order_counts_the_hidden_pixels_that_the_front_shows():
    case = Case(Scene(np.stack([BAR, SQUARE, ALONE])), np.stack([BAR, SQUARE_WHOLE, ALONE]))
    assert case.true_order() == [Pair(front=0, back=1, evidence_px=80.0)]


def test_mutual_occlusion_has_both_directions():
    left, right = rectangle((0, 20), (0, 20)), rectangle((0, 20), (20, 40))
    amodal = np.stack([left | rectangle((0, 5), (20, 22)), right | rectangle((10, 20), (19, 20))])
    found = Case(Scene(np.stack([left, right])), amodal).true_order()
    assert [(p.front, p.back, p.evidence_px) for p in found] == [(1, 0, 10.0), (0, 1, 10.0)]


def test_hidden_behind_nothing_gives_no_order():
    case = Case(Scene(np.stack([SQUARE, ALONE])), np.stack([SQUARE_WHOLE, ALONE]))
    assert case.true_order() == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0, 0, 0, 0], 2), ([1, 0, 0, 0, 1], 0), ([0, 3, 0, 3, 3], 1), ([0, 0, 0, 0, 9], 4)],
    ids=["ties: middle", "ties: first of the equally far", "ties: nearest", "largest"],
)
def test_best_prefers_the_middle_among_equals(values, expected):
    assert _best(values) == expected
    assert _best(np.array(values, float)) == expected


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        pytest.param(0.999, 0.5, id="sure: any threshold, so the middle"),
        pytest.param(0.42, 0.4, id="hesitant: the highest that still grows"),
    ],
)
def test_threshold_is_the_best_on_the_choosing_half(tmp_path, probability, expected):
    chosen = choose(trained(probability), holdout(tmp_path), SETTINGS)
    assert chosen.threshold == pytest.approx(expected)
    assert chosen.order_threshold == pytest.approx(expected)


def test_threshold_still_lets_grow_where_a_quarter_is_right(tmp_path):
    wrong = holdout(tmp_path, square_whole=SQUARE | rectangle((20, 40), (40, 41)))
    chosen = choose(trained(0.42, "boundary-pcnet-m"), wrong, SETTINGS)
    assert chosen.threshold == pytest.approx(0.4)  # 20 right pixels of 80 are better than none


def test_report_half_does_not_choose(tmp_path):
    both = holdout(tmp_path, ("choose", "report"))
    alone = choose(trained(0.42), both, SETTINGS)
    (tmp_path / "b").mkdir()
    many = choose(trained(0.42), holdout(tmp_path / "b", ("choose", *["report"] * 3)), SETTINGS)
    assert (alone.threshold, alone.calibration) == (many.threshold, many.calibration)


def test_nothing_to_choose_from_leaves_the_defaults(tmp_path):
    start = trained(0.9)
    chosen = choose(start, holdout(tmp_path, ("report",)), SETTINGS)
    assert chosen.threshold == start.threshold and chosen.calibration == start.calibration


def test_quick_score_by_hand(tmp_path):
    found = holdout(tmp_path)
    assert quick_score(trained(0.9).completer, VIEW, found, SETTINGS) == {
        "hold-out miou": 1.0,
        "hold-out invisible_miou": 1.0,
    }
    below = quick_score(trained(0.4).completer, VIEW, found, SETTINGS)
    assert below["hold-out miou"] == pytest.approx(400 / 480) and below["hold-out invisible_miou"] == 0


def test_scores_by_hand(tmp_path):
    scores = score(trained(0.9), holdout(tmp_path), SETTINGS)
    everything = scores["hold-out completion, micro (PCNet/ASBU): all"]
    occluded = scores["hold-out completion, micro (PCNet/ASBU): occluded"]
    assert list(everything) == ["modal mask", "convex hull", "labels", "labels, true order"]
    total = 80 + 480 + 64
    assert everything["modal mask"]["miou"] == pytest.approx((total - 80) / total)
    assert everything["modal mask"]["invisible_miou"] == 0
    for row in ("labels", "labels, true order"):
        assert everything[row]["miou"] == everything[row]["invisible_miou"] == 1.0
    assert everything["labels"]["instances"] == 3 and occluded["labels"]["instances"] == 1
    assert occluded["modal mask"]["miou"] == pytest.approx(400 / 480)


def test_gap_tolerance_is_the_label_settings(tmp_path):
    """The view that came from disk has the default gap; scoring must use the settings'."""
    completer = trained(0.9)
    wide = TrainedCompleter(completer.completer, View(64, gap_px=9))
    a, b = (score(t, holdout(tmp_path), SETTINGS) for t in (completer, wide))
    assert a == b
