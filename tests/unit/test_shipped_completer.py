"""The completer that is really shipped: whole, small, in half precision, of sources whose licence is stated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from amodalpl import builtin
from amodalpl.completion.checkpoint import load_completer
from amodalpl.data.read import read_annotations
from amodalpl.drawn_scenes import write_scenes
from amodalpl.metrics.completion import MICRO
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.settings_values import resolve
from benchmarks.builtin.training_data import BANK, COCO

SHIPPED = Path(builtin.__file__).parent
MOST_MIB = 8


def read(name):
    return json.loads((SHIPPED / name).read_text(encoding="utf-8"))


def test_it_is_small_and_can_be_used():
    assert (SHIPPED / "weights.pth").stat().st_size < MOST_MIB * 2**20
    weights = torch.load(SHIPPED / "weights.pth", weights_only=True)
    assert {t.dtype for t in weights.values() if t.ndim > 1} == {torch.float16}
    bundle = load_completer(SHIPPED, torch.device("cpu"))
    assert not bundle.completer.uses_image and bundle.shapes is None and bundle.promise is not None


def test_it_says_where_it_comes_from():
    provenance = read("provenance.json")
    assert [source["name"] for source in provenance["masks"]] == [COCO.name, *(source.name for source in BANK)]
    assert provenance["steps"] >= 3000 and provenance["settings"]["completer"]["method"] == "layered"
    licence = (SHIPPED / "LICENCE.txt").read_text(encoding="utf-8")
    assert all(source["licence"] in licence for source in provenance["masks"])
    assert '"/' not in json.dumps(provenance)  # no path of whoever trained it


def test_it_is_ahead_of_the_hull_on_its_holdout():
    rows = read("metrics.json")["scores"][f"hold-out {MICRO}: all"]
    assert rows["labels"]["invisible_miou"] > rows["convex hull"]["invisible_miou"] + 0.1


def test_it_completes_drawn_shapes_that_it_never_saw(tmp_path):
    scenes = write_scenes(tmp_path, 4, seed=11)
    settings = resolve({"labels": {"refit": False}})
    made = make_labels(scenes.annotations, scenes.images, SHIPPED, tmp_path / "labels", settings, device="cpu")
    truth, labels = (
        {i.id: i for i in read_annotations(path).instances} for path in (scenes.truth, made.files["labels"])
    )
    shared = either = 0
    for number, true in truth.items():
        whole, guess, seen = (_pixels(m) for m in (true.amodal, labels[number].amodal, true.modal))
        shared += np.count_nonzero(whole & guess & ~seen)
        either += np.count_nonzero((whole | guess) & ~seen)
    assert shared > 0.4 * either  # a hull has 0.45 of these; what knows nothing of shapes has none


def _pixels(mask):
    from amodalpl.masks import rle

    return rle.decode(mask)
