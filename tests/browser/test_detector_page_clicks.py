"""The detector's page in a real browser, opened from disk."""

import cv2
import numpy as np
import pytest
from drawn_detections import annotation, detection, truth

from amodalpl.metrics.detection import coco_scores, protocol
from amodalpl.report.detector_page import write_detector_page


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A cup that is found, one that is not, and a detection of nothing; a class with a name without spaces."""
    folder = tmp_path_factory.mktemp("detector")
    cv2.imwrite(str(folder / "0.png"), np.full((128, 128, 3), 120, np.uint8))
    known = truth(annotation(1, (10, 10, 20, 20), visible=(10, 10, 10, 20)), annotation(2, (60, 10, 20, 20)))
    known["categories"][1]["name"] = "x" * 80
    found = [detection((10, 10, 20, 20), 0.9), detection((90, 90, 20, 20), 0.7, category=2)]
    scores = {protocol("segm"): {"detector": coco_scores(known, found, "segm")}}
    losses = [{"step": 10, "loss": 2.0, "loss_mask": 0.5}, {"step": 20, "loss": 1.0, "loss_mask": 0.4}]
    return write_detector_page(folder, folder, known, found, scores, losses, {"steps": 20}, held_back=False)


@pytest.mark.parametrize("width", [1280, 390], ids=["laptop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_opens_fits_and_says_nothing_to_the_console(browser, page_file, width, scheme):
    said = []
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url[:5] in ("file:", "data:") else said.append(request.url))
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".examples img").count() == 3
    for picture in page.locator(".examples img").all():
        picture.scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 200)")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(v) for v in ground.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (max(levels) < 60) == (scheme == "dark")
    context.close()
    assert said == []
