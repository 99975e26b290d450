import base64
import json
import re
import tracemalloc

import cv2
import numpy as np
import pytest
from drawn_labels import SIZE_HW, box, label, write_doubt, write_labels, write_order, write_photos

from amodalpl.data.label_folder import ShownLabel, read_doubts, read_label_folder, read_orders
from amodalpl.data.review_file import fingerprint
from amodalpl.errors import DataError
from amodalpl.io.images import encode_image
from amodalpl.masks import rle
from amodalpl.masks.boxed import BoxedMask
from amodalpl.report import draw, gallery, label_page
from amodalpl.report.choice import choose, choose_photos
from amodalpl.report.gallery import masked_part, shared_part
from amodalpl.report.label_page import write_label_page
from amodalpl.report.outline import svg_path, svg_paths
from amodalpl.report.plots import training_curves


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def labels(tmp_path):
    """Write a folder of labels and its page; return the page's text and the data of its script."""

    def make(annotations, images, completer=None, **more):
        folder = write_labels(tmp_path / "labels", annotations, **more)
        write_label_page(folder, images, completer)
        return read_page(folder)

    return make


def read_page(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(found[1]) if found else None


def shown(annotations):
    return [ShownLabel(annotation) for annotation in annotations]


def numbers(annotations):
    return [label.in_numbers for label in shown(annotations)]


def drawn(path, size_hw):
    """Fill an outline: (H, W) bool."""
    polygons = []
    for part in path.split("M")[1:]:
        numbers = np.array([int(v) for v in re.findall(r"-?\d+", part)]).reshape(-1, 2)
        polygons.append(np.cumsum(numbers, axis=0))
    canvas = np.zeros((2 * size_hw[0], 2 * size_hw[1]), np.uint8)
    cv2.fillPoly(canvas, polygons, 1)  # even-odd, borders included
    return canvas[::2, ::2].astype(bool)


# draw


@pytest.mark.parametrize("grey", [0, 120, 255], ids=["black", "grey", "white"])
def test_overlay_colours_visible_hidden_and_nothing_else(grey):
    image = np.full((60, 80, 3), grey, np.uint8)
    drawn = draw.overlay(image, box(20, 10, 40, 30), box(20, 10, 40, 50)).astype(int)
    hidden, edge = drawn[24:36, 34:46].reshape(-1, 3).mean(axis=0), drawn[30, 10]
    assert (drawn[5, 5] == grey).all() and (drawn[30, 20] == grey).all()  # outside, and visible: no tint
    assert edge[2] > edge[0] + 60  # a blue line around what is visible
    assert hidden[0] > hidden[2] + 60  # orange
    assert (image == grey).all()


def test_overlay_has_a_colour_for_pixels_of_other_masks():
    image, shared = np.full((60, 80, 3), 120, np.uint8), box(20, 40, 40, 50)
    drawn = draw.overlay(image, box(20, 10, 40, 30), box(20, 10, 40, 50), shared).astype(int)
    completed, owned = (drawn[25:35, at : at + 4].reshape(-1, 3).mean(axis=0) for at in (34, 41))
    assert completed[2] < 80 < 130 < owned[2]  # orange has no blue, purple has
    with pytest.raises(DataError, match="one size"):
        draw.overlay(image, box(20, 10, 40, 30), box(20, 10, 40, 50), shared[1:])


def test_overlay_draws_a_white_line_on_a_dark_one_around_the_whole():
    drawn = draw.overlay(np.full((60, 80, 3), 120, np.uint8), box(20, 10, 40, 30), box(20, 10, 40, 50))
    assert drawn[30, 49].min() > 180  # the last column of the object
    assert drawn[30, 52].max() < 120  # and just outside it
    assert drawn[30, 30].min() < 180  # none between visible and hidden part


def test_overlay_refuses_other_sizes():
    with pytest.raises(DataError, match=r"one size, got image \(60, 80\), modal \(60, 81\)"):
        draw.overlay(np.zeros((60, 80, 3), np.uint8), box(0, 0, 1, 1, (60, 81)), box(0, 0, 1, 1))


def test_a_photo_of_many_objects_shows_what_is_in_front_and_what_is_behind():
    def cut(mask):
        return BoxedMask.cut(mask, (0, 0), mask.shape)

    photo, nothing = np.full((60, 80, 3), 120, np.uint8), box(0, 0, 0, 0)
    behind = draw.DrawnObject(*map(cut, (box(10, 5, 50, 30), box(10, 5, 50, 65), box(15, 45, 45, 65))))
    in_front = draw.DrawnObject(*map(cut, (box(15, 45, 45, 78), box(15, 45, 45, 78), nothing)))
    drawn = draw.overlay_all(photo, [in_front, behind])
    under = drawn[22:38, 51:59].reshape(-1, 3)
    assert 0.6 < (under == 120).all(axis=1).mean() < 0.85  # what is in front is seen between the lines
    assert (under[(under != 120).any(axis=1)] == draw.SHARED).all()
    assert (drawn[22:38, 34:41] == draw.HIDDEN).all(axis=2).any()
    assert drawn[30, 45, 2] > 180 > drawn[30, 45, 0]  # its blue outline lies above the lines, though it was drawn first
    assert (drawn[30, 20] == 120).all() and (photo == 120).all()


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
    low, high = (draw.contact_sheet([("", picture)], 1, 100) for picture in (wide, wide[:, :20]))
    assert high.shape[0] - low.shape[0] == 50  # no ground above and below a row of wide pictures


def test_encoded_pictures_come_back():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 250  # red in RGB
    for data in (encode_image(image, ".png"), encode_image(image, ".jpg")):
        back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert back[8, 8, 2] > 230 > 30 > back[8, 8, 0]


# outlines


def test_outline_fills_to_the_mask_it_was_traced_from():
    ring = box(5, 5, 40, 60) & ~box(15, 20, 30, 40)
    assert np.count_nonzero(drawn(svg_path(ring), SIZE_HW) ^ ring) <= 2 * (15 + 20)  # the border of the hole, at most


def test_outlines_lie_where_the_masks_are():
    modal, amodal = box(20, 10, 40, 30), box(20, 10, 40, 50)
    paths = svg_paths(rle.encode(modal), rle.encode(amodal))
    assert (drawn(paths["modal"], SIZE_HW) == modal).all()
    assert (drawn(paths["amodal"], SIZE_HW) == amodal).all()
    assert (drawn(paths["hidden"], SIZE_HW) == (amodal & ~modal)).all()


def test_outlines_of_what_is_not_hidden_and_of_what_is_not_seen():
    mask, nothing = rle.encode(box(3, 4, 5, 6)), rle.encode(box(0, 0, 0, 0))
    assert svg_paths(mask, mask)["hidden"] == ""
    assert svg_paths(nothing, mask)["modal"] == ""
    assert svg_paths(nothing, mask)["hidden"] == svg_paths(nothing, mask)["amodal"] != ""


def test_outlines_of_what_belongs_to_other_masks():
    modal, amodal = box(20, 10, 40, 30), box(20, 10, 40, 50)
    paths = svg_paths(rle.encode(modal), rle.encode(amodal), rle.encode(box(0, 40, 60, 80)))
    assert (drawn(paths["shared"], SIZE_HW) == box(20, 40, 40, 50)).all()
    assert (drawn(paths["hidden"], SIZE_HW) == box(20, 30, 40, 40)).all()


def test_outlines_of_what_was_completed_where_nothing_has_a_mask():
    modal, amodal = box(20, 10, 40, 30), box(20, 10, 40, 50)
    paths = svg_paths(rle.encode(modal), rle.encode(amodal), masked=rle.encode(box(0, 40, 60, 80)))
    assert (drawn(paths["hidden"], SIZE_HW) == box(20, 40, 40, 50)).all()
    assert (drawn(paths["unmasked"], SIZE_HW) == box(20, 30, 40, 40)).all()
    assert svg_paths(rle.encode(modal), rle.encode(amodal))["unmasked"] == ""


def test_masks_of_others_are_looked_at_for_labels_that_grew_where_none_is():
    free, plain, other = shown([label(1, flags=["unmasked_occluder"]), label(2), label(3)])
    assert masked_part(plain, [free, plain, other]) is None
    assert (rle.decode(masked_part(free, [free, other])) == rle.decode(other.modal)).all()
    assert rle.area_px(masked_part(free, [free])) == 0


def test_hidden_pixels_of_other_masks_are_told_from_completed_ones():
    as_drawn, completed, mixed, other, front = shown(
        [
            label(1, growth=2.0, added_px=0),  # all of its hidden part was drawn
            label(2, growth=2.0, added_px=400),
            label(3, growth=2.0, added_px=200, occluders=[5]),
            {**label(4), "visible_mask": rle.to_json(rle.encode(box(20, 40, 40, 60)))},
            {**label(5), "visible_mask": rle.to_json(rle.encode(box(20, 30, 40, 40)))},
        ]
    )
    photo = [as_drawn, completed, mixed, other, front]
    assert shared_part(as_drawn, photo) == as_drawn.amodal
    assert shared_part(completed, photo) is None
    found = rle.decode(shared_part(mixed, photo)) & box(20, 30, 40, 50)
    assert (found == box(20, 40, 40, 50)).all()  # of the one that is not in front
    assert shared_part(mixed, [mixed, front]) is None


def test_the_mask_as_drawn_tells_drawn_pixels_from_completed_ones_behind_an_occluder():
    told = label(3, growth=2.0, added_px=200, occluders=[5], drawn=rle.to_json(rle.encode(box(20, 10, 40, 40))))
    front = {**label(5), "visible_mask": rle.to_json(rle.encode(box(20, 30, 40, 60)))}
    mixed, front = shown([told, front])
    assert (rle.decode(shared_part(mixed, [mixed, front])) & box(20, 30, 40, 50) == box(20, 30, 40, 40)).all()


# labels


def test_growth_is_counted_from_what_was_drawn():
    grown, alone, runaway, shared = shown(
        [
            label(1, growth=2.0),
            label(2, growth=2.0, flags=["no_occluder", "shared_pixels"]),
            label(3, growth=2.0, flags=["runaway"]),
            label(4, growth=2.0, flags=["shared_pixels"], added_px=200),
        ]
    )
    assert (grown.added_px, grown.growth) == (400, 2.0)
    assert (alone.added_px, alone.growth) == (0, 1.0)  # others own half of it, nothing was completed
    assert (runaway.added_px, runaway.growth) == (0, 1.0)
    assert (shared.added_px, shared.growth) == (200, 800 / 600)
    assert shared.occlusion_rate == 0.5


def test_entries_of_other_files_are_refused(tmp_path, photos):
    wrong = {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {}}
    folder = write_labels(tmp_path / "labels", [label(1), wrong])
    with pytest.raises(DataError, match=r"json: annotations\[1\]: .* found no visible_mask, amodalpl; write it with"):
        write_label_page(folder, photos, None)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a label file in JSON, got something else .Expecting '{' at character 0"),
        ('{"images": [], "annotations": 3}', "annotations: expected a list"),
        ('{"annotations": []}', "images: expected a list"),
        ("{", "expected a label file in JSON"),
    ],
    ids=["a list", "no annotations", "no photos", "cut short"],
)
def test_files_that_are_no_label_file(tmp_path, content, message):
    (tmp_path / "pseudo_amodal.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_label_folder(tmp_path)


@pytest.mark.parametrize("layout", [{"indent": 1}, {"sort_keys": True}, {"separators": (",", ":")}])
def test_label_file_of_another_layout_gives_the_same_page(tmp_path, photos, layout):
    pages = []
    for name, how in (("as written", {}), ("written again", layout)):
        folder = write_labels(tmp_path / name, [label(n, growth=1 + n / 10) for n in range(9)])
        file = folder / "pseudo_amodal.json"
        content = {"info": {"year": 2026}, **json.loads(file.read_text())}
        file.write_text(json.dumps({**content, "annotations": content.pop("annotations")}, **how))
        write_label_page(folder, photos, None)
        pages.append(re.sub('"sha256":"[^"]*"', "", (folder / "report.html").read_text(encoding="utf-8")))
        pages.append((folder / "overlays.png").read_bytes())
    assert pages[:2] == pages[2:]


def test_order_is_kept_of_what_is_shown_and_checked_of_all(tmp_path):
    write_order(tmp_path, [(1, 2)], image_id=3)
    assert [*read_orders(tmp_path, {3})] == [3] and read_orders(tmp_path, {4}) == {}
    write_order(tmp_path, [("1", 2)], image_id=3)
    with pytest.raises(DataError, match=r"order.json: images\[0\].pairs: expected objects with front and back"):
        read_orders(tmp_path, {4})


def test_little_is_held_of_labels_that_are_not_shown(tmp_path):
    def most_held(count):
        many = [label(n, image_id=1 + n // 4, note="x" * 1000) for n in range(count)]
        folder = write_labels(tmp_path / str(count), many, file_names=["a.png"] * (count // 4))
        del many
        tracemalloc.start()
        try:
            found = read_label_folder(folder)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(found.overview.labels) == count == sum(1 for _ in found.labels)
        return most

    assert most_held(6000) - most_held(2000) < 4000 * 300 + 1000 * 1000  # of a label and a photo; in the file 1400


def test_polygons_are_no_label_file(tmp_path):
    folder = write_labels(tmp_path, [{**label(1), "segmentation": [[0, 0, 5, 0, 5, 5]]}])
    with pytest.raises(DataError, match=r"annotations\[0\].segmentation: expected compressed RLE"):
        read_label_folder(folder)


@pytest.mark.parametrize(
    "line",
    ["{", '{"id": 1, "box": [0, 0, 5, 5]}', '{"id": 1, "box": [0, 0, 5.5, 5], "png": "aa"}']
    + ['{"id": 1, "box": [0, 0, 5, 5], "png": "<x>"}', "3", '{"id": [], "box": [0, 0, 5, 5], "png": "aa"}'],
    ids=["cut short", "no picture", "no pixels", "no base64", "a number", "a list for an id"],
)
def test_damaged_doubt_names_the_line(tmp_path, line):
    write_doubt(tmp_path, [7])
    with (tmp_path / "doubt.jsonl").open("a") as lines:
        lines.write(line + "\n")
    with pytest.raises(DataError, match=r"doubt.jsonl: line 2: expected id, box .* delete the file"):
        read_doubts(tmp_path, [7])


# choice


def test_sheet_holds_the_worst_and_an_even_sample():
    labels = numbers(label(n, growth=1 + n % 20 / 10, uncertainty=(n * 7 % 100) / 100) for n in range(100))
    chosen = choose(labels, 20)
    ids = [e.id for group in chosen.values() for e in group]
    assert len(ids) == len(set(ids)) == 20
    doubts = sorted((e.uncertainty for e in labels), reverse=True)
    assert [e.uncertainty for e in chosen["Most uncertain"]] == doubts[:8]
    assert [e.growth for e in chosen["Grown most"]] == sorted((e.growth for e in chosen["Grown most"]), reverse=True)
    assert np.ptp([e.id for e in chosen["From all over the file"]]) > 50
    assert [e.id for e in choose(labels[::-1], 20)["Grown most"]] == [e.id for e in chosen["Grown most"]]
    assert list(choose(labels, 100)) == ["All, the most uncertain first"]
    assert choose([], 20) == {}


def test_photos_are_chosen_whole():
    labels = numbers(label(n, image_id=n // 4, uncertainty=0.9 if n == 33 else 0.1, growth=1.0) for n in range(200))
    assert choose_photos(labels, 50, 200) == set(range(50))
    few = choose_photos(labels, 10, 200)
    assert 33 // 4 in few and 1 < len(few) <= 10
    assert len(choose_photos(labels, 50, 20)) <= 5
    assert choose_photos([], 5, 5) == set()


# page


def test_page_holds_every_label_with_what_is_known_of_it(tmp_path, photos, labels):
    annotations = [
        label(1, growth=1.0, flags=["no_occluder"]),
        label(2, occluders=[1], flags=["truncated"], plausibility=0.3),
    ]
    folder = write_labels(tmp_path / "labels", annotations)
    write_order(folder, [(1, 2)])
    write_doubt(folder, [2])
    _, data = labels(annotations, photos)
    first, second = data["labels"]
    assert (first["growth"], first["rate"], second["growth"], second["rate"]) == (1.0, 0.0, 1.5, round(1 / 3, 4))
    assert second["behind"] == ["1"] and second["flags"] == ["truncated"] and second["ordinary"] == 0.3
    assert second["box"] == [10, 20, 30, 20]
    assert second["fingerprint"] == fingerprint(annotations[1])
    assert second["map"]["box"] == [10, 20, 40, 20] and "map" not in first
    assert data["photos"][0]["pairs"] == [["1", "2"]]
    assert data["photos"][0]["size"] == list(SIZE_HW)
    sheet = cv2.imread(str(folder / "overlays.png"))
    assert sheet is not None and sheet.shape[1] > 1000


def test_page_shows_counts_scores_curves_and_what_was_left_out(tmp_path, photos, labels):
    completer = tmp_path / "completer"
    completer.mkdir()
    bins = {"stated": [0.0, 1.0], "seen": [0.25, 0.75], "share": [0.5, 0.5]}
    kept = {"labels": 40, "uncertainty_at_most": 0.198, "labels_up_to_it": 6, "iou_above": 0.75}
    scores = {
        "hold-out: micro": {"modal mask": {"miou": 0.8, "n": 7}, "labels": {"miou": 0.93512, "n": None}},
        label_page.PROMISE: {"labels": {**kept, "share_promised": 0.95, "share_seen": 1.0}},
    }
    reliability = {"network": bins, "calibrated": bins, "labels": {**bins, "stated": [0.1, 0.5]}}
    (completer / "metrics.json").write_text(json.dumps({"scores": scores, "reliability": reliability}))
    promise = {"uncertainty_at_most": 0.198, "iou_above": 0.75, "share": 0.95}
    (completer / "completer.json").write_text(json.dumps({"promise": promise}))
    folder = write_labels(tmp_path / "labels", [])
    stats = {"counts": {"left out": {"crowd region": 28}}, "left_out": [{"place": "annotations[4]"}]}
    (folder / "stats.json").write_text(json.dumps(stats))
    rejected = {**label(3, growth=1.0), "iscrowd": 1}
    text, _ = labels([label(1), label(2, growth=1.0, flags=["no_occluder"]), rejected], photos, completer)
    assert '<th scope="row">no occluder</th><td>1</td><td>no other object is in front of it</td>' in text
    assert '<th scope="row">iscrowd</th><td>1</td>' in text
    assert '<tr class="ours"><th scope="row">labels</th><td>0.935</td><td>–</td></tr>' in text
    assert (
        "6 of 6 labels with an occluder and an uncertainty up to 0.198 had an IoU above 0.750: 100 %, and at least 69 %"
        in text
    )
    assert text.count("<polyline") == 3
    assert '<polyline points="0.0,150.0 200.0,50.0"/>' in text  # a quarter and three quarters up
    assert '<polyline points="26.7,133.3 133.3,0.0"/>' in text  # labels, scaled to 0.75
    assert '<th scope="row">crowd region</th><td>28</td>' in text
    assert "place annotations[4]" in text


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        ({"promise": None, "promise rests on": {"alike": 0.2, "reason": "they look <unlike>"}}, True),
        ({"promise": {"share": 0.95}, "promise rests on": {"alike": 0.8, "reason": "they look <unlike>"}}, False),
        ({"promise": None}, False),  # of an earlier version
        ({"promise": None, "promise rests on": "they look <unlike>"}, False),
    ],
    ids=["withheld", "given", "nobody says", "damaged"],
)
def test_page_says_why_nothing_is_promised(tmp_path, photos, labels, stats, said):
    folder = write_labels(tmp_path / "labels", [])
    (folder / "stats.json").write_text(json.dumps({"counts": {}, **stats}))
    text, _ = labels([label(1)], photos)
    assert ("Nothing is promised of these labels: they look &lt;unlike&gt;." in text) == said


def test_page_without_completer_says_so_and_calibration_stands_in_for_missing_curves(tmp_path, photos, labels):
    text, _ = labels([label(1)], photos)
    assert "without the scores of a completer" in text and "<polyline" not in text
    promise = {"uncertainty_at_most": 0.198, "iou_above": 0.75, "share": 0.95}
    card = {"calibration": {"probability": [0.0, 0.5], "belongs": [0.0, 1.0]}, "promise": promise}
    (tmp_path / "completer.json").write_text(json.dumps(card))
    text, _ = labels([label(1)], photos, tmp_path)
    assert '<polyline points="0.0,200.0 100.0,0.0"/>' in text
    assert "0.198" not in text  # nothing is claimed without a count


def test_what_was_promised_is_read_where_it_is_written():
    from amodalpl.evaluation import uncertainty_report

    assert label_page.PROMISE == uncertainty_report.PROMISE


def test_page_needs_no_network_and_runs_no_script_but_its_own(tmp_path, photos, labels):
    text, data = labels([label(1)], photos)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|<link rel=\"style|src=\"|url\((?!#)", text)
    assert "default-src 'none'" in text and "script-src 'sha256-" in text
    (picture,) = re.findall(r'<script type="text/plain" id="photo-0">([^<]+)</script>', text)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (*SIZE_HW, 3)
    assert "src" not in data["photos"][0]
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == [
        "overlays.png",
        "pseudo_amodal.json",
        "report.html",
    ]


def test_names_are_escaped(tmp_path, photos, labels):
    evil = "</script><script>alert(1)</script><!--"
    completer = tmp_path / "completer"
    completer.mkdir()
    (completer / "metrics.json").write_text(json.dumps({"scores": {evil: {evil: {evil: evil}}}}))
    folder = write_labels(tmp_path / "labels", [])
    (folder / "stats.json").write_text(json.dumps({evil: [{evil: evil}], "counts": {"left out": {evil: 1}}}))
    annotations = [label(1, flags=[evil], completer=evil), label(2, image_id=2, plausibility=float("nan"))]
    names = [f"{evil}.png", "\ud800"]
    text, data = labels(annotations, photos, completer, file_names=names, categories=[f'"><img src=x> {evil}'])
    assert text.count("<script") == 4  # two photos, the data, our own
    assert "<img" not in text and "<!--" not in text.replace("<!doctype", "")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert data["photos"][0]["name"] == f"{evil}.png" and data["labels"][0]["flags"] == [evil]
    assert data["labels"][1]["ordinary"] is None


def test_same_labels_give_same_bytes(tmp_path, photos):
    folders = [write_labels(tmp_path / name, [label(n, growth=1 + n / 10) for n in range(1, 9)]) for name in "ab"]
    for folder in folders:
        write_label_page(folder, photos, None)
    for name in ("report.html", "overlays.png"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


@pytest.mark.parametrize("problem", ["missing", "other size", "outside the folder"])
def test_photo_that_cannot_be_shown_is_said(photos, labels, problem):
    if problem == "other size":
        cv2.imwrite(str(photos / "a.png"), np.zeros((10, 10, 3), np.uint8))
    name = {"missing": "none.png", "other size": "a.png", "outside the folder": "../a.png"}[problem]
    text, _ = labels([label(1)], photos, file_names=[name])
    assert "1 of the photos could not be read" in text
    assert '<script type="text/plain" id="photo-0"></script>' in text


def test_no_labels_is_a_page_all_the_same(tmp_path, photos, labels):
    text, data = labels([], photos)
    assert "This label file holds no labels" in text and data is None and "<script" not in text
    assert cv2.imread(str(tmp_path / "labels" / "overlays.png")) is not None


def test_photos_too_large_for_the_page_lie_beside_it(tmp_path, photos, labels, monkeypatch):
    beside = tmp_path / "labels" / "report"
    beside.mkdir(parents=True)
    (beside / "00007.jpg").write_bytes(b"of an earlier report")
    (beside / "mine.jpg").write_bytes(b"not ours")
    monkeypatch.setattr(gallery, "PAGE_BYTES", 100)
    text, data = labels([label(1)], photos)
    assert data["photos"][0]["src"] == "report/00000.jpg"
    assert cv2.imread(str(beside / "00000.jpg")).shape == (*SIZE_HW, 3)
    assert sorted(p.name for p in beside.iterdir()) == ["00000.jpg", "mine.jpg"]
    assert '<script type="text/plain" id="photo-0"></script>' in text


def test_photos_are_made_smaller_until_they_fit_but_stay_sharp(tmp_path, monkeypatch):
    size_hw = (900, 1600)
    (tmp_path / "photos").mkdir()
    cv2.imwrite(
        str(tmp_path / "photos/a.png"), np.random.default_rng(0).integers(0, 255, (*size_hw, 3), dtype=np.uint8)
    )
    mask = rle.to_json(rle.encode(np.pad(np.ones((30, 40), bool), ((10, 860), (20, 1540)))))
    folder = write_labels(tmp_path / "labels", [{**label(1), "segmentation": mask, "visible_mask": mask}])
    file = folder / "pseudo_amodal.json"
    file.write_text(
        file.read_text().replace(f'"height": {SIZE_HW[0]}, "width": {SIZE_HW[1]}', '"height": 900, "width": 1600')
    )

    def shown(page_bytes):
        """Length of the picture in the page, and its width, both 0 where it lies beside the page."""
        monkeypatch.setattr(gallery, "PAGE_BYTES", page_bytes)
        write_label_page(folder, tmp_path / "photos", None)
        picture = re.search(r'id="photo-0">(.*?)</script>', read_page(folder)[0], re.DOTALL)[1]
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR) if picture else None
        return len(picture), 0 if pixels is None else pixels.shape[1]

    length, width = shown(10**9)
    assert shown(length) == (length, width) and shown(length - 4)[1] < width  # base64: four characters for three bytes
    widths = list(dict.fromkeys(shown(share * length)[1] for share in (1, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.1)))
    assert widths == [1280, 1024, 800, 0]  # 640 would be less than half of 1600


def test_labels_that_are_too_many_are_counted(photos, labels, monkeypatch):
    monkeypatch.setattr(label_page, "PHOTOS", 2)
    annotations = [label(n, image_id=1 + n // 2, uncertainty=n / 20) for n in range(10)]
    text, data = labels(annotations, photos, file_names=["a.png"] * 5)
    shown = len(data["labels"])
    assert shown == 2 * len(data["photos"]) and len(data["photos"]) in (1, 2)
    assert f"{shown} of 10 labels are on this page" in text and f"{10 - shown} labels are not shown" in text
    assert {"8", "9"} <= {entry["id"] for entry in data["labels"]}


def test_decisions_of_the_folder_are_shown_where_they_hold(tmp_path, photos, labels):
    annotations = [label(1), label(2), label(3)]
    folder = write_labels(tmp_path / "labels", annotations)
    decisions = [
        {"id": 1, "decision": "reject", "fingerprint": fingerprint(annotations[0])},
        {"id": 2, "decision": "accept", "fingerprint": "0" * 16},
    ]
    review = {"format": "amodalpl-review", "version": 1, "labels_sha256": "a" * 64, "decisions": decisions}
    (folder / "review.json").write_text(json.dumps(review))
    text, data = labels(annotations, photos)
    assert data["decisions"] == {"1": "reject"}
    assert "because their labels have changed or are gone: 1." in text


def test_largest_values_are_in_the_open_bar(photos, labels):
    text, _ = labels([label(1, growth=3.0), label(2, growth=3.4, added_px=1360 - 100)], photos)
    assert "3.80 to more: 1" in text and "3.00 to 3.20: 1" in text


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
