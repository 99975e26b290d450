"""What all readers share: names that stay in their folder, sizes of photos, EXIF turns."""

import math
import os

import numpy as np
import pytest
from drawn_data_sets import drawn, in_pixels
from PIL import Image, ImageOps

from amodalpl.data.dataset_builder import Builder, photo_name
from amodalpl.data.records import LeftOut, Mask
from amodalpl.errors import DataError
from amodalpl.io.images import orientation
from amodalpl.masks import rle

STORED_HW = (24, 32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("./sub//a b.jpg", "sub/a b.jpg"),
        ("train\\a.jpg", "train/a.jpg"),
        ("<script>.jpg", "<script>.jpg"),
        ("写真\n.jpg", "写真\n.jpg"),
    ],
)
def test_harmless_names_are_kept(name, expected, tmp_path):
    assert photo_name(name, tmp_path) == photo_name(name, None) == expected


@pytest.mark.parametrize(
    "name", ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg", "C:\\a.jpg", "..\\a.jpg", "\\\\host\\a.jpg", "a\0.jpg", "."]
)
def test_names_that_leave_the_folder_are_refused(name, tmp_path):
    for images in (tmp_path, None):
        with pytest.raises(LeftOut, match="photo outside the folder"):
            photo_name(name, images)


@pytest.mark.parametrize("name", [None, "", 3])
def test_a_photo_needs_a_name(name):
    with pytest.raises(LeftOut, match="photo without a name"):
        photo_name(name, None)


def test_links_that_leave_the_folder_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret.png").touch()
    os.symlink(tmp_path / "secret.png", tmp_path / "photos" / "a.png")
    with pytest.raises(LeftOut, match="photo outside the folder"):
        photo_name("a.png", tmp_path / "photos")


def test_a_file_with_a_backslash_in_its_name_is_found(tmp_path):
    (tmp_path / "a\\b.png").touch()
    assert photo_name("a\\b.png", tmp_path) == "a\\b.png"


def save(path, turn=1, stored_hw=STORED_HW):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(np.zeros((*stored_hw, 3), dtype=np.uint8)).save(path, exif=exif)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_masks_drawn_on_turned_photos_fit_the_stored_pixels(turn, suffix, tmp_path):
    save(tmp_path / f"a.{suffix}", turn)
    assert orientation(tmp_path / f"a.{suffix}") == turn
    stored = drawn((3, 5, 10, 6), (3, 5, 4, 12), size_hw=STORED_HW)  # an L, which no turn maps onto itself
    picture = Image.fromarray(stored.view(np.uint8))
    picture.getexif()[0x0112] = turn
    shown = np.asarray(ImageOps.exif_transpose(picture)) > 0
    builder = Builder(tmp_path, tmp_path)
    canvas = builder.photo(f"a.{suffix}", "here", stated_hw=shown.shape)
    assert (canvas.photo.size_hw, canvas.shown_hw) == (STORED_HW, shown.shape)
    outline = in_pixels(shown)
    corners = _corners_of(shown)
    cup = builder.category("cup")
    builder.add(canvas, cup, outline)
    builder.add(canvas, cup, Mask((corners,)))
    for thing in builder.finish().instances:
        assert (rle.decode(thing.modal_mask.pixels(STORED_HW)) == stored).all()


def _corners_of(mask):
    from amodalpl.data.mask_tracing import rings

    [corners] = rings(in_pixels(mask))
    return corners


def test_a_tool_that_ignores_the_turn_is_believed(tmp_path):
    save(tmp_path / "a.jpg", 6)
    canvas = Builder(tmp_path, tmp_path).photo("a.jpg", "here", stated_hw=STORED_HW)
    assert (canvas.shown_hw, canvas.turn) == (STORED_HW, 1)


def test_a_photo_of_another_size_is_left_out(tmp_path):
    save(tmp_path / "a.jpg")
    with pytest.raises(LeftOut, match="size differs from the photo: expected 32 x 24 as a.jpg has, got 10 x 20"):
        Builder(tmp_path, tmp_path).photo("a.jpg", "here", stated_hw=(20, 10))


def test_missing_photos(tmp_path):
    with pytest.raises(LeftOut, match="missing photo: a.jpg"):
        Builder(tmp_path, tmp_path).photo("a.jpg", "here", (5, 6))
    assert Builder(tmp_path, tmp_path, must_be_there=False).photo("a.jpg", "here", (5, 6)).photo.size_hw == (5, 6)
    with pytest.raises(LeftOut, match="photo of unknown size.*--images"):
        Builder(tmp_path, None).photo("a.jpg", "here")
    with pytest.raises(LeftOut, match="impossible size"):
        Builder(tmp_path, None).photo("a.jpg", "here", (0, 2**40))


def test_a_file_that_is_no_photo_is_left_out(tmp_path):
    (tmp_path / "a.jpg").write_text("no")
    with pytest.raises(LeftOut, match="unreadable photo"):
        Builder(tmp_path, tmp_path).photo("a.jpg", "here", (5, 6))


def test_one_photo_has_one_entry():
    builder = Builder("file", None)
    builder.photo("a.jpg", "first", (5, 6))
    with pytest.raises(LeftOut, match="second entry of a photo: a.jpg was read from first"):
        builder.photo("./a.jpg", "second", (5, 6))


def test_nothing_read_is_an_error():
    builder = Builder("file.json", None)
    with builder.entry("photo 1"):
        builder.photo("../a", "photo 1", (5, 6))
    with pytest.raises(DataError, match=r"file.json: expected annotated photos, .* 1 entries \(photo 1: photo outside"):
        builder.finish()


@pytest.mark.parametrize("name", [None, "", "  ", [], True])
def test_objects_need_a_class(name):
    with pytest.raises(LeftOut, match="object without a class"):
        Builder("file", None).category(name)


def test_carried_values_that_no_file_can_hold_are_replaced():
    builder = Builder("file", None)
    extra = {"good": {"ä": [1, None]}, "bad": [math.nan, 1], "\ud800": 1, "text": "a\ud800"}
    builder.photo("a.jpg", "here", (5, 6), extra=extra)
    [photo] = builder.finish().images
    assert photo.extra == {"good": {"ä": [1, None]}, "bad": [None, 1], "text": "a?"}
    assert builder.data.left_out[0][1].startswith("value that no file can hold: of ['bad'")


@pytest.mark.parametrize("name", ["\ud800.jpg", "a\udcff.jpg"])
def test_names_that_are_no_text_are_left_out(name):
    with pytest.raises(LeftOut, match="photo whose name is no text"):
        photo_name(name, None)
