"""The verdict on known vulnerabilities, from what pip-audit prints."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FILE = Path(__file__).parents[2] / ".ci" / "known_vulnerabilities.py"


@pytest.fixture
def check():
    spec = importlib.util.spec_from_file_location("ci_vulnerabilities", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(name, *ids, **more):
    return {"name": name, "version": "1.0", "vulns": [{"id": i, "aliases": [], "fix_versions": ["1.1"]} for i in ids]}


UNKNOWN = {"name": "ours", "skip_reason": "not found"}


def test_a_known_vulnerability_fails(check):
    passed, lines = check.judge({"dependencies": [package("a"), package("b", "CVE-1"), UNKNOWN]}, {})
    assert not passed
    assert lines == [
        "vulnerable: b 1.0: CVE-1; fixed in 1.1",
        "audited 2 of 3 packages; not known to the service: ours",
    ]


def test_a_listed_one_passes_under_any_of_its_names(check):
    found = package("b", "PYSEC-1")
    found["vulns"][0]["aliases"] = ["CVE-1"]
    passed, lines = check.judge({"dependencies": [found]}, {"CVE-1": "only on Windows", "CVE-2": "gone"})
    assert passed and lines[0] == "ignored: b 1.0: PYSEC-1: only on Windows"
    assert "CVE-2 is no longer found" in lines[1]


def test_nothing_known_is_not_called_safe(check):
    passed, lines = check.judge({"dependencies": [UNKNOWN]}, {"CVE-1": "x"})
    assert passed and lines == ["not audited: the service knows none of 1 packages; try with a network"]


@pytest.mark.parametrize(
    "stdout, stderr, code, said",
    [
        ("", "Traceback\nConnectionError: no network", 0, "not audited: the service does not answer .ConnectionError"),
        ("", "/bin/python: No module named pip_audit", 1, "pip-audit is not installed"),
        (json.dumps({"dependencies": [package("b", "CVE-1")]}), "Found 1", 1, "vulnerable: b 1.0: CVE-1"),
        (json.dumps({"dependencies": [package("b")]}), "", 0, "audited 1 of 1 packages"),
    ],
)
def test_exit_codes(check, monkeypatch, capsys, stdout, stderr, code, said):
    monkeypatch.setattr(check.subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=stdout, stderr=stderr))
    monkeypatch.setattr(check, "read_ignored", lambda text: {})
    assert check.main() == code
    printed = capsys.readouterr()
    assert re.search(said, printed.out + printed.err)


def test_no_answer_in_time_is_no_failure(check, monkeypatch, capsys):
    def wait(*args, **kwargs):
        raise subprocess.TimeoutExpired("pip-audit", 1)

    monkeypatch.setattr(check.subprocess, "run", wait)
    assert check.main() == 0 and "did not answer in time" in capsys.readouterr().out


def test_ids_need_reasons(check):
    assert check.read_ignored("# c\nCVE-1  only on Windows\n\n") == {"CVE-1": "only on Windows"}
    with pytest.raises(SystemExit, match="CVE-1: expected a reason"):
        check.read_ignored("CVE-1")
    check.read_ignored(check.IGNORED.read_text(encoding="utf-8"))
    assert check.COMMAND[0] == sys.executable
