"""What an installation that is not editable contains: every folder of code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_folder_of_code_is_installed():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[(.*?)^\]", project, re.M | re.S)
    assert listed
    folders = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "amodalpl").rglob("*.py")}
    assert {name for name in re.findall(r'"([\w.]+)"', listed[1]) if name.split(".")[0] == "amodalpl"} == folders


def test_the_least_setuptools_knows_how_the_licence_is_said():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^license = "[\w.-]+"$', project, re.M)  # as a name, which setuptools knows from 77 on
    least = re.search(r'^requires = \["setuptools>=(\d+)"\]', project, re.M)
    assert least and int(least[1]) >= 77
