"""`pseudolabel --add`: what is new is labelled, what did not change stays to the byte, however often it is killed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from drawn_completer import write_completer
from heard import Heard
from interruptions import Killed, KillIn

from amodalpl.data.review_file import Decision, Review, fingerprint, read_review, write_review
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import OutputError, SettingsError
from amodalpl.io.files import hash_file
from amodalpl.pipeline.apply_review import apply_review
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.settings_values import resolve

OUTPUTS = ("pseudo_amodal.json", "order.json", "doubt.jsonl", "stats.json", "report.html", "photos.jsonl")
FIRST, ALL = 6, 9
GAPS = {"gap_px": 1, "contour_inset_px": 0}
MEASURED = {"gap_px": None, "contour_inset_px": None}


@dataclass
class Site:
    """A file that grows, and a folder of labels of its first photos."""

    folder: Path
    content: dict

    def write(self, count=ALL, change=lambda content: None) -> Path:
        content = json.loads(json.dumps(self.content))
        ids = [image["id"] for image in content["images"][:count]]
        content["images"] = content["images"][:count]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
        change(content)
        path = self.folder / "instances.json"
        path.write_text(json.dumps(content))
        return path

    def label(self, out, add=True, progress=None, review=None, **labels):
        values = resolve({"labels": {"images_per_part": 2, "batch_size": 4, **GAPS, **labels}})
        return make_labels(
            self.folder / "instances.json", self.folder / "images", self.folder / "completer", out, values, "auto",
            "cpu", progress or Heard(), review, add=add,
        )  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    files = write_scenes(folder, ALL, seed=0, size_hw=(64, 80))
    write_completer(folder / "completer")
    content = json.loads(files.annotations.read_text())
    crowd = content["annotations"][0] | {"id": 7000, "iscrowd": 1}  # of a photo that stays: it has a row, no label
    content["annotations"].append(crowd)
    site = Site(folder, content)
    site.write(FIRST)
    site.label(folder / "labels", add=False)
    return site


@pytest.fixture
def site(start, tmp_path):
    shutil.copytree(start.folder, tmp_path / "site")
    return Site(tmp_path / "site", start.content)


def entries(out, name="pseudo_amodal.json", key="annotations"):
    return json.loads((out / name).read_text())[key]


def results(out):
    return {name: (out / name).read_bytes() for name in OUTPUTS}


def in_text(entry):
    return json.dumps(entry)


class Counting(Heard):
    """Says how many photos were labelled."""

    def task(self, label, total, done=0):
        if label == "labelling photos":
            self.total = total
        return super().task(label, total, done)


def test_only_new_photos_are_labelled_and_the_rest_stays(site):
    out = site.folder / "labels"
    before = {name: entries(out, name, key) for name, key in (("pseudo_amodal.json", "annotations"),
                                                              ("order.json", "images"))}  # fmt: skip
    doubts = (out / "doubt.jsonl").read_bytes()
    site.write()
    counting = Counting()
    made = site.label(out, progress=counting)
    assert counting.total == ALL - FIRST
    after = entries(out)
    assert list(map(in_text, after[: len(before["pseudo_amodal.json"])])) == list(
        map(in_text, before["pseudo_amodal.json"])
    )
    assert entries(out, "order.json", "images")[:FIRST] == before["order.json"]
    assert (out / "doubt.jsonl").read_bytes().startswith(doubts)
    ids = {a["id"] for a in site.content["annotations"] if not a.get("iscrowd")}
    assert {label["id"] for label in after} == ids
    added = {"photos kept": FIRST, "labels kept": len(before["pseudo_amodal.json"]), "photos changed": 0,
             "photos new": ALL - FIRST, "photos gone": 0}  # fmt: skip
    assert made.counts["added"] == added == json.loads((out / "stats.json").read_text())["counts"]["added"]
    assert made.counts["left out"] == {"crowd region": 1}
    assert not list(out.glob(".parts*")) and not list(out.glob(".kept*"))


def test_the_result_is_that_of_labelling_everything_at_once(site):
    """The completer and the gaps are the same, so nothing but what is said of keeping differs."""
    site.write()
    added, fresh = site.label(site.folder / "labels"), site.label(site.folder / "fresh", add=False)
    for name in ("pseudo_amodal.json", "order.json", "doubt.jsonl", "photos.jsonl"):
        assert (added.out / name).read_bytes() == (fresh.out / name).read_bytes()


def test_gaps_are_those_of_the_first_run(site):
    """Otherwise the same objects would be neighbours in new photos and not in those that stay."""
    site.write(FIRST)
    first = site.label(site.folder / "measured", **MEASURED)
    stats = json.loads((first.out / "stats.json").read_text())
    stats["counts"] |= {"gap px": 7, "tight px": 1}
    (first.out / "stats.json").write_text(json.dumps(stats))
    site.write()
    added = site.label(site.folder / "measured", **MEASURED)
    assert (added.counts["gap px"], added.counts["tight px"]) == (7, 1)


def test_changed_gone_and_reordered(site):
    out = site.folder / "labels"
    before = {a["id"]: in_text(a) for a in entries(out)}

    def change(content):
        moved = next(a for a in content["annotations"] if a["image_id"] == content["images"][1]["id"])
        moved["category_id"] = next(c["id"] for c in content["categories"] if c["id"] != moved["category_id"])
        gone = content["images"].pop(2)["id"]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != gone]
        content["images"].reverse()

    site.write(FIRST, change)
    counting = Counting()
    made = site.label(out, progress=counting)
    assert counting.total == 1
    assert {k: made.counts["added"][k] for k in ("photos kept", "photos changed", "photos new", "photos gone")} == {
        "photos kept": FIRST - 2, "photos changed": 1, "photos new": 0, "photos gone": 1,
    }  # fmt: skip
    first = json.loads((site.folder / "instances.json").read_text())["images"]
    photos = list(dict.fromkeys(a["image_id"] for a in entries(out)))
    assert photos == [image["id"] for image in first]
    changed = first[-2]["id"]
    assert all(in_text(a) == before[a["id"]] for a in entries(out) if a["image_id"] != changed)


def test_a_photo_of_another_size_on_disk_is_labelled_again(site):
    name = site.content["images"][0]["file_name"]
    with (site.folder / "images" / name).open("ab") as file:
        file.write(b"\0")
    site.write(FIRST)
    assert site.label(site.folder / "labels").counts["added"]["photos changed"] == 1


@pytest.mark.parametrize(
    ("task", "units"), [("checking photos", 3), ("labelling photos", 2), ("drawing the report", 1)]
)
def test_killed_and_started_again(site, task, units):
    site.write()
    undisturbed = results(_copied(site, "undisturbed"))
    out = site.folder / "labels"
    with pytest.raises(Killed):
        site.label(out, progress=KillIn(task, units))
    site.label(out)
    assert results(out) == undisturbed


def _copied(site, name):
    shutil.copytree(site.folder / "labels", site.folder / name)
    return site.label(site.folder / name).out


def test_killed_while_the_files_are_written(site, monkeypatch):
    """Labels are new already, the order is not: what was kept lies aside."""
    site.write()
    undisturbed = results(_copied(site, "undisturbed"))
    out = site.folder / "labels"

    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("amodalpl.pipeline.pseudolabel.write_json", killed)
        with pytest.raises(Killed):
            site.label(out)
    assert results(out)["pseudo_amodal.json"] == undisturbed["pseudo_amodal.json"]
    (out / "order.json").unlink()
    site.label(out)
    assert results(out) == undisturbed


def test_more_photos_come_while_it_is_interrupted(site):
    out = site.folder / "labels"
    before = [in_text(a) for a in entries(out)]
    site.write(FIRST + 2)
    with pytest.raises(Killed):
        site.label(out, progress=KillIn("labelling photos", 2))
    site.write()
    counting = Counting()
    made = site.label(out, progress=counting)
    assert counting.total == 1  # the two that were labelled before the end are kept as well
    assert made.counts["added"]["photos kept"] == FIRST + 2
    assert [in_text(a) for a in entries(out)][: len(before)] == before
    site.write()
    fresh = site.label(site.folder / "fresh", add=False)
    assert (out / "pseudo_amodal.json").read_bytes() == (fresh.out / "pseudo_amodal.json").read_bytes()


def test_decisions_stay(site):
    out = site.folder / "labels"
    labels = entries(out)
    decided = [
        Decision(a["id"], verdict, fingerprint(a)) for a, verdict in zip(labels, ("accept", "reject"), strict=False)
    ]
    write_review(site.folder / "review.json", Review(hash_file(out / "pseudo_amodal.json"), tuple(decided)))
    site.write(FIRST + 1)
    site.label(out, review=site.folder / "review.json")
    (site.folder / "review.json").unlink()
    site.write()
    made = site.label(out)
    held = read_review(out / "review.json")
    assert held.decisions == tuple(decided) and held.labels_sha256 == hash_file(out / "pseudo_amodal.json")
    assert made.counts["decisions kept"] == 2
    other = Review("0" * 64, (Decision(labels[0]["id"], "keep-modal", fingerprint(labels[0])),))
    write_review(site.folder / "second.json", other)
    site.write(FIRST)
    site.label(out, review=site.folder / "second.json")
    assert [d.decision for d in read_review(out / "review.json").decisions] == ["keep-modal", "reject"]


def test_without_the_option_a_grown_file_is_refused_and_the_option_named(site):
    site.write()
    before = results(site.folder / "labels")
    with pytest.raises(OutputError, match="another annotations file.*; --add labels what is new or changed"):
        site.label(site.folder / "labels", add=False)
    assert results(site.folder / "labels") == before


def test_other_settings_or_another_completer_are_refused(site):
    site.write()
    out = site.folder / "labels"
    with pytest.raises(OutputError, match="labels.max_growth: it has None, asked for 2.0"):
        site.label(out, max_growth=2.0)
    shutil.rmtree(site.folder / "completer")
    write_completer(site.folder / "completer", "pcnet-m")
    with pytest.raises(OutputError, match="another completer file"):
        site.label(out)


def test_a_first_run_that_has_not_finished_is_refused(site):
    site.write(FIRST)
    with pytest.raises(Killed):
        site.label(site.folder / "begun", add=False, progress=KillIn("labelling photos", 2))
    site.write()
    with pytest.raises(OutputError, match="has not finished with the annotations that it began with"):
        site.label(site.folder / "begun")


def test_a_new_folder_and_an_unchanged_file_are_no_reason_to_refuse(site):
    site.write()
    first = site.label(site.folder / "new")
    assert "added" not in first.counts
    times = {path: path.stat().st_mtime_ns for path in first.out.iterdir()}
    assert site.label(site.folder / "new").counts == first.counts
    assert {path: path.stat().st_mtime_ns for path in first.out.iterdir()} == times


def test_a_folder_of_an_earlier_version_says_so(site):
    site.write()
    (site.folder / "labels" / "photos.jsonl").unlink()
    with pytest.raises(OutputError, match="photos.jsonl: expected what each label was made from"):
        site.label(site.folder / "labels")


def test_several_processes_are_refused(site, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SettingsError, match="--add: expected one process"):
        site.label(site.folder / "labels")


def review_of(site, name, out, **verdicts):
    labels = entries(out)
    decisions = tuple(
        Decision(labels[int(n[1:])]["id"], v, fingerprint(labels[int(n[1:])])) for n, v in verdicts.items()
    )
    write_review(site.folder / name, Review(hash_file(out / "pseudo_amodal.json"), decisions))
    return site.folder / name


def apply(site, review, progress=None, add=True, out="corrected"):
    return apply_review(
        site.folder / "labels", site.folder / "images", review, site.folder / out, add=add, progress=progress or Heard()
    )


def corrected(out):
    names = ("pseudo_amodal.json", "order.json", "doubt.jsonl", "stats.json", "report.html", "review.json")
    return {name: (out / name).read_bytes() for name in names}


def test_a_corrected_folder_grows_with_its_labels(site):
    review = review_of(site, "review.json", site.folder / "labels", n0="reject", n1="keep-modal")
    first = apply(site, review, add=False)
    before = [in_text(a) for a in entries(first.out)]
    site.write()
    site.label(site.folder / "labels")
    with pytest.raises(OutputError, match="--add carries the decisions in it over"):
        apply(site, review, add=False)
    later = review_of(site, "later.json", site.folder / "labels", n1="accept", n2="reject")
    made = apply(site, later)
    after = entries(made.out)
    assert [a["iscrowd"] for a in after[:3]] == [1, 0, 1]
    assert [in_text(a) for a in after[3 : len(before)]] == before[3:] and in_text(after[0]) == before[0]
    assert len(after) > len(before) and made.counts["rejected"] == 2 and made.counts["accepted"] == 1
    assert len(read_review(made.out / "review.json").decisions) == 3
    assert not list(made.out.glob(".earlier*"))


def test_a_corrected_folder_is_killed_while_it_grows(site):
    apply(site, review_of(site, "review.json", site.folder / "labels", n0="reject"), add=False)
    shutil.copytree(site.folder / "corrected", site.folder / "again")
    site.write()
    site.label(site.folder / "labels")
    later = review_of(site, "later.json", site.folder / "labels", n1="accept")
    undisturbed = corrected(apply(site, later).out)
    with pytest.raises(Killed):  # its review.json is the new one already
        apply(site, later, KillIn("drawing the report", 1), out="again")
    assert corrected(apply(site, later, out="again").out) == undisturbed
