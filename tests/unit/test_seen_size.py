"""A photo is resized as MMDetection does it, and one that would vanish is named."""

from types import SimpleNamespace

import pytest

from amodalpl.detector.data.seen_size import require_seen, seen_size_hw
from amodalpl.errors import DataError


@pytest.mark.parametrize("size_hw", [(426, 640), (640, 426), (1, 1), (2, 333), (3000, 4001), (77, 5)])
@pytest.mark.parametrize("scale", [(320, 224), (64, 48), (800, 1333)])
def test_sizes_are_mmdetections(size_hw, scale):
    mmcv = pytest.importorskip("mmcv")
    width, height = mmcv.rescale_size(size_hw[::-1], scale)
    assert seen_size_hw(size_hw, scale) == (height, width)


def test_the_narrowest_photo_that_can_be_seen():
    require_seen("a.jpg", (10, 1279), (64, 48))  # half a pixel is rounded up
    with pytest.raises(DataError, match=r"b.jpg: .* a pixel or more at 64 x 48, got 1281 x 10; crop it"):
        require_seen("b.jpg", (10, 1281), (64, 48))


def test_a_detector_knows_at_what_size_it_sees_photos():
    trained = pytest.importorskip("amodalpl.detector.trained")
    resize = SimpleNamespace(keep_ratio=True, scale=(64, 48))
    for transforms in ([SimpleNamespace()], [SimpleNamespace(keep_ratio=True, scale=None)]):
        trained.Detector("m", None, transforms, [], None, {}).require_seen([("a.jpg", (1, 9999))])
    with pytest.raises(DataError, match="a.jpg"):
        trained.Detector("m", None, [resize], [], None, {}).require_seen([("c.jpg", (9, 9)), ("a.jpg", (1, 9999))])
