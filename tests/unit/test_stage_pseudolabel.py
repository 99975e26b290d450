"""`amodalpl pseudolabel` on drawn scenes: the label file's contract, and the same bytes however often it was killed."""

from __future__ import annotations

import base64
import json
import shutil
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import torch
from drawn_completer import write_completer
from interruptions import Killed, KillIn
from pycocotools.coco import COCO

from amodalpl.data.read import read_annotations
from amodalpl.data.review_file import Decision, Review, fingerprint, read_review, write_review
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import CheckpointError, DataError, OutputError, SettingsError
from amodalpl.io.files import hash_file
from amodalpl.io.json_stream import read_lines
from amodalpl.labelling import assemble
from amodalpl.masks import rle
from amodalpl.masks.geometry import dilate
from amodalpl.models.completer import build_completer
from amodalpl.models.completer_table import METHODS
from amodalpl.pipeline import make_labels as stage
from amodalpl.pipeline.completer_in_use import CompleterInUse
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.pseudolabel import pseudolabel
from amodalpl.runtime import parts
from amodalpl.runtime.progress import Progress
from amodalpl.settings_values import resolve
from amodalpl.version import __version__

OUTPUTS = ("pseudo_amodal.json", "order.json", "doubt.jsonl", "stats.json", "report.html", "overlays.png")
FLAGS = {
    "no_occluder", "overlap_only", "truncated", "grew_to_border", "runaway", "shared_pixels", "low_confidence",
    "fully_shared", "kept_modal",
}  # fmt: skip


class Watch(Progress):
    def __init__(self):
        self.done, self.warnings = {}, []

    def warn(self, text):
        self.warnings.append(text)

    @contextmanager
    def task(self, label, total, done=0):
        self.done[label] = done
        yield lambda units: None


