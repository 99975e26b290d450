import numpy as np
import pytest

from amodalpl.labelling.agreement import Match, Rule, match_labels
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
        (0.9, Match(0, 0.8, 0.99), "kept", 0.9),
        (0.3, Match(0, 0.7, 0.8), "replaced", 0.2),
        (0.25, Match(0, 0.7, 0.75), "reweighted", 0.3),
        (0.4, Match(0, 0.7, 0.3), "reweighted", 0.4),
        (0.0, Match(0, 0.5, 1.0), "reweighted", 0.5),
    ],
    ids=[
        "unseen and doubtful", "unseen at the bound", "unseen and sure", "alike", "the detector is surer",
        "as sure as each other", "the label is surer", "a sure label is doubted, not replaced",
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
