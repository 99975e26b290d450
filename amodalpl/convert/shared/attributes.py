"""Attributes of objects, such as `occluded` or `colour`: one mapping from names to simple values in every format."""

from __future__ import annotations

from typing import Any

Value = str | bool | int | float


def attributes_of(raw: Any) -> dict[str, Any]:
    """Return what a file has under a key that should hold attributes; nothing when it is no mapping.

    >>> attributes_of({"occluded": True}), attributes_of(None)
    ({'occluded': True}, {})
    """
    return dict(raw) if isinstance(raw, dict) else {}


def simple(raw: Any) -> tuple[dict[str, Value], int]:
    """Part attributes into those of a single value, and the number of others.

    >>> simple({"occluded": True, "path": [1, 2]}), simple(["no mapping"])
    (({'occluded': True}, 1), ({}, 1))
    """
    attributes = attributes_of(raw)
    kept = {name: value for name, value in attributes.items() if isinstance(value, str | bool | int | float)}
    return kept, len(attributes) - len(kept) if isinstance(raw, dict) else int(bool(raw))
