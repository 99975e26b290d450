"""`amodalpl show`: one object or one photo as a picture."""

import json

import cv2
import numpy as np
import pytest

from amodalpl.errors import DataError, OutputError
from amodalpl.masks import rle
from amodalpl.tools.show import show

BLUE_GREY = (120, 90, 60)


@pytest.fixture
def labels(tmp_path):
    """A 20 x 30 photo with a bar behind a square: 4 x 20 visible in two parts of 8 and 6, 6 columns completed."""
    images = tmp_path / "images"
    (images / "b").mkdir(parents=True)
    for name in ("a.png", "b/a.png", "c.png"):
        cv2.imwrite(str(images / name), np.full((20, 30, 3), BLUE_GREY, np.uint8))
    whole, square = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    whole[8:12, 5:25] = True
    square[4:16, 13:19] = True
    entries = [(7, whole, whole & ~square, [8], 0.25), (8, square, square, [], 0.0)]
    annotations = [
        {
            "id": number, "image_id": 1, "category_id": 3, "iscrowd": 0,
            "segmentation": rle.to_json(rle.encode(amodal)), "visible_mask": rle.to_json(rle.encode(visible)),
            "amodalpl": {"uncertainty": doubt, "occluders": occluders},
        }
        for number, amodal, visible, occluders, doubt in entries
    ]  # fmt: skip
    photos = [
        {"id": k, "file_name": name, "height": 20, "width": 30}
        for k, name in enumerate(("a.png", "b/a.png", "c.png"), 1)
    ]
    data = {"images": photos, "annotations": annotations, "categories": [{"id": 3, "name": "bar"}]}
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "pseudo_amodal.json").write_text(json.dumps(data))
    return folder, images


