"""The completer that comes with the package: packed, found, listed, started from and used without training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from drawn_completer import write_completer
from heard import Heard
from interruptions import Killed, KillIn

import amodalpl
from amodalpl import builtin
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError, OutputError, SettingsError
from amodalpl.io.files import hash_file
from amodalpl.pipeline import complete as complete_stage
from amodalpl.pipeline.apply_review import apply_review
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.stage_table import STAGES
from amodalpl.pipeline.synth import synth
from amodalpl.settings_values import merge, resolve
from benchmarks.builtin.pack import pack

SHORT = {
    "synthesis": {"patch_px": 32, "holdout_fraction": 0.5, "holdout_scenes": 2},
    "completer": {"width": 4, "init_gain": 1.0},
    "training": {"steps": 2, "batch_size": 2, "workers": 0, "validate_every": 2, "checkpoint_every": 2},
    "labels": {"images_per_part": 4},
}
LABELS = ("pseudo_amodal.json", "order.json", "doubt.jsonl", "stats.json", "report.html")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 8, seed=0, size_hw=(64, 80))


@pytest.fixture(scope="module")
def synth_dir(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "synth"
    synth(scenes.annotations, scenes.images, folder, resolve(SHORT))
    return folder


@pytest.fixture(scope="module")
def trained(synth_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "completer"
    complete(synth_dir, folder, SHORT, "cpu")
    return folder


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "builtin"
    folder.mkdir()
    pack(trained, folder)
    return folder


@pytest.fixture
def ours(packed, monkeypatch):
    """Let the packed one be that of the package."""
    monkeypatch.setattr(builtin, "FOLDER", packed)
    return packed


@pytest.fixture
def few_are_enough(monkeypatch):
    monkeypatch.setattr(complete_stage, "FEWEST_OCCLUDED", 1)


def with_objects(scenes, folder, of_photo):
    """Keep so many objects of each photo."""
    content = json.loads(scenes.annotations.read_text())
    kept = []
    for photo, count in zip(content["images"], of_photo, strict=False):
        kept += [a for a in content["annotations"] if a["image_id"] == photo["id"]][:count]
    file = folder / "few.json"
    file.write_text(json.dumps({**content, "annotations": kept}))
    return replace(scenes, annotations=file)


def label(scenes, out, completer="builtin", progress=None, **labels):
    values = resolve(merge(SHORT, {"labels": labels}))
    return make_labels(scenes.annotations, scenes.images, completer, out, values, "auto", "cpu", progress or Heard())


def read(folder, name):
    return json.loads((folder / name).read_text())


def results(out):
    return {name: (out / name).read_bytes() for name in LABELS}


def test_packed_weights_are_halves_and_normalisations_are_whole(trained, packed):
    before, after = (torch.load(f / "weights.pth", weights_only=True) for f in (trained, packed))
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert tensor.dtype == (torch.float16 if tensor.ndim > 1 else before[name].dtype)
        torch.testing.assert_close(tensor.float(), before[name].float(), rtol=1e-3, atol=1e-6)


def test_packed_files_name_no_path_and_every_licence(trained, packed):
    text = "".join((packed / name).read_text() for name in ("completer.json", "metrics.json", "provenance.json"))
    assert str(trained.parent) not in text and "/" not in str(read(packed, "provenance.json")["settings"])
    assert {source["licence"] for source in read(packed, "provenance.json")["masks"]} == {
        "CC BY 4.0", "MIT", "CC0 1.0",
    }  # fmt: skip
    assert "history" in read(trained, "metrics.json") and "history" not in read(packed, "metrics.json")


def test_a_calibration_made_anew_is_packed_with_the_provenance_of_its_training(trained, synth_dir, tmp_path):
    complete(synth_dir, tmp_path / "anew", merge(SHORT, {"training": {"steps": 0}}), "cpu", init=trained)
    (tmp_path / "builtin").mkdir()
    pack(tmp_path / "anew", tmp_path / "builtin")
    assert read(tmp_path / "builtin", "provenance.json")["steps"] == 2
    assert (
        read(tmp_path / "builtin", "completer.json")["threshold"]
        == read(tmp_path / "anew", "completer.json")["threshold"]
    )


def test_trainings_that_it_started_from_are_told(trained, synth_dir, tmp_path):
    complete(synth_dir, tmp_path / "on", merge(SHORT, {"training": {"steps": 3}}), "cpu", init=trained)
    (tmp_path / "builtin").mkdir()
    pack(tmp_path / "on", tmp_path / "builtin")
    told = read(tmp_path / "builtin", "provenance.json")
    assert (told["steps"], [before["steps"] for before in told["started from"]]) == (3, [2])
    assert str(trained.parent) not in json.dumps(told)


def test_so_is_the_packages_own_that_it_started_from(ours, synth_dir, tmp_path, monkeypatch):
    complete(synth_dir, tmp_path / "on", merge(SHORT, {"training": {"steps": 3}}), "cpu", init="builtin")
    (tmp_path / "builtin").mkdir()
    pack(tmp_path / "on", tmp_path / "builtin")
    told = read(tmp_path / "builtin", "provenance.json")
    assert (told["steps"], [before["steps"] for before in told["started from"]]) == (3, [2])
    monkeypatch.setattr(builtin, "FOLDER", tmp_path / "builtin")  # where other weights are by now
    with pytest.raises(DataError, match="expected the weights that the training started from, got others"):
        pack(tmp_path / "on", tmp_path / "again")


def test_an_unfinished_training_is_not_packed(trained, tmp_path):
    folder = tmp_path / "unfinished"
    shutil.copytree(trained, folder)
    record = read(folder, "run.json")
    (folder / "run.json").write_text(json.dumps({**record, "state": "unfinished"}))
    with pytest.raises(OutputError, match="has not finished"):
        pack(folder, tmp_path)
    assert not (tmp_path / "weights.pth").exists()


def test_the_word_means_the_package_and_a_path_a_folder(ours, tmp_path):
    assert builtin.completer_folder("builtin") == ours
    assert builtin.completer_folder("./builtin").name == "builtin" and builtin.completer_folder(tmp_path) == tmp_path
    assert amodalpl.load_completer("builtin", "cpu").crop.patch_px == 32


def test_an_installation_without_it_says_so(tmp_path, monkeypatch, scenes):
    monkeypatch.setattr(builtin, "FOLDER", tmp_path)
    with pytest.raises(DataError, match="expected the completer that comes with amodalpl, found no such file; "):
        label(scenes, tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_the_list_shows_its_scores(packed, tmp_path):
    shown = builtin.Start(packed).describe()
    scores = read(packed, "metrics.json")["scores"]["hold-out completion, micro (PCNet/ASBU): all"]
    assert shown["hidden parts, hold-out"] == f"{scores['labels']['invisible_miou']:.3f}"
    assert shown["hull"] == f"{scores['convex hull']['invisible_miou']:.3f}" and shown["steps"] == "2 of 2"
    assert builtin.Start(tmp_path).describe()["method"] == "not in this installation"
    assert set(STAGES["complete"].choice.tables()) == {"method", "init"}


def test_labels_say_that_the_thresholds_are_those_of_the_photos(ours, scenes, tmp_path, few_are_enough):
    made = label(scenes, tmp_path / "labels")
    assert made.counts["completer"] == "builtin, fitted to these photos"
    notes = {a["amodalpl"]["completer"] for a in read(made.out, "pseudo_amodal.json")["annotations"]}
    assert notes == {"builtin, fitted to these photos"}
    chosen = read(made.out / "refit" / "completer", "metrics.json")["chosen"]
    assert chosen["objects behind others"] > 0
    assert hash_file(made.out / "refit" / "completer" / "weights.pth") == hash_file(ours / "weights.pth")


def test_fitted_thresholds_are_those_that_the_photos_ask_for(ours, scenes, tmp_path, few_are_enough):
    """The one that came has a threshold that lets nothing grow; labels are made with another."""
    spoilt = tmp_path / "builtin"
    shutil.copytree(ours, spoilt)
    card = read(spoilt, "completer.json") | {"threshold": 0.999999}
    (spoilt / "completer.json").write_text(json.dumps(card))
    as_it_came = label(scenes, tmp_path / "a", spoilt)
    fitted = label(scenes, tmp_path / "b", spoilt, refit=True)
    assert as_it_came.counts["grown"] == 0 < fitted.counts["grown"]
    assert read(tmp_path / "b" / "refit" / "completer", "completer.json")["threshold"] < 0.95
    assert fitted.counts["completer"] == "layered, fitted to these photos" and "completer" not in as_it_came.counts


def test_too_few_objects_leave_it_as_it_came(ours, scenes, tmp_path):
    heard = Heard()
    made = label(scenes, tmp_path / "labels", progress=heard)
    assert made.counts["completer"] == "builtin, as it came"
    assert any("thresholds and calibration stay as they came" in line for line in heard.notes)
    before, after = (read(f, "completer.json") for f in (ours, made.out / "refit" / "completer"))
    assert after == before


def test_one_photo_makes_no_holdout(ours, tmp_path):
    one = write_scenes(tmp_path / "one", 1, seed=3, size_hw=(64, 80))
    heard = Heard()
    made = label(one, tmp_path / "labels", progress=heard)
    assert made.counts["completer"] == "builtin, as it came" and not (made.out / "refit").exists()
    assert any(line.startswith("one photo makes no hold-out") for line in heard.notes)


def test_photos_of_too_few_objects_make_no_holdout(ours, tmp_path):
    few = write_scenes(tmp_path / "few", 2, seed=3, size_hw=(64, 80))
    content = json.loads(few.annotations.read_text())
    firsts = {a["image_id"]: a for a in content["annotations"]}
    few.annotations.write_text(json.dumps({**content, "annotations": list(firsts.values())}))
    heard = Heard()
    made = label(few, tmp_path / "labels", progress=heard)
    assert made.counts["completer"] == "builtin, as it came" and made.counts["labels"] == 2
    assert any(line.startswith("too few objects for a hold-out") for line in heard.notes)


def test_as_it_came_can_be_asked_for(ours, scenes, tmp_path):
    made = label(scenes, tmp_path / "labels", refit=False)
    assert not (made.out / "refit").exists()
    assert read(made.out, "pseudo_amodal.json")["annotations"][0]["amodalpl"]["completer"] == "builtin, as it came"
    with pytest.raises(OutputError, match="labels.refit: it has False, asked for True"):
        label(scenes, tmp_path / "labels")


@pytest.fixture(scope="module")
def undisturbed(packed, scenes, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "FOLDER", packed)
        patch.setattr(complete_stage, "FEWEST_OCCLUDED", 1)
        return results(label(scenes, tmp_path_factory.mktemp("undisturbed") / "labels").out)


@pytest.mark.parametrize(
    ("task", "units"),
    [
        ("drawing the hold-out", 2),
        ("choosing the threshold", 1),
        ("scoring on the hold-out", 1),
        ("labelling photos", 4),
    ],
    ids=lambda value: str(value).replace(" ", "-"),
)
def test_killed_and_started_again(undisturbed, ours, scenes, tmp_path, few_are_enough, task, units):
    with pytest.raises(Killed):
        label(scenes, tmp_path / "killed", progress=KillIn(task, units))
    label(scenes, tmp_path / "killed")
    assert results(tmp_path / "killed") == undisturbed


def test_its_scores_stand_in_the_page_of_a_review(ours, scenes, tmp_path):
    made = label(scenes, tmp_path / "labels")
    entry = read(made.out, "pseudo_amodal.json")["annotations"][0]
    from amodalpl.data.review_file import Decision, Review, fingerprint, write_review

    decided = Review(hash_file(made.out / "pseudo_amodal.json"), (Decision(entry["id"], "accept", fingerprint(entry)),))
    write_review(tmp_path / "review.json", decided)
    for number, completer in enumerate(("builtin", made.out / "refit" / "completer")):
        out = tmp_path / f"corrected{number}"
        apply_review(made.out, scenes.images, tmp_path / "review.json", out, completer=completer)
        assert "hold-out" in (out / "report.html").read_text()
    other = write_completer(tmp_path / "other")
    with pytest.raises(DataError, match="expected the completer that made"):
        apply_review(made.out, scenes.images, tmp_path / "review.json", tmp_path / "no", completer=other)


def test_training_starts_from_it_with_its_crops(ours, synth_dir, tmp_path):
    values = {"synthesis": {"boundary_px": 3}, "training": SHORT["training"]}
    complete(synth_dir, tmp_path / "tuned", values, "cpu", init="builtin")
    record = read(tmp_path / "tuned", "run.json")
    assert record["arguments"]["init"] == "builtin" and record["settings"]["completer"]["width"] == 4
    assert record["settings"]["synthesis"]["patch_px"] == 32 and record["settings"]["synthesis"]["boundary_px"] == 3


def test_no_steps_need_a_start(synth_dir, tmp_path):
    with pytest.raises(SettingsError, match="training.steps: expected at least 1, got 0"):
        complete(synth_dir, tmp_path / "none", merge(SHORT, {"training": {"steps": 0}}), "cpu")
    assert not (tmp_path / "none").exists()


def test_no_steps_leave_the_weights(trained, synth_dir, tmp_path, few_are_enough):
    made = complete(synth_dir, tmp_path / "kept", merge(SHORT, {"training": {"steps": 0}}), "cpu", init=trained)
    assert hash_file(tmp_path / "kept" / "weights.pth") == hash_file(trained / "weights.pth")
    assert made.counts["steps"] == 0 and "curves" not in made.files
    assert all(path.exists() for path in made.files.values())
    same = read(trained, "metrics.json")["chosen"]
    assert {name: read(tmp_path / "kept", "metrics.json")["chosen"][name] for name in same} == same


def test_photos_of_one_object_leave_the_bank_a_larger_share(ours, scenes, tmp_path):
    progress = Heard()
    made = label(with_objects(scenes, tmp_path, [1] * 8), tmp_path / "labels", progress=progress)
    assert made.counts["labels"] == 8 and (made.out / "refit" / "completer" / "completer.json").is_file()
    record = read(made.out / "refit" / "synth", "run.json")
    assert record["settings"]["synthesis"]["holdout_fraction"] == 0.8


def test_objects_too_few_for_a_hold_out_are_labelled_by_the_completer_as_it_came(ours, scenes, tmp_path):
    progress = Heard()
    few = with_objects(scenes, tmp_path, [1, 1])
    made = label(few, tmp_path / "labels", progress=progress)
    assert made.counts["labels"] == 2 and made.counts["completer"] == "builtin, as it came"
    assert any(text.startswith("too few objects for a hold-out") for text in progress.notes), progress.notes
    assert label(few, tmp_path / "labels").counts == made.counts
