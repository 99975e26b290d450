"""Photos that do not fit into memory are refused before a stage begins."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawn_completer import write_completer

from amodalpl.data.read import read_annotations
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.synth import synth
from amodalpl.runtime.memory import PER_BOX_PIXEL, PER_OBJECT, PER_PIXEL, free_bytes, needed_bytes, require_memory
from amodalpl.settings_values import resolve


def read(folder, *sides_px):
    """A small photo, and a large one with a square of each of the sides."""
    images = [
        {"id": 1, "file_name": "small.jpg", "width": 64, "height": 48},
        {"id": 2, "file_name": "large.jpg", "width": 6000, "height": 4000},
    ]
    annotations = [
        {"id": n, "image_id": 2, "category_id": 1, "segmentation": [[0, 0, px, 0, px, px, 0, px]]}
        for n, px in enumerate(sides_px, 1)
    ]
    file = folder / "a.json"
    categories = [{"id": 1, "name": "c"}]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return read_annotations(file)


def test_memory_follows_the_boxes_of_the_objects(tmp_path):
    few, many = (read(tmp_path, *sides) for sides in ((100,), (100, 300, 300)))
    small, large = few.images
    more = needed_bytes(many, many.images[1]) - needed_bytes(few, large)
    assert more == 2 * (PER_BOX_PIXEL * 300 * 300 + PER_OBJECT)
    one = PER_BOX_PIXEL * 100 * 100 + PER_OBJECT
    assert needed_bytes(few, large) - needed_bytes(few, small) == PER_PIXEL * (24_000_000 - 48 * 64) + one


def test_the_photo_that_takes_most_is_named(tmp_path):
    data = read(tmp_path, 100, 300)
    needed = needed_bytes(data, data.images[1])
    require_memory(data, needed)
    with pytest.raises(
        DataError, match=r"a\.json: large\.jpg: expected 0\.29 GB of .* 6000 x 4000 pixels with 2 objects, got 0\.20 GB"
    ):
        require_memory(data, 200_000_000)


def test_what_is_free_is_what_can_be_taken():
    free = free_bytes()
    if free is None:
        pytest.skip("the system does not tell")
    assert 2**24 < free < 2**50
    block = np.ones(2**24, np.uint8)  # can be had
    assert block.all()


def test_stages_refuse_before_they_write(tmp_path, monkeypatch):
    photos = write_scenes(tmp_path, 3, seed=0, size_hw=(48, 64))
    monkeypatch.setattr("amodalpl.runtime.memory.free_bytes", lambda: 10**4)
    with pytest.raises(DataError, match=r"\.png: expected 0\.00 GB of free memory for 64 x 48 pixels"):
        synth(photos.annotations, photos.images, tmp_path / "synth", resolve({}))
    folder = write_completer(tmp_path / "completer")
    with pytest.raises(DataError, match="got 0.00 GB"):
        make_labels(photos.annotations, photos.images, folder, tmp_path / "labels", resolve({}))
    assert not (tmp_path / "synth").exists() and not (tmp_path / "labels").exists()
