"""`amodalpl refine` with a detector that knows the truth, and says how well it does; and once with a real one."""

import json
import shutil
from types import SimpleNamespace

import pytest

pytest.importorskip("mmdet")

from drawn_completer import write_completer
from rich.console import Console

from amodalpl.data.label_folder import read_label_folder, rle_of
from amodalpl.data.read import read_annotations
from amodalpl.data.review_file import Decision, Review, fingerprint, write_review
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import AmodalplError, CheckpointError, DataError, OutputError, SettingsError
from amodalpl.io.files import hash_file, hash_output
from amodalpl.io.json_stream import write_lines
from amodalpl.masks import rle
from amodalpl.pipeline import refine as stage
from amodalpl.pipeline.apply_review import apply_review
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.refine import refine
from amodalpl.pipeline.synth import synth
from amodalpl.settings_values import resolve
from amodalpl_cli.display import print_summary

SYNTH = {"synthesis": {"patch_px": 32, "holdout_fraction": 0.3, "holdout_scenes": 2}}
TINY = {
    "backbone": "resnet18_small", "steps": 3, "batch_size": 2, "workers": 0, "warmup_steps": 1,
    "image_scale": [64, 48], "rpn_proposals": 20, "roi_samples": 16, "channels": 16,
}  # fmt: skip
RULE = {"rounds": 3, "agree_iou": 0.95}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos, a hold-out of some of them, and labels of a completer that has learnt nothing."""
    folder = tmp_path_factory.mktemp("refine")
    scenes = write_scenes(folder / "scenes", 8, seed=0, size_hw=(64, 80))
    synth(scenes.annotations, scenes.images, folder / "synth", resolve(SYNTH))
    completer = write_completer(folder / "completer")
    make_labels(scenes.annotations, scenes.images, completer, folder / "labels", resolve({}), device="cpu")
    return SimpleNamespace(folder=folder, scenes=scenes, labels=folder / "labels", synth=folder / "synth")


def run(place, out, labels=None, synth_dir=None, init="none", **of_refine):
    settings = resolve({"detector": TINY, "refine": {**RULE, **of_refine}})
    return refine(
        labels or place.labels, place.scenes.images, out, settings, synth_dir=synth_dir or place.synth, init=init,
        device="cpu",
    )  # fmt: skip


class Oracle:
    """Stands in for training and detecting: finds the true whole masks, and scores on the hold-out as it is told."""

    def __init__(self, place, monkeypatch, shares=(0.3, 0.6, 1.0, 1.0), score=0.9):
        self.truth = read_annotations(place.scenes.truth)
        self.shares, self.score = shares, score
        self.trained = []
        self.fail_in = None
        monkeypatch.setattr(stage, "train_detector", self.train)
        monkeypatch.setattr(stage, "detect_in_parts", self.detect)
        from amodalpl.detector import trained

        monkeypatch.setattr(trained, "open_detector", lambda folder, checkpoint, device: folder)

    def train(self, labels, images, out, settings, *, val, **more):
        number = int(out.parent.name.partition("_")[2])
        if number == self.fail_in:
            raise KeyboardInterrupt
        self.trained.append((number, json.loads(labels.read_text()), settings.detector.trust.labels))
        out.mkdir(exist_ok=True)
        truth = json.loads(val.read_text())
        for entry in truth["annotations"]:
            entry["segmentation"] = rle.to_json(rle_of(entry["segmentation"]))
        (out / "val.json").write_text(json.dumps(truth))
        few = truth["annotations"][: round(self.shares[number] * len(truth["annotations"]))]
        found = [{**{k: e[k] for k in ("image_id", "category_id", "segmentation")}, "score": 0.9} for e in few]
        (out / "detections.json").write_text(json.dumps(found))
        return SimpleNamespace(out=out)

    def detect(self, photos, opened, out, settings, progress, inference):
        lines = [
            {
                "image_id": record.id,
                "detections": [
                    {
                        "image_id": record.id, "category_id": thing.category_id, "score": self.score,
                        "segmentation": rle.to_json(thing.amodal),
                    }
                    for thing in self.truth.by_image[record.id]
                ],
            }
            for record in photos.records
        ]  # fmt: skip
        write_lines(out / "part.jsonl", iter(lines))
        return [out / "part.jsonl"]


@pytest.fixture
def oracle(place, monkeypatch):
    return Oracle(place, monkeypatch)


def labels_of(folder):
    return json.loads((folder / "pseudo_amodal.json").read_text())["annotations"]


def iou(first, second):
    shared = rle.intersection_px(first, second)
    return shared / (rle.area_px(first) + rle.area_px(second) - shared)


def test_doubtful_labels_become_the_detectors_and_say_so(place, oracle, tmp_path):
    done = run(place, tmp_path / "out")
    before = {entry["id"]: entry for entry in labels_of(place.labels)}
    after = {entry["id"]: entry for entry in labels_of(done.out / "labels")}
    true = {thing.id: thing.amodal for thing in oracle.truth.instances}
    assert before.keys() == after.keys()
    replaced = [identity for identity, e in after.items() if e["amodalpl"]["refined"]["source"] == "detector"]
    assert 0 < len(replaced) < len(after)
    gains = []
    for identity, entry in after.items():
        notes, was = entry["amodalpl"], before[identity]
        said = notes["refined"]
        whole, visible = rle_of(entry["segmentation"]), rle_of(entry["visible_mask"])
        assert rle.intersection_px(whole, visible) == rle.area_px(visible)
        assert entry["visible_mask"] == was["visible_mask"] and entry["area"] == rle.area_px(whole)
        if identity in replaced:
            assert said["round"] >= 1 and notes["uncertainty"] == said["error"] < was["amodalpl"]["uncertainty"]
            assert said["error"] < 1 - said["iou"] - said["error"]  # the label is further from the truth than that
            gains.append(iou(whole, true[identity]) - iou(rle_of(was["segmentation"]), true[identity]))
            assert notes["added_px"] == rle.area_px(whole) - (was["area"] - was["amodalpl"]["added_px"])
        else:
            assert said["source"] == was["amodalpl"]["completer"] and said["round"] == 0
            dropped = entry["iscrowd"]  # a region of what is visible, which detectors ignore
            assert entry["segmentation"] == (entry["visible_mask"] if dropped else was["segmentation"])
            assert said["uncertainty"] == was["amodalpl"]["uncertainty"] <= notes["uncertainty"]
    assert sum(gains) / len(gains) > 0.1 and sorted(gains)[len(gains) // 5] > 0  # a few are taken for a neighbour
    doubted = {json.loads(line)["id"] for line in (done.out / "labels/doubt.jsonl").read_text().splitlines()}
    assert not doubted & set(replaced)  # the maps speak of the completer's masks


def test_photos_of_the_hold_out_are_never_learnt_from_and_are_labelled(place, oracle, tmp_path):
    done = run(place, tmp_path / "out")
    held_out = {entry["photo_id"] for entry in json.loads((place.synth / "holdout.json").read_text())["images"]}
    for _, learnt, trust in oracle.trained:
        assert trust == 1.0
        assert learnt["images"] and not held_out & {image["id"] for image in learnt["images"]}
        assert not held_out & {entry["image_id"] for entry in learnt["annotations"]}
    assert held_out <= {entry["image_id"] for entry in labels_of(done.out / "labels")}


def test_it_ends_when_the_hold_out_no_longer_improves_and_keeps_the_best(place, monkeypatch, tmp_path):
    oracle = Oracle(place, monkeypatch, shares=(0.4, 0.8, 0.5, 1.0))
    monkeypatch.setattr(stage, "count_actions", changing(stage.count_actions))
    done = run(place, tmp_path / "out", rounds=3)
    assert [number for number, *_ in oracle.trained] == [0, 1, 2]  # not 3, which would have been the best
    assert done.counts["best round"] == 1
    history = json.loads((done.out / "rounds.json").read_text())
    chosen = [entry["AP on the hold-out"]["choose"] for entry in history["rounds"]]
    assert history["best"] == 1 and chosen[1] > chosen[2] and chosen[1] > chosen[0]
    assert labels_of(done.out / "labels") == labels_of(done.out / "round_1/labels")


def test_a_round_that_brings_no_more_than_chance_is_not_taken(place, monkeypatch, tmp_path):
    Oracle(place, monkeypatch, shares=(0.4, 0.8))
    monkeypatch.setattr(stage, "count_actions", changing(stage.count_actions))
    done = run(place, tmp_path / "out", rounds=1, least_gain=0.9)
    first, second = (entry["AP on the hold-out"]["choose"] for entry in done.counts["rounds"])
    assert first < second < first + 0.9 and done.counts["best round"] == 0
    assert labels_of(done.out / "labels") == labels_of(done.out / "round_0/labels")


def test_its_closing_table_has_a_line_per_round_and_half(place, oracle, tmp_path, capsys):
    done = run(place, tmp_path / "out")
    print_summary(Console(width=160), done)
    shown = " ".join(capsys.readouterr().out.split())
    assert "round 0, choose" in shown and "round 1, report" in shown
    assert f"{done.counts['rounds'][0]['AP on the hold-out']['choose']:.3f}" in shown


def changing(count):
    """Say of every round that labels changed, whether they did or not."""
    return lambda folder: {**count(folder), "reweighted": 1}


def test_it_ends_when_nothing_changes(place, monkeypatch, tmp_path):
    oracle = Oracle(place, monkeypatch, score=0.999)
    done = run(place, tmp_path / "out", drop_above=1.0, agree_iou=0.01, match_iou=0.01)
    assert [number for number, *_ in oracle.trained] == [0] and done.counts["best round"] == 0
    assert not (done.out / "round_1").exists()
    kept = [{k: v for k, v in e.items() if k != "amodalpl"} for e in labels_of(done.out / "labels")]
    assert kept == [{k: v for k, v in e.items() if k != "amodalpl"} for e in labels_of(place.labels)]


def test_dropped_labels_are_regions_that_detectors_ignore(place, monkeypatch, tmp_path):
    oracle = Oracle(place, monkeypatch)
    gone = labels_of(place.labels)[0]["id"]
    oracle.truth.by_image[labels_of(place.labels)[0]["image_id"]][:] = []
    done = run(place, tmp_path / "out", drop_above=0.0, rounds=1)
    entry = next(e for e in labels_of(done.out / "labels") if e["id"] == gone)
    if entry["amodalpl"]["uncertainty"] > 0:
        assert entry["iscrowd"] == 1 and entry["amodalpl"]["refined"]["action"] == "dropped"
        assert entry["segmentation"] == entry["visible_mask"] and "completed" in entry["amodalpl"]
    assert done.counts["rounds"][1]["labels"]["dropped"] > 0


def test_interrupted_it_goes_on_and_ends_with_the_same_bytes(place, monkeypatch, tmp_path):
    oracle = Oracle(place, monkeypatch)
    whole = run(place, tmp_path / "whole")
    oracle.fail_in = 1
    with pytest.raises(KeyboardInterrupt):
        run(place, tmp_path / "again")
    oracle.fail_in = None
    again = run(place, tmp_path / "again")
    assert hash_output(again.out / "labels") == hash_output(whole.out / "labels")
    trained = len(oracle.trained)
    assert run(place, tmp_path / "again").counts == again.counts and len(oracle.trained) == trained  # it was done
    with pytest.raises(OutputError, match="belongs to another run"):
        run(place, tmp_path / "again", agree_iou=0.9)


def test_other_commands_take_its_labels(place, oracle, tmp_path):
    done = run(place, tmp_path / "out")
    folder = done.out / "labels"
    chosen = next(read_label_folder(folder).labels).annotation
    decided = Review(hash_file(folder / "pseudo_amodal.json"), (Decision(chosen["id"], "reject", fingerprint(chosen)),))
    write_review(tmp_path / "review.json", decided)
    corrected = apply_review(folder, place.scenes.images, tmp_path / "review.json", tmp_path / "corrected")
    assert [e["id"] for e in labels_of(corrected.out) if e["iscrowd"]] == [chosen["id"]]
    once_more = run(place, tmp_path / "more", labels=corrected.out)
    entry = next(e for e in labels_of(once_more.out / "labels") if e["id"] == chosen["id"])
    assert entry["iscrowd"] == 1  # what a person rejected stays so


def other_photos(place, folder):
    shutil.copytree(place.synth, folder / "synth")
    path = folder / "synth/holdout.json"
    content = json.loads(path.read_text())
    content["images"][0]["photo_id"] = 999
    path.write_text(json.dumps(content))
    return folder / "synth"


def one_half(place, folder):
    synth_dir = other_photos(place, folder)
    path = synth_dir / "holdout.json"
    content = json.loads((place.synth / "holdout.json").read_text())
    for image in content["images"]:
        image["part"] = "choose"
    path.write_text(json.dumps(content))
    return synth_dir


def test_what_cannot_be_used_is_one_line(place, oracle, tmp_path):
    def refused(error, message, **given):
        with pytest.raises(AmodalplError, match=message) as found:
            run(place, tmp_path / "out", **given)
        assert isinstance(found.value, error) and "\n" not in str(found.value)
        assert not (tmp_path / "out").exists()

    (tmp_path / "other").mkdir(), (tmp_path / "half").mkdir(), (tmp_path / "empty").mkdir()
    refused(
        DataError,
        r"expected scenes of photos of .*got photo_id \[999\]",
        synth_dir=other_photos(place, tmp_path / "other"),
    )
    refused(DataError, "expected scenes to report on, found none", synth_dir=one_half(place, tmp_path / "half"))
    refused(DataError, "holdout.json", synth_dir=tmp_path / "empty")
    refused(DataError, "run.json|record of a", labels=tmp_path / "empty")
    refused(CheckpointError, "found no such file", init=str(tmp_path / "none.pth"))
    for model in ("boxinst", "mmdet-config"):
        with pytest.raises(SettingsError, match=f"refine: expected a model that learns from masks .*{model}"):
            refine(
                place.labels, place.scenes.images, tmp_path / "out", resolve({"detector": {**TINY, "model": model}}),
                synth_dir=place.synth, init="none", device="cpu",
            )  # fmt: skip
    assert not oracle.trained


@pytest.mark.parametrize("wanted", [True, False], ids=["asked for", "not"])
def test_run_refines_where_it_is_asked_for(wanted, place, fake_stage, tmp_path):
    from amodalpl.pipeline.run_all import run_pipeline

    for module, function in (
        ("synth", "synth"), ("complete", "complete"), ("make_labels", "make_labels"),
        ("train_detector", "train_detector"),
    ):  # fmt: skip
        fake_stage(f"pipeline.{module}", function)
    calls = fake_stage("pipeline.refine", "refine")
    data = {"annotations": str(place.scenes.annotations), "images": str(place.scenes.images), "init": "none"}
    (tmp_path / "all").mkdir()
    run_pipeline({"data": {**data, "refine": wanted}}, tmp_path / "all", "cpu")
    assert len(calls) == wanted
    if wanted:
        [(_, given)] = calls
        folders = {name: given[name] for name in ("labels", "synth_dir", "out")}
        assert folders == {
            n: tmp_path / "all" / f for n, f in zip(folders, ("labels", "synth", "refined"), strict=True)
        }
        assert given["init"] == "none" and given["images"] == place.scenes.images


@pytest.mark.slow
def test_with_a_real_detector(place, tmp_path):
    done = run(place, tmp_path / "out", rounds=1, least_score=0.0, match_iou=0.05)
    assert {"round_0", "labels", "rounds.json", "run.json"} <= {path.name for path in done.out.iterdir()}
    assert all("refined" in entry["amodalpl"] for entry in labels_of(done.out / "labels"))
    assert (done.out / "round_0/detector/weights.pth").exists()
