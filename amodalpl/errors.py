"""The errors a user can cause: every one is a single clear line, caught once in the command line.

Messages name the file, the place in it, what was expected, what was found, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AmodalplError(Exception):
    """Base of all errors with a message meant for the user (exit code 2)."""


class DataError(AmodalplError):
    """Annotations, images or masks are missing, unreadable, or contradict each other."""


class TooFewObjectsError(DataError):
    """The objects can all be used, but do not suffice for what was asked."""


class SettingsError(AmodalplError):
    """A setting is unknown, of the wrong type, or out of range."""


class OutputError(AmodalplError):
    """An output folder cannot be used: it belongs to another run, or a stage before it is unfinished."""


class CheckpointError(AmodalplError):
    """A weights file is missing, corrupt, or of another network."""


class MissingPackageError(AmodalplError):
    """An optional package is needed for what was asked; the message says what to install."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as `; did you mean 'steps'?`, or the list of what is known.

    >>> nearest("stpes", ["steps", "seed"])
    "; did you mean 'steps'?"
    >>> nearest("zebra", ["steps", "seed"])
    '; known: seed, steps'
    """
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(options)}"
