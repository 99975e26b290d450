"""YAML that people write by hand: no tags that make objects, no aliases, which can stand for far more than is there."""

from __future__ import annotations

from typing import Any

import yaml

MOST_CHARS = 2**20  # settings and lists of classes have thousands


class _Loader(yaml.SafeLoader):
    """The safe loader without aliases: a few lines of them can unfold to more than the memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias where it stands."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read; write the value out")
        return super().compose_node(parent, index)


def load_yaml(text: str) -> Any:
    r"""Parse YAML into plain values.

    Raises:
        ValueError: not YAML, or too long, too deep, with aliases, with tags of other languages' objects, or with a
            number or date that is none; the message is one line, without the file.

    >>> load_yaml("a: [1, x]")
    {'a': [1, 'x']}
    >>> load_yaml("a: &b [1]\nc: [*b, *b]")
    Traceback (most recent call last):
    ValueError: aliases (*name) are not read; write the value out
    """
    if len(text) > MOST_CHARS:
        raise ValueError(f"longer than {MOST_CHARS} characters")
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError, AttributeError, TypeError, KeyError) as error:
        # PyYAML lets through what its own constructors raise over "0x", 2001-99-99 or `!!int [1]`
        lines = str(error).splitlines() or ["unreadable"]
        raise ValueError(lines[0][:120]) from None
