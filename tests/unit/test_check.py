import json
import os
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from amodalpl.errors import DataError, SettingsError
from amodalpl.masks import ownership, rle
from amodalpl.masks.overlaps import lost_by_sharing_px, overlapping_pairs, sharing_more_than
from amodalpl.runtime.progress import Progress
from amodalpl.tools.check import MAX_LISTED, check

HEIGHT, WIDTH = 40, 60
CATEGORIES = [{"id": 1, "name": "cup"}]


def rectangle(x, y, w, h):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y : y + h, x : x + w] = True
    return rle.encode(mask)


def annotation(annotation_id, x, y, w, h, **fields):
    mask = rle.to_json(rectangle(x, y, w, h))
    return {"id": annotation_id, "image_id": 1, "category_id": 1, "segmentation": mask, **fields}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    jpeg = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8))[1].tobytes()
    for name in ("1.jpg", "2.jpg"):
        (folder / name).write_bytes(jpeg)
    return folder


@pytest.fixture
def run(tmp_path, photos):
    """Write a file of one photo (or those given) and check it."""

    def write_and_check(annotations, images=None, **options):
        images = images or [{"id": 1, "file_name": "1.jpg", "height": HEIGHT, "width": WIDTH}]
        file = tmp_path / "annotations.json"
        file.write_text(json.dumps({"images": images, "categories": CATEGORIES, "annotations": annotations}))
        return check(file, photos, **options)

    return write_and_check


def test_clean_file(run, tmp_path, photos):
    summary = run([annotation(1, 0, 0, 5, 5), annotation(2, 10, 10, 5, 5)])
    assert summary.ok and summary.out is None and summary.stage == "check"
    assert summary.counts == {
        "format": "coco",
        "images": 1,
        "instances": 2,
        "crowd": 0,
        "categories": 1,
        "has": {"visible masks": 2, "whole masks": 0, "visible boxes": 2, "whole boxes": 0},
        "can be used by": {
            "synth, complete, pseudolabel": 2,
            "train-detector": 2,
            "train-detector --model boxinst|bbtp": 2,
            "train-compositional, pseudolabel --detector": 2,
        },
        "dropped": 0,
        "errors": {},
        "warnings": {},
        "overlaps": {"pairs": 0, "images": 0, "instances": 0, "modal_px": 50, "lost_px": 0, "lost_percent": 0.0},
        "findings": [],
        "findings_total": 0,
    }
    assert summary.next == f"amodalpl pseudolabel {tmp_path / 'annotations.json'} {photos} --out runs/at_once"
    assert summary.then == f"amodalpl advise {tmp_path / 'annotations.json'} {photos} --out runs/advice"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["1.jpg", "2.jpg", "annotations.json", "photos"]
    json.dumps(summary.to_json())


def test_every_dropped_entry_is_an_error(run):
    empty = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}}
    wrong = {"segmentation": {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}}
    summary = run(
        [
            annotation(1, 0, 0, 5, 5),
            annotation(1, 9, 9, 5, 5),
            annotation(2, 9, 9, 5, 5, category_id=4),
            annotation(3, 0, 0, 1, 1, **empty),
            annotation(4, 0, 0, 1, 1, **wrong),
            annotation(5, 0, 0, 1, 1, segmentation=[[1, 1, 5, 5]]),
            annotation(6, 0, 0, 1, 1, segmentation=[[70, 1, 75, 5, 70, 5]]),
            annotation(7, 0, 0, 1, 1, image_id=3),
        ]
    )
    assert not summary.ok and summary.next == summary.then == ""
    assert summary.counts["errors"] == {
        "duplicate annotation id": 1,
        "unknown category": 1,
        "empty mask": 1,
        "RLE of the wrong size": 1,
        "polygon with fewer than 3 points": 1,
        "mask outside the photo": 1,
        "unknown image": 1,
    }
    assert summary.counts["instances"] == 1 and summary.counts["dropped"] == 7
    assert summary.counts["findings"][0] == {
        "severity": "error",
        "place": "annotations[1].id",
        "image_id": 1,
        "annotation_id": 1,
        "problem": "duplicate annotation id: 1 is taken by an annotation before",
    }


