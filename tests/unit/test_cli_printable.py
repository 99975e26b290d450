"""What files say reaches the terminal as letters, never as commands."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from amodalpl_cli.main import app
from amodalpl_cli.printable import printable

EVIL = "cup\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"


def test_letters_of_all_scripts_stay():
    for text in ("", "cup", "ä 日本 кот\u3000", "a\tb\nc", "🏺"):
        assert printable(text) == text


def test_control_characters_are_written_out():
    assert printable(EVIL) == r"cup\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"


@pytest.fixture
def files(tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]}
    content = {
        "images": [{"id": n, "file_name": name, "height": 9, "width": 9} for n, name in ((1, "a.png"), (2, EVIL))],
        "categories": [{"id": 1, "name": EVIL}],
        "annotations": [annotation, {**annotation, "id": 2, "category_id": EVIL}],
    }
    (tmp_path / "in.json").write_text(json.dumps(content))
    return tmp_path


def test_summaries_and_errors_hold_no_escape_sequence(files):
    checked = CliRunner().invoke(app, ["check", str(files / "in.json"), str(files)])
    assert checked.exit_code == 1 and r"\x1b[2J" in checked.output
    named = CliRunner().invoke(app, ["check", f"{EVIL}.json", str(files)])
    assert named.exit_code == 2 and r"\x1b[2J" in named.stderr
    for result in (checked, named):
        assert not set("\x1b\x07\u202e\x9b") & set(result.output + result.stderr)
