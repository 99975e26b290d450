"""What is printed: a summary on stdout, progress on stderr."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from amodalpl.runtime.progress import SILENT
from amodalpl.runtime.summary import Summary
from amodalpl_cli import display
from amodalpl_cli.main import app

SUMMARY = Summary(
    stage="pseudolabel",
    out=Path("out"),
    counts={"instances": 4187, "dropped": {"outside the image": 52, "area 0": 15}, "none_at_all": {}},
    scores={"completion, micro": {"labels": {"miou": 0.93512, "invisible_miou": None}, "modal mask": {"miou": 0.9}}},
    files={
        "labels": Path("out") / ("a_rather_long_folder_name/" * 8 + "pseudo_amodal.json"),
        "page": Path("out/r.html"),
    },
    next="amodalpl train-detector out/pseudo_amodal.json images --out detector",
)


def run(fake_stage, summary, *args):
    fake_stage("pipeline.demo", "demo", lambda *a: summary)
    return CliRunner().invoke(app, ["demo", "--out", "out", *args])


def printed(summary, width=100):
    console = Console(width=width, record=True, highlight=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        display.print_summary(console, summary)
    return console.export_text()


def test_json_is_the_only_thing_on_stdout(fake_stage):
    def act(out, values, device, progress):
        print("a library's chatter")
        logging.getLogger("amodalpl").warning("careful")
        assert progress is SILENT
        return SUMMARY

    fake_stage("pipeline.demo", "demo", act)
    result = CliRunner().invoke(app, ["demo", "--out", "out", "--json"], catch_exceptions=False)
    assert result.exit_code == 0 and "a library's chatter" in result.stderr
    assert json.loads(result.stdout) == {
        "stage": "pseudolabel",
        "ok": True,
        "out": "out",
        "counts": SUMMARY.counts,
        "scores": SUMMARY.scores,
        "files": {name: str(path) for name, path in SUMMARY.files.items()},
        "next": f"{SUMMARY.next} --init none --config demo",
    }


def test_of_many_warnings_of_a_kind_some_are_shown():
    findings = [{"severity": "warning", "problem": f"overlaps: {k} pixels"} for k in range(9)]
    findings.append({"severity": "warning", "problem": "no mask"})
    text = printed(Summary("check", None, {"findings": findings}))
    assert "overlaps: 4 pixels" in text and "overlaps: 5 pixels" not in text and "no mask" in text
    assert "... and 4 more (see them with --json)" in text


def test_json_holds_plain_values(fake_stage):
    counts = {"a": np.int64(3), "b": np.float32(0.5), "c": float("nan"), "d": Path("x"), "e": (1, np.array([2]))}
    result = run(fake_stage, Summary("demo", None, counts), "--json")
    assert json.loads(result.stdout)["counts"] == {"a": 3, "b": 0.5, "c": None, "d": "x", "e": [1, [2]]}


@pytest.mark.parametrize("args", [[], ["--json"]], ids=["table", "json"])
def test_summary_that_is_not_ok_is_exit_1(fake_stage, args):
    result = run(fake_stage, Summary("check", None, {"errors": 2}, ok=False), *args)
    assert result.exit_code == 1 and "errors" in result.stdout


def test_only_the_first_process_of_torchrun_prints(fake_stage, monkeypatch):
    fake_stage("pipeline.complete", "complete", lambda *a, **k: SUMMARY)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        result = CliRunner().invoke(app, ["complete", "synth", "--out", "out"])
        assert result.exit_code == 0 and bool(result.stdout) is said


def test_table_shows_counts_scores_files_and_the_next_command():
    lines = [line.rstrip() for line in printed(SUMMARY).splitlines()]
    assert lines[0] == "pseudolabel: done"
    for line in ("instances 4187", "outside the image 52", "area 0 15", "none at all none"):
        assert line in [" ".join(text.split()) for text in lines]
    assert "completion, micro" in [line.strip() for line in lines]
    assert "labels 0.935 -" in [" ".join(text.split()) for text in lines]
    assert lines[-1] == f"next: {SUMMARY.next}"


def test_of_many_tables_in_a_file_the_scores_that_matter_are_printed():
    rows = {"modal mask": {"miou": 0.8}, "labels": {"miou": 0.7}}
    scores = {"completion, micro (PCNet/ASBU): all": rows, **{f"other {n}": rows for n in range(4)}}
    summary = Summary("run", Path("out"), scores=scores, files={"scores": Path("out/scores.json")})
    lines = [" ".join(line.split()) for line in printed(summary).splitlines()]
    assert "whole objects: mIoU 0.700 0.800 modal mask" in lines and "other 3" not in lines
    assert any(line.startswith("note: a baseline is ahead") for line in lines)
    assert "all 5 tables of scores: out/scores.json" in lines
    everything = printed(Summary("evaluate", None, scores=scores))  # nothing was written: all of it
    assert "other 3" in everything and "whole objects" not in everything
    assert summary.to_json()["scores"] == scores


def test_counts_of_many_stages_are_a_line_each_with_all_warnings():
    counts = {f"stage{n}": {f"count_{k}": k for k in range(9)} for n in range(4)}
    counts["stage1"] |= {"left out": {"empty mask": 3}, "warnings": ["look here"]}
    lines = [" ".join(line.split()) for line in printed(Summary("run", Path("out"), counts)).splitlines()]
    assert "stage0 count 0 0; count 1 1; count 2 2; count 3 3" in lines and not any("count 8" in line for line in lines)
    assert "empty mask 3" in lines and "look here" in lines
    assert "count 8 8" in [" ".join(x.split()) for x in printed(Summary("run", None, counts)).splitlines()]


def test_paths_are_never_broken_over_lines():
    assert any(str(SUMMARY.files["labels"]) in line for line in printed(SUMMARY, width=40).splitlines())


def test_long_lists_are_cut():
    findings = [{"place": f"annotations[{i}]", "image_id": i, "problem": "empty mask"} for i in range(25)]
    text = printed(Summary("check", None, {"findings": findings}))
    assert "annotations[19]  image_id 19  empty mask" in text and "annotations[20]" not in text
    assert "... and 5 more (see them with --json)" in text


def test_markup_in_values_is_printed_as_it_is():
    text = printed(
        Summary("x", None, {"[red]n": "[/nothing]"}, {"p[0]": {"[b]": {"m[1]": 1}}}, {"f": Path("[a].json")})
    )
    for part in ("[red]n", "[/nothing]", "p[0]", "[b]", "m[1]", "[a].json"):
        assert part in text


def test_many_metrics_go_down_instead_of_across():
    names = [f"metric_{i}" for i in range(12)]
    text = printed(Summary("x", None, scores={"COCO": {"amodal": dict.fromkeys(names, 0.5)}}))
    assert "metric 11 0.500" in [" ".join(line.split()) for line in text.splitlines()]


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(display.time, "monotonic", lambda: self.now)


def test_progress_in_a_file_is_a_line_now_and_then(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    progress = display.ShownProgress(display.stderr_console())
    with progress.task("training", total=100, done=40) as advance:
        for _ in range(60):
            clock.now += 1.0
            advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "training: 55/100, 1/s, 0:45 left",
        "training: 70/100, 1/s, 0:30 left",
        "training: 85/100, 1/s, 0:15 left",
        "training: 100/100 in 1:00",
    ]


def test_interrupted_task_does_not_claim_its_end(capsys):
    progress = display.ShownProgress(display.stderr_console())
    with pytest.raises(KeyboardInterrupt), progress.task("training", total=10) as advance:
        advance(3)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def test_bars_on_a_terminal_show_rate_and_nest(capsys):
    console = Console(force_terminal=True, width=120, stderr=True)
    progress = display.ShownProgress(console)
    with progress.task("outer [0]", total=2) as outer:
        for _ in range(2):
            with progress.task("inner", total=5, done=1) as inner:
                inner(4)
            outer(1)
        progress.note("score 0.5 [x]")
    text = capsys.readouterr().err
    assert all(part in text for part in ("outer [0]", "inner", "2/2", "/s", "score 0.5 [x]"))
    with progress.task("next", total=1) as advance:  # bars start anew
        advance(1)
    assert "next" in capsys.readouterr().err
