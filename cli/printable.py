"""Text of unknown origin, made fit for a terminal: it must not move the cursor or hide what stands there."""

from __future__ import annotations

import unicodedata

_HARMLESS = {"Zs"}  # spaces of other scripts, which `str.isprintable` takes for unprintable


def printable(text: str) -> str:
    r"""Return text with control characters, and those that change the direction of writing, as their escapes.

    Line ends and tabs stay.

    >>> printable("cup\x1b[2J")
    'cup\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if _is_harmless(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in "\n\t" or unicodedata.category(character) in _HARMLESS
