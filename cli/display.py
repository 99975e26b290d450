"""What the user sees: progress on stderr while a stage runs, then its summary on stdout."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from amodalpl.io.links import FOLLOW_LINKS
from amodalpl.runtime.events import EventLog
from amodalpl.runtime.progress import DAY_S, SILENT, Progress
from amodalpl.runtime.summary import Summary

from .headline import Result, behind, headline
from .pace import Pace
from .printable import printable
from .threads import busy_warning

LONGEST_LIST = 20  # lines of one list before it is cut
MOST_OF_A_KIND = 5  # warnings of one kind in such a list
WIDEST_TABLE = 7  # metrics side by side before rows and columns change places
MOST_COUNTS = 30  # lines of counts before each stage gets one
FIRST_COUNTS = 4  # of a stage in its line
MOST_PROTOCOLS = 3  # tables of scores before only those that matter are printed
SECONDS_BETWEEN_LINES = 15.0  # of progress, when stderr is a file


@dataclass
class _BeforeTheCommand:
    """What was given before the command's name, for `show`."""

    quiet: bool = False
    log_json: Path | None = None
    follow_links: bool = False


_asked = _BeforeTheCommand()


def _remember(param: typer.CallbackParam, value: Any) -> Any:
    setattr(_asked, str(param.name), value)  # always called, with the default when it is not given
    return value


Quiet = Annotated[
    bool, typer.Option("--quiet", callback=_remember, help="No progress; warnings and the closing summary only.")
]


def _follow(param: typer.CallbackParam, value: bool) -> bool:
    if value:
        os.environ[FOLLOW_LINKS] = "1"
    return _remember(param, value)


FollowLinks = Annotated[
    bool,
    typer.Option("--follow-links", callback=_follow, help="Open photos that are links to files elsewhere, too."),
]
LogJson = Annotated[
    Path | None,
    typer.Option(
        "--log-json", metavar="FILE", callback=_remember, help="Add each event of the run to FILE, as a line of JSON."
    ),
]


def _said_again(summary: Summary) -> Summary:
    """Put what has to be said before each command before the proposed ones, too."""

    def with_links(line: str) -> str:
        return re.sub(r"^amodalpl ", "amodalpl --follow-links ", line)

    return replace(summary, next=with_links(summary.next), then=with_links(summary.then))


def show(stage: Callable[[Progress], Summary], as_json: bool, *, computes: bool = False) -> None:
    """Run a stage, then print its summary; `--quiet` and `--log-json`, which stand before the command, are heeded.

    Whatever libraries print meanwhile goes to stderr, so that stdout holds the summary and nothing else. Under
    `torchrun` only the first process shows anything.

    Args:
        stage: called with where to report progress.
        as_json: print one JSON object, and no progress.
        computes: for long, so that a busy machine is worth a warning.

    Raises:
        typer.Exit: with 1, the summary is not ok.
    """
    first_process = os.environ.get("RANK", "0") == "0"
    progress: Progress = SILENT
    if first_process and not as_json:
        progress = WarningsOnly(stderr_console()) if _asked.quiet else ShownProgress(stderr_console())
    log = EventLog(_asked.log_json, progress) if _asked.log_json and first_process else None
    if computes and (busy := busy_warning()):
        progress.warn(busy)
    if computes and isinstance(progress, ShownProgress) and "torch" not in sys.modules:
        progress.note("starting; loading torch takes a few seconds")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            summary = stage(log or progress)
        if _asked.follow_links:
            summary = _said_again(summary)
    except BaseException as error:
        if log is not None:
            log.add("error", text=str(error) or type(error).__name__)
        raise
    if log is not None:
        log.add("summary", summary=to_json(summary.to_json()))
    if first_process:
        if as_json:
            typer.echo(json.dumps(to_json(summary.to_json()), allow_nan=False))
        else:
            print_summary(stdout_console(), summary)
    if not summary.ok:
        raise typer.Exit(1)


def stdout_console() -> Console:
    """Return a console on the present stdout; as wide as it needs when that is a file or a pipe."""
    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 160)


