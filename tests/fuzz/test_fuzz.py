"""No input surprises: every reader gives a result or one clear error, in bounded time and memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from sandbox import Reader, judge, run, spoilt_input, write_valid
from untrusted import readers

from amodalpl.errors import DataError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
FEW = 8
MANY = int(os.environ.get("AMODALPL_FUZZ_INPUTS", "3600"))  # per fast reader; 100 000 and more in all


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return readers(tmp_path_factory.mktemp("valid"))


def _findings(reader: Reader, folder: Path, numbers: range) -> list[str]:
    outcome = run(reader, folder, numbers)
    assert outcome.inputs == len(numbers)
    return [f"{reader.name}, input {number}: {what}" for number, what in outcome.findings]


def test_valid_files_are_read(known, tmp_path):
    for n, reader in enumerate(known):
        write_valid(reader, tmp_path / str(n))
        expected = "refused" if reader.name == "rerun" else "read"
        assert judge(reader, tmp_path / str(n)) == expected, reader.name


def test_a_few_inputs_of_every_reader(known, tmp_path):
    findings = []
    for n, reader in enumerate(known):
        findings += _findings(reader, tmp_path / str(n), range(max(1, round(FEW * min(1, reader.share)))))
    assert not findings, "\n".join(findings)


@pytest.mark.slow
def test_many_inputs_of_every_reader(known, tmp_path):
    findings, total = [], 0
    for n, reader in enumerate(known):
        inputs = max(1, round(MANY * reader.share))
        findings += _findings(reader, tmp_path / str(n), range(inputs))
        total += inputs
    print(f"{total} inputs through {len(known)} readers")
    assert not findings, "\n".join(findings)


def test_an_input_can_be_repeated(known):
    assert spoilt_input(known[0], 5) == spoilt_input(known[0], 5)
    assert len({spoilt_input(known[0], number) for number in range(50)}) > 40


def test_what_goes_wrong_is_found(tmp_path):
    """The judge is judged: a trace, a silent error, a hang, memory and a crash are told apart."""

    def fill(folder):
        return bytearray(2**36)

    def refuse(folder):
        raise DataError("a.json: expected a list, got a number")

    def say_nothing(folder):
        raise DataError("")

    def die(folder):
        os.kill(os.getpid(), 11)

    cases = {"KeyError": lambda folder: {}["a"], "MemoryError": fill, "message of 0": say_nothing, "died (-11)": die}
    for expected, read in cases.items():
        found = run(Reader("case", {"a.json": [1, 2]}, read), tmp_path, range(2))
        assert [number for number, _ in found.findings] == [0, 1] and expected in found.findings[0][1]
    found = run(Reader("case", {"a.json": [1, 2]}, refuse), tmp_path, range(3))
    assert (found.read, found.refused, found.findings) == (0, 3, [])
