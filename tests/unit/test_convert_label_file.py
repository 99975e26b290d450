"""Our label file in every format: whole masks, none lost; rejected labels as regions to ignore, else said."""

import json

import pytest
from drawn_labels import label, write_labels, write_photos
from typer.testing import CliRunner

from amodalpl.convert.format_table import FORMATS
from amodalpl.data.label_file import decided_entry
from amodalpl.errors import DataError, SettingsError
from amodalpl.masks import rle
from amodalpl.tools.convert import convert
from amodalpl_cli.main import app

WRITTEN = [name for name, row in FORMATS.items() if row.write]
VISIBLE_PX, WHOLE_PX = 20 * 20, {1: 20 * 30, 2: 20 * 40}
FILES = {"cvat": "out.xml"} | dict.fromkeys(("labelme", "yolo", "png-index", "png-instances", "fiftyone"), "out")
KNOW_CROWDS = {"labelme", "cvat", "kins", "kins2020", "d2sa", "coco-modal", "coco-amodal", "fiftyone", "coco", "lvis"}


@pytest.fixture
def labels(tmp_path):
    """Two photos with a label each, the second with a rejected one too."""
    rejected = decided_entry(label(3, image_id=2, growth=2.5), "reject")
    rejected["visible_mask"] = label(3)["visible_mask"]
    entries = [label(1, growth=1.5), label(2, image_id=2, growth=2.0), rejected]
    write_photos(tmp_path / "photos", ("a.png", "b.png"))
    return write_labels(tmp_path / "labels", entries, ("a.png", "b.png")) / "pseudo_amodal.json"


def areas(fmt, out, photos, *, whole):
    """Read what was written, by the format's own reader, and return pixels by photo; crowds are left out."""
    if fmt in ("coco-amodal", "fiftyone"):
        out, fmt = (out / ("amodal.json" if whole else "modal.json") if fmt == "fiftyone" else out), "coco"
    read = FORMATS[fmt].read
    assert read is not None
    data = read(out, photos, "auto")
    holds_both = FORMATS[fmt].holds == "both masks"
    masks = [(i.image_id, i.amodal if whole and holds_both else i.modal) for i in data.instances if not i.is_crowd]
    order = {photo.id: number for number, photo in enumerate(sorted(data.images, key=lambda p: p.file_name), 1)}
    return {order[image]: rle.area_px(mask) for image, mask in masks if mask is not None}


@pytest.mark.parametrize("fmt", WRITTEN)
def test_every_format_gets_the_whole_masks(fmt, labels, tmp_path):
    out = tmp_path / FILES.get(fmt, "out.json")
    summary = convert(labels, out, tmp_path / "photos", to_format=fmt)
    assert summary.counts["masks"] == ("both" if FORMATS[fmt].holds == "both masks" else "amodal")
    assert "whole masks (amodal)" not in summary.counts["lost"]
    assert areas(fmt, out, tmp_path / "photos", whole=True) == WHOLE_PX


@pytest.mark.parametrize("fmt", [name for name in WRITTEN if FORMATS[name].holds == "one mask"])
def test_visible_masks_where_they_are_asked_for(fmt, labels, tmp_path):
    out = tmp_path / FILES.get(fmt, "out.json")
    summary = convert(labels, out, tmp_path / "photos", to_format=fmt, mask="modal")
    assert summary.counts["lost"]["whole masks (amodal)"] == 2
    assert areas(fmt, out, tmp_path / "photos", whole=False) == dict.fromkeys((1, 2), VISIBLE_PX)


@pytest.mark.parametrize("fmt", WRITTEN)
def test_rejected_labels_are_regions_to_ignore_or_it_is_said(fmt, labels, tmp_path):
    out = tmp_path / FILES.get(fmt, "out.json")
    summary = convert(labels, out, tmp_path / "photos", to_format=fmt)
    said = [line for line in summary.counts.get("look at", []) if "rejected" in line]
    assert bool(said) == (fmt not in KNOW_CROWDS)
    if said:
        assert said[0].startswith("1 rejected labels are left out") and "their photos (1)" in said[0]
    elif FORMATS[fmt].read and fmt != "lvis":
        data = FORMATS[fmt].read(out, tmp_path / "photos", "auto")
        assert [i.is_crowd for i in data.instances].count(True) == 1


def test_masks_of_other_files_stay_visible_unless_asked_for(labels, tmp_path):
    raw = json.loads(labels.read_text())
    for entry in raw["annotations"]:
        del entry["amodalpl"]
    (tmp_path / "d2sa.json").write_text(json.dumps(raw))
    assert convert(tmp_path / "d2sa.json", tmp_path / "y", to_format="yolo").counts["masks"] == "modal"
    asked = convert(tmp_path / "d2sa.json", tmp_path / "z", to_format="yolo", mask="amodal")
    assert asked.counts["masks"] == "amodal" and asked.next == f"cp -r IMAGES/. {tmp_path / 'z/images'}"


def test_what_a_format_has_no_place_for_is_refused_in_one_line(labels, tmp_path):
    with pytest.raises(SettingsError, match=r"^--mask both: yolo holds one mask per object.*--to cocoa, kins"):
        convert(labels, tmp_path / "y", to_format="yolo", mask="both")
    with pytest.raises(SettingsError, match="^--mask modal: coco-amodal holds whole masks"):
        convert(labels, tmp_path / "y", to_format="coco-amodal", mask="modal")
    with pytest.raises(SettingsError, match=r"^--mask: expected auto, modal, amodal, both, got 'amodel'.*'amodal'"):
        convert(labels, tmp_path / "y", to_format="yolo", mask="amodel")
    convert(labels, tmp_path / "modal.json", mask="modal")
    with pytest.raises(DataError, match="modal.json: --mask amodal: expected objects with whole masks, found none"):
        convert(tmp_path / "modal.json", tmp_path / "y", to_format="yolo", mask="amodal")
    assert not (tmp_path / "y").exists()


def test_the_command_takes_the_choice(labels, tmp_path):
    args = ["convert", labels, "--to", "coco", "--mask", "modal", "--out", tmp_path / "m.json", "--json"]
    result = CliRunner().invoke(app, list(map(str, args)))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["masks"] == "modal"
