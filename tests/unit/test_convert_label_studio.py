"""Label Studio: an export as it writes it, its run lengths, and back."""

import base64
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_data_sets import SIZE_HW, box, data_set, described, drawn, write_photos
from PIL import Image

from amodalpl.convert import label_studio
from amodalpl.convert.shared.label_studio_rle import decode, encode
from amodalpl.data.source import Source
from amodalpl.errors import DataError
from amodalpl.masks import rle

HEIGHT, WIDTH = SIZE_HW
SQUARE = {"points": [[10, 20], [50, 20], [50, 60], [10, 60]], "closed": True}  # per cent


def result(kind="polygonlabels", labels=("cup",), value=SQUARE, **more):
    entry = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "value": {**value}}
    entry["value"][kind] = list(labels)
    return {**entry, "id": "x1", "from_name": "label", "to_name": "image", "type": kind, "origin": "manual", **more}


def task(*results, image="/data/upload/1/0a1b2c3d-a.png", **more):
    annotation = {"id": 1, "completed_by": 3, "result": list(results), "was_cancelled": False, "ground_truth": False}
    return {"id": 1, "data": {"image": image}, "annotations": [annotation], "predictions": [], **more}


def write(folder, *tasks):
    file = folder / "export.json"
    file.write_text(json.dumps(list(tasks)))
    return file


def brush(mask):
    return {"format": "rle", "rle": list(encode(np.repeat(mask.ravel().astype(np.uint8) * 255, 4)))}


