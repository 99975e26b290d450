"""The detector's page: numbers that follow by arithmetic, examples of each kind, and no outside parts."""

import base64
import math
import re

import cv2
import numpy as np
import pytest
from drawn_detections import annotation, detection, truth

from amodalpl.metrics.detection import LeavingOutEval, coco_scores, evaluate, protocol
from amodalpl.report import detector_page
from amodalpl.report.examples import BEST, MISSED, MISTAKES, Example, choose_examples

A, B, PLATE = (10, 10, 20, 20), (60, 10, 20, 20), (10, 60, 40, 40)
CURVE = [{"step": 10, "loss": 2.0, "loss_mask": 0.5}, {"step": 20, "loss": 1.0, "loss_mask": math.nan}]


def scene():
    """Two cups and a plate; one cup found exactly, one with an IoU of 0.6, the plate not, and one cup too many."""
    known = truth(
        annotation(1, A, visible=(10, 10, 10, 20)),
        annotation(2, B, visible=B),
        annotation(3, PLATE, category=2),
        images=2,
    )
    found = [detection(A, 0.9), detection((60, 10, 12, 20), 0.8), detection((90, 90, 20, 20), 0.7)]
    return known, found


def evaluated(known, found):
    return evaluate(LeavingOutEval, known, found, "segm")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(2):
        cv2.imwrite(str(folder / f"{n}.png"), np.full((128, 128, 3), 120, np.uint8))
    return folder


def written(tmp_path, photos, known, found, curve=CURVE, held_back=True, counts=None):
    scores = {protocol("segm", held_back=held_back): {"detector": coco_scores(known, found, "segm")}}
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    file = detector_page.write_detector_page(
        folder, photos, known, found, scores, curve, counts or {"steps": 20}, held_back=held_back
    )
    return file.read_text(encoding="utf-8")


def test_scores_by_class():
    known, found = scene()
    cup, plate = detector_page.scores_by_class(evaluated(known, found), known)
    assert (cup.name, cup.instances, cup.ap50) == ("cup", 2, 1)
    assert cup.ap75 == pytest.approx(51 / 101, abs=1e-6)  # one of two: recall up to 0.5, of 101 places
    # IoU 0.6 is enough at 0.50, 0.55 and 0.60
    assert cup.ap == pytest.approx((3 + 7 * 51 / 101) / 10, abs=1e-6)
    assert (plate.name, plate.instances, plate.ap, plate.ap50) == ("plate", 1, 0, 0)
    assert coco_scores(known, found, "segm")["AP"] == pytest.approx((cup.ap + plate.ap) / 2, abs=1e-6)


def test_class_without_objects_has_no_score():
    known, found = scene()
    known["annotations"] = known["annotations"][:2]
    plate = detector_page.scores_by_class(evaluated(known, found), known)[-1]
    assert (plate.name, plate.instances, plate.ap, plate.line) == ("plate", 0, None, "")


def test_precision_over_recall_is_the_mean_of_the_classes_that_have_objects():
    known, found = scene()
    at50, at75, mean = detector_page.precision_recall(evaluated(known, found))
    assert [line.name for line in (at50, at75, mean)] == ["IoU 0.50", "IoU 0.75", "IoU 0.50:0.95"]
    assert at50.points.split()[0] == "0.0,100.0" and at50.points.split()[-1] == "200.0,100.0"  # (1 + 0) / 2
    assert at75.points.split()[-1] == "200.0,200.0"
    assert (at50.value, mean.value) == (pytest.approx(0.5), pytest.approx(coco_scores(known, found, "segm")["AP"]))
    known["annotations"] = []
    assert detector_page.precision_recall(evaluated(known, found)) == []


def test_examples_of_each_kind():
    known, found = scene()
    groups = choose_examples(evaluated(known, found), known, found)
    assert list(groups) == [BEST, MISTAKES, MISSED]
    assert [(e.truth["id"], e.iou) for e in groups[BEST]] == [(1, 1), (2, pytest.approx(0.6))]
    (mistake,) = groups[MISTAKES]
    assert mistake.detection is found[2] and mistake.iou == 0 and mistake.mistake == "nothing there"
    (missed,) = groups[MISSED]
    assert missed.truth["id"] == 3


def test_examples_come_from_many_photos_first():
    boxes = [(10, 10, 20, 20), (40, 10, 20, 20), (70, 10, 20, 20)]
    known = truth(*(annotation(n, box) for n, box in enumerate(boxes)), annotation(9, A, image=2), images=2)
    found = [detection(box, 0.9) for box in boxes] + [detection((10, 10, 20, 15), 0.9, image=2)]
    chosen = choose_examples(evaluated(known, found), known, found, count=2)[BEST]
    assert [(e.image_id, e.iou) for e in chosen] == [(1, 1), (2, pytest.approx(0.75))]


def test_crowds_are_no_examples():
    known = truth(annotation(1, A), annotation(2, PLATE, category=2, iscrowd=1))
    found = [detection((12, 62, 30, 30), 0.9, category=2)]  # within the crowd: neither right nor wrong
    groups = choose_examples(evaluated(known, found), known, found)
    assert list(groups) == [MISSED] and groups[MISSED][0].truth["id"] == 1


@pytest.mark.parametrize(
    ("box", "category", "kind"),
    [
        (A, 1, "found twice"),
        (A, 2, "wrong class"),
        ((10, 10, 20, 8), 1, "wrong outline"),
        ((10, 10, 20, 8), 2, "wrong class and outline"),
        ((90, 90, 9, 9), 1, "nothing there"),
    ],
)
def test_kinds_of_mistakes(box, category, kind):
    known, found = truth(annotation(1, A)), [detection(A, 0.9), detection(box, 0.5, category=category)]
    (mistake,) = choose_examples(evaluated(known, found), known, found)[MISTAKES]
    assert mistake.detection["score"] == 0.5 and mistake.mistake == kind


