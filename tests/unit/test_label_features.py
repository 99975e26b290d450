import numpy as np
import pytest

from amodalpl.labelling.label_features import FEATURES, LabelFeatures, describe_label
from amodalpl.masks.boxed import BoxedMask, all_boxed, boxed


def features_of(*masks: np.ndarray, whole: np.ndarray | None = None, implied: float = 0.0) -> LabelFeatures:
    stack = np.array(masks)
    return describe_label(all_boxed(stack), 0, boxed(stack[0] if whole is None else whole), implied, gap_px=0)


def square(top: int, left: int, side: int, size: int = 60) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_a_square_in_the_middle_has_nothing_to_look_at():
    features = features_of(square(20, 20, 20))
    assert features == LabelFeatures(
        0.0, 0.0, 0.0, 0.0, 0.0, pytest.approx(0.25, abs=0.01), 1.0, pytest.approx(1 / 3), 0.0
    )


def test_a_bay_is_free_or_filled_by_another_object():
    bitten = square(20, 20, 20)
    bitten[25:35, 30:40] = False  # a quarter of the square
    assert features_of(bitten).bay == pytest.approx(0.25)
    assert features_of(bitten).behind == 0
    filled = features_of(bitten, square(25, 30, 10))
    assert (filled.bay, filled.behind) == (0, pytest.approx(0.25))


def test_what_lies_between_two_pieces_is_a_bay():
    parted = square(20, 20, 20)
    parted[28:32] = False
    features = features_of(parted)
    assert (features.pieces, features.bay) == (1, pytest.approx(0.2))


def test_slips_of_the_pen_are_no_pieces():
    spotted = square(20, 20, 20)
    spotted[5, 5] = True
    assert features_of(spotted).pieces == 0


def test_growth_is_a_share_of_the_label():
    assert features_of(square(20, 20, 10), whole=square(20, 20, 20), implied=0.3).grown == pytest.approx(0.75)
    assert features_of(square(20, 20, 10), implied=0.3).implied == 0.3


def test_a_contour_may_end_with_the_photo():
    assert features_of(square(0, 20, 20)).at_edge == pytest.approx(22 / 76)  # a side, and the pixels below its ends


def test_straight_runs_count_where_nothing_touches():
    alone = features_of(square(20, 20, 20)).straight
    enclosed = np.ones((60, 60), dtype=bool) & ~square(20, 20, 20)
    assert alone > 0.2
    assert features_of(square(20, 20, 20), enclosed).straight == 0


def test_a_pixel_can_be_looked_at():
    features = describe_label(
        all_boxed(square(3, 3, 1)[None]), 0, BoxedMask.cut(square(3, 3, 1), (0, 0), (60, 60)), 0.0, 2
    )
    assert all(np.isfinite(features.as_row()))
    assert len(features.as_row()) == len(FEATURES)
