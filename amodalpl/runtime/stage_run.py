"""Output folders that can be trusted: whole files only, and a `run.json` that says where everything came from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.records import AnnotationSet
from ..errors import CheckpointError, DataError, MissingPackageError, OutputError
from ..io.files import hash_file, hash_listing, hash_output, read_json, remove_temporaries, write_json
from ..version import __version__
from .folder_lock import FolderLock, lock_folder
from .usage import Usage, machine

RUN_FILE = "run.json"
_NOT_IDENTITY = {"workers"}  # settings that change the speed, never the result


def git_state() -> str | None:
    """Return the commit of the checkout this code runs from, with `-dirty` if changed; None outside a checkout."""
    here = Path(__file__).resolve().parents[1]
    try:
        if not (here.parent / ".git").exists():
            return None
        answer = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        return answer.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass(frozen=True)
class Renewal:
    """How a run on other inputs may take over the folder of one that is otherwise the same.

    Attributes:
        inputs: that may differ.
        wanted: whether the user asked for it.
        offer: what to do, where it was not asked for.
        take_over: is given the record of the run in the folder, before anything in it changes; returns entries for the
            new record.
    """

    inputs: Collection[str]
    wanted: bool
    offer: str
    take_over: Callable[[dict[str, Any]], dict[str, Any]]

    def as_before(self, found: Any, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Return the identity of the new run with the inputs that may differ as the run before had them."""
        theirs = found.get("inputs") if isinstance(found, dict) else None
        same = {name: value for name, value in identity["inputs"].items() if name not in self.inputs}
        given = theirs.items() if isinstance(theirs, dict) else ()
        return {**identity, "inputs": {**same, **{name: value for name, value in given if name in self.inputs}}}


class StageRun:
    """One stage's output folder.

    Opening it claims the folder: a fresh one gets a `run.json` in state "unfinished"; a folder of the same run (same
    stage, settings and inputs) is continued; any other is refused, and so is one that another process works in.
    `finish` writes the counts and "done".
    """

    def __init__(self, out: Path, record: dict[str, Any], is_new: bool = False) -> None:
        self.out = out
        self.record = record
        self.is_new = is_new
        self._usage = Usage()
        self._lock: FolderLock | None = None

    @classmethod
    def open(
        cls,
        out: Path,
        stage: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        seed: int,
        arguments: Mapping[str, Any] | None = None,
        grows: tuple[str, str] | None = None,
        renewal: Renewal | None = None,
    ) -> StageRun:
        """Claim or continue an output folder.

        Args:
            out: the folder; made if missing.
            stage: name of the stage.
            settings: as resolved, JSON values, only the sections that shape this stage's result.
            inputs: name to hash.
            seed: of the run.
            arguments: what else the stage was called with, so that `amodalpl rerun` can repeat it, as
                `pipeline.stage` makes them. Not part of the identity; inputs are the same wherever they lie.
            grows: a setting that may be larger than in an earlier run, which goes on then, as long as the folder has a
                certain file: "section.key", and the file's name.
            renewal: how a run on other inputs may take the folder over from the one in it.

        Raises:
            OutputError: the folder belongs to another run, or is not ours, or another process is working in it.
        """
        identity = {
            "stage": stage,
            "seed": seed,
            "settings": {name: _identity(section) for name, section in settings.items()},
            "inputs": dict(inputs),
        }
        fresh = {
            "amodalpl": __version__,
            "git": git_state(),
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            **identity,
            "settings": json.loads(json.dumps(dict(settings))),
            "arguments": dict(arguments or {}),
            "state": "unfinished",
        }
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{out}: expected a folder to write to ({error.strerror})") from None
        lock = lock_folder(out)
        try:
            run = cls._claim(out, fresh, identity, grows, renewal)
        except BaseException:
            lock.release()
            raise
        if run.done:
            lock.release()
        else:
            run._lock = lock
            remove_temporaries(out)
        return run

    @classmethod
    def _claim(
        cls,
        out: Path,
        fresh: dict[str, Any],
        identity: Mapping[str, Any],
        grows: tuple[str, str] | None,
        renewal: Renewal | None,
    ) -> StageRun:
        file = out / RUN_FILE
        if not file.exists():
            # another process of the same `torchrun` may have claimed it in this moment
            others = sorted(p.name for p in _visible(out) if p.name != RUN_FILE)
            if others:
                raise OutputError(
                    f"{out}: expected an empty folder or an earlier run, found {others[0]} without {RUN_FILE}; "
                    "choose another --out"
                )
            write_json(file, fresh)
            return cls(out, fresh, is_new=True)
        found = read_json(file, "the record of a run")
        difference = _first_difference(found, identity)
        if difference and grows and (before := _grown_from(found, identity, grows[0])):
            if not (out / grows[1]).exists():
                raise OutputError(
                    f"{out}: has finished {before} steps and kept no state to go on from; for more, start from it into "
                    f"another folder: --init {out} --out NEW"
                )
            record = {**fresh, "grown from": [*found.get("grown from", []), before]}
            write_json(file, record)
            return cls(out, record)
        if difference and renewal:
            beside = _first_difference(found, renewal.as_before(found, identity))
            if not beside and renewal.wanted:
                record = {**fresh, **renewal.take_over(found)}
                write_json(file, record)
                return cls(out, record)
            if not beside:
                raise OutputError(f"{out}: belongs to another run ({difference}); {renewal.offer}")
            difference = beside
        if difference:
            raise OutputError(f"{out}: belongs to another run ({difference}); choose another --out or delete it")
        if found.get("state") != "done":
            found = {**found, "arguments": fresh["arguments"]}  # the same files may lie elsewhere by now
        return cls(out, found)

    @property
    def done(self) -> bool:
        """Whether the stage ran to its end."""
        return self.record.get("state") == "done"

    @property
    def counts(self) -> dict[str, Any]:
        """What went in and came out, once done."""
        return self.record.get("counts", {})

    @contextmanager
    def released_on_bad_input(self) -> Iterator[None]:
        """Remove what is in a folder that this call claimed if its input proves unusable.

        The corrected input is another run, which needs the folder free. Hidden files that were there before stay.
        """
        try:
            yield
        except (DataError, CheckpointError, MissingPackageError):
            if self.is_new:
                for made in _visible(self.out):
                    if made.is_dir():
                        shutil.rmtree(made, ignore_errors=True)
                    else:
                        with suppress(OSError):
                            made.unlink()
                remove_temporaries(self.out)
                if self._lock is not None:
                    self._lock.release()
                with suppress(OSError):  # not empty: hidden files of the user
                    self.out.rmdir()
            raise

    def finish(self, counts: Mapping[str, Any], outputs: Iterable[str]) -> None:
        """Record the end of the stage, with hashes of what it made and what it took; the last thing written.

        Args:
            counts: what went in and came out.
            outputs: names of files and folders within the output folder.
        """
        self.record = {
            **self.record,
            "counts": dict(counts),
            "outputs": {name: hash_output(self.out / name) for name in sorted(outputs)},
            "took": self._usage.to_json(),
            "machine": machine(),
            "state": "done",
        }
        write_json(self.out / RUN_FILE, self.record)
        if self._lock is not None:
            self._lock.release()