def test_photos(run, photos, tmp_path):
    (photos / "text.jpg").write_text("no photo")
    (photos / "cut.jpg").write_bytes((photos / "1.jpg").read_bytes()[:-30])
    (tmp_path / "secret.jpg").write_bytes(b"")
    os.symlink(tmp_path / "secret.jpg", photos / "link.jpg")
    names = ["1.jpg", "2.jpg", "gone.jpg", "text.jpg", "cut.jpg", "../secret.jpg", "link.jpg", "1.jpg"]
    images = [{"id": i + 1, "file_name": n, "height": HEIGHT, "width": WIDTH} for i, n in enumerate(names)]
    images[1].update(height=WIDTH, width=HEIGHT)
    summary = run([annotation(i + 1, 0, 0, 5, 5, image_id=i + 1) for i in (0, 2, 3, 4, 5, 6, 7)], images)
    assert summary.counts["errors"] == {
        "unreadable photo": 2,
        "photo outside the folder": 2,
        "size differs from the photo": 1,
        "missing photo": 1,
    }
    assert summary.counts["warnings"] == {"photo without instances": 1, "photo listed twice": 1}
    problems = {(f["place"], f["problem"].split(":")[0]): f["problem"] for f in summary.counts["findings"]}
    swapped = problems["images[1].height", "size differs from the photo"]
    assert swapped.endswith("expected height 60, width 40, 2.jpg has height 40, width 60, turned by a quarter")
    assert ("images[2].file_name", "missing photo") in problems


def test_thorough_decodes(run, photos, monkeypatch):
    decoded = []
    real = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: decoded.append(1) or real(*args))
    assert run([annotation(1, 0, 0, 5, 5)]).ok and decoded == []
    assert run([annotation(1, 0, 0, 5, 5)], thorough=True).ok and decoded == [1]


def test_overlaps_by_hand(run):
    # 10 x 10 at 0, 4 x 10 at 8 (shares 2 x 10 = 20 with the first), 20 x 10 at 11 (shares 1 x 10 with the second)
    summary = run([annotation(1, 0, 0, 10, 10), annotation(2, 8, 0, 4, 10), annotation(3, 11, 0, 20, 10)])
    assert summary.ok
    assert summary.counts["overlaps"] == {
        "pairs": 2,
        "images": 1,
        "instances": 3,
        "modal_px": 340,
        "lost_px": 30,
        "lost_percent": 8.824,
    }
    assert summary.counts["warnings"] == {"overlapping masks": 1}


def test_outlines_that_merely_touch_are_counted_as_pairs_only(run):
    summary = run([annotation(1, 0, 0, 30, 30), annotation(2, 29, 29, 30, 11)])  # 1 pixel of 900 and of 330
    overlaps = summary.counts["overlaps"]
    assert (overlaps["pairs"], overlaps["instances"], overlaps["lost_px"]) == (1, 0, 1)


def test_lost_pixels_are_those_of_the_ownership_rule(run):
    rng = np.random.default_rng(2)
    for _ in range(10):
        boxes = [(*rng.integers(0, 30, 2), *rng.integers(1, 11, 2)) for _ in range(8)]
        summary = run([annotation(i, *map(int, box)) for i, box in enumerate(boxes)])
        owned = ownership.resolve([rectangle(*box) for box in boxes], (HEIGHT, WIDTH))
        assert summary.counts["overlaps"]["lost_px"] == owned.lost_px.sum()


def test_sharing_agrees_with_pixels():
    rng = np.random.default_rng(3)
    for _ in range(30):
        masks = rng.random((5, HEIGHT, WIDTH)) < rng.choice([0.002, 0.02, 0.3])
        masks[:, 0, 0] = rng.random(5) < 0.5
        filled = [mask for mask in masks if mask.any()]
        coded = [rle.encode(mask) for mask in filled]
        pairs = overlapping_pairs(coded)
        expected = [
            (i, j, int((filled[i] & filled[j]).sum()))
            for i in range(len(filled))
            for j in range(i + 1, len(filled))
            if (filled[i] & filled[j]).any()
        ]
        assert pairs == expected
        counts = np.sum(filled, axis=0)
        areas_px = [rle.area_px(c) for c in coded]
        assert lost_by_sharing_px(coded, areas_px, pairs) == np.maximum(counts - 1, 0).sum()
        shares = [(mask & (counts > 1)).sum() / mask.sum() for mask in filled]
        for fraction in (0.0, 0.01, 0.3, 0.5):
            sharing = sharing_more_than(fraction, coded, [rle.area_px(c) for c in coded], pairs)
            assert sharing == [i for i, share in enumerate(shares) if share > fraction]


