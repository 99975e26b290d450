"""Ratios to the machine's floor, compared with the stored ones."""

from __future__ import annotations

from collections.abc import Mapping

WORSE_BY = 1 / 3


def slower_than_stored(found: Mapping[str, float], stored: Mapping[str, float]) -> list[str]:
    """List the cases whose ratio of time to floor has grown by more than a third.

    Args:
        found: ratios by case; cases that were not run are not in it.
        stored: the same, of an earlier run of the same kind.

    Returns:
        One line per such case, in the order of `found`; a case that is not stored is never slower.

    >>> slower_than_stored({"a": 4.1, "b": 3.9, "c": 9.0}, {"a": 3.0, "b": 3.0})
    ['a: 4.1 times the floor, 3.0 when stored (1.37 times as much)']
    """
    return [
        f"{name}: {ratio:.3g} times the floor, {stored[name]} when stored ({ratio / stored[name]:.2f} times as much)"
        for name, ratio in found.items()
        if name in stored and ratio > stored[name] * (1 + WORSE_BY)
    ]
