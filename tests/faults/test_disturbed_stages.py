"""Whatever happens to a stage at whatever moment: started again, it ends with what an undisturbed one writes.

`-m slow` kills each stage 50 times and more; a toy stage goes through all of its moments in the fast tests.
"""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections import Counter

import numpy as np
import pytest
from disturb import DONE, INTERRUPTED, KILLED, ONE_LINE, contents, fill_disk, interrupt, kill, run_child
from tiny_stages import TinyStages, toy

KILLS = 50
ENDS = {kill: KILLED, fill_disk: ONE_LINE, interrupt: INTERRUPTED}
CHAIN = ["synth", "hide", "complete", "pseudolabel", "apply_review", "refine", "train_detector", "label_boxes"]
ALONE = ["train_compositional", "run_from_boxes"]
OF_DETECTORS = ("refine", "train_detector", "label_boxes", *ALONE)


def records(out):
    """Return what the record of a stage, or those of all stages of a run, say beside times."""
    return {str(file.relative_to(out)): kept(json.loads(file.read_text())) for file in out.rglob("run.json")}


def kept(found):
    of_it = {name: found[name] for name in ("stage", "settings", "inputs", "counts", "outputs", "state")}
    of_it["outputs"].pop("mmdet_config.py", None)  # names its own folder; compared below, without that
    return of_it


def assert_same(out, whole):
    assert records(out) == records(whole)
    found, wanted = contents(out), contents(whole)
    assert found.keys() == wanted.keys()  # nothing is left over either
    assert [name for name in found if found[name] != wanted[name]] == []


def disturb_at(stage, out, whole, act, moment):
    """Disturb a fresh run at one moment, and start it again; returns how the disturbed one ended."""
    end = run_child(lambda: stage(out), out, act, moment)
    assert end.code in (ENDS[act], DONE), end.text
    if end.code == ONE_LINE:
        assert "\n" not in end.text and "space" in end.text
    again = run_child(lambda: stage(out), out)
    assert again.code == DONE, again.text
    assert_same(out, whole)
    shutil.rmtree(out)
    return end


@pytest.mark.parametrize("act", ENDS, ids=lambda act: act.__name__)
def test_toy_stage_at_every_moment(tmp_path, act):
    whole = tmp_path / "whole"
    moments = run_child(lambda: toy(whole), whole).moments
    assert moments > 20
    ends = [disturb_at(toy, tmp_path / "out", whole, act, moment).code for moment in range(1, moments + 1)]
    assert ends.count(ENDS[act]) >= moments // 2
    if act is kill:
        assert set(ends) == {KILLED}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return TinyStages(tmp_path_factory.mktemp("stages"))


def undisturbed(stages, name):
    """Run a stage, and those that it needs, once; returns its folder and its number of moments."""
    needs_none = ("train_detector", *ALONE)
    for needed in [name] if name in needs_none else CHAIN[: CHAIN.index(name) + 1]:
        out, count = stages.folder / needed, stages.folder / f"{needed}.moments"
        if not count.exists():
            end = run_child(lambda: getattr(stages, needed)(out), out)  # noqa: B023 (called at once)
            assert end.code == DONE, end.text
            count.write_text(end.text)
    return out, int(count.read_text())


def test_synth_killed_at_some_moments(stages, tmp_path):
    whole, moments = undisturbed(stages, "synth")
    for moment in (moments // 3, 2 * moments // 3, moments - 1):
        assert disturb_at(stages.synth, tmp_path / "out", whole, kill, moment).code == KILLED


def test_synth_whose_photos_vanish(stages, tmp_path):
    whole, _ = undisturbed(stages, "synth")
    out, images = tmp_path / "out", stages.scenes.images
    away = images.with_name("away")
    end = run_child(lambda: stages.synth(out), out, lambda: images.rename(away), 8)  # the first photo is not yet read
    away.rename(images)
    assert end.code == ONE_LINE and "expected a photo, found no such file; check the image folder" in end.text
    assert run_child(lambda: stages.synth(out), out).code == DONE
    assert_same(out, whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CHAIN, *ALONE])
def test_stage_killed_often(stages, tmp_path, name, capsys):
    """In each folder a disk is full, Ctrl-C is pressed, and the stage is killed some times before it may end."""
    if name in OF_DETECTORS:
        pytest.importorskip("amodalpl.detector.mmdetection", reason="needs mmdet")
    importlib.import_module("torch._dynamo")  # once, for all children; an optimiser imports it
    whole, moments = undisturbed(stages, name)
    stage, out = getattr(stages, name), tmp_path / "out"
    began = time.monotonic()
    assert run_child(lambda: stage(out), out).code == DONE
    seconds = time.monotonic() - began
    assert_same(out, whole)
    shutil.rmtree(out)
    rng = np.random.default_rng(0)
    ends: Counter[str] = Counter()
    folders = 0
    while ends["kill"] + ends["late kill"] < KILLS:
        acts = [kill, fill_disk, interrupt, kill, kill]
        for act in rng.permutation(np.array(acts, dtype=object)):  # what is done by then has fewer moments left
            end = run_child(lambda: stage(out), out, act, int(rng.integers(1, moments // 2)))  # noqa: B023
            assert end.code in (ENDS[act], DONE), end.text
            ends[act.__name__] += end.code == ENDS[act]
        for part in (0.3, 0.9):
            end = run_child(lambda: stage(out), out, kill_after=seconds * float(rng.uniform(0, part)))
            assert end.code in (KILLED, DONE), end.text
            ends["late kill"] += end.code == KILLED
        end = run_child(lambda: stage(out), out)
        assert end.code == DONE, end.text
        assert_same(out, whole)
        shutil.rmtree(out)
        folders += 1
    with capsys.disabled():
        print(
            f"\n{name}: {ends['kill']} kills at moments, {ends['late kill']} at random times, {ends['fill_disk']} full "
            f"disks, {ends['interrupt']} interruptions, in {folders} folders: all identical"
        )