def test_crowd_is_counted_and_kept_out_of_overlaps(run):
    summary = run([annotation(1, 0, 0, 10, 10), annotation(2, 0, 0, 20, 20, iscrowd=1)])
    assert summary.ok and (summary.counts["instances"], summary.counts["crowd"]) == (1, 1)
    assert summary.counts["overlaps"]["pairs"] == 0
    assert summary.counts["warnings"] == {"crowd": 1}


def test_visible_mask_that_is_not_inside_the_whole(run):
    whole = rle.to_json(rectangle(0, 0, 10, 10))
    inside = {"segmentation": whole, "visible_mask": rle.to_json(rectangle(0, 0, 5, 5))}
    outside = {"segmentation": whole, "visible_mask": rle.to_json(rectangle(8, 8, 5, 5))}  # 4 of 25 are inside
    summary = run([annotation(1, 0, 0, 1, 1, **inside), annotation(2, 0, 0, 1, 1, **outside)])
    assert summary.ok and summary.counts["format"] == "d2sa"
    (finding,) = summary.counts["findings"]
    assert finding["problem"] == "visible mask not inside the whole mask: 21 pixels are outside"
    assert (finding["place"], finding["annotation_id"]) == ("annotations[1]", 2)


def test_an_object_that_is_wholly_hidden_is_no_fault_of_the_file(run):
    hidden = {"segmentation": rle.to_json(rectangle(0, 0, 9, 9)), "visible_mask": rle.to_json(rectangle(0, 0, 0, 0))}
    seen = {"segmentation": rle.to_json(rectangle(0, 0, 9, 9)), "visible_mask": rle.to_json(rectangle(0, 0, 9, 9))}
    summary = run([annotation(1, 0, 0, 1, 1, **seen), annotation(2, 0, 0, 1, 1, **hidden)])
    assert summary.ok and summary.counts["warnings"] == {"fully hidden": 1}


def test_list_is_capped_but_everything_is_counted(run):
    summary = run([annotation(0, 0, 0, 5, 5), *(annotation(0, 0, 0, 5, 5) for _ in range(MAX_LISTED + 5))])
    assert summary.counts["errors"] == {"duplicate annotation id": MAX_LISTED + 5}
    assert len(summary.counts["findings"]) == MAX_LISTED
    assert summary.counts["findings_total"] == MAX_LISTED + 5


