"""Many spoilt inputs through one reader, in a forked process with limits on time and memory.

Input n of a reader is made from the reader's name and n alone, so a finding can be repeated by itself.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from mutations import spoil, to_bytes

from amodalpl.errors import AmodalplError

MOST_SECONDS = 20.0  # of one input, beside other work
MOST_BYTES = 2**31  # on top of what the process has before
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Reader:
    """Something that reads what others wrote.

    Attributes:
        name: of it.
        files: names to contents, valid; one is spoilt at a time: bytes, text, or what is written as JSON.
        read: called with the folder that the files are in.
        share: inputs per input of the fast readers, for those that take long.
        fixed: names of files that are never spoilt.
    """

    name: str
    files: Mapping[str, Any]
    read: Callable[[Path], object]
    share: float = 1.0
    fixed: frozenset[str] = frozenset()


@dataclass
class Outcome:
    """What became of the inputs.

    Attributes:
        read: inputs that gave a result.
        refused: inputs that gave a clear error.
        findings: number of the input and what went wrong.
    """

    read: int = 0
    refused: int = 0
    findings: list[tuple[int, str]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """All of them."""
        return self.read + self.refused + len(self.findings)


def spoilt_input(reader: Reader, number: int) -> tuple[str, bytes]:
    """Return name and bytes of the spoilt file of an input."""
    random = Random(f"{reader.name}/{number}")
    name = random.choice(sorted(set(reader.files) - reader.fixed))
    return name, spoil(random, reader.files[name])


def write_valid(reader: Reader, folder: Path) -> None:
    """Write all files as they should be."""
    for name, content in reader.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(to_bytes(content))


class TooSlowError(BaseException):
    """An input took longer than `MOST_SECONDS`."""


@contextmanager
def _time_limit():
    def stop(number, frame):
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(reader: Reader, folder: Path) -> str:
    """Return "read", "refused", or what went wrong."""
    try:
        with _time_limit():
            reader.read(folder)
    except AmodalplError as error:
        message = str(error)
        if not message.strip() or len(message) > LONGEST_MESSAGE:
            return f"finding: message of {len(message)} characters: {message[:200]!r}"
        return "refused"
    except TooSlowError:
        return f"finding: took more than {MOST_SECONDS:.0f} s"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in place if "amodalpl" in frame.filename] or place
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return f"finding: {type(error).__name__} at {where}: {str(error)[:200]!r}"
    return "read"


def _work(reader: Reader, folder: Path, numbers: range, pipe: int) -> None:
    import resource  # which Windows has not

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        os.write(pipe, f"{number}\n".encode())
        name, data = spoilt_input(reader, number)
        (folder / name).write_bytes(data)
        outcome = judge(reader, folder)
        os.write(pipe, outcome.replace("\n", " ").encode("utf-8", "backslashreplace") + b"\n")
        (folder / name).write_bytes(to_bytes(reader.files[name]))


def run(reader: Reader, folder: Path, numbers: range) -> Outcome:
    """Put inputs through a reader; a process that dies or hangs is a finding, and the next one goes on after it."""
    outcome = Outcome()
    folder.mkdir(parents=True, exist_ok=True)
    write_valid(reader, folder)
    while numbers:
        done, how = _run_process(reader, folder, numbers, outcome)
        numbers = numbers[done:]
        if how:
            outcome.findings.append((numbers[0], how))
            numbers = numbers[1:]
            write_valid(reader, folder)
    return outcome


def _run_process(reader: Reader, folder: Path, numbers: range, outcome: Outcome) -> tuple[int, str]:
    """Return how many inputs were done, and what ended the process before its time ("" for nothing)."""
    out, into = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(out)
            faulthandler.disable()
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            _work(reader, folder, numbers, into)
            code = 0
        finally:
            os._exit(code)
    os.close(into)
    lines = 0
    how = ""
    rest = b""
    while True:
        ready, _, _ = select.select([out], [], [], 6 * MOST_SECONDS)
        data = os.read(out, 2**16) if ready else b""
        if not data:
            if not ready:
                os.kill(child, signal.SIGKILL)
                how = "no answer: it hangs"
            break
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            lines += 1
            if lines % 2:
                continue
            text = line.decode()
            if text == "read":
                outcome.read += 1
            elif text == "refused":
                outcome.refused += 1
            else:
                outcome.findings.append((numbers[lines // 2 - 1], text.removeprefix("finding: ")))
    os.close(out)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done = lines // 2
    if done < len(numbers) and not how:
        how = f"the process died ({status})"
    return done, how
