"""Labels beside their truth, with a network whose answers are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.completion.asking import Scene, View
from amodalpl.completion.calibration import Calibration, Promise
from amodalpl.completion.trained import TrainedCompleter
from amodalpl.labelling.ordering import Pair
from amodalpl.labelling.pseudolabels import Label, SceneLabels, label_scenes
from amodalpl.models.completer import METHODS, Completer
from amodalpl.scoring.tally import LABELS, PIXELS, PROMISE, RISK, Entry, Tally, examine
from amodalpl.settings import LabelSettings

SIZE_HW = (60, 80)
SETTINGS = LabelSettings(gap_px=0)


def rectangle(rows, columns):
    mask = np.zeros(SIZE_HW, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


# the square goes on behind half of the bar; a third object stands alone
BAR, ALONE = rectangle((20, 40), (40, 44)), rectangle((50, 58), (60, 68))
SQUARE, WHOLE = rectangle((20, 40), (20, 40)), rectangle((20, 40), (20, 42))
SCENE, AMODAL = Scene(np.stack([BAR, SQUARE, ALONE])), np.stack([BAR, WHOLE, ALONE])


class Even(nn.Module):
    """Gives every pixel one probability."""

    def __init__(self, probability):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.logit = float(np.log(probability / (1 - probability)))

    def forward(self, x):
        logit = torch.full_like(x[:, 0], self.logit)
        return torch.stack([-logit / 2, logit / 2], dim=1)


def trained(probability=0.7):
    return TrainedCompleter(Completer(Even(probability), METHODS["pcnet-m"]).eval(), View(64, gap_px=0))


def labelled(amodal=SQUARE | BAR, **changes):
    """The square asked behind the bar, the bar not asked, the third without neighbours."""
    square = replace(Label(amodal, 0.1, (0,), True, False), **changes)
    return SceneLabels(
        [Label(BAR, 0.0, (), False, False), square, Label(ALONE, 0.0, (), False, False)], [Pair(0, 1, 80.0)]
    )


def tally(found=None, scenes=1, probability=0.7):
    made = Tally()
    for _ in range(scenes):
        made.add(trained(probability), [SCENE], [AMODAL], [found or labelled()], SETTINGS)
    return made


def test_entries_of_a_scene():
    bar, square = tally().entries
    assert (bar.iou, bar.asked, bar.evidence) == (1.0, False, None)
    assert square.asked and square.uncertainty == 0.1 and square.iou == pytest.approx(440 / 480)
    assert square.evidence is not None and square.evidence.visible_px == 400
    assert square.evidence.added.sum() == square.evidence.added[700] == 80 and not square.evidence.left_out.any()


def test_pixels_behind_the_occluder():
    counts = tally(scenes=2).pixels
    assert counts.pixels[700] == counts.pixels.sum() == 160 and counts.inside[700] == counts.inside.sum() == 80


def test_tight_contours_are_weighed_as_labelling_weighs_them():
    """Masks eroded by a pixel are shown as they were, so the evidence is that of masks drawn well."""
    tight = Scene(np.stack([rectangle((21, 39), (41, 43)), rectangle((21, 39), (21, 39)), ALONE]))
    settings = LabelSettings(gap_px=2, tight_px=1)
    (found,) = label_scenes(trained(), [tight], settings, [[Pair(0, 1, 80.0)]])
    made = Tally()
    made.add(trained(), [tight], [AMODAL], [found], settings)
    evidence = made.entries[1].evidence
    assert evidence.visible_px == 400 and evidence.added[700] == evidence.added.sum() == 80


def test_runaways_and_empty_masks():
    found = labelled(SQUARE, uncertainty=1.0, runaway=True)
    made = tally(SceneLabels([*found.labels[:2], None], found.order))
    assert made.entries[1] == Entry(1.0, pytest.approx(400 / 440), None, True)
    assert made.pixels.pixels.sum() == 80  # the network did answer


def test_calibration_learns_from_order_mistakes():
    """Every second scene has the bar in front by truth, but labels that put it behind: nothing is asked there."""
    made = tally(scenes=10)
    missed = SceneLabels([labelled().labels[0], Label(SQUARE, 0.0, (), False, False), labelled().labels[2]], [])
    for _ in range(10):
        made.add(trained(), [SCENE], [AMODAL], [missed], SETTINGS)
    calibration, _ = made.calibrate()
    assert calibration.probability == (0.7,) and calibration.belongs == (0.5,)
    assert calibration.unasked == pytest.approx((20 * 0 + 10 * (1 - 400 / 440)) / 30, abs=1e-6)
    doubt = 1 - (400 + 40) / 480  # half of what is added belongs
    assert calibration.error(doubt) == pytest.approx(1 - 440 / 480)
    assert calibration.doubt == (0.0, 1.0)  # what pixels imply is already right: no map of labels


def test_promise_is_about_labels_with_an_occluder():
    """59 good ones are enough; as many that were not asked, and bad, take no part."""
    good = [Entry(0.0, 0.98, None, True) for _ in range(59)]
    unasked = [Entry(0.0, 0.2, None, False) for _ in range(59)]
    calibration, promise = Tally(entries=[*good, *unasked]).calibrate()
    assert promise == Promise(0.0) and calibration.unasked == 0.8
    assert Tally(entries=unasked).calibrate()[1] is None


def test_refused_labels_keep_their_uncertainty():
    good = [Entry(0.0, 1.0, None, True) for _ in range(100)]
    _, promise = Tally(entries=good + [Entry(1.0, 0.1, None, True)] * 50).calibrate()
    assert promise == Promise(0.0)


def test_nothing_tallied():
    calibration, promise = Tally().calibrate()
    assert calibration == Calibration() and promise is None
    trust = examine(Tally(), calibration, promise)
    assert trust.scores[PIXELS]["network"] == {
        "pixels": 0,
        "calibration_error": None,
        "calibration_error_equal_count": None,
    }
    assert trust.scores[LABELS]["labels"]["mean_error"] is None
    assert trust.scores[PROMISE] == {"labels": {"labels": 0, "uncertainty_at_most": None}}
    assert trust.risk_coverage["labels"] == {"coverage": [], "risk": []}
    json.dumps(trust.scores, allow_nan=False)


def test_examination_by_hand():
    made = tally()
    made.entries = [
        Entry(0.0, 0.7, None, False),
        Entry(0.1, 1.0, None, True),
        Entry(0.2, 0.8, None, True),
        Entry(0.2, 0.5, None, True),
        Entry(0.6, 0.9, None, True),
    ]
    trust = examine(made, Calibration(belongs=(0.0, 0.5 / 0.7)), Promise(0.2))
    assert trust.scores[PIXELS]["network"]["calibration_error"] == pytest.approx(0.2)
    assert trust.scores[PIXELS]["calibrated"]["calibration_error"] == pytest.approx(0, abs=1e-6)
    of_labels = trust.scores[LABELS]["labels"]
    assert of_labels["labels"] == 4
    assert of_labels["mean_uncertainty"] == pytest.approx(1.1 / 4) and of_labels["mean_error"] == pytest.approx(0.8 / 4)
    assert of_labels["calibration_error"] == pytest.approx((0.1 + 0 + 0.3 + 0.5) / 4)
    assert {row: v["area"] for row, v in trust.scores[RISK].items()} == {
        "labels": pytest.approx((0 + 0.35 / 2 + 0.7 / 3 + 0.2) / 4),
        "oracle": pytest.approx((0 + 0.05 + 0.1 + 0.2) / 4),
        "random": pytest.approx(0.2),
    }
    assert trust.scores[PROMISE]["labels"] == {
        "labels": 4,
        "uncertainty_at_most": 0.2,
        "labels_up_to_it": 3,
        "iou_above": 0.75,
        "share_promised": 0.95,
        "share_seen": pytest.approx(2 / 3),
    }
    assert set(trust.reliability) == {"network", "calibrated", "labels"}
    assert trust.risk_coverage["random"]["risk"] == pytest.approx([0.2] * 4)