def _visible(folder: Path) -> list[Path]:
    """Return what makes a folder not free for a run: everything but hidden files."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def input_hashes(data: AnnotationSet, images: Path) -> dict[str, str]:
    """Return the hashes that identify a run's inputs: the annotations' bytes, the photos' names and sizes."""
    if data.path.is_dir():
        annotations = hash_listing(data.path, [p.name for p in data.path.glob("*.json")])
    else:
        annotations = hash_file(data.path)
    return {"annotations": annotations, "images": hash_listing(images, [i.file_name for i in data.images])}


def finished_run(folder: Path, stage: str) -> dict[str, Any]:
    """Read the record of a finished stage.

    Raises:
        OutputError: the folder is of another stage, or unfinished.
        DataError: there is no such folder or record.
    """
    if folder.is_file():
        raise OutputError(f"{folder}: expected an output folder of `amodalpl {stage}`, got a file")
    record = read_json(folder / RUN_FILE, f"the record of a finished `amodalpl {stage}`")
    if not isinstance(record, dict) or record.get("stage") != stage:
        found = record.get("stage") if isinstance(record, dict) else type(record).__name__
        raise OutputError(f"{folder}: expected an output folder of `amodalpl {stage}`, got one of {found!r}")
    if record.get("state") != "done":
        raise OutputError(f"{folder}: `amodalpl {stage}` has not finished there; start it again with the same options")
    return record


def stage_of(folder: Path) -> str:
    """Return the stage that a folder is of, finished or not; "" where it has no record that says."""
    try:
        record = read_json(folder / RUN_FILE, "the record of a stage")
    except DataError:
        return ""
    return str(record.get("stage", "")) if isinstance(record, dict) else ""


def _identity(section: Any) -> Any:
    if not isinstance(section, Mapping):
        return section
    return json.loads(json.dumps({k: v for k, v in section.items() if k not in _NOT_IDENTITY}))


def _grown_from(found: Any, wanted: Mapping[str, Any], setting: str) -> int | None:
    """Return the value of a setting in a record that differs from what is wanted in its being smaller only."""
    section, _, key = setting.partition(".")
    if not isinstance(found, dict):
        return None
    before, after = found.get("settings", {}).get(section), wanted["settings"][section]
    if not isinstance(before, dict) or type(before.get(key)) is not int or before[key] >= after[key]:
        return None
    grown = {**found, "settings": {**found["settings"], section: {**before, key: after[key]}}}
    return None if _first_difference(grown, wanted) else before[key]


def _first_difference(found: Any, wanted: Mapping[str, Any]) -> str | None:
    if not isinstance(found, dict):
        return f"{RUN_FILE} is not a record"
    for key in ("stage", "seed"):
        if found.get(key) != wanted[key]:
            return f"{key}: it has {found.get(key)!r}, asked for {wanted[key]!r}"
    for group in ("settings", "inputs"):
        theirs, ours = found.get(group) or {}, wanted[group]
        for name in sorted(set(theirs) | set(ours)):
            a, b = _identity(theirs.get(name)), ours.get(name)
            if a == b:
                continue
            if isinstance(a, dict) and isinstance(b, dict):
                key = next(k for k in sorted(set(a) | set(b)) if a.get(k) != b.get(k))
                return f"{name}.{key}: it has {a.get(key)!r}, asked for {b.get(key)!r}"
            return f"another {name} file" if group == "inputs" else f"other {name} settings"
    return None
