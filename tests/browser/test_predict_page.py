"""What `predict` finds on photos and on a video, opened as a report in a real browser."""

import json

import cv2
import pytest

pytest.importorskip("mmdet")

from amodalpl.drawn_scenes import write_scenes
from amodalpl.pipeline.predict import predict
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings_values import resolve

TINY = {
    "model": "orcnn", "backbone": "resnet18_small", "steps": 4, "batch_size": 2, "workers": 0, "optimizer": "adamw",
    "learning_rate": 1e-3, "warmup_steps": 2, "image_scale": [80, 64], "rpn_proposals": 20, "roi_samples": 16,
    "channels": 16, "score_threshold": 0.0, "class_agnostic": False,
}  # fmt: skip
WIDTHS = """() => Promise.all([...document.querySelectorAll(".card .layer-photo")].map(async image => {
    const picture = new Image();
    picture.src = image.getAttribute("href");
    await picture.decode();
    return picture.naturalWidth;
}))"""


@pytest.fixture(scope="module", params=["photos", "video"])
def found(request, tmp_path_factory):
    """Labels of a detector of a few steps, every detection kept."""
    folder = tmp_path_factory.mktemp(request.param)
    files = write_scenes(folder, 4, seed=0, size_hw=(64, 80))
    settings = resolve({"detector": TINY, "predict": {"score_threshold": 0.0}})
    train_detector(files.truth, files.images, folder / "orcnn", settings, init="none", device="cpu")
    source = files.images
    if request.param == "video":
        source = folder / "drawn.avi"
        writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 64))
        for photo in sorted(files.images.iterdir()):
            writer.write(cv2.imread(str(photo)))
        writer.release()
    return predict(source, folder / "orcnn", folder / "out", settings, device="cpu")


def test_the_report_shows_every_detection(browser, found):
    labels = json.loads((found.out / "labels/pseudo_amodal.json").read_text())["annotations"]
    said = []
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url[:80]}"))
    page.goto((found.out / "labels/report.html").as_uri())
    shown = set()
    while True:
        shown |= {*page.locator(".card").evaluate_all("cards => cards.map(card => Number(card.dataset.id))")}
        widths = page.evaluate(WIDTHS)
        assert len(widths) == page.locator(".card").count() and {*widths} == {80}  # each on its photo
        later = page.locator("#next")
        if later.is_disabled():
            break
        later.click()
    assert shown == {label["id"] for label in labels} and len(labels) > 5
    page.close()
    assert said == []
