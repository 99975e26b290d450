"""`run` and `demo` write stage folders into a folder of their own, never between other people's files."""

import pytest
from typer.testing import CliRunner

from amodalpl.errors import OutputError
from amodalpl.runtime.parent_folder import require_own_folder
from amodalpl_cli.main import app


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "ann.json"):
        (tmp_path / "photos" / name).touch()
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "args",
    [["run", "tiny", "--annotations", "{0}/ann.json", "--images", "{0}"], ["demo"]],
    ids=["run", "demo"],
)
def test_a_folder_of_photos_is_refused_before_anything_is_written(args, photos):
    before = files_of(photos)
    result = CliRunner().invoke(app, [*(a.format(photos) for a in args), "--out", str(photos)])
    assert result.exit_code == 2 and files_of(photos) == before
    assert result.stderr == (
        f"error: {photos}: expected a new or empty folder, or that of an earlier `amodalpl {args[0]}`, found a.jpg and "
        "2 more; choose another --out\n"
    )


def test_the_demo_stays_out_of_another_run(tmp_path):
    (tmp_path / "mine/synth").mkdir(parents=True)
    (tmp_path / "mine/synth/run.json").write_text("{}")
    before = files_of(tmp_path)
    for out in ("mine", "mine/synth"):
        result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / out)])
        assert result.exit_code == 2 and "choose another --out" in result.stderr
    assert files_of(tmp_path) == before


def test_what_is_new_empty_or_its_own_is_taken(tmp_path):
    require_own_folder(tmp_path / "new", "run", ["synth/run.json"])
    (tmp_path / ".hidden").touch()
    require_own_folder(tmp_path, "run", ["synth/run.json"])
    (tmp_path / "audit").mkdir()
    with pytest.raises(OutputError):
        require_own_folder(tmp_path, "run", ["synth/run.json"])
    (tmp_path / "synth").mkdir()
    with pytest.raises(OutputError):  # a folder of that name may be anybody's
        require_own_folder(tmp_path, "run", ["synth/run.json"])
    (tmp_path / "synth/run.json").touch()
    require_own_folder(tmp_path, "run", ["synth/run.json"])
    with pytest.raises(OutputError, match="is the output folder of one stage"):
        require_own_folder(tmp_path / "synth", "run", ["synth/run.json"])
