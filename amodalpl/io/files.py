"""Files that are there whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, OutputError

_OTHER_FILES = {  # first bytes to what they tell
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull`",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"PK\x05\x06": "an empty zip archive; export it again",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"PAR1": "a Parquet table; export the annotations as JSON",
    b"SQLite format 3": "a SQLite database; export the annotations as JSON",
    b"\x80\x04": "a pickle, which is never opened; export the annotations as JSON",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"<!DOCTYPE html": "a web page; download the file itself",
    b"<html": "a web page; download the file itself",
}
_TORCH_CANNOT_WRITE = ("inline_container", "iostream error", "PytorchStreamWriter")  # its words for a full disk


_TEMPORARY = re.compile(r"\..+\.part(\d+)(\.[^.]*)?")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, sync it, and rename it: it is there whole or not at all.

    Args:
        path: the final name.
        write: called with the temporary path, which keeps the suffix.
    """
    with whole_file(path) as temporary:
        write(temporary)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Do the same for a block that writes the temporary path it is given; it is renamed where the block ends."""
    process = os.environ.get("RANK", "0")  # processes of one `torchrun` must not write to one temporary file
    temporary = path.with_name(f".{path.stem}.part{process}{path.suffix}")
    try:
        yield temporary
        with temporary.open("r+b") as handle:  # Windows syncs only what is open for writing
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = _why_not_written(error)
        if reason is None:
            raise
        raise OutputError(f"{path}: could not write it ({reason}); check space and rights") from None


def _sync_folder(folder: Path) -> None:
    """Make a rename last: without it the new name may be lost with the power."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems sync files only
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why_not_written(error: BaseException) -> str | None:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _TORCH_CANNOT_WRITE):
        return "no space left, or the file too large"
    return None


def remove_temporaries(folder: Path) -> None:
    """Remove what `write_whole` left when its process was killed: this process's, and those of numbers now unused."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    for place, _, names in os.walk(folder):
        for name in names:
            found = _TEMPORARY.fullmatch(name)
            if found and (int(found[1]) == rank or (rank == 0 and int(found[1]) >= world)):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of these bytes, whole."""
    write_whole(path, lambda part: part.write_bytes(content))


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole; keys keep their order, so equal values give equal bytes."""
    text = json.dumps(value, ensure_ascii=False, indent=None if _is_long(value) else 1, allow_nan=False)
    write_whole(
        path, lambda part: part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace", newline="\n")
    )


def _is_long(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value.get("annotations", ())) > 0


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a `.npy` file whole, without pickle."""
    write_whole(path, lambda part: np.save(part, array, allow_pickle=False))


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file that an earlier stage or the user wrote.

    Args:
        path: the file.
        what: named in messages, e.g. "a label file".

    Raises:
        DataError: no such file, or not JSON.
    """
    data = b""
    try:
        data = path.read_bytes()
        return json.loads(data)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: expected {what}, found no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: expected {what}, got a folder") from None
    except OSError as error:
        raise DataError(f"{path}: expected {what}, could not read it ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected {what} in JSON, got {no_json(data, error)}") from None


def read_json_folder(folder: Path, what: str) -> dict[Path, Any]:
    """Read all JSON files of a folder, in order of their names; see `read_json`."""
    return {file: read_json(file, what) for file in sorted(folder.glob("*.json"))}


def no_json(data: bytes, error: Exception) -> str:
    """Tell what a file is instead of JSON, and what to do.

    >>> no_json(b"version https://git-lfs.github.com/spec/v1", ValueError())
    'a Git LFS pointer, not the file itself; run `git lfs pull`'
    """
    for start, kind in _OTHER_FILES.items():
        if data.lstrip(b"\xef\xbb\xbf \r\n").startswith(start):
            return kind
    if data[257:262] == b"ustar":
        return "a tar archive; unpack it"
    if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and _is_json_lines(data):
        return "JSON Lines, a value per line; expected one JSON value: export it as one, or put the lines into a list"
    if isinstance(error, json.JSONDecodeError):
        return f"something else (not JSON at line {error.lineno}, column {error.colno}: {error.msg})"
    return f"something else ({str(error)[:120]})"


def _is_json_lines(data: bytes) -> bool:
    lines = data.splitlines()
    try:
        return len(lines) > 1 and all(isinstance(json.loads(line), dict) for line in lines[:2])
    except ValueError:
        return False


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        DataError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}: expected a readable file ({error.strerror})") from None
    return digest.hexdigest()


def hash_output(path: Path) -> str | None:
    """Return the SHA-256 of a file, or of the names and bytes of all files in a folder; None when it is not there."""
    if not path.is_dir():
        return hash_file(path) if path.exists() else None
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{hash_file(file)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def hash_listing(folder: Path, file_names: Iterable[str]) -> str:
    """Return a hash of names and sizes of images: cheap for any number, and changes when one is replaced or lost."""
    digest = hashlib.sha256()
    for name in sorted(file_names):
        with suppress(OSError, ValueError):
            digest.update(f"{name}\0{(folder / name).stat().st_size}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
