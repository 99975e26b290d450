"""Make the pictures of the documentation from drawn scenes: `python docs/make_pictures.py runs/demo`.

The folder is that of `amodalpl demo --out runs/demo`; playwright and a Chromium on the path are needed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"
LARGE, SMALL = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def main(demo: Path) -> None:
    """Take screenshots of the report on the demo's labels, and reduce its contact sheet."""
    sheet = cv2.imread(str(demo / "labels" / "overlays.png"))
    three_rows = cv2.resize(sheet[: round(0.611 * len(sheet))], None, fx=0.62, fy=0.62, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(PICTURES.parent / "demo_labels.jpg"), three_rows, [cv2.IMWRITE_JPEG_QUALITY, 85])
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    report = (demo / "labels" / "report.html").resolve().as_uri()
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        for name, scheme, viewport in (
            ("report", "light", LARGE),
            ("report_dark", "dark", LARGE),
            ("report_phone", "light", SMALL),
        ):
            page = browser.new_page(color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
            page.goto(report)
            page.locator("#tools").evaluate("tools => tools.open = true")
            page.locator("#sort").select_option("growth")
            page.locator("#tools").evaluate("(tools, open) => tools.open = open", viewport is LARGE)
            page.keyboard.press("j")
            for key in "aar":
                page.keyboard.press(key)
            page.locator("#labels").evaluate("element => element.scrollIntoView()")
            _save(page, name)
            if name == "report":
                page.locator(".card .open").nth(1).click()
                page.keyboard.press("w")
                page.locator("#detail .object.near").first.hover()
                _save(page, "report_label")
        browser.close()


def _save(page: Page, name: str) -> None:
    shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(PICTURES / f"{name}.jpg"), shot, [cv2.IMWRITE_JPEG_QUALITY, 70])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
