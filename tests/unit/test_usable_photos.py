"""A few damaged photos are left out and counted, more of them stop a stage."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from heard import Heard

from amodalpl.data.records import AnnotationSet, Dropped, ImageRecord, Instance, Mask
from amodalpl.errors import DataError
from amodalpl.masks import rle
from amodalpl.runtime.progress import SILENT
from amodalpl.runtime.usable_photos import usable_photos


@pytest.fixture
def data(tmp_path):
    """200 photos of 8 x 6 pixels with one instance each, and one that is nowhere and has none."""
    png = cv2.imencode(".png", np.zeros((6, 8, 3), np.uint8))[1].tobytes()
    mask = rle.encode(np.ones((6, 8), bool))
    images, instances = [ImageRecord(id=999, file_name="none.png", size_hw=(6, 8), raw={})], []
    for number in range(1, 201):
        (tmp_path / f"{number}.png").write_bytes(png)
        images.append(ImageRecord(id=number, file_name=f"{number}.png", size_hw=(6, 8), raw={}))
        instances.append(
            Instance(
                id=number, image_id=number, category_id=1, modal_mask=Mask(rle=mask), place=f"annotations[{number}]"
            )
        )
    return AnnotationSet(images, instances, [{"id": 1}], path=tmp_path / "a.json", format="coco")


def test_whole_photos_change_nothing(data, tmp_path):
    assert usable_photos(data, tmp_path, SILENT, 0.01) is data


def test_few_are_left_out_listed_and_said(data, tmp_path):
    (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:-20])
    (tmp_path / "9.png").unlink()
    heard = Heard()
    kept = usable_photos(data, tmp_path, heard, 0.01)
    assert [len(kept.images), len(kept.instances)] == [199, 198]
    assert not {7, 9} & {record.id for record in kept.images} and 999 in {record.id for record in kept.images}
    assert 7 not in kept.by_image and [(d.annotation_id, d.image_id) for d in kept.dropped] == [(7, 7), (9, 9)]
    assert all(d.reason.startswith("unusable photo: ") for d in kept.dropped)
    assert "7.png: expected a whole photo, found a PNG that is cut short" in heard.notes[0]
    assert "9.png: expected a photo, found no such file" in heard.notes[1]
    assert heard.notes[0].startswith("warning: left out: ")
    assert len(data.images) == 201  # the caller's own is as it was


def test_more_than_one_in_a_hundred_stops(data, tmp_path):
    for number in (1, 2, 3):
        (tmp_path / f"{number}.png").write_text("no photo")
    wanted = r"1.png: .*\(and 2 more of 200 photos\); `amodalpl check` lists all; up to 2 would be left out"
    with pytest.raises(DataError, match=wanted):
        usable_photos(data, tmp_path, SILENT, 0.01)
    assert len(usable_photos(data, tmp_path, SILENT, most_left_out=0.02).instances) == 197


def test_other_size_counts_too(data, tmp_path):
    (tmp_path / "5.png").write_bytes(cv2.imencode(".png", np.zeros((8, 6, 3), np.uint8))[1].tobytes())
    (dropped,) = usable_photos(data, tmp_path, SILENT, 0.01).dropped
    assert "expected 8 x 6 pixels as annotated, got 6 x 8" in dropped.reason


def test_no_folder(data, tmp_path):
    with pytest.raises(DataError, match="nowhere: expected the folder of the photos, found no such folder"):
        usable_photos(data, tmp_path / "nowhere", SILENT, 0.01)


def test_where_nothing_could_be_read_the_first_reason_is_said(data, tmp_path):
    data.instances = []
    data.dropped = [Dropped(f"annotations[{k}]", k, 1, f"empty box: got {k}") for k in (4, 5)]
    wanted = (
        r"a.json: annotations\[4\]: empty box: got 4; none of 2 annotations can be used, `amodalpl check` lists all$"
    )
    with pytest.raises(DataError, match=wanted):
        usable_photos(data, tmp_path, SILENT, 0.01)
    data.dropped = []
    assert usable_photos(data, tmp_path, SILENT, 0.01) is data  # photos without annotations are no fault of a reader
