"""What happens in a run as lines of JSON, for programs that watch it: `--log-json FILE`.

Each line has `time` (seconds since 1970), `event` and what belongs to it:
    start       command, process
    task        label, total, done: a piece of work begins
    progress    label, total, done: at most once a second per task
    finished    label, done, seconds
    note, warning, error    text
    summary     summary: what `--json` prints; the last line of a run that ended well
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import OutputError
from .progress import Progress

SECONDS_BETWEEN = 1.0


class EventLog(Progress):
    """Appends events to a file, and passes everything on to another progress.

    Args:
        file: is made, or added to.
        shown: where the same is shown to people.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, file: Path, shown: Progress) -> None:
        self._file = file
        self._shown = shown
        self.add("start", command=[Path(sys.argv[0]).name, *sys.argv[1:]], process=os.getpid())

    def add(self, event: str, **details: Any) -> None:
        """Write one line; opened anew each time, so that the file may be moved away meanwhile."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **details}, ensure_ascii=False)
        try:
            with self._file.open("a", encoding="utf-8", errors="replace") as handle:
                handle.write(line + "\n")
        except OSError as error:
            raise OutputError(f"{self._file}: could not write the log ({error.strerror or error})") from None

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Log and show one piece of work."""
        began = spoke = time.monotonic()
        finished = done
        self.add("task", label=label, total=total, done=done)
        with self._shown.task(label, total, done) as show:

            def advance(units: int) -> None:
                nonlocal finished, spoke
                finished += units
                now = time.monotonic()
                if now - spoke >= SECONDS_BETWEEN:
                    spoke = now
                    self.add("progress", label=label, total=total, done=finished)
                show(units)

            yield advance
        self.add("finished", label=label, done=finished, seconds=round(time.monotonic() - began, 3))

    def note(self, text: str) -> None:
        """Log and show one line."""
        self.add("note", text=text)
        self._shown.note(text)

    def warn(self, text: str) -> None:
        """Log and show one warning."""
        self.add("warning", text=text)
        self._shown.warn(text)