def test_mistake_in_a_photo_without_objects():
    known, found = truth(annotation(1, A), images=2), [detection(A, 0.9, image=2)]
    groups = choose_examples(evaluated(known, found), known, found)
    (mistake,), (missed,) = groups[MISTAKES], groups[MISSED]
    assert (mistake.truth, mistake.iou, mistake.image_id, mistake.mistake) == (None, None, 2, "nothing there")
    assert (missed.detection, missed.image_id) == (None, 1)


def test_losses_are_laid_out_on_a_logarithmic_scale():
    curve = [{"step": 50, "loss": 10.0}, {"step": 100, "loss": 0.1, "loss_mask": 1.0, "lr": 3.0}]
    plot = detector_page.loss_plot(curve)
    assert [line.name for line in plot.lines] == ["loss", "loss_mask"]
    assert plot.lines[0].points == "180.0,0.0 360.0,200.0" and plot.lines[0].value == 0.1
    assert plot.lines[1].points == "360.0,100.0"
    assert [text for _, text in plot.values] == ["0.1", "1", "10"]
    assert [text for _, text in plot.steps] == ["0", "25", "50", "75", "100"]
    assert detector_page.loss_plot([]) is None and detector_page.loss_plot([{"step": 1, "loss": math.nan}]) is None


def test_both_panels_show_one_window():
    known, found = scene()
    photo = np.full((128, 128, 3), 120, np.uint8)
    example = Example(known["annotations"][0], found[0], 1.0)
    picture = detector_page.side_by_side(photo, example).astype(int)
    width = (picture.shape[1] - 4) // 2
    left, right = picture[:, :width], picture[:, width + 4 :]
    assert left.shape == right.shape
    height = left.shape[0]
    inside = height // 2, round(width * 0.65)  # in the hidden half of the cup
    assert left[inside][0] > left[inside][2] + 40  # orange: hidden
    blue = right[..., 2] > right[..., 0] + 60
    assert blue.any() and (right[inside] == 120).all()  # a line around what was found, and no tint in it
    nothing = detector_page.side_by_side(photo, Example(None, found[0], None))
    assert (nothing[5, 5] == 120).all()


def test_page_says_what_each_number_is(tmp_path, photos):
    known, found = scene()
    text = written(tmp_path, photos, known, found)
    assert text.count("COCO AP amodal (segm, held-back labels)") >= 4
    assert "COCO AP amodal by occlusion level, COCOA-cls bins (segm), truth: held-back labels" in text
    assert "not how true they are" in text
    assert re.search(r'<th scope="row">cup</th><td>2</td><td>0\.653</td>', text)
    assert "Best" in text and "Surest mistakes" in text and "Largest missed" in text
    assert "truth: cup, 50 % hidden" in text and "found: cup, score 0.90" in text
    assert "not how true they are" not in written(tmp_path, photos, known, found, held_back=False)


def test_scores_by_occlusion(tmp_path, photos):
    known, found = scene()
    text = written(tmp_path, photos, known, found)
    rows = dict(re.findall(r'<th scope="row">(FG-\d)</th><td>[^<]*</td><td>(\d+)</td>', text))
    assert rows == {"FG-0": "2", "FG-1": "0", "FG-2": "0", "FG-3": "1"}  # half of one cup is hidden
    for entry in known["annotations"]:
        entry.pop("visible_mask", None)
    text = written(tmp_path, photos, known, found)
    assert "FG-0" not in text and "does not say what is visible" in text


def test_page_needs_no_network_and_its_pictures_are_inside(tmp_path, photos):
    text = written(tmp_path, photos, *scene())
    assert not re.search(r"https?://|<script|url\((?!#)|@import", text)
    assert "default-src 'none'" in text
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" width="(\d+)" height="(\d+)"', text)
    assert len(pictures) == 4
    for picture, width, height in pictures:
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape[:2] == (int(height), int(width)) and max(decoded.shape) <= 2 * 260 + 4
    assert "prefers-color-scheme: dark" in text


def test_names_are_escaped(tmp_path, photos):
    known, found = scene()
    evil = '"><script>alert(1)</script>'
    known["categories"][0]["name"] = evil
    known["images"][0]["file_name"] = f"{evil}.png"
    text = written(tmp_path, photos, known, found, counts={evil: {evil: evil}})
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;.png" in text


def test_same_inputs_same_bytes(tmp_path, photos):
    assert written(tmp_path, photos, *scene()) == written(tmp_path, photos, *scene())


@pytest.mark.parametrize("name", ["none.png", "../photos/0.png"], ids=["missing", "outside the folder"])
def test_photo_that_cannot_be_shown_is_said(tmp_path, photos, name):
    known, found = scene()
    assert "could not be read" not in written(tmp_path, photos, known, found)
    known["images"][0]["file_name"] = name
    assert "1 of the photos could not be read" in written(tmp_path, photos, known, found)


@pytest.mark.parametrize("what", ["detections", "objects", "both"])
def test_nothing_found_or_nothing_there_is_a_page_all_the_same(tmp_path, photos, what):
    known, found = scene()
    known["annotations"] = known["annotations"] if what == "detections" else []
    found = found if what == "objects" else []
    text = written(tmp_path, photos, known, found, curve=[])
    assert "No loss was recorded" in text
    assert ("The truth has no object to find" in text) == (what != "detections")
    assert ("There is nothing to show" in text) == (what == "both")
