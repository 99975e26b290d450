"""How wrong whole masks of detections are expected to be."""

import numpy as np
import pytest

from amodalpl.calibration.detection_error import SeenObject, fit_detection_errors
from amodalpl.masks import rle


def bar(left, right):
    mask = np.zeros((4, 100), dtype=bool)
    mask[:, left:right] = True
    return rle.encode(mask)


def test_a_detection_that_misses_more_of_what_is_visible_is_wrong_more_often():
    rng, seen, truth = np.random.default_rng(0), [], []
    for _ in range(60):
        missed = int(rng.integers(0, 30))
        seen.append(SeenObject(bar(missed, 40 + missed), bar(0, 40), float(rng.uniform(0.2, 0.9))))
        truth.append(bar(0, 40))
    errors = fit_detection_errors(seen, truth)
    good, bad = (errors.of(SeenObject(bar(k, 40 + k), bar(0, 40), 0.5)) for k in (2, 25))
    assert good < 0.15 < 0.3 < bad
    stated = np.mean([errors.of(one) for one in seen])
    assert stated == pytest.approx(
        np.mean([1 - rle.iou(o.whole, t) for o, t in zip(seen, truth, strict=True)]), abs=0.03
    )


def test_a_few_good_ones_promise_no_perfection():
    perfect = SeenObject(bar(0, 40), bar(0, 30), 0.9)
    few, more = (fit_detection_errors([perfect] * n, [bar(0, 40)] * n).of(perfect) for n in (4, 19))
    assert few == pytest.approx(1 / 5, abs=1e-3) and more == pytest.approx(1 / 20, abs=1e-3)
    assert fit_detection_errors([], []).of(perfect) == 1


def test_the_error_is_of_the_detection_with_what_is_visible():
    half = SeenObject(bar(20, 40), bar(0, 20), 0.9)  # the visible part was left out, the rest is right
    right, wrong = (fit_detection_errors([half] * 50, [bar(0, end)] * 50).of(half) for end in (40, 80))
    assert right == pytest.approx(1 / 51, abs=1e-3) and wrong == pytest.approx(26 / 51, abs=1e-3)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_any_score_and_any_masks_give_a_share(score):
    nothing = SeenObject(bar(0, 0), bar(0, 0), score)
    error = fit_detection_errors([nothing, SeenObject(bar(0, 9), bar(0, 9), score)], [bar(0, 0), bar(0, 9)]).of(nothing)
    assert 0 <= error <= 1