def stderr_console() -> Console:
    """Return a console on the present stderr."""
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)


class WarningsOnly(Progress):
    """Shows what looks wrong, and nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def warn(self, text: str) -> None:
        """Print one line."""
        _print_plain(self._console, f"warning: {text}")


class ShownProgress(Progress):
    """Bars with rate and time left on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Open one bar, below those that are open."""
        with self._bar(label, total, done) if self._console.is_terminal else self._lines(label, total, done) as advance:
            yield advance

    def note(self, text: str) -> None:
        """Print one line, above the bars."""
        _print_plain(self._console, text)

    @contextmanager
    def _bar(self, label: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        outermost = self._bars is None
        bars = self._bars = self._bars or Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeLeftColumn(),
            console=self._console,
        )
        pace = Pace(total, done)
        row = bars.add_task(label, total=total, completed=done, before=done, pace=pace)

        def advance(units: int) -> None:
            pace.advance(units)
            bars.advance(row, units)

        try:
            if outermost:
                bars.start()
            yield advance
        finally:
            if outermost:
                bars.stop()
                self._bars = None
            else:
                bars.remove_task(row)

    @contextmanager
    def _lines(self, label: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        began = spoke = time.monotonic()
        finished = done
        pace = Pace(total, done, time.monotonic)

        def advance(units: int) -> None:
            nonlocal finished, spoke
            finished += units
            pace.advance(units)
            now = time.monotonic()
            if now - spoke >= SECONDS_BETWEEN_LINES and finished < total:
                spoke = now
                rate = (finished - done) / (now - began)
                left = pace.seconds_left()
                shown = "" if left is None else f", {_clock(left)} left"
                self.note(f"{label}: {finished}/{total}, {rate:.3g}/s{shown}")

        yield advance
        self.note(f"{label}: {finished}/{total} in {_clock(time.monotonic() - began)}")


class RateColumn(ProgressColumn):
    """Units per second, without those that an earlier run had finished."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        new = task.completed - task.fields.get("before", 0)
        seconds = task.elapsed or 0.0
        return Text(f"{new / seconds:.3g}/s" if new and seconds else "")


class TimeLeftColumn(ProgressColumn):
    """Time left, in days where it is more than one."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Draw it."""
        left = task.fields["pace"].seconds_left()
        return Text("" if left is None else _clock(left), style="progress.remaining")


def _clock(seconds: float) -> str:
    if seconds > DAY_S:
        return f"{seconds / DAY_S:.1f} days"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def print_summary(console: Console, summary: Summary) -> None:
    """Print counts, scores, the files, and the next command.

    What a stage wrote to files is cut to what matters: `Summary.to_json` has everything.
    """
    console.print(Text(f"{summary.stage}: {'done' if summary.ok else 'errors found'}", style="bold"))
    lines = list(_count_lines(summary.counts))
    stages = [counts for counts in summary.counts.values() if isinstance(counts, Mapping)]
    if summary.out is not None and len(lines) > MOST_COUNTS and len(stages) == len(summary.counts):
        lines = list(_lines_by_stage(summary.counts))
    for line in lines:
        _print_plain(console, line)
    results = headline(summary.scores) if summary.out is not None and len(summary.scores) > MOST_PROTOCOLS else []
    if results:
        _print_headline(console, summary, results)
    else:
        for protocol, rows in summary.scores.items():
            console.print(Text(f"\n{protocol}", style="bold"))
            console.print(Padding(scores_table(rows), (0, 0, 0, 2), expand=False))
    if summary.scores and (summary.files or summary.next):
        console.print()
    width = max((len(name) for name in summary.files), default=0)
    for name, path in summary.files.items():
        _print_plain(console, f"  {name:<{width}}  {path}")
    if summary.next:
        _print_plain(console, f"next: {summary.next}")
    if summary.then:
        _print_plain(console, f"then: {summary.then}")


