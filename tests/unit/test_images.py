import os
import zlib

import cv2
import numpy as np
import pytest

from amodalpl.errors import DataError
from amodalpl.io.images import check_image, image_path, image_size_hw, read_image


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), (70, 50))  # 50 high, 70 wide


def save(folder, name, picture):
    path = folder / name
    path.write_bytes(cv2.imencode(path.suffix, picture[..., ::-1] if picture.ndim == 3 else picture)[1].tobytes())
    return path


def with_exif(jpeg, orientation=6, thumbnail=b""):
    """Put an EXIF block (big-endian TIFF, one tag 0x0112) behind the start marker."""
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
    body = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + b"\0\0\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_size_and_pixels(tmp_path, picture, suffix):
    path = save(tmp_path, f"a{suffix}", picture)
    assert image_size_hw(path) == check_image(path) == (50, 70)
    image = read_image(path)
    assert image.shape == (50, 70, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
    if suffix in (".png", ".bmp"):
        assert np.array_equal(image, picture)  # RGB, not BGR
    else:
        assert np.abs(image.astype(int) - picture).mean() < 12


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    grey = save(tmp_path, "grey.png", np.full((4, 6), 9, dtype=np.uint8))
    assert np.array_equal(read_image(grey), np.full((4, 6, 3), 9))
    path = tmp_path / "alpha.png"
    path.write_bytes(cv2.imencode(".png", np.full((4, 6, 4), 200, dtype=np.uint8))[1].tobytes())
    assert read_image(path).shape == (4, 6, 3)


def test_exif_rotation_is_ignored(tmp_path, picture):
    jpeg = save(tmp_path, "a.jpg", picture).read_bytes()
    path = tmp_path / "turned.jpg"
    path.write_bytes(with_exif(jpeg, orientation=6))
    assert image_size_hw(path) == read_image(path).shape[:2] == (50, 70)


def test_header_longer_than_what_is_read_first(tmp_path, picture):
    jpeg = save(tmp_path, "a.jpg", picture).read_bytes()
    block = b"\xff\xe2" + (60_002).to_bytes(2, "big") + bytes(60_000)
    path = tmp_path / "long.jpg"
    path.write_bytes(jpeg[:2] + block * 2 + jpeg[2:])
    assert image_size_hw(path) == (50, 70)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_cut_files_are_refused(tmp_path, picture, suffix, kept):
    path = save(tmp_path, f"a{suffix}", picture)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    for read in (read_image, check_image):
        with pytest.raises(DataError, match=rf"a\{suffix}: expected a"):
            read(path)


def test_end_marker_of_a_thumbnail_is_not_the_end_of_the_photo(tmp_path, picture):
    jpeg = save(tmp_path, "a.jpg", picture).read_bytes()
    whole = with_exif(jpeg, thumbnail=b"\xff\xd8\xff\xd9")
    path = tmp_path / "thumb.jpg"
    path.write_bytes(whole)
    assert check_image(path) == (50, 70)
    path.write_bytes(whole[:-40])
    with pytest.raises(DataError, match="found a JPEG that is cut short"):
        check_image(path)


def test_bytes_behind_the_end_are_allowed(tmp_path, picture):
    path = save(tmp_path, "motion.jpg", picture)
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert check_image(path) == (50, 70) and read_image(path).shape == (50, 70, 3)


def test_damaged_png_is_refused(tmp_path, picture):
    path = save(tmp_path, "a.png", picture)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="found a PNG that is cut short or damaged"):
        check_image(path)


def test_bomb_is_refused_before_decoding(tmp_path):
    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    end = b"IEND"
    chunks = [
        (13).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big"),
        bytes(4) + end + zlib.crc32(end).to_bytes(4, "big"),
    ]
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(DataError, match="at most 268435456 pixels, got 60000 x 60000"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"], ids=repr)
def test_files_that_are_no_photos(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (read_image, check_image, image_size_hw):
        with pytest.raises(DataError, match=r"a.jpg: expected a (whole )?photo"):
            read(path)


def test_missing_photo_and_folder(tmp_path):
    with pytest.raises(DataError, match="b.jpg: expected a photo, found no such file; check the image folder"):
        read_image(tmp_path / "b.jpg")
    with pytest.raises(DataError, match="expected a photo, could not read it"):
        image_size_hw(tmp_path)


class TestImagePath:
    def test_names_inside(self, tmp_path):
        assert image_path(tmp_path, "a/b.jpg") == tmp_path / "a" / "b.jpg"

    @pytest.mark.parametrize(
        "name", ["", "/etc/passwd", "../a.jpg", "a/../../b.jpg", "a\0.jpg", "\ud800.jpg"], ids=ascii
    )
    def test_names_that_lead_out(self, tmp_path, name):
        with pytest.raises(DataError, match="file_name: expected a name inside the image folder"):
            image_path(tmp_path, name)

    def test_links(self, tmp_path):
        folder = tmp_path / "images"
        folder.mkdir()
        (tmp_path / "secret.jpg").write_bytes(b"x")
        os.symlink(tmp_path / "secret.jpg", folder / "out.jpg")
        os.symlink(folder / "real.jpg", folder / "in.jpg")
        os.symlink(folder / "loop.jpg", folder / "loop.jpg")
        os.symlink(folder, tmp_path / "link")
        assert image_path(folder, "in.jpg") == folder / "in.jpg"
        assert image_path(tmp_path / "link", "in.jpg") == tmp_path / "link" / "in.jpg"
        with pytest.raises(DataError, match="'out.jpg' is a link, or behind one, that leads out of the image folder"):
            image_path(folder, "out.jpg")
        image_path(folder, "loop.jpg")  # leads nowhere, and not out
        with pytest.raises(DataError, match="could not read it"):
            read_image(folder / "loop.jpg")

    def test_links_that_may_lead_out(self, tmp_path, monkeypatch):
        (tmp_path / "images").mkdir()
        (tmp_path / "elsewhere.jpg").write_bytes(b"x")
        os.symlink(tmp_path / "elsewhere.jpg", tmp_path / "images/a.jpg")
        for value, follows in (("1", True), ("0", False), ("", False)):
            monkeypatch.setenv("AMODALPL_FOLLOW_LINKS", value)
            if follows:
                assert image_path(tmp_path / "images", "a.jpg") == tmp_path / "images/a.jpg"
            else:
                with pytest.raises(DataError, match="if you made the links, start with `amodalpl --follow-links`"):
                    image_path(tmp_path / "images", "a.jpg")
        monkeypatch.setenv("AMODALPL_FOLLOW_LINKS", "1")
        with pytest.raises(DataError, match="expected a name inside the image folder"):
            image_path(tmp_path / "images", "../elsewhere.jpg")

    def test_only_links_are_followed(self, tmp_path, monkeypatch):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "a.jpg").touch()
        os.symlink(tmp_path / "sub", tmp_path / "inside")
        followed = []
        follow = os.path.realpath
        monkeypatch.setattr(os.path, "realpath", lambda path: followed.append(path) or follow(path))
        image_path(tmp_path, "sub/a.jpg")
        assert followed == []
        image_path(tmp_path, "inside/a.jpg")
        assert followed == [tmp_path, tmp_path / "inside" / "a.jpg"]

    def test_folder_with_the_same_beginning(self, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "images2").mkdir()
        os.symlink(tmp_path / "images2", tmp_path / "images" / "x")
        with pytest.raises(DataError, match="a link, or behind one, that leads out"):
            image_path(tmp_path / "images", "x/a.jpg")
