"""Mistakes of a first hour: what went wrong is named, and the command of ours that mends it."""

import json
import os
import shutil

import pytest
from drawn_data_sets import data_set, write_photos
from typer.testing import CliRunner

from amodalpl.convert.format_table import FORMATS
from amodalpl_cli.main import app


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", data_set())
    for name, out in (("labelme", "labelme"), ("coco", "instances.json")):
        FORMATS[name].write(data_set(), tmp_path / out)
    return tmp_path


def error(*args):
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    return result.stderr.splitlines()[-1]


def mended_by(line, out, photos="photos"):
    """Run the command that a message names, and return whether it wrote its output."""
    command = line.split("`amodalpl ")[1].split("`")[0].replace("PHOTOS", photos)
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output
    return (out).is_file()


def test_a_labelme_folder_is_named_and_converted(place):
    (place / "instances.json").unlink()
    args = ("--images", "photos", "--out", "runs", "--until", "pseudolabel")
    line = error("run", "tiny", "--annotations", "labelme", *args)
    assert "labelme: expected an annotation file, found 2 labelme files" in line
    assert mended_by(line, place / "instances.json")


@pytest.mark.parametrize("tool", ["via", "cvat", "label-studio"])
def test_files_of_other_tools_are_converted(place, tool):
    (place / "instances.json").unlink()
    file = place / f"mine.{'xml' if tool == 'cvat' else 'json'}"
    FORMATS[tool].write(data_set(), file)
    line = error("check", file.name, "photos")
    assert "if another tool wrote it" in line and mended_by(line, place / "instances.json")


def test_a_folder_in_the_place_of_the_annotation_file(place):
    assert "found photos; the annotation file comes first" in error("check", "photos", "instances.json")
    (place / "labels").mkdir()
    (place / "labels/pseudo_amodal.json").write_text("{}")
    line = error("train-detector", "labels", "photos", "--out", "detector", "--config", "tiny", "--init", "none")
    assert line.endswith("got a folder of labels; give labels/pseudo_amodal.json")


def test_annotations_in_the_place_of_a_stage_s_folder(place):
    line = error("complete", "instances.json", "--out", "completer")
    assert line == "error: instances.json: expected an output folder of `amodalpl synth`, got a file"


def test_run_says_which_options_are_missing(place):
    line = error("run", "tiny", "--out", "runs")
    assert line.startswith("error: run: expected --annotations and --images, or a section `data`")
    line = error("run", "tiny", "--annotations", "instances.json", "--out", "runs")
    assert line.startswith("error: run: expected --images, or a section `data`")


def test_detections_given_as_annotations(place):
    mask = json.loads((place / "instances.json").read_text())["annotations"][0]["segmentation"]
    found = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}]
    (place / "found.json").write_text(json.dumps(found))
    line = error("check", "found.json", "photos")
    assert "found.json: expected a COCO file" in line and "got a bare list of results" in line
    (place / "instances.json").rename(place / "photos.json")  # which says what the photos' numbers are
    assert mended_by(line, place / "instances.json", "photos.json")


def test_a_folder_above_the_completer(place):
    (place / "runs/mine/completer").mkdir(parents=True)
    (place / "runs/mine/completer/completer.json").write_text("{}")
    line = error("pseudolabel", "instances.json", "photos", "--completer", "runs/mine", "--out", "labels")
    assert line == "error: runs/mine: expected the output folder of `amodalpl complete`; give runs/mine/completer"


def test_photos_that_are_links_out_of_their_folder(place):
    shutil.move("photos", "real")
    os.makedirs("photos/sub dir")
    for photo in data_set().images:
        os.symlink(place / "real" / photo.file_name, place / "photos" / photo.file_name)
    for command in (["check"], ["synth", "--out", "s"]):
        assert "'a.png' is a link, or behind one, that leads out" in error(*command, "instances.json", "photos")
    assert not (place / "s").exists()


def test_labels_in_the_place_of_photos(place):
    (place / "labelme/empty.json").touch()
    assert "labelme: expected the photos that instances.json names" in error("check", "instances.json", "labelme")
    for command in (["check"], ["synth", "--out", "s"]):
        line = error(*command, "instances.json", "labelme")
        assert "JSON files; give the folder that has the photos" in line
