"""The page of an audit in a real browser, opened from disk: judged by keys and buttons, saved, read back."""

import json

import pytest
from drawn_labels import label, write_labels, write_photos
from reloading import reload

from amodalpl.evaluation.audit import AUDIT, audit


@pytest.fixture
def page(tmp_path, browser):
    """Four labels, their page open; at the end the console must be empty."""
    labels = write_labels(tmp_path / "labels", [label(n, added_px=9) for n in (1, 2, 3, 2**60)], categories=("</b>",))
    photos = write_photos(tmp_path / "photos")
    made = audit(labels, photos, out=tmp_path / "audit", sample=4)
    said = []
    context = browser.new_context(viewport={"width": 900, "height": 800})
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(made.files["page"].as_uri())
    yield page, labels, photos
    context.close()
    assert said == []


def test_judged_saved_and_stated(tmp_path, page):
    page, labels, photos = page
    asked = []
    page.on("dialog", lambda dialog: asked.append(dialog.type) or dialog.accept())
    assert page.locator("#title").inner_text().startswith("1 of 4: </b> #")
    assert page.locator("#picture").evaluate("img => img.decode().then(() => img.naturalWidth)") > 100
    page.keyboard.press("1")
    page.get_by_role("button", name="Too small").click()
    page.keyboard.press("ArrowRight")  # the third is passed over
    page.keyboard.press("5")
    reload(page)  # what was judged is kept, and the first that was not is shown
    assert asked == ["beforeunload"]  # no file had it
    assert page.locator("#title").inner_text().startswith("3 of 4")
    assert page.locator("#count").inner_text() == "3 judged"
    page.get_by_role("button", name="Back").click()
    assert page.get_by_role("button", name="Too small").get_attribute("aria-pressed") == "true"
    page.keyboard.press("2")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save judgements").click()
    reload(page)
    assert asked == ["beforeunload"]
    saved = tmp_path / "audit.json"
    download.value.save_as(saved)
    assert len(json.loads(saved.read_text())["judgements"]) == 3
    found = audit(labels, photos, judgements=saved)
    assert found.counts["verdicts"] == {
        "Right": 1, "Too small": 1, "passed over": 1, "Hidden by something unmarked": 1
    }  # fmt: skip
    assert found.scores[AUDIT]["all"]["right"] == 0.25
