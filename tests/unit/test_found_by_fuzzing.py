"""Inputs that fuzzing found to surprise, one by one; what belongs to one file's own tests is there."""

import json

import pytest
import torch
from drawn_completer import write_completer
from PIL import Image

from amodalpl.completion.checkpoint import FORMAT, load_completer
from amodalpl.convert import cityscapes, cvat_xml, labelme, sam
from amodalpl.data.dataset_builder import Builder
from amodalpl.data.label_folder import read_doubts
from amodalpl.data.read import read_annotations
from amodalpl.data.review_file import read_review
from amodalpl.errors import CheckpointError, DataError, OutputError, SettingsError
from amodalpl.io.images import orientation
from amodalpl.pipeline.rerun import rerun
from amodalpl.settings import RunSettings
from amodalpl.settings_values import explicit_values, resolve, resolve_as

LONG = "x" * 50_000


def refused(kind, read, *args, match="."):
    """Return the message, which must be one line of bearable length."""
    with pytest.raises(kind, match=match) as caught:
        read(*args)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    return message


@pytest.mark.parametrize("change", [{"version": LONG}, {"format": LONG}, {"format": [LONG]}, {LONG: 1}])
def test_review_with_a_long_value(tmp_path, change):
    content = {"format": "amodalpl-review", "version": 1, "labels_sha256": "0" * 64, "decisions": [], **change}
    (tmp_path / "review.json").write_text(json.dumps(content))
    refused(DataError, read_review, tmp_path / "review.json", match="review.json: ")


@pytest.mark.parametrize("text", [LONG, f"{LONG}=1", f"training.{LONG}=1", f"training.steps={LONG}", f"a=[{LONG}"])
def test_settings_with_a_long_name_or_value(text):
    refused(SettingsError, lambda: resolve(explicit_values(None, [text])))


@pytest.mark.parametrize("value", ["1" * 5000, "0x_", "2001-99-99", "!!int [1]"])
def test_values_that_yaml_itself_stumbles_over(value):
    refused(SettingsError, explicit_values, None, [f"training.steps={value}"], match="expected a plain value")


def test_settings_with_a_name_that_no_file_has():
    values = {"data": {"annotations": "a\0b", "images": "photos"}}
    refused(SettingsError, resolve_as, RunSettings, values, match="data.annotations: expected a name without")


@pytest.mark.parametrize("name", ["a\0b.json", f"{LONG}.json"], ids=["zero", "long"])
def test_annotation_file_with_a_name_that_no_file_has(tmp_path, name):
    refused(DataError, read_annotations, tmp_path / name, match="expected")


@pytest.mark.parametrize(
    "change",
    [{"width": 10**9}, {"boundary_px": 10**9}, {"threshold": LONG}, {"patch_px": "1e9"}, {"patch_px": float("inf")}],
)
def test_card_of_a_completer_that_would_fill_the_memory(tmp_path, change):
    card = write_completer(tmp_path / "completer") / "completer.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), **change}))
    refused(CheckpointError, load_completer, card.parent, torch.device("cpu"), match="got a damaged one")


def test_card_of_a_completer_with_a_long_method(tmp_path):
    (tmp_path / "completer.json").write_text(json.dumps({"format": FORMAT, "method": LONG}))
    refused(CheckpointError, load_completer, tmp_path, torch.device("cpu"), match="unknown method 'xxx")


def test_class_of_cityscapes_that_is_no_text(tmp_path):
    shape = {"label": "\ud800", "polygon": [[5, 5], [20, 5], [20, 20]]}
    content = {"imgHeight": 40, "imgWidth": 60, "objects": [shape, {**shape, "label": "car"}]}
    (tmp_path / "a_gtFine_polygons.json").write_text(json.dumps(content))
    data = cityscapes.read(tmp_path, None)
    assert [category["name"] for category in data.categories] == ["car"] and len(data.left_out) == 1


@pytest.mark.parametrize("attribute", ["group_id", "z_order"])
def test_shape_of_cvat_with_a_number_of_many_digits(tmp_path, attribute):
    shape = f'<polygon label="cup" points="1,1;9,1;9,9" {attribute}="{"1" * 5000}"/>'
    image = f'<image id="0" name="a.png" width="60" height="40">{shape}</image>'
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0"?><annotations>{image}</annotations>')
    (thing,) = cvat_xml.read(tmp_path / "a.xml", None).instances
    assert thing.group is None