def read_png(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_one_label_says_its_pixels_doubt_and_occluder(labels, tmp_path):
    folder, images = labels
    summary = show(folder, images, "7", tmp_path / "one.png")
    [line] = summary.counts["objects"]
    assert line == "#7 bar   56 px visible, 24 completed, uncertainty 0.25, behind #8"
    picture = read_png(summary.files["picture"])
    orange = picture.astype(int) - (240, 140, 0)
    assert (np.abs(orange).sum(2) < 120).sum() > 500  # the hatched, completed part


def purple_and_orange_px(path):
    colours = [np.abs(read_png(path).astype(int) - c).sum(2) < 40 for c in ((204, 121, 167), (240, 140, 0))]
    return [int(part.sum()) for part in colours]


def test_drawn_pixels_of_other_masks_are_not_shown_as_completed(labels, tmp_path):
    folder, images = labels
    file = folder / "pseudo_amodal.json"
    data = json.loads(file.read_text())
    drawn = np.zeros((20, 30), bool)
    drawn[8:12, 5:16] = True  # half of what is hidden was drawn, under the square
    said = data["annotations"][0]["amodalpl"]
    said.update(added_px=12, drawn=rle.to_json(rle.encode(drawn)))
    file.write_text(json.dumps(data))
    [line] = show(folder, images, "7", tmp_path / "one.png").counts["objects"]
    assert line == "#7 bar   56 px visible, 12 completed, 12 px of other masks, uncertainty 0.25, behind #8"
    purple, orange = purple_and_orange_px(tmp_path / "one.png")
    assert 0.8 < purple / orange < 1.25
    show(folder, images, "a.png", tmp_path / "photo.png")
    assert min(purple_and_orange_px(tmp_path / "photo.png")) > 100

    said.pop("drawn")
    said["added_px"] = 0  # nothing was added: all that is hidden was drawn
    file.write_text(json.dumps(data))
    [line] = show(folder, images, "7", tmp_path / "one.png").counts["objects"]
    assert line == "#7 bar   56 px visible, 0 completed, 24 px of other masks, uncertainty 0.25, behind #8"
    purple, orange = purple_and_orange_px(tmp_path / "one.png")
    assert purple > 500 and not orange


def test_a_photo_shows_all_its_objects(labels, tmp_path):
    summary = show(*labels, "b/a.png", tmp_path / "empty.png")
    assert summary.counts == {"photo": "b/a.png", "objects": []}
    assert read_png(tmp_path / "empty.png").size
    with pytest.raises(DataError, match=r"no photo is called x/d\.png"):
        show(*labels, "x/d.png", tmp_path / "no.png")


def test_the_photo_is_larger_than_its_objects(labels, tmp_path):
    """All objects are judged on it; close-ups of 300 pixels lie below it."""
    show(*labels, "a.png", tmp_path / "photo.png")
    height, width = read_png(tmp_path / "photo.png").shape[:2]
    assert width >= 1230 and height > 820 + 300  # of a photo of 20 x 30


def test_the_last_part_of_a_name_is_enough_where_it_is_unique(labels, tmp_path):
    assert show(*labels, "elsewhere/c.png", tmp_path / "c.png").counts["photo"] == "c.png"
    with pytest.raises(DataError, match="2 photos are called e/a.png: a.png, b/a.png; give the whole file name"):
        show(*labels, "e/a.png", tmp_path / "a.png")
    assert len(show(*labels, "a.png", tmp_path / "a.png").counts["objects"]) == 2


def rename(folder, *names):
    file = folder / "pseudo_amodal.json"
    data = json.loads(file.read_text())
    data["images"] = [{**data["images"][0], "id": k, "file_name": name} for k, name in enumerate(names, 1)]
    file.write_text(json.dumps(data))


def test_a_name_without_its_suffix_is_enough_where_one_photo_has_it(labels, tmp_path):
    assert show(*labels, "c", tmp_path / "c.png").counts["photo"] == "c.png"
    assert show(*labels, "b/a", tmp_path / "c.png").counts["photo"] == "b/a.png"
    assert show(*labels, "a", tmp_path / "c.png").counts["photo"] == "a.png"  # the whole name of one
    with pytest.raises(DataError, match="2 photos are called e/a: a.png, b/a.png; give the whole file name of one"):
        show(*labels, "e/a", tmp_path / "x.png")


def test_the_beginning_of_a_name_is_enough_where_one_photo_has_it(labels, tmp_path):
    folder, images = labels
    rename(folder, "a.png", "c.png.rf.0a1b.jpg", "99_png.rf.2c.jpg")
    (images / "c.png.rf.0a1b.jpg").write_bytes((images / "c.png").read_bytes())
    assert show(folder, images, "c.png", tmp_path / "x.png").counts["photo"] == "c.png.rf.0a1b.jpg"
    with pytest.raises(DataError, match="expected the id of an annotation or the name of a photo, got 99"):
        show(folder, images, "99", tmp_path / "x.png")
    (images / "0099_png.rf.jpg").write_bytes((images / "c.png").read_bytes())
    rename(folder, "a.png", "0099_png.rf.jpg")
    assert show(folder, images, "0099", tmp_path / "x.png").counts["photo"] == "0099_png.rf.jpg"
    rename(folder, "a.png", "photo_1.png", "photo_2.png")
    with pytest.raises(DataError, match="2 photos are called photo: photo_1.png, photo_2.png; give the whole"):
        show(folder, images, "photo", tmp_path / "x.png")


def test_several_photos_of_a_name_are_listed(labels, tmp_path):
    folder, images = labels
    rename(folder, "a.png", "a.jpg", "a.jpg.png")
    assert show(folder, images, "a.png", tmp_path / "x.png").counts["photo"] == "a.png"
    with pytest.raises(DataError, match="2 photos are called a: a.png, a.jpg; give"):
        show(folder, images, "a", tmp_path / "x.png")
    (images / "a.jpg.png").write_bytes((images / "a.png").read_bytes())
    rename(folder, "a.png", "a.jpg.png")
    assert show(folder, images, "a.jpg", tmp_path / "x.png").counts["photo"] == "a.jpg.png"
    rename(folder, *(f"{k}/a.png" for k in range(7)))
    with pytest.raises(DataError, match="7 photos are called a: 0/a.png, .*, 4/a.png and 2 more; give"):
        show(folder, images, "a", tmp_path / "x.png")


def test_names_it_does_not_know_are_one_line(labels, tmp_path):
    with pytest.raises(DataError, match="expected the id of an annotation or the name of a photo, got 99"):
        show(*labels, "99", tmp_path / "x.png")
    with pytest.raises(OutputError, match=r"x\.gif: expected a name that ends in \.png"):
        show(*labels, "7", tmp_path / "x.gif")


def test_a_photo_is_never_overwritten(labels):
    before = (labels[1] / "c.png").read_bytes()
    with pytest.raises(OutputError, match=r"c\.png: is one of the photos' files; choose another --out"):
        show(*labels, "7", labels[1] / "c.png")
    assert (labels[1] / "c.png").read_bytes() == before


def test_a_photo_of_another_size_is_refused(labels, tmp_path):
    cv2.imwrite(str(labels[1] / "a.png"), np.zeros((10, 30, 3), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: expected \(20, 30\) pixels, got \(10, 30\)"):
        show(*labels, "7", tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_a_plain_coco_file_will_do(labels, tmp_path):
    folder, images = labels
    data = json.loads((folder / "pseudo_amodal.json").read_text())
    for entry in data["annotations"]:
        del entry["visible_mask"], entry["amodalpl"]
    (tmp_path / "coco.json").write_text(json.dumps(data))
    summary = show(tmp_path / "coco.json", images, "7", tmp_path / "x.png")
    assert summary.counts["objects"] == ["#7 bar   80 px visible, 0 completed"]


@pytest.mark.parametrize(
    "notes",
    [[1], "x", {"uncertainty": "high", "occluders": 3}, {"drawn": "all of it", "added_px": "3"}],
    ids=["list", "text", "words", "drawn"],
)
def test_notes_of_other_tools_under_our_key_are_passed_over(labels, tmp_path, notes):
    folder, images = labels
    file = folder / "pseudo_amodal.json"
    data = json.loads(file.read_text())
    data["annotations"][0]["amodalpl"] = notes
    file.write_text(json.dumps(data))
    [line] = show(folder, images, "7", tmp_path / "one.png").counts["objects"]
    assert line == "#7 bar   56 px visible, 24 completed"