def settings(**labels):
    return resolve({"seed": 0, "labels": {"images_per_part": 2, "batch_size": 4, **labels}})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Five drawn photos; the first also has a crowd, an overlapping pair and a mask that smaller ones cover."""
    files = write_scenes(tmp_path_factory.mktemp("scenes"), 5, seed=0, size_hw=(64, 80))
    data = json.loads(files.annotations.read_text())
    first = data["images"][0]["id"]

    def add(mask, **more):
        entry = {
            "id": 1000 + len(data["annotations"]),
            "image_id": first,
            "category_id": 2,
            "segmentation": rle.to_json(rle.encode(mask)),
        }
        data["annotations"].append({**entry, **more})

    def rectangle(rows, columns):
        mask = np.zeros((64, 80), bool)
        mask[slice(*rows), slice(*columns)] = True
        return mask

    add(rectangle((0, 5), (0, 5)), iscrowd=1)
    add(rectangle((2, 4), (70, 74)))  # lies over the next, and hides all of it
    add(rectangle((2, 4), (70, 74)))
    data["annotations"].append({"id": 5000, "image_id": first, "category_id": 2, "segmentation": []})
    data["info"] = {"year": 2026}
    data["images"][0]["license"] = 3
    data["images"].append({"id": 900, "file_name": "bare.png", "height": 4, "width": 4})  # without annotations
    files.annotations.write_text(json.dumps(data))
    return files


@pytest.fixture(scope="module", params=["layered", "pcnet-m"])
def made(request, scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    completer = write_completer(folder / "completer", request.param)
    return make_labels(scenes.annotations, scenes.images, completer, folder / "labels", settings(), device="cpu")


def results(out):
    return {name: (out / name).read_bytes() for name in OUTPUTS}


def read(made, name):
    return json.loads((made.out / name).read_text())


def mask_of(form):
    return rle.decode({"size": form["size"], "counts": form["counts"].encode("ascii")})


def test_settings_of_a_class(made, scenes, tmp_path):
    """Class 2 stays as drawn, and nothing else changes."""
    name = next(c["name"] for c in read(made, "pseudo_amodal.json")["categories"] if c["id"] == 2)
    again = label(scenes, made.out.parent / "completer", tmp_path / "out", per_class={name: {"keep_modal": True}})
    kept = 0
    for before, after in zip(*(read(run, "pseudo_amodal.json")["annotations"] for run in (made, again)), strict=True):
        if before["category_id"] != 2 or "fully_shared" in before["amodalpl"]["flags"]:
            assert before == after
            continue
        flags = after["amodalpl"]["flags"]
        assert after["amodalpl"]["growth"] == 1 and "kept_modal" in flags and "no_occluder" not in flags
        assert after["occlude_rate"] == 0 or after["amodalpl"]["occluders"]
        kept += before["amodalpl"]["growth"] > 1
    assert kept > 0 and read(again, "order.json") == read(made, "order.json")
    with pytest.raises(SettingsError, match=r"labels\.per_class: .*json has no class 'sqare'; "):
        label(scenes, made.out.parent / "completer", tmp_path / "wrong", per_class={"sqare": {"threshold": 0.4}})
    assert not (tmp_path / "wrong").exists()


def test_label_file_keeps_the_contract(made, scenes):
    source, labels = json.loads(scenes.annotations.read_text()), read(made, "pseudo_amodal.json")
    assert labels["images"] == source["images"] and labels["categories"] == source["categories"]
    assert labels["info"] == source["info"]
    wanted = {a["id"]: a for a in source["annotations"] if a["segmentation"] and not a.get("iscrowd")}
    photo = [image["id"] for image in source["images"]]
    by_photo = sorted(wanted, key=lambda i: photo.index(wanted[i]["image_id"]))  # else in the order of the file
    assert [a["id"] for a in labels["annotations"]] == by_photo
    for label in labels["annotations"]:
        raw = wanted[label["id"]]
        assert (label["image_id"], label["category_id"]) == (raw["image_id"], raw["category_id"])
        amodal, visible = mask_of(label["segmentation"]), mask_of(label["visible_mask"])
        drawn = mask_of(raw["segmentation"])
        assert isinstance(label["segmentation"]["counts"], str) and isinstance(label["visible_mask"]["counts"], str)
        assert label["iscrowd"] == 0
        assert label["area"] == amodal.sum()
        assert label["bbox"] == list(rle.box_xywh(rle.encode(amodal)))
        assert label["visible_bbox"] == list(rle.box_xywh(rle.encode(visible)))
        assert not (drawn & ~amodal).any() and not (visible & ~drawn).any()
        assert label["occlude_rate"] == pytest.approx(1 - visible.sum() / amodal.sum(), abs=1e-6)
        ours = label["amodalpl"]
        always = {"completer", "occluders", "uncertainty", "plausibility", "growth", "added_px", "hidden_by", "flags"}
        assert always <= set(ours) <= always | {"features", "drawn"}
        cannot_be_told = (drawn & ~visible).any() and (amodal & ~drawn).any()
        assert ("drawn" in ours) == cannot_be_told and (not cannot_be_told or (mask_of(ours["drawn"]) == drawn).all())
        assert ours["completer"] in ("layered", "pcnet-m")
        assert 0 <= ours["uncertainty"] <= 1
        assert ours["growth"] == pytest.approx(amodal.sum() / drawn.sum(), abs=1e-6)
        assert ours["added_px"] == (amodal & ~drawn).sum()
        assert set(ours["flags"]) <= FLAGS
        same_photo = {a["id"] for a in wanted.values() if a["image_id"] == raw["image_id"]} - {raw["id"]}
        assert set(ours["occluders"]) <= same_photo
        assert bool(ours["occluders"]) == ("no_occluder" not in ours["flags"])
        assert ours["occluders"] or label["occlude_rate"] == 0


def test_some_objects_grow_and_those_without_neighbour_do_not(made):
    labels = read(made, "pseudo_amodal.json")["annotations"]
    alone = [a for a in labels if "no_occluder" in a["amodalpl"]["flags"]]
    grown = [a for a in labels if a["amodalpl"]["growth"] > 1]
    assert alone and grown
    for label in alone:
        assert label["amodalpl"]["occluders"] == [] and label["amodalpl"]["uncertainty"] == 0
        assert label["amodalpl"]["growth"] == 1
        assert label["segmentation"] == label["visible_mask"]
    assert all(label["amodalpl"]["occluders"] for label in grown)


def test_growth_stays_behind_the_named_occluders_and_gaps(made):
    labels = read(made, "pseudo_amodal.json")["annotations"]
    by_id = {a["id"]: a for a in labels}
    for label in labels:
        visible = mask_of(label["visible_mask"])
        allowed = visible.copy()
        for occluder in label["amodalpl"]["occluders"]:
            allowed |= mask_of(by_id[occluder]["visible_mask"])
        reach = np.zeros_like(allowed)
        ys, xs = np.nonzero(allowed)
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                reach[np.clip(ys + dy, 0, 63), np.clip(xs + dx, 0, 79)] = True
        if "shared_pixels" not in label["amodalpl"]["flags"] and "fully_shared" not in label["amodalpl"]["flags"]:
            assert not (mask_of(label["segmentation"]) & ~reach).any()


def test_instance_that_smaller_ones_cover_keeps_what_was_drawn(made):
    labels = read(made, "pseudo_amodal.json")["annotations"]
    (covered,) = [a for a in labels if "fully_shared" in a["amodalpl"]["flags"]]
    assert mask_of(covered["segmentation"])[2:4, 70:74].all() and covered["area"] == 8
    assert mask_of(covered["visible_mask"]).sum() == 0 and covered["occlude_rate"] == 1
    (over,) = covered["amodalpl"]["occluders"]
    assert mask_of(next(a for a in labels if a["id"] == over)["visible_mask"])[2:4, 70:74].all()
    assert covered["amodalpl"]["uncertainty"] == 1 and "low_confidence" in covered["amodalpl"]["flags"]


def test_objects_at_the_frame_are_flagged(made):
    for label in read(made, "pseudo_amodal.json")["annotations"]:
        seen = mask_of(label["visible_mask"])
        at_edge = seen[0].any() or seen[-1].any() or seen[:, 0].any() or seen[:, -1].any()
        assert ("truncated" in label["amodalpl"]["flags"]) == bool(at_edge)


def test_every_annotation_is_labelled_or_listed(made, scenes):
    source, stats = json.loads(scenes.annotations.read_text()), read(made, "stats.json")
    labelled = {a["id"] for a in read(made, "pseudo_amodal.json")["annotations"]}
    listed = {row["annotation_id"]: row["reason"] for row in stats["left_out"]}
    assert labelled | set(listed) == {a["id"] for a in source["annotations"]} and not labelled & set(listed)
    assert sorted(listed.values()) == ["crowd region", "no mask: expected polygons or RLE, got an empty list"]
    counts = stats["counts"]
    assert counts["annotations"] == len(source["annotations"])
    assert counts["labels"] == len(labelled) and counts["left out"] == {"crowd region": 1, "no mask": 1}
    assert made.counts == counts
    assert sum(c["labels"] for c in stats["categories"].values()) == len(labelled)


def test_order_file(made):
    order = read(made, "order.json")
    labels = {a["id"]: a for a in read(made, "pseudo_amodal.json")["annotations"]}
    method = next(iter(labels.values()))["amodalpl"]["completer"]
    assert order["rule"] == ("pairs" if METHODS[method].order_from_pairs else METHODS[method].order_rule)
    assert sum(len(entry["pairs"]) for entry in order["images"]) == made.counts["ordered pairs"] > 0
    assert [entry["image_id"] for entry in order["images"]] == sorted({a["image_id"] for a in labels.values()})
    for entry in order["images"]:
        for pair in entry["pairs"]:
            assert labels[pair["front"]]["image_id"] == labels[pair["back"]]["image_id"] == entry["image_id"]
            assert pair["evidence_px"] != 0  # below 0 of one that was turned round
            if METHODS[method].order_from_pairs:  # a pair's front is among the ancestors of its back
                assert pair["front"] in labels[pair["back"]]["amodalpl"]["occluders"]


def test_doubt_file(made):
    lines = (made.out / "doubt.jsonl").read_text().splitlines()
    doubts = [json.loads(line) for line in lines]
    labels = read(made, "pseudo_amodal.json")["annotations"]
    unasked = {"no_occluder", "overlap_only", "fully_shared", "kept_modal"}
    asked = [a for a in labels if not unasked & set(a["amodalpl"]["flags"])]
    assert asked and [d["id"] for d in doubts] == [a["id"] for a in asked]
    for doubt, label in zip(doubts, asked, strict=True):
        assert set(doubt) == {"id", "box", "png"}
        x, y, w, h = doubt["box"]
        assert min(x, y) >= 0 and min(w, h) > 0 and x + w <= 80 and y + h <= 64
        levels = cv2.imdecode(np.frombuffer(base64.b64decode(doubt["png"]), np.uint8), cv2.IMREAD_UNCHANGED)
        assert levels.dtype == np.uint8 and max(levels.shape) == min(64, max(w, h))
        if max(w, h) <= 64:  # as large as the box: doubtful pixels are never visible ones
            assert levels.shape == (h, w)
            assert not levels[mask_of(label["visible_mask"])[y : y + h, x : x + w]].any()


def test_files_have_the_bytes_of_json_as_a_whole(made):
    for name in ("pseudo_amodal.json", "order.json"):
        text = (made.out / name).read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), ensure_ascii=False) + "\n"


def test_other_programs_read_it(made, scenes, capsys):
    coco = COCO(str(made.out / "pseudo_amodal.json"))
    assert all(coco.annToMask(a).sum() == a["area"] for a in coco.dataset["annotations"])
    again = read_annotations(made.out / "pseudo_amodal.json")
    assert len(again.instances) >= made.counts["labels"] - 1  # the fully shared one has nothing visible
    assert [r.id for r in again.images] == [r.id for r in read_annotations(scenes.annotations).images]


def test_same_inputs_same_bytes_and_no_parts_left(made, scenes, tmp_path):
    completer = made.out.parent / "completer"
    make_labels(scenes.annotations, scenes.images, completer, tmp_path / "out", settings(), device="cpu")
    assert results(tmp_path / "out") == results(made.out)
    assert not list((tmp_path / "out").glob(".parts*"))


@pytest.mark.parametrize(
    ("task", "units", "kept"),
    [
        pytest.param("labelling photos", 2, 2, id="after the first part"),
        pytest.param("labelling photos", 4, 4, id="after the second part"),
        pytest.param("drawing the report", 1, 5, id="in the report"),
    ],
)
def test_killed_and_started_again(made, scenes, tmp_path, task, units, kept):
    completer, out = made.out.parent / "completer", tmp_path / "out"
    with pytest.raises(Killed):
        make_labels(
            scenes.annotations, scenes.images, completer, out, settings(), device="cpu", progress=KillIn(task, units)
        )
    watch = Watch()
    make_labels(scenes.annotations, scenes.images, completer, out, settings(), device="cpu", progress=watch)
    assert watch.done["labelling photos"] == kept
    assert results(out) == results(made.out)


def test_parts_of_another_version_are_made_again(made, scenes, tmp_path, monkeypatch):
    completer, out = made.out.parent / "completer", tmp_path / "out"
    with monkeypatch.context() as earlier, pytest.raises(Killed):
        earlier.setattr(stage, "__version__", "0.0.1")
        earlier.setattr(stage, "PARTS", ".parts-0.0.1")
        progress = KillIn("labelling photos", 2)
        make_labels(scenes.annotations, scenes.images, completer, out, settings(), device="cpu", progress=progress)
    (part,) = out.glob(".parts-0.0.1/[0-9]*")
    changed = part.read_text().replace('"uncertainty": 0.', '"uncertainty": 0.1')
    assert changed != part.read_text()
    part.write_text(changed)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "amodalpl": "0.0.1"}))
    watch = Watch()
    make_labels(scenes.annotations, scenes.images, completer, out, settings(), device="cpu", progress=watch)
    assert watch.done["labelling photos"] == 0
    (told,) = watch.warnings
    assert told == f"{out / '.parts-0.0.1'}: begun by another version than {__version__}; labelling starts again"
    assert results(out) == results(made.out)
    assert json.loads((out / "run.json").read_text())["amodalpl"] == __version__
    assert not list(out.glob(".parts*"))


def test_every_part_is_read_once(made, scenes, tmp_path, monkeypatch):
    read = []

    def reads(path, what):
        read.append(path.name)
        return read_lines(path, what)

    monkeypatch.setattr(parts, "read_lines", reads)
    completer = made.out.parent / "completer"
    make_labels(scenes.annotations, scenes.images, completer, tmp_path / "out", settings(), device="cpu")
    assert read == ["000000.jsonl", "000001.jsonl", "000002.jsonl"]
    assert results(tmp_path / "out") == results(made.out)


def test_annotations_and_a_completer_that_is_ready_are_all_it_takes(made, scenes, tmp_path):
    network = CompleterInUse.open(made.out.parent / "completer", "torch", "cpu")
    data = read_annotations(scenes.annotations)
    counts = pseudolabel(data, scenes.images, network, tmp_path, settings().labels, tmp_path / "parts")
    assert results(tmp_path) == results(made.out) and counts == made.counts


def test_second_call_does_nothing(made, scenes):
    times = {p: p.stat().st_mtime_ns for p in made.out.rglob("*")}
    completer = made.out.parent / "completer"
    again = make_labels(scenes.annotations, scenes.images, completer, made.out, settings(), device="cpu")
    assert again.counts == made.counts
    assert {p: p.stat().st_mtime_ns for p in made.out.rglob("*")} == times


@pytest.fixture(scope="module")
def completer(tmp_path_factory):
    return write_completer(tmp_path_factory.mktemp("one") / "completer", "asbu")


def label(scenes, completer, out, annotations=None, images=None, **labels):
    return make_labels(
        annotations or scenes.annotations, images or scenes.images, completer, out, settings(**labels), device="cpu"
    )


def test_tight_masks_are_recognised_and_kept_as_drawn(completer, tmp_path):
    """Sixty photos of two walls that touch, drawn too tight by two pixels, and nothing else."""
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 10:50, 10:40], masks[1, 15:45, 40:70] = True, True
    tight = [~dilate(~mask, 2) for mask in masks]
    photos = tmp_path / "photos"
    photos.mkdir()
    data = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "wall"}]}
    for number in range(1, 61):
        cv2.imwrite(str(photos / f"{number}.png"), np.full((60, 80, 3), number, np.uint8))
        data["images"].append({"id": number, "file_name": f"{number}.png", "height": 60, "width": 80})
        for k, mask in enumerate(tight):
            segmentation = rle.to_json(rle.encode(mask))
            entry = {"id": 2 * number + k, "image_id": number, "category_id": 1, "segmentation": segmentation}
            data["annotations"].append(entry)
    (tmp_path / "tight.json").write_text(json.dumps(data))
    made = make_labels(tmp_path / "tight.json", photos, completer, tmp_path / "out", settings(), device="cpu")
    assert (made.counts["gap px"], made.counts["tight px"]) == (4, 2)
    for written in json.loads(made.files["labels"].read_text())["annotations"]:
        drawn, amodal = tight[written["id"] % 2], rle.decode(written["segmentation"])
        np.testing.assert_array_equal(rle.decode(written["visible_mask"]), drawn)
        assert (amodal | ~drawn).all()
        assert not (amodal & ~drawn & ~masks.any(axis=0)).any()  # it grows into the gap and the other, nowhere else


def test_part_size_is_no_matter_of_taste_for_the_labels(scenes, completer, tmp_path):
    """Masks and order do not depend on how photos are grouped; only probabilities may differ in the last digits."""
    found = [label(scenes, completer, tmp_path / str(n), images_per_part=n) for n in (1, 5)]
    first, second = (read(f, "pseudo_amodal.json")["annotations"] for f in found)
    assert [a["id"] for a in first] == [a["id"] for a in second]
    differing = sum(a["segmentation"] != b["segmentation"] for a, b in zip(first, second, strict=True))
    assert differing == 0
    assert read(found[0], "order.json") == read(found[1], "order.json")


def test_photos_too_large_to_be_labelled_together(scenes, completer, tmp_path, monkeypatch):
    together = label(scenes, completer, tmp_path / "together", images_per_part=5)
    monkeypatch.setattr(assemble, "PIXELS_AT_ONCE", 1)
    singly = label(scenes, completer, tmp_path / "singly", images_per_part=5)
    first, second = (read(f, "pseudo_amodal.json")["annotations"] for f in (together, singly))
    assert [(a["id"], a["segmentation"]) for a in first] == [(a["id"], a["segmentation"]) for a in second]
    assert read(together, "order.json") == read(singly, "order.json")


def test_decisions_survive_where_the_label_did_not_change(scenes, completer, tmp_path):
    first = label(scenes, completer, tmp_path / "first")
    labels = read(first, "pseudo_amodal.json")["annotations"]
    fitting = Decision(labels[0]["id"], "reject", fingerprint(labels[0]))
    changed = Decision(labels[1]["id"], "keep-modal", "0" * 16)
    write_review(tmp_path / "review.json", Review("0" * 64, (changed, fitting)))
    annotations, images = scenes.annotations, scenes.images
    again = make_labels(
        annotations, images, completer, tmp_path / "again", settings(), device="cpu", review=tmp_path / "review.json"
    )
    sha256 = hash_file(tmp_path / "again" / "pseudo_amodal.json")
    assert read_review(tmp_path / "again" / "review.json") == Review(sha256, (fitting,))
    assert sha256 == hash_file(tmp_path / "first" / "pseudo_amodal.json")
    stats = read(again, "stats.json")
    assert (stats["counts"]["decisions kept"], stats["counts"]["decisions that no longer fit"]) == (1, 1)
    assert stats["decisions that no longer fit"] == [
        {"id": labels[1]["id"], "decision": "keep-modal", "reason": "the label has changed"}
    ]
    with pytest.raises(OutputError, match="another review file"):
        label(scenes, completer, tmp_path / "again")


def test_unknown_backend(scenes, completer, tmp_path):
    with pytest.raises(SettingsError, match="expected torch or onnx, got 'onxx'"):
        make_labels(
            scenes.annotations, scenes.images, completer, tmp_path / "out", settings(), device="cpu", backend="onxx"
        )
    assert not (tmp_path / "out").exists()


def test_folder_of_another_run(scenes, completer, tmp_path):
    label(scenes, completer, tmp_path / "out")
    before = results(tmp_path / "out")
    with pytest.raises(OutputError, match="labels.gap_px: it has None, asked for 0"):
        label(scenes, completer, tmp_path / "out", gap_px=0)
    other = write_completer(tmp_path / "other", "pcnet-m")
    with pytest.raises(OutputError, match="another completer file"):
        label(scenes, other, tmp_path / "out")
    assert results(tmp_path / "out") == before


def test_no_completer(scenes, tmp_path):
    with pytest.raises(DataError, match="expected the card of a trained completer; train one with `amodalpl complete`"):
        label(scenes, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_corrupt_completer(scenes, completer, tmp_path):
    shutil.copytree(completer, tmp_path / "completer")
    weights = tmp_path / "completer" / "weights.pth"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="weights.pth: is not the file that completer.json describes"):
        label(scenes, tmp_path / "completer", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_method(scenes, completer, tmp_path):
    other = write_completer(tmp_path / "other", "pcnet-m")
    shutil.copy(completer / "completer.json", other)
    torch.manual_seed(9)
    torch.save(build_completer("pcnet-m", 4, False).state_dict(), other / "weights.pth")
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        label(scenes, other, tmp_path / "out")


def test_photos_missing(scenes, completer, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found no such file \(and 4 more of 5 photos\)"):
        label(scenes, completer, tmp_path / "out", images=tmp_path / "empty")
    assert not (tmp_path / "out").exists()


def test_nothing_but_crowds(scenes, completer, tmp_path):
    data = json.loads(scenes.annotations.read_text())
    for annotation in data["annotations"]:
        annotation["iscrowd"] = 1
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="expected at least one instance to label, got none; run `amodalpl check`"):
        label(scenes, completer, tmp_path / "out", annotations=tmp_path / "a.json")
    assert not (tmp_path / "out" / "pseudo_amodal.json").exists()


def test_numbers_that_json_does_not_know_are_carried_over_as_null(scenes, tmp_path):
    data = json.loads(scenes.annotations.read_text())
    data["info"] = {"version": float("nan")}
    data["images"][0]["exposure"] = float("inf")
    data["categories"][0]["weight"] = float("nan")
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(data))
    make_labels(odd, scenes.images, write_completer(tmp_path / "completer"), tmp_path / "out", settings(), device="cpu")
    written = json.loads((tmp_path / "out" / "pseudo_amodal.json").read_text(), parse_constant=pytest.fail)
    found = written["info"]["version"], written["images"][0]["exposure"], written["categories"][0]["weight"]
    assert found == (None, None, None)
