"""Events for programs: one line of JSON each, at most one a second while work goes on."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from amodalpl.errors import DataError, OutputError
from amodalpl.runtime import events
from amodalpl.runtime.events import EventLog
from amodalpl.runtime.progress import SILENT
from amodalpl.runtime.summary import Summary
from amodalpl_cli.main import app


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_task_is_logged_once_a_second(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: clock[0])
    log = EventLog(tmp_path / "e.jsonl", SILENT)
    with log.task("cutting", 100, done=10) as advance:
        for _ in range(25):
            clock[0] += 0.1
            advance(2)
    found = lines(tmp_path / "e.jsonl")
    assert [e["event"] for e in found] == ["start", "task", "progress", "progress", "finished"]
    assert found[1]["done"] == 10 and found[1]["total"] == 100
    assert [e["done"] for e in found[2:4]] == pytest.approx([30, 50], abs=2)
    assert found[4]["done"] == 60 and found[4]["seconds"] == pytest.approx(2.5)


def test_a_task_that_fails_is_not_finished(tmp_path):
    log = EventLog(tmp_path / "e.jsonl", SILENT)
    with pytest.raises(DataError), log.task("cutting", 1):
        raise DataError("no photo")
    assert [e["event"] for e in lines(tmp_path / "e.jsonl")] == ["start", "task"]


def test_file_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="nowhere/e.jsonl: could not write the log"):
        EventLog(tmp_path / "nowhere" / "e.jsonl", SILENT)


def stage(fake_stage, act):
    fake_stage("pipeline.synth", "synth", act)


def invoke(tmp_path, *before):
    (tmp_path / "a.json").write_text("{}")
    return CliRunner().invoke(app, [*before, "synth", str(tmp_path / "a.json"), str(tmp_path), "--out", str(tmp_path)])


def noisy(*_, progress, **__):
    progress.note("a note")
    progress.warn("ünusual")
    return Summary("synth", None, {"kept": 3})


def test_command_line_writes_events(tmp_path, fake_stage):
    stage(fake_stage, noisy)
    file = tmp_path / "e.jsonl"
    first = invoke(tmp_path, "--log-json", str(file))
    assert first.exit_code == 0 and "a note" in first.stderr and "warning: ünusual" in first.stderr
    found = lines(file)
    assert [e["event"] for e in found] == ["start", "note", "warning", "summary"]
    assert found[2]["text"] == "ünusual" and found[3]["summary"]["counts"] == {"kept": 3}
    invoke(tmp_path)
    assert lines(file) == found  # not given, not written


def test_error_is_an_event(tmp_path, fake_stage):
    def fail(*_, **__):
        raise DataError("no such photo")

    stage(fake_stage, fail)
    assert invoke(tmp_path, "--log-json", str(tmp_path / "e.jsonl")).exit_code == 2
    assert lines(tmp_path / "e.jsonl")[-1]["event"] == "error"
    assert lines(tmp_path / "e.jsonl")[-1]["text"] == "no such photo"


def test_quiet_shows_warnings_only(tmp_path, fake_stage):
    stage(fake_stage, noisy)
    found = invoke(tmp_path, "--quiet")
    assert found.stderr == "warning: ünusual\n" and "kept  3" in found.stdout
