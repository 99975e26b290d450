"""What seems wrong with a data set as a whole."""

import json

import pytest
from heard import Heard

from amodalpl.data.doubtful import boxes_warning
from amodalpl.data.read import read_annotations
from amodalpl.drawn_scenes import write_scenes
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.synth import synth
from amodalpl.settings_values import resolve

SHAPES = {"box": [2, 2, 20, 2, 20, 16, 2, 16], "triangle": [2, 2, 20, 2, 2, 16]}


def written(path, boxes, triangles):
    shapes = [SHAPES["box"]] * boxes + [SHAPES["triangle"]] * triangles
    annotations = [
        {"id": k, "image_id": k, "category_id": 1, "segmentation": [shape]} for k, shape in enumerate(shapes, 1)
    ]
    photos = [{"id": a["id"], "file_name": f"{a['id']}.png", "height": 40, "width": 50} for a in annotations]
    path.write_text(json.dumps({"images": photos, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}))
    return path


@pytest.mark.parametrize(
    ("boxes", "triangles", "warned"),
    [(10, 0, True), (6, 6, True), (5, 6, False), (9, 0, False), (0, 12, False)],
    ids=["boxes", "half of them", "fewer", "too few to say", "masks"],
)
def test_filled_boxes_are_told_from_masks(tmp_path, boxes, triangles, warned):
    told = boxes_warning(read_annotations(written(tmp_path / "a.json", boxes, triangles)))
    assert ("most masks fill their bounding box" in told) == warned


def test_completing_filled_boxes_warns(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 6, seed=0, size_hw=(64, 80))
    content = json.loads(scenes.annotations.read_text())
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    settings = resolve({"labels": {"refit": False}})
    for annotations, count in ((scenes.annotations, 0), (tmp_path / "boxes.json", 1)):
        cut, labelled = Heard(), Heard()
        synth(annotations, scenes.images, tmp_path / f"synth{count}", settings, progress=cut)
        make_labels(annotations, scenes.images, "builtin", tmp_path / f"labels{count}", settings, progress=labelled)
        for heard in (cut, labelled):
            assert sum("most masks fill" in text for text in heard.notes) == count