def test_progress_counts_every_photo(run):
    class Counting(Progress):
        total = done = 0

        @contextmanager
        def task(self, label, total, done=0):
            self.total = total
            yield self.advance

        def advance(self, units):
            self.done += units

    progress = Counting()
    images = [{"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in (1, 2)]
    assert run([annotation(1, 0, 0, 5, 5)], images, progress=progress).ok
    assert (progress.total, progress.done) == (2, 2)


def test_several_processes_find_the_same(run, monkeypatch):
    images = [{"id": i, "file_name": f"{1 + i % 3}.jpg", "height": HEIGHT, "width": WIDTH} for i in range(1, 8)]
    annotations = [annotation(k, k, 0, 9, 9, image_id=1 + k % 6, iscrowd=int(k == 5)) for k in range(1, 30)]
    monkeypatch.setattr("amodalpl.tools.check.usable_cores", lambda: 1)
    alone = run(annotations, images).counts
    monkeypatch.setattr("amodalpl.tools.check.usable_cores", lambda: 3)
    monkeypatch.setattr("amodalpl.tools.check.PHOTOS_AT_ONCE", 2)
    assert run(annotations, images).counts == alone
    assert alone["errors"] == {"missing photo": 2} and alone["overlaps"]["pairs"] > 0
    kinds = {"photo listed twice": 4, "overlapping masks": 6, "crowd": 1, "photo without instances": 1}
    of_the_whole = {"masks that look amodal already": 1, "boxes instead of masks": 1}
    assert alone["warnings"] == kinds | of_the_whole


def test_an_object_that_is_there_twice_is_named(run):
    boxes = [(1, 1, 10, 10), (30, 1, 10, 10), (1, 1, 10, 11), (1, 1, 10, 8)]  # 100 of 110 pixels, 80 of 100
    summary = run([annotation(k, *box) for k, box in enumerate(boxes, 1)])
    assert summary.ok and summary.counts["warnings"]["same object twice"] == 1
    [finding] = [f for f in summary.counts["findings"] if f["problem"].startswith("same object twice")]
    assert (finding["annotation_id"], finding["place"]) == (3, "annotations[2]")
    assert "IoU 0.91 with annotation 1 (annotations[0])" in finding["problem"]


def test_masks_drawn_whole_are_told_by_the_pixels_they_share(run):
    apart = [annotation(k, 12 * (k % 5), 12 * (k // 5), 10, 10) for k in range(10)]
    overlapping = [annotation(k, 12 * (k % 5), 12 * (k // 5), 16, 10) for k in range(10)]  # a quarter under the next
    for annotations, told in ((apart, False), (overlapping, True), (overlapping[:9], False)):
        assert ("masks that look amodal already" in run(annotations).counts["warnings"]) == told


def test_a_damaged_photo_that_would_be_left_out_stops_nobody(run):
    images = [
        {"id": k, "file_name": name, "height": HEIGHT, "width": WIDTH} for k, name in enumerate(("1.jpg", "no.jpg"), 1)
    ]
    objects = [annotation(1, 0, 0, 5, 5), annotation(2, 0, 0, 5, 5, image_id=2)]
    for share, goes_on in ((0.5, True), (0.49, False)):
        summary = run(objects, images, left_out_photos=share)
        assert not summary.ok and summary.counts["errors"] == {"missing photo": 1}
        assert bool(summary.next) is bool(summary.then) is goes_on
    assert not run([*objects, annotation(2, 9, 9, 5, 5)], images, left_out_photos=0.5).next  # another error beside it


def test_filled_boxes_go_on_as_boxes(run):
    def shape(k, side):
        x, y = 12 * (k % 5), 12 * (k // 5)
        return annotation(k, x, y, 10, 10) | {"segmentation": [[x, y, x + 10, y, x + 10, y + 10, x, y + side]]}

    boxes = [shape(k, 10) for k in range(5)]
    assert run([*boxes, *(shape(k, 2) for k in range(5, 11))]).next.startswith("amodalpl pseudolabel ")
    assert run([*boxes, *(shape(k, 10) for k in range(5, 9))]).next.startswith("amodalpl pseudolabel ")  # too few
    summary = run([*boxes, *(shape(k, 2) for k in range(5, 10))])
    assert summary.next.startswith("amodalpl train-detector ") and "boxes_of" not in summary.next


def test_whole_masks_of_all_go_on_to_a_detector(run):
    whole = annotation(1, 5, 5, 20, 10) | {"visible_mask": rle.to_json(rectangle(5, 5, 10, 10))}
    assert run([whole]).next.startswith("amodalpl train-detector ")


def test_nothing_to_use_is_an_error(run):
    crowds = [annotation(k, 12 * k, 0, 10, 10, iscrowd=1) for k in range(1, 3)]
    summary = run(crowds)
    assert not summary.ok and set(summary.counts["errors"]) == {"crowds that seem single objects", "nothing usable"}
    assert "--crowds-are-objects" in summary.next
    assert run([*crowds, annotation(3, 50, 0, 4, 4)]).ok


def test_masks_in_pixels_that_are_all_crowds_seem_objects(run):
    def pixels(k):
        return annotation(k, 2 * k, 0, 2, 9, iscrowd=1)

    def polygon(k):
        return annotation(k, 0, 0, 1, 1) | {"segmentation": [[2 * k, 9, 2 * k + 2, 9, 2 * k + 2, 20, 2 * k, 20]]}

    polygons = [polygon(k) for k in range(1, 21)]
    kind = "crowds that seem single objects"
    assert kind in run([*polygons, pixels(22), pixels(23), pixels(24)]).counts["warnings"]  # 3 of 23
    assert kind not in run([*polygons, pixels(22)]).counts["warnings"]  # as COCO has it
    assert kind not in run([*polygons, pixels(22), pixels(23), pixels(24) | {"iscrowd": 0}]).counts["warnings"]


def test_a_photo_with_very_many_masks_is_looked_at_in_parts(monkeypatch):
    rng = np.random.default_rng(4)
    coded = [rectangle(*map(int, (*rng.integers(0, 30, 2), *rng.integers(1, 12, 2)))) for _ in range(30)]
    whole = overlapping_pairs(coded)
    monkeypatch.setattr("amodalpl.masks.overlaps.PAIRS_AT_ONCE", 100)
    assert overlapping_pairs(coded) == whole != []


def test_wrong_folder(run, tmp_path, photos):
    run([annotation(1, 0, 0, 5, 5)])
    with pytest.raises(DataError, match="nowhere: expected the folder of photos, found no such folder"):
        check(tmp_path / "annotations.json", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected the photos that .* names, found none of 1 \(first: '1.jpg'\)"):
        check(tmp_path / "annotations.json", tmp_path / "empty")


def test_unknown_format(tmp_path):
    with pytest.raises(SettingsError, match="expected a known annotation format, got 'voc'"):
        check(tmp_path / "a.json", tmp_path, fmt="voc")


def boxed(annotation_id, bbox, **fields):
    return {"id": annotation_id, "image_id": 1, "category_id": 1, "bbox": bbox, **fields}


def test_it_says_what_a_file_has_and_who_can_use_it(run):
    """Two masks, a visible box alone, and one with its whole box, of TAO-Amodal: beyond the photo."""
    summary = run(
        [
            annotation(1, 0, 0, 5, 5),
            annotation(2, 10, 10, 5, 5, bbox=[10, 10, 5, 5], amodal_bbox=[8, 10, 9, 5]),
            boxed(3, [20, 20, 10, 10]),
            boxed(
                4, [50, 5, 10, 10], amodal_bbox=[50, 5, 20, 12], visibility=0.5, track_id=7, amodal_is_uncertain=False
            ),
        ]
    )
    assert summary.counts["has"] == {"visible masks": 2, "whole masks": 0, "visible boxes": 4, "whole boxes": 2}
    assert summary.counts["can be used by"] == {
        "synth, complete, pseudolabel": 2,
        "train-detector": 2,
        "train-detector --model boxinst|bbtp": 4,
        "train-detector --model blade": 2,
        "train-compositional, pseudolabel --detector": 4,
    }
    assert summary.counts["errors"] == {"no mask": 2}  # for whoever wants masks of all


def test_boxes_alone_are_usable_and_the_next_step_takes_them(run):
    summary = run([boxed(1, [5, 5, 10, 10]), boxed(2, [20, 5, 10, 10])])
    assert summary.ok and " --model bbtp --set detector.boxes_of=file --init none " in summary.next
    assert summary.next.startswith("amodalpl train-detector ") and " --detector runs/detector " in summary.then
    assert summary.counts["instances"] == 2 and "boxes without masks" in summary.counts["warnings"]
    assert list(summary.counts["can be used by"]) == [
        "train-detector --model boxinst|bbtp", "train-compositional, pseudolabel --detector",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("box", "more", "kind"),
    [
        pytest.param([5, 5, 0, 10], {}, "empty box", id="no width"),
        pytest.param([15, 15, -10, -10], {}, "empty box", id="swapped corners"),
        pytest.param([70, 5, 10, 10], {}, "box outside the photo", id="outside"),
        pytest.param([0.1, 0.2, 0.3, 0.4], {}, "box in fractions", id="normalised"),
        pytest.param([5, 5, 10], {}, "malformed box", id="three numbers"),
        pytest.param(
            [5, 5, 10, 10], {"amodal_bbox": [6, 8, 4, 4]}, "whole box smaller than the visible one", id="order"
        ),
    ],
)
def test_bad_boxes_are_errors_of_their_kind(run, box, more, kind):
    summary = run([boxed(1, [5, 5, 10, 10]), boxed(2, box, **more)])
    assert summary.counts["errors"] == {kind: 1} and not summary.ok
    [found] = [f for f in summary.counts["findings"] if f["severity"] == "error"]
    assert found["place"] == "annotations[1]" and "\n" not in found["problem"]


def test_neither_masks_nor_boxes_is_one_line(run):
    with pytest.raises(DataError, match="none of the 1 annotations has a mask"):
        run([{"id": 1, "image_id": 1, "category_id": 1}])