def test_every_kind_of_result(tmp_path):
    mask = drawn((3, 4, 5, 6), holes=[(4, 5, 1, 1)])
    file = write(
        tmp_path,
        task(
            result(),
            result("rectanglelabels", value={"x": 10, "y": 20, "width": 10, "height": 20, "rotation": 0}),
            result("rectanglelabels", value={"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90}),
            result("ellipselabels", value={"x": 50, "y": 50, "radiusX": 20, "radiusY": 20, "rotation": 0}),
            result("brushlabels", value=brush(mask)),
            result("keypointlabels", value={"x": 1, "y": 1, "width": 1}),
            {"type": "relation", "from_id": "x1", "to_id": "x2", "direction": "right"},
        ),
    )
    data = label_studio.read(file, None)
    assert data.images[0].file_name == "a.png" and data.images[0].size_hw == SIZE_HW
    outlines = [thing.modal_mask for thing in data.instances]
    assert outlines[0].polygons == (box(6, 8, 24, 16),)
    assert outlines[1].polygons == (box(6, 8, 6, 8),)
    assert outlines[2].polygons[0] == pytest.approx((30, 20, 30, 26, 26, 26, 26, 20))
    assert rle.area_px(outlines[3].pixels(SIZE_HW)) == pytest.approx(math.pi * 12 * 8, rel=0.04)
    assert (rle.decode(outlines[4].rle) == mask).all()
    assert [reason for _, reason in data.left_out] == ["not an area: 'keypointlabels'"]


def bitmask(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"imageDataURL": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")}


@pytest.mark.parametrize("see_through", [True, False], ids=["clear ground", "black ground"])
def test_a_bitmask_is_what_is_not_see_through_or_else_not_black(tmp_path, see_through):
    mask = drawn((3, 4, 5, 6), holes=[(4, 5, 1, 1)])
    pixels = np.zeros((*SIZE_HW, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[mask] = 255
    if see_through:
        pixels[..., :3], pixels[~mask] = 0, 0
    data = label_studio.read(write(tmp_path, task(result("bitmasklabels", value=bitmask(pixels)))), None)
    [found] = data.instances
    assert (rle.decode(found.modal_mask.rle) == mask).all()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (bitmask(np.zeros((4, 5), np.uint8)), "mask of another size than its photo: got 5 x 4"),
        ({"imageDataURL": "data:image/png;base64,AAAA"}, "malformed mask: expected a PNG in base64"),
        ({"imageDataURL": "http://host/a.png"}, "malformed mask: expected a PNG in base64"),
        ({}, "malformed mask: expected a PNG in base64"),
    ],
    ids=["size", "no PNG", "address", "nothing"],
)
def test_a_bitmask_that_is_none_is_left_out(tmp_path, value, reason):
    file = write(tmp_path, task(result(), result("bitmasklabels", value=value)))
    assert [why for _, why in label_studio.read(file, None).left_out] == [reason]


def test_run_lengths_as_the_tool_packs_them():
    # by hand: 5 values, 8 bits each, sizes 3, 4, 8, 16; a run of 4 (7), then 1 value as it is (9)
    bits = f"{5:032b}" + "00111" + "0010" + "0011" + "0111" + "1111" + "1" + "00" + "011" + f"{7:08b}"
    bits += "0" + "00" + "000" + f"{9:08b}"
    bits += "0" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert decode(packed, 5).tolist() == [7, 7, 7, 7, 9]


@pytest.mark.parametrize("length", [1, 8, 9, 16, 17, 256, 257, 65536, 65537, 200000])
def test_run_lengths_of_every_size_come_back(length):
    values = np.concatenate([np.full(length, 255), [0, 255]]).astype(np.uint8)
    assert (decode(encode(values), len(values)) == values).all()


def test_several_annotators(tmp_path):
    def by(author, x, **more):
        value = {"x": x, "y": 0, "width": 10, "height": 10}
        return {"id": x, "completed_by": author, "result": [result("rectanglelabels", value=value)], **more}

    old, new = by(1, 10, updated_at="2024-01-01"), by({"email": "b@c"}, 20, updated_at="2024-02-01")
    file = write(tmp_path, {**task(), "annotations": [new, old, by(3, 30, was_cancelled=True)]})
    data = label_studio.read(file, None)
    assert [thing.modal_mask.polygons[0][0] for thing in data.instances] == [12.0]
    assert data.left_out == [("tasks[0]: annotations", "another annotation of the photo: number 10 by 1")]
    file = write(tmp_path, {**task(), "annotations": [new, {**old, "ground_truth": True}]})
    assert [thing.modal_mask.polygons[0][0] for thing in label_studio.read(file, None).instances] == [6.0]


def test_predictions_count_where_nobody_annotated(tmp_path):
    predicted = {"model_version": "sam", "score": 0.4, "result": [result(score=0.75)]}
    data = label_studio.read(write(tmp_path, {**task(), "annotations": [], "predictions": [predicted]}), None)
    assert [thing.score for thing in data.instances] == [0.75]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/1/0a1b2c3d-a.png", "a.png"),
        ("/data/local-files/?d=data%20sets/sub%20dir/%C3%A4%20%26%20%3Cb%3E.png", "sub dir/ä & <b>.png"),
        ("s3://bucket/some/sub%20dir/%C3%A4%20%26%20%3Cb%3E.png", "sub dir/ä & <b>.png"),
        ("https://host/a.png?token=1", "a.png"),
        ("a.png", "a.png"),
    ],
)
def test_photos_are_found_behind_their_addresses(address, name, tmp_path):
    photos = write_photos(tmp_path / "photos", data_set())
    file = write(tmp_path, task(image=address))
    assert [photo.file_name for photo in label_studio.read(file, photos).images] == [name]


@pytest.mark.parametrize("address", ["../a.png", "/data/local-files/?d=../a.png", "/etc/a.png", "file:///x/../a.png"])
def test_addresses_that_leave_the_folder(address, tmp_path):
    with pytest.raises(DataError, match="photo outside the folder"):
        label_studio.read(write(tmp_path, task(result(), image=address)), tmp_path)


def test_the_first_reason_is_why_a_photo_is_not_read(tmp_path):
    """Not that a second person annotated it too."""
    twice = task(result(), image="../a.png")
    twice["annotations"] *= 2
    with pytest.raises(DataError, match=r"none of 1 entries \(tasks\[0\]: photo outside the folder"):
        label_studio.read(write(tmp_path, twice), None)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (result(labels=()), "object without a class"),
        (result(labels=("cup", "dog")), "object of several classes"),
        (result(value={"points": [[1, 2]]}), "polygon with fewer than 3 points"),
        (result(value={"points": None}), "malformed outline"),
        (result(image_rotation=90), "photo turned in Label Studio: by 90 degrees"),
        ({**result(), "value": None}, "malformed outline"),
        (result("brushlabels", value={"format": "rle", "rle": [1, 2]}), "corrupt RLE: the data ends too early"),
        (result("brushlabels", value={"format": "rle", "rle": [0, 0, 1, 0, 99]}), "corrupt RLE"),
        (result("brushlabels", value={"format": "rle", "rle": [255] * 99}), "corrupt RLE: expected runs over 9600"),
        (result("brushlabels", value={"format": "rle", "rle": [300]}), "malformed mask"),
        (result("brushlabels", value={"format": "png"}), "malformed mask"),
        (result("brushlabels", value=brush(np.zeros(SIZE_HW))), "empty mask"),
        (result(score=7), "score out of range"),
    ],
)
def test_bad_results_are_left_out_with_a_reason(bad, reason, tmp_path):
    data = label_studio.read(write(tmp_path, task(result(), bad)), None)
    assert len(data.instances) == 1 and data.left_out[0][0] == "tasks[0]: result[1]"
    assert data.left_out[0][1].startswith(reason)


def test_bad_files(tmp_path):
    with pytest.raises(DataError, match="export as JSON, not JSON-MIN"):
        label_studio.read(write(tmp_path, {"image": "a.png", "label": []}), None)
    with pytest.raises(DataError, match="task without a photo"):
        label_studio.read(write(tmp_path, {**task(result()), "data": {"text": "no"}}), None)


def test_round_trip(tmp_path):
    data = data_set()
    data.instances[0] = replace(data.instances[0], extra={})
    data.instances[4] = replace(data.instances[4], score=0.25)
    data.instances[5] = replace(data.instances[5], score=0.5)
    losses = label_studio.write(data, tmp_path / "out.json")
    assert label_studio.detect(Source(tmp_path / "out.json"))
    tasks = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [bool(entry["predictions"]) for entry in tasks] == [False, True, False]
    back = label_studio.read(tmp_path / "out.json", write_photos(tmp_path / "photos", data))
    del data.instances[3]
    assert described(back, "score", pixels_only=True) == described(data, "score", pixels_only=True)
    assert back.images == data.images and back.categories == data.categories and not back.left_out
    assert losses == {
        "crowd regions": 1,
        "groups": 1,
        "objects of several polygons, joined by slits": 1,
        "other keys of objects": 1,
        "sizes of photos without objects": 1,
    }
    assert described(back)[0] == described(data)[0]  # as drawn