def _print_headline(console: Console, summary: Summary, results: list[Result]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column("")
    table.add_column("ours", justify="right")
    table.add_column("best baseline without training")
    for result in results:
        beside = "" if result.baseline is None else f"{format_value(result.baseline)}  {result.by}"
        against = f" ({result.against})" if result.against else ""
        table.add_row(Text(result.line.name + against), format_value(result.ours), Text(printable(beside)))
    console.print(Text("\nscores", style="bold"))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    for text in behind(results):
        _print_plain(console, f"  note: {text}")
    where = summary.files.get("scores") or summary.files.get("metrics") or "--json"
    _print_plain(console, f"  all {len(summary.scores)} tables of scores: {where}")


def _lines_by_stage(counts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Write one line per stage with its first counts, and below it warnings and what was left out."""
    width = max(map(len, counts))
    for stage, inner in counts.items():
        first = [f"{k.replace('_', ' ')} {_as_line(v)}" for k, v in inner.items() if isinstance(v, int | float | str)]
        yield f"  {stage:<{width}}  {'; '.join(first[:FIRST_COUNTS])}"
        yield from _count_lines({key: inner[key] for key in ("left out", "warnings") if inner.get(key)}, depth=2)


def _print_plain(console: Console, text: str) -> None:
    """Print one line as it is, never broken: paths and commands must survive being copied."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _count_lines(counts: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    """Write counts as lines: a mapping as a heading and its items below, a list as one line per item."""
    width = max((len(name) for name in counts), default=0)
    for name, value in counts.items():
        label = "  " * depth + name.replace("_", " ").ljust(width)
        if isinstance(value, Mapping) and value:
            yield label.rstrip()
            yield from _count_lines({str(key): inner for key, inner in value.items()}, depth + 1)
        elif isinstance(value, list | tuple) and value:
            yield label.rstrip()
            shown = _some_of_each_kind(value)[:LONGEST_LIST]
            yield from ("  " * (depth + 1) + _as_line(item) for item in shown)
            if len(value) > len(shown):
                yield "  " * (depth + 1) + f"... and {len(value) - len(shown)} more (see them with --json)"
        else:
            yield f"{label}  {_as_line(value) or 'none'}"


def _some_of_each_kind(items: Sequence[Any]) -> Sequence[Any]:
    """Return findings without those warnings whose kind was there often enough; other items as they are."""
    times: Counter[str] = Counter()
    shown = []
    for item in items:
        if isinstance(item, Mapping) and item.get("severity") == "warning":
            kind = str(item["problem"]).partition(":")[0]
            times[kind] += 1
            if times[kind] > MOST_OF_A_KIND:
                continue
        shown.append(item)
    return shown


def _as_line(item: Any) -> str:
    """Write an item of a list in one line; text speaks for itself, other values need their name."""
    if isinstance(item, Mapping):
        stated = {key: value for key, value in item.items() if value is not None}
        return "  ".join(v if isinstance(v, str) else f"{key} {_as_line(v)}" for key, v in stated.items())
    if isinstance(item, list | tuple):
        return ", ".join(map(_as_line, item))
    return format_value(item)


def scores_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Lay out rows of metrics; many metrics go down instead of across."""
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    heads = [metric.replace("_", " ") for metric in metrics]
    cells = {name: [format_value(row.get(metric)) for metric in metrics] for name, row in rows.items()}
    if len(metrics) > WIDEST_TABLE:
        heads, cells = list(cells), {head: [row[i] for row in cells.values()] for i, head in enumerate(heads)}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column("")
    for head in heads:
        table.add_column(Text(printable(head)), justify="right")
    for name, values in cells.items():
        table.add_row(Text(printable(name)), *map(Text, map(printable, values)))
    return table


def format_value(value: Any) -> str:
    """Write a number as people read it.

    >>> format_value(0.93512), format_value(2838), format_value(None), format_value(float("nan"))
    ('0.935', '2838', '-', '-')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def to_json(value: Any) -> Any:
    """Return plain JSON values: paths as text, numpy numbers as numbers, a number that is none as null."""
    if isinstance(value, Mapping):
        return {str(key): to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy, which need not be imported for this
        return to_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
