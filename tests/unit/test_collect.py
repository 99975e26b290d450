"""Labels beside their truth, with a network whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from amodalpl.calibration.collect import Calibrated, CalibrationSamples, LabelSample
from amodalpl.calibration.fit import LEVELS, Calibration, Evidence, RiskGuarantee
from amodalpl.calibration.holdout import Case
from amodalpl.completion.checkpoint import CompleterBundle
from amodalpl.completion.predictor import CompletionPredictor, CompletionRequest, CropSpec, Scene
from amodalpl.labelling.label import Label
from amodalpl.labelling.label_features import FEATURES, LabelFeatures
from amodalpl.labelling.label_scenes import SceneLabels, label_scenes
from amodalpl.labelling.ordering import OcclusionEdge
from amodalpl.labelling.plan import plan_labels
from amodalpl.masks.boxed import boxed
from amodalpl.models.completer import Completer
from amodalpl.models.completer_table import METHODS
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
    return CompleterBundle(Completer(Even(probability), METHODS["pcnet-m"]).eval(), CropSpec(64))


def labelled(amodal=SQUARE | BAR, probability=0.7, **changes):
    """The square asked behind the bar, the bar not asked, the third without neighbours."""
    request = CompletionRequest(SCENE, 1, (0,))
    prediction = CompletionPredictor(trained(probability).completer, CropSpec(64), 0).predict([request])[request]
    square = replace(Label(boxed(amodal), 0.1, prediction), **changes)
    return SceneLabels([Label(boxed(BAR), 0.0), square, Label(boxed(ALONE), 0.0)], [OcclusionEdge(0, 1, 80.0)])


def samples(found=None, scenes=1, probability=0.7):
    made = CalibrationSamples()
    for _ in range(scenes):
        made.add([Case(SCENE, AMODAL)], [found or labelled(probability=probability)], near_px=0)
    return made


def test_samples_of_a_scene():
    bar, square, alone = samples().labels
    assert (bar.iou, bar.asked, bar.near, bar.evidence) == (1.0, False, True, None)
    assert (alone.iou, alone.asked, alone.near, alone.evidence) == (1.0, False, False, None)
    assert square.asked and square.uncertainty == 0.1 and square.iou == pytest.approx(440 / 480)
    assert square.evidence is not None and square.evidence.visible_px == 400
    assert square.evidence.added.sum() == square.evidence.added[700] == 80 and not square.evidence.left_out.any()


@pytest.mark.parametrize("sure", [True, False])
def test_where_no_mask_is_only_objects_that_are_sure_to_be_whole_are_judged(sure):
    """The label of the square goes on below it, where no object is: wrong, or not to be judged."""
    below = rectangle((40, 44), (20, 40))
    found = labelled(SQUARE | BAR | below)
    found.labels[1].prediction.beyond_masks = True
    made = CalibrationSamples()
    made.add([Case(SCENE, AMODAL, [1] if sure else [])], [found], near_px=0)
    assert made.labels[1].iou == pytest.approx(440 / (560 if sure else 480))
    assert (made.pixels.pixels.sum() > 80) == sure  # 80 are behind the bar


def test_pixels_behind_the_occluder():
    counts = samples(scenes=2).pixels
    assert counts.pixels[700] == counts.pixels.sum() == 160 and counts.inside[700] == counts.inside.sum() == 80


def test_tight_contours_are_weighed_as_labelling_weighs_them():
    """Masks eroded by a pixel are shown as they were, so the evidence is that of masks drawn well."""
    tight = Scene(np.stack([rectangle((21, 39), (41, 43)), rectangle((21, 39), (21, 39)), ALONE]))
    settings = LabelSettings(gap_px=2, contour_inset_px=1)
    (found,) = label_scenes(plan_labels(trained(), settings), [tight], [[OcclusionEdge(0, 1, 80.0)]])
    made = CalibrationSamples()
    made.add([Case(tight, AMODAL)], [found], near_px=2)
    evidence = made.labels[1].evidence
    assert evidence.visible_px == 400 and evidence.added[700] == evidence.added.sum() == 80


def test_limited_labels_and_empty_masks():
    """What a limit left out of the label counts as left out: 80 pixels that belong by 0.7."""
    found = labelled(SQUARE, runaway=True)
    made = samples(SceneLabels([*found.labels[:2], None], found.order))
    assert len(made.labels) == 2 and made.labels[1].iou == pytest.approx(400 / 440)
    evidence = made.labels[1].evidence
    assert evidence.added.sum() == 0 and evidence.left_out[700] == evidence.left_out.sum() == 80
    assert made.pixels.pixels.sum() == 80


def test_calibration_learns_from_order_mistakes():
    """Every second scene has the bar in front by truth, but labels that put it behind: nothing is asked there."""
    made = samples(scenes=10)
    missed = SceneLabels([labelled().labels[0], Label(boxed(SQUARE), 0.0), labelled().labels[2]], [])
    for _ in range(10):
        made.add([Case(SCENE, AMODAL)], [missed], near_px=0)
    calibration = made.calibrate().calibration
    assert calibration.probability == (0.7,) and calibration.belongs == (0.5,)
    assert calibration.unasked == pytest.approx((20 * 0 + 10 * (1 - 400 / 440)) / 30, abs=1e-6)
    doubt = 1 - (400 + 40) / 480  # half of what is added belongs
    assert calibration.error(doubt) == pytest.approx(1 - 440 / 480)
    assert calibration.doubt == (0.0, 1.0)  # what pixels imply is already right: no map of labels


SURE = Evidence(100, np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64))  # nothing was added, nothing left out


def test_promise_is_about_labels_with_an_occluder():
    """59 good ones are enough; as many that were not asked, and bad, take no part."""
    good = [LabelSample(0.0, 0.98, SURE, True) for _ in range(59)]
    unasked = [LabelSample(0.0, 0.2, None, False) for _ in range(59)]
    found = CalibrationSamples(labels=[*good, *unasked]).calibrate()
    assert found.promise == RiskGuarantee(0.0) and found.calibration.unasked == 0.8
    assert CalibrationSamples(labels=unasked).calibrate().promise is None


def test_labels_that_come_again_promise_nothing_more():
    """Without a bad label 59 have to be seen; 58 and their copies are no more than 58."""
    good = CalibrationSamples(labels=[LabelSample(0.0, 0.98, SURE, True) for _ in range(58)])
    assert good.calibrate([good, good]).promise is None


def test_what_a_promise_was_judged_on_is_kept():
    good = [described(0.02, 0.1, n, asked=True) for n in range(59)]
    found = CalibrationSamples(labels=[*good, described(0.3, 0.1, 59)]).calibrate()
    assert found.judged.features.shape == (59, len(FEATURES)) and found.judged.good.all()
    assert found.judged.features[0, FEATURES.index("bay")] == 0.1
    assert CalibrationSamples(labels=good[1:]).calibrate().judged is None


def described(error, bay, scene, asked=False):
    return LabelSample(0.0, 1 - error, SURE if asked else None, asked, scene, features=replace(PLAIN, bay=bay))


PLAIN = LabelFeatures(0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.8, 0.3, 0.0)


def test_looks_are_learnt_where_they_tell_the_error_of_other_scenes():
    """Labels with a bay in their contour are wrong, in the scenes whose occluders nobody knows."""
    known = CalibrationSamples(labels=[described(0.02, 0.0, n, n % 2 == 0) for n in range(80)])
    unknown = CalibrationSamples(labels=[described(0.4, 0.3, n, n % 2 == 0) for n in range(80)])
    calibration = known.calibrate([unknown]).calibration
    assert calibration.by_features is not None
    plain, bitten = (calibration.by_features.error(replace(PLAIN, bay=bay), asked=False) for bay in (0.0, 0.3))
    assert plain < 0.1 and bitten > 0.3
    assert known.calibrate().calibration.by_features is None  # nothing there is wrong by what it looks like


def test_what_a_completer_knows_of_things_without_a_mask_is_kept():
    """Of yours, some with a bay in their contour are hidden as they came, and count as whole."""
    others = [CalibrationSamples(labels=[described(0.4, 0.3, n, n % 2 == 0) for n in range(80)])]
    known = [described(0.02, 0.0, n, n % 2 == 0) for n in range(80)]
    own = CalibrationSamples(labels=known).calibrate(others).calibration.by_features
    yours = CalibrationSamples(labels=known + [described(0.0, 0.3, n) for n in range(160)])
    bitten = replace(PLAIN, bay=0.3)
    learnt, kept = (yours.calibrate(others, by).calibration.by_features for by in (None, own))
    assert learnt.error(bitten, asked=False) < 0.2 < 0.3 < kept.error(bitten, asked=False)
    assert kept.behind == learnt.behind  # of labels with an occluder your objects tell more
    assert CalibrationSamples(labels=known).calibrate(own=own).calibration.by_features is None


def test_objects_whose_truth_is_in_pieces_teach_nothing():
    """They are as they were before something was pasted over them: hidden by what their photo shows."""
    parted = BAR & ~rectangle((28, 32), (40, 44))
    made = CalibrationSamples()
    case = Case(Scene(np.stack([parted, SQUARE, ALONE])), np.stack([parted, WHOLE, ALONE]))
    made.add([case], [labelled()], near_px=0)
    assert [sample.in_pieces for sample in made.labels] == [True, False, False]
    known = [described(0.02, 0.0, n, n % 2 == 0) for n in range(80)]
    bitten = [described(0.4, 0.3, n, n % 2 == 0) for n in range(80)]
    spoilt = [replace(described(0.0, 0.3, n, n % 2 == 0), in_pieces=True) for n in range(80)]
    model = (
        CalibrationSamples(labels=known).calibrate([CalibrationSamples(labels=bitten + spoilt)]).calibration.by_features
    )
    assert model.error(replace(PLAIN, bay=0.3), asked=False) > 0.3


def test_looks_that_tell_nothing_are_not_learnt():
    rng = np.random.default_rng(0)
    asked = [described(error, rng.random(), n, asked=True) for n, error in enumerate(rng.uniform(0, 0.3, 80))]
    alone = [described(0.05, rng.random(), n) for n in range(80)]  # what such labels state is their mean error
    labels = [*(replace(sample, uncertainty=1 - sample.iou) for sample in asked), *alone]
    assert CalibrationSamples(labels=labels).calibrate().calibration.by_features is None


def test_pairs_of_the_order_are_kept_with_whether_they_are_right():
    turned = SceneLabels(labelled().labels, [OcclusionEdge(1, 0, 7.0)])
    assert samples().pairs == [(OcclusionEdge(0, 1, 80.0), True)]
    assert samples(turned).pairs == [(OcclusionEdge(1, 0, 7.0), False)]
    both = CalibrationSamples(pairs=samples(scenes=60).pairs + samples(turned, scenes=30).pairs)
    chance = both.calibrate().calibration.order
    assert chance(OcclusionEdge(0, 1, 80.0)) > 0.9 > 0.1 > chance(OcclusionEdge(1, 0, 7.0))
    assert samples(scenes=60).calibrate().calibration.order is None  # none is wrong


def test_nothing_to_calibrate_from():
    assert CalibrationSamples().calibrate() == Calibrated(Calibration(), None, None)
