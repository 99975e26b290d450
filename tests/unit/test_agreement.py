import numpy as np
import pytest

from amodalpl.labelling.agreement import Rival, Rule, match_labels
from amodalpl.masks import rle

RULE = Rule(match_iou=0.5, agree_iou=0.8, drop_above=0.6)


def bar(left, right):
    mask = np.zeros((4, 40), dtype=bool)
    mask[:, left:right] = True
    return rle.encode(mask)


@pytest.mark.parametrize(
    ("uncertainty", "found", "action", "after"),
    [
        (0.7, None, "dropped", 0.7),
        (0.6, None, "kept", 0.6),
        (0.1, None, "kept", 0.1),
        (0.9, Rival(0.8, 0.01), "kept", 0.9),
        (0.3, Rival(0.5, 0.2), "replaced", 0.2),
        (0.3, Rival(0.7, 0.2), "kept", 0.3),
        (0.2, Rival(0.5, 0.2), "reweighted", 0.3),
        (0.4, Rival(0.4, 0.3), "kept", 0.4),
        (0.0, Rival(0.5, 0.1), "reweighted", 0.4),
        (0.9, Rival(0.5, 1.0), "kept", 0.9),
    ],
    ids=[
        "unseen and doubtful", "unseen at the bound", "unseen and sure", "alike", "the label is surely the worse one",
        "either may be the worse one", "as sure as each other", "no less sure than it must be",
        "a sure label is doubted, not replaced", "nothing is known of the detector",
    ],
)  # fmt: skip
def test_what_becomes_of_a_label(uncertainty, found, action, after):
    done, left = RULE.judge(uncertainty, found)
    assert done == action and left == pytest.approx(after)


def test_the_most_alike_are_matched_first_and_each_once():
    labels, found = [bar(0, 10), bar(0, 12)], [bar(0, 12), bar(1, 10), bar(30, 40)]
    first, second = match_labels(labels, [1, 1], found, [1, 1, 1], [0.5, 0.6, 0.7], 0.5)
    assert (second.index, second.iou, second.score) == (0, 1.0, 0.5)
    assert (first.index, first.iou) == (1, pytest.approx(0.9))


def test_only_detections_of_the_class_match_where_there_are_classes():
    labels, found = [bar(0, 10)], [bar(0, 10), bar(0, 8)]
    assert match_labels(labels, [1], found, [2, 1], [0.9, 0.5], 0.5)[0].index == 1
    assert match_labels(labels, [1], found, None, [0.9, 0.5], 0.5)[0].index == 0
    assert match_labels(labels, [1], found, [2, 2], [0.9, 0.5], 0.5) == [None]
    assert match_labels(labels, [1], [], [], [], 0.5) == [None] and match_labels([], [], found, None, [1, 1], 0.5) == []
    assert match_labels(labels, [1], [bar(6, 12)], [1], [0.9], 0.5) == [None]
