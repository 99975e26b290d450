"""Pictures of how far uncertainty can be believed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from amodalpl.report.plots import reliability_diagram, risk_coverage

BINS = {"stated": [0.1, 0.9], "seen": [0.2, 0.8], "share": [0.75, 0.25]}
NONE = {"stated": [], "seen": [], "share": []}
CURVE = {"coverage": [0.5, 1.0], "risk": [0.1, 0.2]}


def drawn(path, rgb):
    """Pixels of a colour in a picture."""
    image = cv2.imread(str(path))[..., ::-1]
    return np.count_nonzero(np.all(image == rgb, axis=-1))


def test_equal_values_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        reliability_diagram({"network": BINS, "calibrated": BINS, "labels": BINS}, tmp_path / f"{name}1.png")
        risk_coverage({"labels": CURVE, "oracle": CURVE}, tmp_path / f"{name}2.png")
    for number in (1, 2):
        assert (tmp_path / f"a{number}.png").read_bytes() == (tmp_path / f"b{number}.png").read_bytes()


def test_each_row_has_its_colour(tmp_path):
    blue, orange, green = (0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73)
    path = tmp_path / "a.png"
    reliability_diagram({"network": NONE, "calibrated": BINS, "labels": NONE}, path)
    alone = [drawn(path, colour) for colour in (blue, orange, green)]  # the legend has a stroke of each
    reliability_diagram({"network": BINS, "calibrated": NONE, "labels": BINS}, path)
    others = [drawn(path, colour) for colour in (blue, orange, green)]
    assert others[0] > alone[0] and others[1] < alone[1] and others[2] > alone[2]
    risk_coverage({"labels": CURVE, "oracle": CURVE}, path)
    assert drawn(path, orange) > 0


@pytest.mark.parametrize("diagrams", [{}, {"network": NONE, "calibrated": NONE, "labels": NONE}])
def test_nothing_to_draw(tmp_path, diagrams):
    reliability_diagram(diagrams, tmp_path / "a.png")
    risk_coverage({}, tmp_path / "b.png")
    assert cv2.imread(str(tmp_path / "a.png")) is not None and cv2.imread(str(tmp_path / "b.png")) is not None
