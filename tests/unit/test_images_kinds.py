"""Photos of every kind: how they are stored, which way up, and what lies about its size."""

import io
import os
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from amodalpl.errors import DataError
from amodalpl.io.images import check_image, image_size_hw, read_image

SIZE_HW = (24, 40)
CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def cornered():
    """A picture that no turn and no mirror maps to itself: red, green, blue and white corners, clockwise."""
    picture = np.full((*SIZE_HW, 3), 90, np.uint8)
    picture[:8, :8], picture[:8, -8:], picture[-8:, -8:], picture[-8:, :8] = CORNERS.values()
    return picture


def corners_of(picture):
    """Return the names of the corners' colours, clockwise from the top left."""
    colours = [picture[2, 2], picture[2, -3], picture[-3, -3], picture[-3, 2]]
    names = list(CORNERS)
    return [names[np.abs(np.array(list(CORNERS.values()), int) - colour).sum(axis=1).argmin()] for colour in colours]


def save(path, image, orientation=None, **options):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(path, **options)
    return path


# What a viewer shows of the stored picture above, from the definition of the EXIF tag: orientation says where the
# stored first row and first column belong, 6 for one: the first row is the right side, the first column the top.
SHOWN = {
    5: ["red", "white", "blue", "green"],
    6: ["white", "red", "green", "blue"],
    7: ["blue", "green", "red", "white"],
    8: ["green", "blue", "white", "red"],
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_only_where_masks_fit_no_other_way(tmp_path, orientation, suffix):
    options = {"quality": 95} if suffix != "png" else {}
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(cornered()), orientation, **options)
    stored = list(CORNERS)
    for annotated in (None, SIZE_HW, (9, 9)):
        assert corners_of(read_image(path, annotated)) == stored
        assert image_size_hw(path, annotated) == check_image(path, annotated_hw=annotated) == SIZE_HW
    shown = read_image(path, SIZE_HW[::-1])
    assert corners_of(shown) == SHOWN.get(orientation, stored) and shown.flags.c_contiguous
    assert image_size_hw(path, SIZE_HW[::-1]) == shown.shape[:2] == (SIZE_HW[::-1] if orientation > 4 else SIZE_HW)
    assert check_image(path, annotated_hw=SIZE_HW[::-1]) == shown.shape[:2]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_what_a_viewer_shows_is_what_pillow_shows(tmp_path, orientation):
    from PIL import ImageOps

    path = save(tmp_path / "a.png", Image.fromarray(cornered()), orientation)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), read_image(path, SIZE_HW[::-1]))


@pytest.mark.parametrize("orientation", [3, 6])
def test_in_tiff_the_note_is_part_of_the_format(tmp_path, orientation):
    path = save(tmp_path / "a.tif", Image.fromarray(cornered()), orientation)
    shown = {3: ["blue", "white", "red", "green"], **SHOWN}[orientation]
    assert corners_of(read_image(path)) == shown and image_size_hw(path) == read_image(path).shape[:2]


def test_a_square_photo_stays_as_stored(tmp_path):
    picture = cornered()[:, :24]
    path = save(tmp_path / "a.png", Image.fromarray(picture), 6)
    assert np.array_equal(read_image(path, (24, 24)), picture)


GREY = np.arange(24 * 40, dtype=np.uint16).reshape(SIZE_HW) * 60


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    Image.fromarray(GREY).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.dtype == np.uint8 and np.abs(image[..., 0].astype(int) - GREY // 256).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_way_to_store_colours(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(cornered()).convert(mode).save(path, **({"quality": 95} if mode == "CMYK" else {}))
    image = read_image(path)
    assert image.shape == (*SIZE_HW, 3) and image.dtype == np.uint8
    if mode in ("RGBA", "P", "CMYK"):
        assert corners_of(image) == list(CORNERS)
    else:
        assert (image[..., 0] == image[..., 1]).all()


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_of_animations_the_first_picture_is_read(tmp_path, suffix):
    pictures = [Image.fromarray(cornered()), Image.fromarray(255 - cornered())]
    options = {"lossless": True} if suffix == "webp" else {}
    pictures[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pictures[1:], **options)
    if not cv2.haveImageReader(str(tmp_path / f"a.{suffix}")):  # OpenCV learnt to read GIF in 4.12
        with pytest.raises(DataError, match="could not decode it; replace the file"):
            read_image(tmp_path / f"a.{suffix}")
        return
    assert corners_of(read_image(tmp_path / f"a.{suffix}")) == list(CORNERS)
    assert check_image(tmp_path / f"a.{suffix}") == SIZE_HW


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tif", "gif", "jp2", "ppm"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_cut_files_of_other_kinds(tmp_path, suffix, kept, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    for read in (read_image, check_image):
        with pytest.raises(DataError, match=rf"a.{suffix}: expected a photo"):
            read(path)
    assert capfd.readouterr().err == ""  # OpenCV's own lines are no clear ones


def with_header_of(kind, width, height):
    """A small file whose header claims a size."""
    if kind == "png":
        head = b"IHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0"
        chunks = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        return b"\x89PNG\r\n\x1a\n" + chunks + bytes(4) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    buffer = io.BytesIO()
    image = Image.fromarray(np.zeros((8, 16, 3), np.uint8))
    image.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()))
    data = bytearray(buffer.getvalue())
    if kind == "jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "gif":
        data[6:10] = struct.pack("<HH", width, height)
        at = data.index(b",") + 5
        data[at : at + 4] = struct.pack("<HH", width, height)
    elif kind == "bmp":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "webp":  # VP8: ten bytes into the frame, 14 bits each; at most 16 383
        at = data.index(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = struct.pack("<HH", 16_383, 16_383)
    elif kind == "tif":
        for tag, value in ((256, width), (257, height)):
            at = data.index(struct.pack("<H", tag), 8)
            data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "webp", "tif"])
def test_headers_that_claim_huge_photos(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(with_header_of(kind, 60_000, 60_000))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"expected a (whole )?photo"):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24
    if kind != "webp":  # whose largest is allowed, and cut here
        with pytest.raises(DataError, match="at most 268435456 pixels"):
            read_image(path)


def test_heic_gets_a_line_of_its_own(tmp_path):
    (tmp_path / "a.jpg").write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(100))
    for read in (read_image, check_image, image_size_hw):
        with pytest.raises(DataError, match="a.jpg: expected a photo in JPEG or PNG, got HEIC or AVIF; convert it"):
            read(tmp_path / "a.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are POSIX's")
def test_pipes_and_folders_named_like_photos_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "folder.jpg"):
        with pytest.raises(DataError, match=f"{name}: expected a photo, could not read it .it is not a file."):
            read_image(tmp_path / name)


def test_a_file_too_large_for_any_photo_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as handle:
        handle.truncate(2**31 + 1)  # takes no space
    with pytest.raises(DataError, match="expected a photo of at most 2147483648 bytes, got 2147483649"):
        check_image(path)


@pytest.mark.parametrize("name", ["ü 日本.png", " a.png", "a\nb.png", "<script>.png", "%2e%2e.png", "a'b\"c.png"])
def test_hostile_names_are_only_names(tmp_path, name):
    path = save(tmp_path / name, Image.fromarray(cornered()))
    assert read_image(path).shape == (*SIZE_HW, 3)
