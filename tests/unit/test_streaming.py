"""Entry by entry gives the bytes of the whole."""

from __future__ import annotations

import json

import pytest

from amodalpl.errors import OutputError
from amodalpl.running.streaming import finite, write_lines, write_object


@pytest.mark.parametrize("entries", [[], [1], [{"a": "é\n", "b": [0.1, None, True]}, [], "x"]])
def test_object_has_the_bytes_of_the_whole(tmp_path, entries):
    whole = {"info": {"year": 2026}, "annotations": entries, "categories": [{"name": '"</script>'}]}
    write_object(tmp_path / "a.json", {**whole, "annotations": iter(entries)})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == json.dumps(whole, ensure_ascii=False) + "\n"


def test_empty_object(tmp_path):
    write_object(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").read_text() == "{}\n"


def test_one_entry_is_held_at_a_time(tmp_path):
    alive = 0

    class Entry(dict):
        def __init__(self):
            nonlocal alive
            alive += 1
            assert alive <= 2  # the one being written, and the one being made
            super().__init__(a=1)

        def __del__(self):
            nonlocal alive
            alive -= 1

    write_object(tmp_path / "a.json", {"entries": (Entry() for _ in range(10))})
    assert json.loads((tmp_path / "a.json").read_text()) == {"entries": [{"a": 1}] * 10}


def test_lines(tmp_path):
    write_lines(tmp_path / "a.jsonl", iter([{"id": 1}, {"id": 2}]))
    assert (tmp_path / "a.jsonl").read_text() == '{"id": 1}\n{"id": 2}\n'


def test_nothing_is_left_of_a_file_that_broke_off(tmp_path):
    def entries():
        yield 1
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"a.json: could not write it \(No space left"):
        write_object(tmp_path / "a.json", {"entries": entries()})
    assert list(tmp_path.iterdir()) == []


def test_what_json_does_not_know_becomes_null():
    read = json.loads('{"a": NaN, "b": [1, -Infinity, {"c": 1e999, "d": "NaN"}], "e": 2.5}')
    assert finite(read) == {"a": None, "b": [1, None, {"c": None, "d": "NaN"}], "e": 2.5}
