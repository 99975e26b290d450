import base64
import re

import cv2
import numpy as np
import pytest

from amodalpl.errors import DataError
from amodalpl.masks import rle
from amodalpl.report import draw, page
from amodalpl.report.page import write_label_page
from amodalpl.report.plots import training_curves

SIZE_HW = (60, 80)


def box(top, left, bottom, right, size_hw=SIZE_HW):
    mask = np.zeros(size_hw, bool)
    mask[top:bottom, left:right] = True
    return mask


def label(id, image_id=1, growth=1.5, uncertainty=0.2, category_id=1, **more):
    modal = box(20, 10, 40, 30)
    amodal = box(20, 10, 40, 10 + round(20 * growth))
    return {
        "id": id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": rle.to_json(rle.encode(amodal)),
        "visible_mask": rle.to_json(rle.encode(modal)),
        "amodalpl": {
            "completer": "asbu",
            "occluders": [],
            "uncertainty": uncertainty,
            "growth": growth,
            "flags": [],
            **more,
        },
    }


def label_file(annotations, file_name="a.png", category="cup"):
    return {
        "images": [{"id": 1, "file_name": file_name, "height": SIZE_HW[0], "width": SIZE_HW[1]}],
        "categories": [{"id": 1, "name": category}],
        "annotations": annotations,
    }


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "a.png"), noise)
    return folder


