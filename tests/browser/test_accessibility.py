"""The rules of axe-core for accessible pages, on every page and every state of it that a reader can bring about."""

import cv2
import numpy as np
import pytest
from drawn_detections import annotation, detection, truth
from drawn_labels import label, write_doubt, write_labels, write_order, write_photos

from amodalpl.evaluation.audit import audit
from amodalpl.metrics.detection import coco_scores, protocol
from amodalpl.report.detector_page import write_detector_page
from amodalpl.report.label_page import write_label_page

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: pip install '.[dev]'")

KINDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Every page that amodalpl writes, by name."""
    folder = tmp_path_factory.mktemp("pages")
    photos = write_photos(folder / "photos")
    labels = [label(n, uncertainty=n / 10, category_id=1 + n % 2, plausibility=0.5, added_px=9) for n in range(1, 7)]
    labels[0]["amodalpl"] |= {"flags": ["low_confidence", "truncated"], "occluders": [2, 3]}
    write_labels(folder / "labels", labels, categories=("cup", "<b>bowl</b>"))
    write_order(folder / "labels", [(2, 1), (3, 1), (4, 5), (5, 4)], mutual=[(4, 5)])
    write_doubt(folder / "labels", [1, 2, 3])
    write_label_page(folder / "labels", photos, None)
    cv2.imwrite(str(folder / "0.png"), np.full((128, 128, 3), 120, np.uint8))
    known = truth(annotation(1, (10, 10, 20, 20), visible=(10, 10, 10, 20)), annotation(2, (60, 10, 20, 20)))
    found = [detection((10, 10, 20, 20), 0.9), detection((90, 90, 20, 20), 0.7, category=2)]
    scores = {protocol("segm"): {"detector": coco_scores(known, found, "segm")}}
    losses = [{"step": 10, "loss": 2.0, "loss_mask": 0.5}, {"step": 20, "loss": 1.0, "loss_mask": 0.4}]
    return {
        "labels": folder / "labels/report.html",
        "audit": audit(folder / "labels", photos, out=folder / "audit", sample=4).files["page"],
        "detector": write_detector_page(folder, folder, known, found, scores, losses, {"steps": 20}, held_back=False),
    }


def press(*keys):
    return lambda page: [page.keyboard.press(key) for key in keys]


def on_a_label(*keys):
    """Open label 1, which has occluders, an uncertainty map and a place in the order."""

    def act(page):
        page.get_by_role("button", name="Look closer at <b>bowl</b> 1").click()
        page.get_by_role("heading", name="<b>bowl</b> #1").wait_for()
        press(*keys)(page)

    return act


def open_tools(page):
    """On a phone, what sorts and filters is folded."""
    if page.locator("#tools summary").is_visible():
        page.locator("#tools summary").click()
    page.get_by_label("Sort by").wait_for()


STATES = {
    "labels": ("labels", press()),
    "labels, decided on": ("labels", press("j", "a", "j", "r", "j", "m")),
    "labels, the keys": ("labels", press("?")),
    "labels, tools open": ("labels", open_tools),
    "labels, one of them": ("labels", on_a_label()),
    "labels, one of them rejected": ("labels", on_a_label("r")),
    "audit": ("audit", press()),
    "audit, judged": ("audit", press("1", "2")),
    "detector": ("detector", press()),
}


def problems(browser, file, act, *, width=1280, scheme="light"):
    """Return the rules that a page breaks, with the place."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True
    )
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.goto(file.as_uri())
    act(page)
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], "runOnly": KINDS})
    context.close()
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")], ids=["laptop by day", "phone at night"])
@pytest.mark.parametrize("state", STATES)
def test_no_rule_is_broken(browser, pages, state, width, scheme):
    name, act = STATES[state]
    assert problems(browser, pages[name], act, width=width, scheme=scheme) == []


def test_a_broken_rule_would_be_seen(browser, pages):
    def spoil(page):
        page.evaluate("document.querySelector('img').removeAttribute('alt'); document.body.style.color = '#bbb'")

    found = " ".join(problems(browser, pages["detector"], spoil))
    assert "image-alt" in found and "color-contrast" in found
