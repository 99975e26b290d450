"""Entry by entry gives the bytes of the whole."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator

import pytest

from amodalpl.errors import DataError, OutputError
from amodalpl.io import json_stream
from amodalpl.io.json_stream import (
    finite,
    open_lines,
    open_list,
    read_entries,
    read_lines,
    read_object,
    write_lines,
)


def test_lines(tmp_path):
    write_lines(tmp_path / "a.jsonl", iter([{"id": 1}, {"id": 2}]))
    assert (tmp_path / "a.jsonl").read_text() == '{"id": 1}\n{"id": 2}\n'


def test_lines_that_are_given_one_by_one(tmp_path):
    with open_lines(tmp_path / "a.jsonl") as add:
        assert not (tmp_path / "a.jsonl").exists()  # there whole or not at all
        for value in ({"id": 1}, {"id": "é"}):
            add(value)
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == '{"id": 1}\n{"id": "é"}\n'
    assert list(read_lines(tmp_path / "a.jsonl", "lines")) == [{"id": 1}, {"id": "é"}]


@pytest.mark.parametrize("entries", [[], [[]], [{"a": "é\n", "b": [0.1, None, True]}, "]}", 3]])
@pytest.mark.parametrize("tail", [{}, {"categories": [{"name": '"</script>'}], "b": 1}], ids=["last", "in the middle"])
def test_list_whose_entries_are_given_one_by_one_has_the_bytes_of_the_whole(tmp_path, entries, tail):
    with open_list(tmp_path / "a.json", {"rule": "contact"}, "images", tail) as add:
        for entry in entries:
            add(entry)
    expected = json.dumps({"rule": "contact", "images": entries, **tail}, ensure_ascii=False) + "\n"
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == expected


def test_nothing_is_left_of_files_whose_block_broke_off(tmp_path):
    with (
        pytest.raises(OutputError, match=r"a.json: could not write it \(No space left"),
        open_list(tmp_path / "a.json", {}, "images") as add,
    ):
        add(1)
        raise OSError(28, "No space left on device")
    with pytest.raises(ZeroDivisionError), open_lines(tmp_path / "a.jsonl") as add:
        add(1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_lines_that_are_none_are_refused_with_their_place(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": 1}\n{"id": \n')
    lines = read_lines(file, "a part of the labels")
    assert next(lines) == {"id": 1}
    with pytest.raises(DataError, match="a.jsonl: line 2: expected a part of the labels in JSON, got something else"):
        next(lines)
    with pytest.raises(DataError, match="b.jsonl: expected a part of the labels, could not read it"):
        next(read_lines(tmp_path / "b.jsonl", "a part of the labels"))


def test_nothing_is_left_of_a_file_that_broke_off(tmp_path):
    def entries():
        yield 1
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"a.jsonl: could not write it \(No space left"):
        write_lines(tmp_path / "a.jsonl", entries())
    assert list(tmp_path.iterdir()) == []


def test_what_json_does_not_know_becomes_null():
    read = json.loads('{"a": NaN, "b": [1, -Infinity, {"c": 1e999, "d": "NaN"}], "e": 2.5}')
    assert finite(read) == {"a": None, "b": [1, None, {"c": None, "d": "NaN"}], "e": 2.5}


WHOLE = {
    "info": {"year": 2026, "odd": '[{"}],\\"'},
    "annotations": [{"id": 1, "b": [0.1, None, True, -12e-3]}, [], "x", 1234567, -1.5e300, {}, "é\ud800", float("inf")],
    "empty": [],
    "categories": [{"name": "</script>"}],
    "last": 17,
}
LAYOUTS = {
    "one line": {},
    "indented": {"indent": 1},
    "without spaces": {"separators": (",", ":")},
    "escaped": {"ensure_ascii": True},
    "sorted": {"sort_keys": True, "indent": 4},
}


def gathered(path, *streamed):
    return {
        name: list(value) if isinstance(value, Iterator) else value
        for name, value in read_object(path, "a file", streamed)
    }


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 2**18])
def test_any_layout_is_read_wherever_it_is_cut(tmp_path, monkeypatch, layout, at_once):
    monkeypatch.setattr(json_stream, "CHARACTERS_AT_ONCE", at_once)
    text = json.dumps(WHOLE, **{"ensure_ascii": False, **LAYOUTS[layout]})
    (tmp_path / "a.json").write_bytes(f" {text}\r\n\t".encode("utf-8", "surrogatepass"))
    assert gathered(tmp_path / "a.json") == WHOLE
    assert gathered(tmp_path / "a.json", "annotations", "empty", "last", "nowhere") == WHOLE
    assert list(read_entries(tmp_path / "a.json", "a file", "annotations")) == WHOLE["annotations"]
    assert list(read_entries(tmp_path / "a.json", "a file", "last")) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_encodings_are_those_of_json(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"a": ["é", 1]}'.encode(encoding))
    assert gathered(tmp_path / "a.json", "a") == json.loads((tmp_path / "a.json").read_bytes()) == {"a": ["é", 1]}


def test_what_is_not_gone_through_is_passed_over(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(WHOLE))
    found = read_object(tmp_path / "a.json", "a file", ("annotations",))
    assert next(found)[0] == "info"
    assert next(next(found)[1]) == {"id": 1, "b": [0.1, None, True, -0.012]}
    assert next(found) == ("empty", [])


@pytest.mark.parametrize(
    "text",
    ["", " ", "[1]", "{", '{"a"', '{"a":', '{"a": 1', '{"a": 1,}', '{"a": 1} x', '{"a": 1 "b": 2}', "{1: 2}", "{a: 1}"]
    + ['{"l": [1', '{"l": [1,]}', '{"l": [1 2]}', '{"l": [1}', '{"l": ["x]}', '{"l": [tru]}', '{"l": [1.]}', "nul"]
    + [
        '{"l": [01]}',
        '{"l": [1e+]}',
        "{'a': 1}",
        '{"a": 1, "l": [' + "[" * 100_000 + "]}",
        '{"a": ' + "9" * 5000 + "}",
    ],
)
@pytest.mark.parametrize("at_once", [1, 2**18])
def test_what_json_refuses_is_refused(tmp_path, monkeypatch, text, at_once):
    monkeypatch.setattr(json_stream, "CHARACTERS_AT_ONCE", at_once)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises((ValueError, RecursionError, AssertionError)):
        assert isinstance(json.loads(text), dict)
    with pytest.raises(DataError, match=r"a.json: expected a file in JSON, got something else \(.* at character \d+\)"):
        gathered(tmp_path / "a.json", "l")


def test_place_of_the_damage_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHARACTERS_AT_ONCE", 4)
    (tmp_path / "a.json").write_text('{"l": [1, 2, 3, oh]}')
    with pytest.raises(DataError, match=r"\(Expecting value at character 16\)"):
        gathered(tmp_path / "a.json", "l")


def test_damage_is_found_without_reading_on(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"entries": [{"a": nothing}, ' + ", ".join(["12345678"] * 500_000) + "]}")
    tracemalloc.start()
    with pytest.raises(DataError, match="Expecting value at character 19"):
        list(read_entries(path, "a file", "entries"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21 < path.stat().st_size / 2


def test_two_members_of_a_name_are_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"l": [1], "l": [2]}')
    with pytest.raises(DataError, match="'l' a second time at character 14"):
        gathered(tmp_path / "a.json", "l")


def test_no_such_file_a_folder_and_other_bytes(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff\xff"}')
    for path, message in (
        (tmp_path / "none.json", "none.json: expected a file, found no such file"),
        (tmp_path, "expected a file, could not read it"),
        (tmp_path / "a.json", "a.json: expected a file in JSON, got something else .*codec can't decode"),
    ):
        with pytest.raises(DataError, match=message):
            gathered(path)


def test_reading_holds_one_entry(tmp_path):
    draws = random.Random(0)
    entries = ({"id": n, "counts": f"{draws.random()}" * 20} for n in range(20_000))
    with open_list(tmp_path / "a.json", {}, "annotations", {"categories": []}) as add:
        for entry in entries:
            add(entry)
    size = (tmp_path / "a.json").stat().st_size
    tracemalloc.start()
    try:
        assert sum(entry["id"] for entry in read_entries(tmp_path / "a.json", "a file", "annotations")) == 199_990_000
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 7_000_000 and most < 2_500_000
