"""`amodalpl complete` on drawn scenes: a few steps, resumed at any moment with the same bytes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from heard import Heard
from interruptions import Killed, KillIn

from amodalpl.completion.checkpoint import load_completer
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import CheckpointError, DataError, OutputError, SettingsError
from amodalpl.models.photo_encoder import PhotoEncoder
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.synth import synth
from amodalpl.runtime.progress import Progress
from amodalpl.settings_values import merge, resolve

VALUES = {
    "completer": {"method": "asbu", "width": 4, "init_gain": 0.5},
    "training": {
        "steps": 4,
        "batch_size": 2,
        "workers": 0,
        "optimizer": "adamw",
        "validate_every": 3,
        "checkpoint_every": 2,
    },
}
RESULTS = ("weights.pth", "completer.json", "metrics.json", "curves.png", "reliability.png", "risk_coverage.png")


@pytest.fixture(scope="module")
def synth_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    scenes = write_scenes(folder / "scenes", 6, seed=0, size_hw=(64, 80))
    values = {"seed": 5, "synthesis": {"patch_px": 32, "holdout_fraction": 0.3, "holdout_scenes": 1}}
    synth(scenes.annotations, scenes.images, folder / "synth", resolve(values))
    return folder / "synth"


def run(synth_dir, out, progress=None, **changes):
    return complete(synth_dir, out, merge(VALUES, changes), "cpu", progress or Progress())


@pytest.fixture(scope="module")
def made(synth_dir, tmp_path_factory):
    return run(synth_dir, tmp_path_factory.mktemp("made") / "completer")


def results(out):
    return {name: (out / name).read_bytes() for name in RESULTS}


def test_writes_what_it_says(made):
    record = json.loads((made.out / "run.json").read_text())
    assert record["state"] == "done" and set(record["inputs"]) == {"bank", "hold-out"}
    assert set(record["settings"]) == {"synthesis", "completer", "training", "labels"}
    for name in record["outputs"]:
        assert (made.out / name).is_file()
    card = json.loads((made.out / "completer.json").read_text())
    assert card["method"] == "asbu" and card["patch_px"] == 32
    assert made.counts["steps"] == 4 and made.counts["samples"] == 8
    metrics = json.loads((made.out / "metrics.json").read_text())
    assert metrics["scores"] == made.scores
    rows = next(iter(made.scores.values()))
    assert {"modal mask", "convex hull", "labels"} <= set(rows)
    assert metrics["chosen"]["threshold"] == card["threshold"]
    assert metrics["promise"] == card["promise"] is None  # a few scenes can vouch for nothing
    assert made.counts["promise"].startswith("none: ")
    assert made.counts["promise on the reporting half"]["uncertainty_at_most"] is None
    assert {"network", "calibrated", "labels"} == set(metrics["reliability"])
    assert {"labels", "oracle", "random"} == set(metrics["risk_coverage"])
    assert all(file.is_file() for file in made.files.values())
    steps = [row["step"] for row in metrics["history"] if "hold-out miou" in row]
    assert steps == [3, 4]


def test_what_synth_ran_with_is_inherited(made):
    record = json.loads((made.out / "run.json").read_text())
    assert record["seed"] == 5 and record["settings"]["synthesis"]["patch_px"] == 32


def test_what_differs_from_synth_is_said(synth_dir, tmp_path):
    heard = Heard()
    changes = {"patch_px": 16, "layers": {"front_only_probability": 0.25}}
    run(synth_dir, tmp_path / "other", heard, synthesis=changes)
    assert heard.notes[0] == (
        f"not as in {synth_dir}: synthesis.patch_px=16 instead of 32, "
        "synthesis.layers.front_only_probability=0.25 instead of 0.35"
    )


def test_holdout_of_one_photo_is_scored_where_it_was_chosen(synth_dir, made, tmp_path):
    folder = tmp_path / "synth"
    shutil.copytree(synth_dir, folder)
    held_out = json.loads((folder / "holdout.json").read_text())
    image = held_out["images"][0] | {"part": "both"}
    entries = [entry for entry in held_out["annotations"] if entry["image_id"] == image["id"]]
    (folder / "holdout.json").write_text(json.dumps(held_out | {"images": [image], "annotations": entries}))
    flatters = "thresholds were chosen on the very hold-out scenes that are scored"
    found = run(folder, tmp_path / "completer").counts["warnings"]
    assert any(line.startswith(flatters) for line in found)
    assert not any(line.startswith(flatters) for line in made.counts.get("warnings", []))


def test_result_can_be_loaded(made):
    trained = load_completer(made.out, torch.device("cpu"))
    assert trained.crop.patch_px == 32


def test_second_call_does_nothing(made, synth_dir):
    times = {p: p.stat().st_mtime_ns for p in made.out.rglob("*")}
    again = run(synth_dir, made.out)
    assert again.counts == made.counts and again.scores == made.scores
    assert {p: p.stat().st_mtime_ns for p in made.out.rglob("*")} == times


@pytest.mark.parametrize(
    ("task", "units"),
    [
        pytest.param("training the completer", 1, id="before the first checkpoint"),
        pytest.param("training the completer", 3, id="between checkpoints"),
        pytest.param("choosing the threshold", 1, id="after training"),
        pytest.param("calibrating", 1, id="after choosing the threshold"),
        pytest.param("scoring on the hold-out", 1, id="after choosing"),
    ],
)
def test_killed_and_started_again(made, synth_dir, tmp_path, task, units):
    with pytest.raises(Killed):
        run(synth_dir, tmp_path / "out", KillIn(task, units))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "unfinished"
    run(synth_dir, tmp_path / "out")
    assert results(tmp_path / "out") == results(made.out)


@pytest.mark.parametrize("method", ["pcnet-m", "asbu-ubce"])
def test_other_methods(synth_dir, tmp_path, method):
    found = run(synth_dir, tmp_path / "out", completer={"method": method}, training={"steps": 1})
    assert found.counts["method"] == method and found.scores


def test_photo_needs_a_bank_with_photos(synth_dir, tmp_path):
    with pytest.raises(DataError, match=r"completer.image needs photos .* --set synthesis.with_image=true"):
        run(synth_dir, tmp_path / "out", completer={"image": True})
    assert not (tmp_path / "out").exists()


def test_completer_that_looks_at_photos(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 4, seed=1, size_hw=(64, 80))
    values = {"synthesis": {"patch_px": 16, "with_image": True, "holdout_scenes": 1}}
    synth(scenes.annotations, scenes.images, tmp_path / "synth", resolve(values))
    found = run(tmp_path / "synth", tmp_path / "out", completer={"image": True}, training={"steps": 1})
    assert found.scores and load_completer(tmp_path / "out", torch.device("cpu")).completer.uses_image


def test_photo_encoder_starts_from_masks_alone_and_its_folder_starts_others(made, tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 4, seed=1, size_hw=(64, 80))
    values = {"synthesis": {"patch_px": 16, "with_image": True, "holdout_scenes": 1}}
    synth(scenes.annotations, scenes.images, tmp_path / "synth", resolve(values))
    torch.save(PhotoEncoder().state_dict(), tmp_path / "mobilenet.pth")
    wanted = merge(VALUES, {"completer": {"image": True, "photo_encoder": "mobilenet_v2"}, "training": {"steps": 1}})
    with pytest.raises(SettingsError, match=r"completer.photo_weights: expected the file .* \(--init\)"):
        complete(tmp_path / "synth", tmp_path / "out", wanted, init=made.out)
    assert not (tmp_path / "out").exists()
    from_file = merge(wanted, {"completer": {"photo_weights": str(tmp_path / "mobilenet.pth")}})
    complete(tmp_path / "synth", tmp_path / "out", from_file, init=made.out)
    (tmp_path / "mobilenet.pth").unlink()
    for steps in (0, 1):
        again = tmp_path / f"again{steps}"
        complete(tmp_path / "synth", again, {"training": {"steps": steps, "batch_size": 2}}, init=tmp_path / "out")
        folders = (load_completer(folder, torch.device("cpu")) for folder in (again, tmp_path / "out"))
        ours, theirs = (bundle.completer.network.network.encoder.state_dict() for bundle in folders)
        assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param(
            {"completer": {"photo_encoder": "mobilenet_v2"}},
            SettingsError,
            "set image=true too",
            id="encoder, no photo",
        ),
        pytest.param(
            {"completer": {"photo_weights": "w.pth"}}, SettingsError, "set photo_encoder=", id="weights, no encoder"
        ),
        pytest.param(
            {"completer": {"method": "abu"}}, SettingsError, "unknown method 'abu'; did you mean 'asbu'", id="method"
        ),
        pytest.param(
            {"training": {"step": 3}},
            SettingsError,
            "unknown setting 'training.step'; did you mean 'steps'",
            id="setting",
        ),
        pytest.param({"training": {"precision": "fp16"}}, SettingsError, "fp16 needs a CUDA device", id="precision"),
    ],
)
def test_bad_settings(synth_dir, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        run(synth_dir, tmp_path / "out", **changes)


def test_no_synth_folder(tmp_path):
    with pytest.raises(DataError, match="expected the record of a finished `amodalpl synth`, found no such file"):
        run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unfinished_synth_folder(synth_dir, tmp_path):
    shutil.copytree(synth_dir, tmp_path / "synth")
    record = json.loads((tmp_path / "synth/run.json").read_text())
    (tmp_path / "synth/run.json").write_text(json.dumps({**record, "state": "unfinished"}))
    with pytest.raises(OutputError, match="`amodalpl synth` has not finished there; start it again"):
        run(tmp_path / "synth", tmp_path / "out")


def test_folder_of_another_stage(made, tmp_path):
    with pytest.raises(OutputError, match="expected an output folder of `amodalpl synth`, got one of 'complete'"):
        run(made.out, tmp_path / "out")


def test_damaged_bank(synth_dir, tmp_path):
    shutil.copytree(synth_dir, tmp_path / "synth")
    (tmp_path / "synth/bank/bits.npy").write_bytes(b"")
    with pytest.raises(DataError, match="expected a cut-out bank of `amodalpl synth`"):
        run(tmp_path / "synth", tmp_path / "out")


def test_checkpoint_of_another_method(made, synth_dir):
    before = results(made.out)
    with pytest.raises(OutputError, match=r"completer.method: it has 'asbu', asked for 'pcnet-m'\); choose"):
        run(synth_dir, made.out, completer={"method": "pcnet-m"})
    assert results(made.out) == before


def test_corrupt_checkpoint(synth_dir, tmp_path):
    with pytest.raises(Killed):
        run(synth_dir, tmp_path / "out", KillIn("training the completer", 3))
    checkpoint = tmp_path / "out" / "checkpoint.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="checkpoint.pth: expected plain tensors, got a damaged or foreign file"):
        run(synth_dir, tmp_path / "out")


def test_more_steps_go_on_where_fewer_ended(synth_dir, tmp_path):
    more = {"training": {"steps": 6}}
    run(synth_dir, tmp_path / "grown")
    at = Heard()
    run(synth_dir, tmp_path / "grown", at, **more)
    assert "goes on after step 4 of 6" in at.notes
    record = json.loads((tmp_path / "grown/run.json").read_text())
    assert (record["grown from"], record["settings"]["training"]["steps"]) == ([4], 6)
    run(synth_dir, tmp_path / "straight", **more)
    first, second = (torch.load(tmp_path / d / "weights.pth", weights_only=True) for d in ("grown", "straight"))
    assert all(torch.equal(first[name], second[name]) for name in second)
    with pytest.raises(OutputError, match="training.steps: it has 6, asked for 4"):
        run(synth_dir, tmp_path / "grown")
    with pytest.raises(OutputError, match="belongs to another run"):
        run(synth_dir, tmp_path / "grown", training={"steps": 9, "learning_rate": 0.5})
    (tmp_path / "grown/checkpoint.pth").unlink()
    with pytest.raises(OutputError, match="has finished 6 steps and kept no state to go on from; .* --init"):
        run(synth_dir, tmp_path / "grown", training={"steps": 8})


def test_more_steps_of_one_cycle(synth_dir, tmp_path):
    cycle = {"steps": 6, "schedule": "one-cycle"}
    run(synth_dir, tmp_path / "a", training=cycle)
    assert run(synth_dir, tmp_path / "a", training={**cycle, "steps": 9}).counts["steps"] == 9


def start_of(made, synth_dir, tmp_path, init, **changes):
    """Return the weights before the first step, which a rate of almost nothing leaves as they are."""
    still = {"learning_rate": 1e-30, "steps": 1, "weight_decay": 0.0}
    values = merge({"training": {**VALUES["training"], **still}}, changes)
    complete(synth_dir, tmp_path / "out", values, "cpu", init=init)
    state = torch.load(tmp_path / "out/weights.pth", weights_only=True)
    learnt = {n: v for n, v in state.items() if not n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    return learnt, torch.load(made.out / "weights.pth", weights_only=True)


def test_starts_from_an_earlier_completer(made, synth_dir, tmp_path):
    learnt, earlier = start_of(made, synth_dir, tmp_path, made.out)
    assert len(learnt) > 10 and all(torch.allclose(value, earlier[name]) for name, value in learnt.items())
    card = json.loads((tmp_path / "out/completer.json").read_text())
    assert (card["method"], card["width"]) == ("asbu", 4)  # those of the earlier one, though nobody named them
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert "init" in record["inputs"] and record["arguments"]["init"] == str(made.out.resolve())


def test_what_was_learnt_of_things_without_a_mask_goes_on_being_learnt(synth_dir, tmp_path):
    start = tmp_path / "start"
    complete(synth_dir, start, merge(VALUES, {"synthesis": {"layers": {"unmasked": 0.4}}}), "cpu")
    card = json.loads((start / "completer.json").read_text())
    assert card["unmasked"] == 0.4
    own = {"unmasked_threshold": 0.85, "unmasked_threshold_in_pieces": 0.65}
    (start / "completer.json").write_text(json.dumps(card | own))
    goes_on, stops = ("goes on", {}, [0.4, 0.85, 0.65]), ("not any more", {"unmasked": 0}, [0, 1.0, 1.0])
    for name, asked, expected in (goes_on, stops):
        values = merge({"training": VALUES["training"]}, {"synthesis": {"layers": asked}})
        complete(synth_dir, tmp_path / name, values, "cpu", init=start)
        found = json.loads((tmp_path / name / "completer.json").read_text())
        assert [found[key] for key in ("unmasked", *own)] == expected
        told = json.loads((tmp_path / name / "metrics.json").read_text())["chosen"]
        assert told.get("threshold where no mask is", 1.0) == expected[1]
        assert told.get("the same, seen in pieces", 1.0) == expected[2]


def test_without_it_other_weights_start(made, synth_dir, tmp_path):
    learnt, earlier = start_of(made, synth_dir, tmp_path, None, completer=VALUES["completer"])
    assert not all(torch.allclose(value, earlier[name]) for name, value in learnt.items())


def test_a_start_that_does_not_fit_is_one_line(made, synth_dir, tmp_path):
    with pytest.raises(CheckpointError, match="it was trained with another method or width"):
        complete(synth_dir, tmp_path / "a", VALUES | {"completer": {"width": 8}}, "cpu", init=made.out)
    with pytest.raises(DataError, match="the card of a trained completer"):
        complete(synth_dir, tmp_path / "b", VALUES, "cpu", init=tmp_path)
