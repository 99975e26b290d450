import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from rich.text import Text
from typer.testing import CliRunner

from amodalpl.data.records import AnnotationSet, Instance, Mask
from amodalpl.detector import model_table
from amodalpl.detector.data.label_notes import LabelNotes
from amodalpl.errors import DataError
from amodalpl.settings import BladeSettings, DetectorModel, DetectorSettings
from amodalpl_cli.main import app

MASK = Mask(rle={"size": [2, 2], "counts": b"04"})


def labels(modal, amodal):
    instance = Instance(1, 1, 1, MASK if modal else None, MASK if amodal else None)
    return AnnotationSet([], [instance], [{"id": 1, "name": "cup"}], path=Path("labels.json"), format="d2sa")


def test_every_model_that_can_be_asked_for_is_a_row():
    assert tuple(model_table.MODELS) == get_args(DetectorModel)


def test_list_names_them():
    shown = Text.from_ansi(CliRunner().invoke(app, ["train-detector", "--list"]).output).plain
    assert all(f"\n{name} " in shown for name in model_table.MODELS)


def test_eight_convolutions():
    four, eight = (
        model_table.model_config(DetectorSettings(model=name), 3, "BN")["roi_head"]["mask_head"]
        for name in ("mask-rcnn", "mask-rcnn-c8")
    )
    assert (four.pop("num_convs"), eight.pop("num_convs")) == (4, 8)
    assert four == eight


@pytest.mark.parametrize("modal", [True, False], ids=["modal", "no modal"])
@pytest.mark.parametrize("amodal", [True, False], ids=["amodal", "no amodal"])
@pytest.mark.parametrize("name", model_table.MODELS)
def test_missing_needs_fail_with_one_line(name, modal, amodal):
    both = modal and amodal
    met = {"masks": True, "boxes": True, "amodal": amodal, "visible": both, "both boxes": both}
    wanted = model_table.MODELS[name].needs
    if all(met[need] for need in wanted):
        model_table.require_needs(DetectorSettings(model=name), labels(modal, amodal), LabelNotes())
        return
    with pytest.raises(
        DataError, match=f"^labels.json: detector.model={name}: expected .*(masks|boxes).* any of 1 objects; "
    ):
        model_table.require_needs(DetectorSettings(model=name), labels(modal, amodal), LabelNotes())


def test_only_one_module_imports_mmdetection():
    """So that operations and silence are there before it is."""
    package = Path(model_table.__file__).parents[1]
    importers = {
        file.name
        for file in package.rglob("*.py")
        if any(
            line.strip().startswith(("from mmdet", "import mmdet", "from mmcv", "import mmcv")) for line in file.open()
        )
    }
    assert importers == {"mmdetection.py", "gpu_only_ops.py"}  # the second when an operation is called


def test_nothing_of_it_needs_mmdet():
    code = "import sys; import amodalpl.detector.model_table; assert not {'torch', 'mmdet', 'mmcv'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


OTHERWISE = {
    "box": "whole",
    "threshold": 0.4,
    "amodal_weights": (3.0, 1.0, 1.0),
    "region_weight": 0.5,
    "neighbour_weight": 0.5,
    "uniform_weight": 0.5,
    "detach_visible": False,
    "fusion": False,
}


@pytest.mark.parametrize("name", BladeSettings.model_fields)
def test_every_setting_of_blade_reaches_its_network(name):
    usual = DetectorSettings(model="blade")
    other = usual.model_copy(update={"blade": usual.blade.model_copy(update={name: OTHERWISE[name]})})
    found, expected = (model_table.model_config(asked, 2, "BN") for asked in (other, usual))
    assert found != expected