def html(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


# draw


@pytest.mark.parametrize("grey", [0, 120, 255], ids=["black", "grey", "white"])
def test_overlay_colours_visible_hidden_and_nothing_else(grey):
    image = np.full((60, 80, 3), grey, np.uint8)
    drawn = draw.overlay(image, box(20, 10, 40, 30), box(20, 10, 40, 50)).astype(int)
    visible, hidden, outside = drawn[30, 20], drawn[24:36, 34:46].reshape(-1, 3).mean(axis=0), drawn[5, 5]
    assert (outside == grey).all()
    assert visible[2] > visible[0]  # blue
    assert hidden[0] > hidden[2] + 60  # orange
    assert (image == grey).all()


def test_overlay_draws_a_white_line_on_a_dark_one_around_the_whole():
    drawn = draw.overlay(np.full((60, 80, 3), 120, np.uint8), box(20, 10, 40, 30), box(20, 10, 40, 50))
    assert drawn[30, 49].min() > 180  # the last column of the object
    assert drawn[30, 50].max() < 120  # and just outside it
    assert drawn[30, 30].min() < 180  # none between visible and hidden part


def test_overlay_refuses_other_sizes():
    with pytest.raises(DataError, match=r"one size, got image \(60, 80\), modal \(60, 81\)"):
        draw.overlay(np.zeros((60, 80, 3), np.uint8), box(0, 0, 1, 1, (60, 81)), box(0, 0, 1, 1))


@pytest.mark.parametrize("mask", [box(0, 0, 1, 1), box(59, 0, 60, 80), box(0, 0, 60, 80)], ids=["dot", "row", "all"])
def test_close_up_has_the_asked_size(mask):
    picture = draw.close_up(np.zeros((60, 80, 3), np.uint8), mask, mask, 100)
    assert max(picture.shape[:2]) == 100


def test_close_up_of_nothing_is_refused():
    with pytest.raises(DataError, match="at least one pixel"):
        draw.close_up(np.zeros((60, 80, 3), np.uint8), box(0, 0, 0, 0), box(0, 0, 0, 0), 100)


def test_contact_sheet_fits_every_picture_and_any_title():
    wide, tall = np.full((20, 40, 3), 255, np.uint8), np.full((300, 10, 3), 255, np.uint8)
    titles = ["кружка\nsecond line", "x" * 500, "", "\x00\x07"]
    sheet = draw.contact_sheet(
        [(t, p) for t, p in zip(titles, (wide, tall, wide, tall), strict=True)], 2, 100, "legend"
    )
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 2 * 110 + 10
    assert (sheet > 250).all(axis=2).sum() > 3000  # the pictures are there
    assert draw.contact_sheet([]).shape[2] == 3


def test_encoded_pictures_come_back():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 250  # red in RGB
    for data in (draw.encode_png(image), draw.encode_jpeg(image)):
        back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert back[8, 8, 2] > 230 > 30 > back[8, 8, 0]


# page


def test_page_shows_counts_scores_flags_and_overlays(tmp_path, photos):
    labels = label_file([label(1, growth=1.0), label(2, occluders=[1], flags=["truncated"]), label(3, growth=3.0)])
    scores = {"hold-out: micro": {"modal mask": {"miou": 0.8, "n": 7}, "labels": {"miou": 0.93512, "n": None}}}
    stats = {"left_out": {"crowd region": 28}, "dropped": [{"id": 9, "reason": "empty mask"}]}
    written = write_label_page(tmp_path, labels, photos, stats, scores)
    text = html(tmp_path)
    assert [p.name for p in written] == ["report.html", "overlays.png"]
    assert text.count("<figure>") == 2  # label 1 was not grown
    assert "behind cup #1" in text
    assert '<span class="flag">truncated</span>' in text
    assert "+200 %" in text
    assert "0.935" in text and "hold-out: micro" in text
    assert "crowd region" in text and "empty mask" in text
    assert "could not be read" not in text


def test_page_needs_no_network_and_its_pictures_are_inside(tmp_path, photos):
    write_label_page(tmp_path, label_file([label(1)]), photos, {})
    text = html(tmp_path)
    assert not re.search(r"https?://|<script|<link|url\(", text)
    assert "default-src 'none'" in text
    (picture,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', text)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
    assert max(decoded.shape) == 320


def test_names_are_escaped(tmp_path, photos):
    evil = "<script>alert(1)</script>"
    labels = label_file(
        [label(1, flags=[evil], completer=evil)], file_name=f"{evil}.png", category=f'"><img src=x> {evil}'
    )
    write_label_page(tmp_path, labels, photos, {evil: evil, "list": [{evil: evil}]}, {evil: {evil: {evil: evil}}})
    text = html(tmp_path)
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.png" in text


def test_same_labels_give_same_bytes(tmp_path, photos):
    labels = label_file([label(n, growth=1 + n / 10) for n in range(1, 9)])
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        write_label_page(folder, labels, photos, {"n": 8})
    for name in ("report.html", "overlays.png"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert sorted(p.name for p in folders[0].iterdir()) == ["overlays.png", "report.html"]


@pytest.mark.parametrize("problem", ["missing", "other size", "outside the folder"])
def test_photo_that_cannot_be_shown_is_said(tmp_path, photos, problem):
    if problem == "other size":
        cv2.imwrite(str(photos / "a.png"), np.zeros((10, 10, 3), np.uint8))
    name = {"missing": "none.png", "other size": "a.png", "outside the folder": "../a.png"}[problem]
    write_label_page(tmp_path, label_file([label(1)], file_name=name), photos, {})
    assert "1 of their photos could not be read" in html(tmp_path)


def test_nothing_grown_is_a_page_all_the_same(tmp_path, photos):
    for annotations in ([], [label(1, growth=1.0)]):
        write_label_page(tmp_path, label_file(annotations), photos, {})
        assert "No label was grown" in html(tmp_path)
        assert cv2.imread(str(tmp_path / "overlays.png")) is not None


def test_entries_of_other_files_are_refused(tmp_path, photos):
    labels = label_file([label(1), {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {}}])
    with pytest.raises(DataError, match=r"annotations\[1\]: expected an entry of a label file, found no amodalpl, vis"):
        write_label_page(tmp_path, labels, photos, {})
    assert not (tmp_path / "report.html").exists()


def test_gallery_holds_the_worst_and_an_even_sample():
    labels = [label(n, growth=1 + (n % 50) / 50 + 0.01, uncertainty=(n * 7 % 100) / 100) for n in range(100)]
    chosen = page.choose(labels, 20)
    ids = [a["id"] for group in chosen.values() for a in group]
    assert len(ids) == len(set(ids)) == 20
    doubts = sorted((a["amodalpl"]["uncertainty"] for a in labels), reverse=True)
    assert [a["amodalpl"]["uncertainty"] for a in chosen["Most doubtful"]] == doubts[:8]
    assert len(chosen["Grown most"]) == 6
    assert np.ptp([a["id"] for a in chosen["From all over the file"]]) > 50
    assert page.choose(labels[::-1], 20) == chosen
    assert list(page.choose(labels, 100)) == ["All, the most doubtful first"]
    assert page.choose([], 20) == {}


def test_largest_growth_is_in_the_open_bar(tmp_path, photos):
    write_label_page(tmp_path, label_file([label(1, growth=3.0), label(2, growth=6.0)]), photos, {})
    assert "3.80 to more: 1" in html(tmp_path)


# plots


def test_curves_are_drawn_and_equal_for_equal_rows(tmp_path):
    rows = [{"step": s, "loss": 1 / s} for s in range(1, 40)] + [{"step": 20, "hold-out miou": 0.5, "note": "text"}]
    for name in ("a.png", "b.png"):
        training_curves(rows, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] == 900


@pytest.mark.parametrize(
    "rows",
    [[], [{"step": 1, "loss": 0.5}], [{"step": 1, "loss": float("nan")}], [{"step": 5, "miou": 0.1}], [{"step": 1}]],
    ids=["none", "one step", "not finite", "scores only", "no value"],
)
def test_curves_of_short_runs(tmp_path, rows):
    training_curves(rows, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")) is not None