def test_record_of_cocoa_with_an_address_that_is_none(tmp_path):
    record = {"image_id": 1, "url": "http://[x/a.jpg", "regions": [{"segmentation": [1, 1, 5, 1, 5, 5]}]}
    (tmp_path / "in.json").write_text(json.dumps(record))
    refused(DataError, read_annotations, tmp_path / "in.json", match="url: expected the photo's address")


def test_mask_of_sam_with_a_huge_score(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    mask = {"size": [40, 60], "counts": [0, 2400]}
    proposal = {"segmentation": mask, "predicted_iou": 10**400, "stability_score": 0.9, "area": 2400}
    (tmp_path / "a.json").write_text(json.dumps([proposal]))
    (thing,) = sam.read(tmp_path / "a.json", tmp_path).instances
    assert thing.score == 1


def test_record_of_cocoa_with_a_long_address(tmp_path):
    record = {"image_id": 1, "url": f"http://x/{LONG}", "regions": [{"segmentation": [1, 1, 5, 1, 5, 5]}]}
    (tmp_path / "in.json").write_text(json.dumps(record))
    refused(DataError, read_annotations, tmp_path / "in.json", match="or the photo xxx")


@pytest.mark.parametrize(
    "change", [{"stage": {}}, {"stage": ["synth"]}, {"stage": LONG}, {"machine": 3}, {"settings": []}]
)
def test_record_of_a_run_with_values_of_other_kinds(tmp_path, change):
    record = {"stage": "synth", "state": "done", "seed": 0, "settings": {}, "inputs": {}, "outputs": {}}
    record["arguments"] = {"annotations": "none", "images": "none"}
    (tmp_path / "run.json").write_text(json.dumps({**record, **change}))
    refused((DataError, OutputError), rerun, tmp_path / "run.json", tmp_path / "out")


@pytest.mark.parametrize("value", ["a\0b", ["a"], {"a": LONG}, 3, LONG])
def test_record_of_a_run_with_arguments_that_are_no_names(tmp_path, value):
    record = {"stage": "synth", "state": "done", "seed": 0, "settings": {}, "inputs": {}, "outputs": {}}
    record["arguments"] = {"annotations": value, "images": "none"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    refused((DataError, OutputError), rerun, tmp_path / "run.json", tmp_path / "out")


def test_line_of_doubt_that_is_deep(tmp_path):
    (tmp_path / "doubt.jsonl").write_text("[" * 50_000)
    refused(DataError, read_doubts, tmp_path, [1], match="doubt.jsonl: line 1: expected id, box")


def test_tiff_is_not_turned_twice(tmp_path):
    """Every library turns TIFF by itself, so that what a converter reads is the photo as it is shown."""
    note = Image.Exif()
    note[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "a.tif", exif=note)
    assert orientation(tmp_path / "a.tif") == 1
    canvas = Builder(tmp_path / "in.json", tmp_path).photo("a.tif", "image[0]", (60, 40))
    assert canvas.photo.size_hw == canvas.shown_hw == (60, 40)


@pytest.mark.parametrize("label", [[], {}, ["cup"]])
def test_a_labelme_shape_whose_label_is_no_text(label, tmp_path):
    shape = {"label": label, "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
    content = {"shapes": [shape], "imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60}
    (tmp_path / "a.json").write_text(json.dumps(content))
    data = labelme.read(tmp_path, None)
    assert [reason.partition(":")[0] for _, reason in data.left_out] == ["object without a class"]


@pytest.mark.parametrize("name", ["1" * 5000, "a/" * 2000 + "b.png"])
def test_a_photo_with_a_long_name(name, tmp_path):
    """Every reader builds its data set in one way; that nothing is there is told with the first reason."""
    (tmp_path / "photos").mkdir()
    shape = {"label": "cup", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
    content = {"shapes": [shape], "imagePath": name, "imageHeight": 40, "imageWidth": 60}
    (tmp_path / "a.json").write_text(json.dumps(content))
    refused(DataError, labelme.read, tmp_path / "a.json", tmp_path / "photos", match="could read none of 1 entries")
