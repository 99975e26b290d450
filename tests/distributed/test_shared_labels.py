"""`pseudolabel` by several processes: the same files, whoever makes the parts, and whoever is killed on the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import cv2
import long_run
import pytest
from drawn_completer import write_completer
from interruptions import Killed, KillIn

from amodalpl.data.label_folder import DOUBT, LABELS, ORDER, STATS
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import OutputError
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.report.label_page import REPORT_FILE, SHEET_FILE
from amodalpl.runtime.distributed import Ranks, wait_for_files
from amodalpl.runtime.parts import PARTS
from amodalpl.runtime.progress import SILENT, Progress
from amodalpl.settings_values import resolve

OUTPUTS = (LABELS, ORDER, DOUBT, STATS, REPORT_FILE, SHEET_FILE)
PHOTOS, PHOTOS_PER_PART = 7, 2  # four parts, the last of one photo
NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    files = write_scenes(folder / "scenes", PHOTOS, seed=0, size_hw=(48, 64))
    return files.annotations, files.images, write_completer(folder / "completer")


@pytest.fixture(scope="module")
def alone(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "labels"
    label(inputs, out)
    return results(out)


def label(inputs, out, progress=SILENT):
    annotations, images, completer = inputs
    settings = resolve({"labels": {"images_per_part": PHOTOS_PER_PART, "batch_size": 4}})
    return make_labels(annotations, images, completer, out, settings, device="cpu", progress=progress)


def results(out):
    return {name: (out / name).read_bytes() for name in OUTPUTS}


def become(rank, world):
    os.environ.update(zip(NUMBERS, map(str, (rank, world, rank, world)), strict=True))


def label_as(rank, world, inputs, out):
    cv2.setNumThreads(0)  # OpenCV's own threads do not survive a fork, and changing their number again waits for them
    Ranks.settle = lambda self: None
    become(rank, world)
    label(inputs, out)


def parts(out):
    return sorted(int(file.name.split(".")[0]) for file in (out / PARTS).glob("[0-9]*"))


@pytest.fixture
def as_rank(monkeypatch):
    """Make this process a rank, and one process again after the test."""
    for name in NUMBERS:
        monkeypatch.setenv(name, "0")  # so that what `become` sets is undone
    become(0, 1)
    monkeypatch.setattr(Ranks, "settle", lambda self: None)  # which would end the tests with the shell behind them
    return become


@pytest.mark.parametrize("world", [2, 5])
def test_several_processes_make_the_files_of_one(inputs, alone, tmp_path, world):
    context = multiprocessing.get_context("fork")
    out = tmp_path / "labels"
    ranks = [context.Process(target=label_as, args=(rank, world, inputs, out)) for rank in range(world)]
    for process in reversed(ranks):  # the first one last: the others wait for it to claim the folder
        process.start()
    for process in ranks:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in ranks] == [0] * world
    assert results(out) == alone
    assert not (out / PARTS).exists()


def test_each_makes_its_share_and_any_number_goes_on(inputs, alone, tmp_path, as_rank):
    out = tmp_path / "labels"
    as_rank(0, 2)
    with pytest.raises(Killed):
        label(inputs, out, KillIn("labelling photos", PHOTOS_PER_PART))
    assert parts(out) == [0]
    as_rank(1, 2)
    assert label(inputs, out).counts == {}
    assert parts(out) == [0, 1, 3] and not (out / LABELS).exists()
    as_rank(0, 1)
    label(inputs, out)
    assert results(out) == alone


def test_another_run_is_refused_by_every_process(inputs, alone, tmp_path, as_rank):
    out = tmp_path / "labels"
    label(inputs, out)
    annotations, images, completer = inputs
    for rank in (0, 1):
        as_rank(rank, 2)
        with pytest.raises(OutputError, match="belongs to another run"):
            make_labels(annotations, images, completer, out, resolve({"labels": {"gap_px": 7}}), device="cpu")
    assert results(out) == alone


class TestWaitForFiles:
    def test_news_of_each_in_whatever_order_they_come(self, tmp_path):
        files = [tmp_path / str(number) for number in range(3)]
        files[2].touch()
        seen = []

        def news(index):
            seen.append(index)
            if len(seen) < 3:
                files[(index + 1) % 3].touch()

        wait_for_files(files, news, patience_s=5)
        assert seen == [2, 0, 1]

    def test_nobody_is_waited_for_for_ever(self, tmp_path):
        (tmp_path / "a").touch()
        with pytest.raises(OutputError, match=r"b: expected it from another process .* none of 2 such files came"):
            wait_for_files([tmp_path / name for name in "acb"], lambda index: None, patience_s=0.3)


def test_numbers_of_this_process(as_rank):
    as_rank(0, 1)
    assert Ranks.of_this_process() == Ranks() and Ranks().is_first
    as_rank(3, 4)
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    assert Ranks.of_this_process() == Ranks(3, 4, 2) and not Ranks(3, 4, 2).is_first


def torchrun(inputs, out, world):
    annotations, images, completer = inputs
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world),
        "-m", "amodalpl_cli.main", "pseudolabel", annotations, images, "--completer", completer, "--out", out,
        "--set", f"labels.images_per_part={PHOTOS_PER_PART}", "--set", "labels.batch_size=4", "--device", "cpu",
    ]  # fmt: skip
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def with_helpers(inputs, out, workers, progress=SILENT):
    annotations, images, completer = inputs
    settings = resolve({"labels": {"images_per_part": PHOTOS_PER_PART, "batch_size": 4, "workers": workers}})
    return make_labels(annotations, images, completer, out, settings, device="cpu", progress=progress)


class SlowAtFirst(Progress):
    """Holds this process up at its first photo until a helper has made a part, or has had the time to."""

    def __init__(self, folder):
        self.folder = folder
        self.by_helpers = self.units = 0
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)

    @contextmanager
    def task(self, label, total, done=0):
        def advance(units):
            self.units += units
            until = time.monotonic() + 60
            while label == "labelling photos" and not self.by_helpers and time.monotonic() < until:
                self.by_helpers = len(list(self.folder.glob("[0-9]*.jsonl")))
                time.sleep(0.05)

        yield advance


@pytest.mark.slow
def test_helpers_make_parts_and_the_files_of_one_process(inputs, alone, tmp_path):
    out = tmp_path / "labels"
    seen = SlowAtFirst(out / PARTS)
    summary = with_helpers(inputs, out, 2, seen)
    assert results(out) == alone
    assert seen.by_helpers > 0 and not seen.warnings  # held up within its own first part, so it is another's
    assert summary.counts["labels"] > 0


def test_helpers_that_die_change_nothing(inputs, alone, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 7\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    out = tmp_path / "labels"

    class Patient(SlowAtFirst):
        @contextmanager
        def task(self, label, total, done=0):
            yield lambda units: time.sleep(0.1)

    seen = Patient(out / PARTS)
    with_helpers(inputs, out, 3, seen)
    assert results(out) == alone
    assert [w for w in seen.warnings if "2 of 2 processes that helped ended early (exit code 7)" in w]


def test_photos_that_are_added_are_labelled_by_one(inputs, tmp_path, monkeypatch):
    start = subprocess.Popen

    def no_python(command, *more, **given):
        assert command[0] != sys.executable, "a helper was started"
        return start(command, *more, **given)

    monkeypatch.setattr(subprocess, "Popen", no_python)
    annotations, images, completer = inputs
    settings = resolve({"labels": {"images_per_part": PHOTOS_PER_PART, "workers": 3}})
    make_labels(annotations, images, completer, tmp_path / "labels", settings, device="cpu", add=True)


@pytest.mark.slow
def test_torchrun(inputs, alone, tmp_path):
    process = torchrun(inputs, tmp_path / "labels", 2)
    shown, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert results(tmp_path / "labels") == alone
    assert shown.count("pseudolabel: done") == 1  # the first process alone speaks


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for its children in /proc")
def test_a_process_that_dies_ends_the_run_and_the_next_start_goes_on(inputs, alone, tmp_path):
    out = tmp_path / "labels"
    process = torchrun(inputs, out, 2)
    while process.poll() is None and not (out / "run.json").exists():
        time.sleep(0.02)
    second = next(pid for pid in children(process.pid) if b"\0RANK=1\0" in environment(pid))
    os.kill(second, signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode != 0 and not (out / LABELS).exists()
    label(inputs, out)
    assert results(out) == alone


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return b"\0" + file.read()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory in /proc")
def test_memory_is_flat_and_kills_change_nothing(tmp_path):
    """`long_run.py` at a small size."""
    peaks = []
    for instances in (500, 3000):
        folder = tmp_path / str(instances)
        folder.mkdir()
        long_run.draw(folder, instances)
        shown = long_run.start_labelling(folder, folder / "labels").communicate(timeout=600)[0]
        peaks.append(json.loads(shown)["peak MB"]["labelling photos"])
    assert peaks[1] - peaks[0] < 40  # of some 400; the annotations as read are some 3 MB of it
    long_run.killed(folder, folder / "killed", 3)
    long_run.start_labelling(folder, folder / "killed").communicate(timeout=600)
    assert results(folder / "killed") == results(folder / "labels")
