"""What claims to be huge is refused before memory is taken for it; what is deep or unfolds is refused in time."""

import json
import time
import tracemalloc

import pytest

from amodalpl.convert import cvat_xml, yolo
from amodalpl.data.mask_parsing import MAX_POINTS, read_masks
from amodalpl.data.read import read_annotations
from amodalpl.errors import DataError, SettingsError
from amodalpl.settings_values import parse_override, read_config

SIZE_HW = (40, 60)


@pytest.fixture
def little_memory():
    """Fail when what is done inside takes more than 64 MiB at once."""
    tracemalloc.start()
    began = time.monotonic()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26 and time.monotonic() - began < 20


def write(tmp_path, **changes):
    image = {"id": 1, "file_name": "a.png", "height": 40, "width": 60, **changes.pop("image", {})}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]], **changes}
    content = {"images": [image], "categories": [{"id": 1, "name": "cup"}], "annotations": [annotation]}
    (tmp_path / "in.json").write_text(json.dumps(content))
    return tmp_path / "in.json"


HUGE = {"height": 100_000, "width": 100_000}


def test_photo_of_a_size_that_no_photo_has(tmp_path, little_memory):
    mask = {"size": [100_000, 100_000], "counts": [0, 10**10]}
    with pytest.raises(DataError, match="expected sides of 1 to 65535 and at most 268435456 pixels, got height 100000"):
        read_annotations(write(tmp_path, image=HUGE, segmentation=mask))


@pytest.mark.parametrize(
    "segmentation, reason",
    [
        ({"size": [100_000, 100_000], "counts": [0, 10**10]}, "RLE of the wrong size: expected [40, 60]"),
        ({"size": [40, 60], "counts": [0, 10**10]}, "corrupt RLE: expected run lengths of 0 to 2400"),
        ({"size": [40, 60], "counts": [10**400]}, "corrupt RLE: expected run lengths of 0 to 2400, got a huge number"),
        ({"size": [40, 60], "counts": "oooooooooooo0"}, "corrupt RLE: the counts are not in COCO's"),
        ({"size": [40, 60], "counts": [0] * (2**22 + 1)}, "corrupt RLE: expected counts of at most 4194304 entries"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "polygon too large: expected coordinates within 131072 pixels"),
        ([[0, 0, 10**400, 0, 1, 1]], "malformed polygon: expected finite coordinates"),
        ([[0, 0, float("nan"), 0, 1, 1]], "malformed polygon: expected finite coordinates"),
        ([[0, 0, float("inf"), 0, 1, 1]], "malformed polygon: expected finite coordinates"),
        ([[0, 0, 60, 40] * 100_000], "polygon too large: expected an outline of at most 4194304 pixels"),
        ([[1, 1, 2, 2, 1, 2]] * 10_001, "too many polygons: expected at most 10000, got 10001"),
    ],
)
def test_masks_that_lie(tmp_path, segmentation, reason):
    path = write(tmp_path, segmentation=segmentation)
    (dropped,) = read_annotations(path).dropped
    assert dropped.reason.startswith(reason)


def test_polygon_of_ten_million_points():
    polygon = [0.5, 0.5, 0.75, 0.5] * 5_000_000
    tracemalloc.start()
    assert read_masks([[polygon]], [SIZE_HW]) == [f"too many points: expected at most {MAX_POINTS}, got 10000000"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 8 * len(polygon)  # its numbers, a few times; drawn, it would take far more


@pytest.mark.parametrize("start", ["[", '{"a":', '{"images": [{"a":'])
def test_json_nested_ten_thousand_deep(tmp_path, start):
    (tmp_path / "in.json").write_text(start * 10_000)
    with pytest.raises(DataError, match="in.json: expected an annotation file in JSON, got something else"):
        read_annotations(tmp_path / "in.json")


def test_deep_values_in_entries(tmp_path, little_memory):
    deep = "[" * 900 + "]" * 900
    text = write(tmp_path).read_text()
    (tmp_path / "in.json").write_text(text.replace("[[1, 1, 9, 1, 9, 9]]", deep))
    (dropped,) = read_annotations(tmp_path / "in.json").dropped
    assert dropped.reason.startswith("malformed polygon")


def test_numbers_of_five_thousand_digits(tmp_path, little_memory):
    text = write(tmp_path).read_text()
    (tmp_path / "in.json").write_text(text.replace('"height": 40', '"height": ' + "4" * 5000))
    with pytest.raises(DataError, match="in.json: "):
        read_annotations(tmp_path / "in.json")


def test_of_two_keys_the_last_counts(tmp_path):
    text = write(tmp_path).read_text()
    (tmp_path / "in.json").write_text(text.replace('"height": 40', '"height": 100000, "height": 40'))
    assert read_annotations(tmp_path / "in.json").images[0].size_hw == SIZE_HW


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_yaml_aliases_that_unfold(tmp_path, little_memory):
    (tmp_path / "a.yaml").write_text(BOMB)
    with pytest.raises(SettingsError, match="a.yaml: expected YAML, could not read it .aliases .* are not read"):
        read_config(tmp_path / "a.yaml")
    with pytest.raises(SettingsError, match="expected a plain value"):
        parse_override("training.steps=&a [*a]")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0 0 1 0 1 1")
    (tmp_path / "data.yaml").write_text(BOMB + "names: [*i]\n")
    with pytest.raises(DataError, match="data.yaml: expected YAML, got something else .aliases"):
        yolo.read(tmp_path, None)


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "a: " * 3, "a: 0x_", "a: 2001-99-99", "a: " + "1" * 5000, "a: !!int [1]", "a: \x01", "x" * 2**21],
)
def test_yaml_that_is_none(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SettingsError, match="a.yaml: expected YAML, could not read it"):
        read_config(tmp_path / "a.yaml")


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {new} "{("&" + old + ";") * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "doctype",
    [
        LAUGHS + "]>",
        '<!DOCTYPE a [<!ENTITY i SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd">',
        '<!DOCTYPE a [<!ENTITY % i SYSTEM "file:///etc/passwd"> %i;]>',
    ],
)
def test_xml_entities(tmp_path, little_memory, doctype):
    reference = "&i;" if "ENTITY i" in doctype else ""
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0"?>{doctype}<annotations>{reference}</annotations>')
    with pytest.raises(DataError, match="a.xml: expected a CVAT XML file, got something else") as caught:
        cvat_xml.read(tmp_path / "a.xml", None)
    assert "root:" not in str(caught.value)
