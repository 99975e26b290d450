"""Valid inputs, spoilt: values, keys and structure of parsed files, tokens of text, and plain bytes."""

from __future__ import annotations

import copy
import json
import re
from random import Random
from typing import Any

NUMBERS = [
    0, -1, 1, 2, 7, 0.5, -0.0, 1e-300, 1e308, -1e308, 255, 256, 65_535, 65_536, 100_000, 2**28, 2**31, 2**32, 2**53,
    2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400, float("nan"), float("inf"), -float("inf"),
]  # fmt: skip
TEXTS = [
    "", " ", "0", "-1", "1e3", "nan", "null", "true", "a", "é", "日本", "../x", "../../etc/passwd", "/etc/passwd",
    "C:\\x", "a\0b", "a\nb", "a\rb", "\x1b[31m", "\u202e", "\ud800", "<script>alert(1)</script>", "&amp;", "${HOME}",
    "`id`",     "!!python/object:os.system", "%s%n", "{0}", "x" * 5000, "1" * 5000, "auto", "cpu", "[", "{", "*a", "&a",
    "1", "1.0", " 7 ", "-0", "false", "True", "a.JPG", "sub\\a.png", "e\u0301.png",
]  # fmt: skip
SHAPES: list[Any] = [
    None, True, False, [], {}, [[]], [{}], [None], [0], [1, 2, 3], {"a": 1}, {"": None}, [[0, 0, 1, 0, 1, 1]],
    [[0, 0, 1e9, 0, 1e9, 1e9]], [[0, 0] * 4000], {"size": [100_000, 100_000], "counts": "0"},
    {"size": [2**31, 2**31], "counts": [2**62]}, {"size": [6, 8], "counts": "PPYo0"}, {"size": [6, 8], "counts": [48]},
    {"size": [12, 16], "counts": [20, 5]}, {"size": ["12", 16.0], "counts": ["20", 5.0, 167]},
    {"size": [12, 16], "counts": "b'PPYo0'"}, [["1", "1", "9", "1", "9", "9"]], [[[1, 1], [9, 1], [9, 9]], [2, 2], 3],
]  # fmt: skip
_TOKEN = re.compile(rb"[A-Za-z_]+|-?\d+(?:\.\d+)?|\s+|[^\w\s]")


def nested(depth: int) -> Any:
    """Return a list in a list in a list, made without recursion."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def hostile(random: Random) -> Any:
    """Return a value that a careless reader stumbles over."""
    return copy.deepcopy(random.choice(random.choice((NUMBERS, TEXTS, SHAPES))))


def _holders(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a parsed file."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    return found


def _changed(random: Random, value: Any) -> Any:
    """Return something near a value: one more, the other sign, cut text, another type."""
    if isinstance(value, bool) or value is None:
        return hostile(random)
    if isinstance(value, (int, float)):
        near = [value + 1, value - 1, -value, value * 2, value * 10**6, 0.5, str(value), [value], bool(value)]
        return random.choice(near)
    if isinstance(value, str):
        at = random.randrange(len(value) + 1)
        odd = random.choice(TEXTS)
        return random.choice([value[:at], value[at:], value[:at] + odd + value[at:], value * 2, odd, value.upper()])
    if isinstance(value, list) and value:
        at = random.randrange(len(value))
        return random.choice([value[:at], value + value, value[::-1], value[at], [value], dict(enumerate(value))])
    return random.choice([[value], hostile(random)])


def spoil_value(random: Random, value: Any) -> Any:
    """Return a parsed file with one to four changes."""
    value = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        places = _holders(value) if isinstance(value, (dict, list)) else []
        if not places or random.random() < 0.01:
            value = hostile(random)
            continue
        holder, key = random.choice(places)
        what = random.randrange(8)
        if what < 2:
            holder[key] = hostile(random)
        elif what < 4:
            holder[key] = _changed(random, holder[key])
        elif what == 4:
            del holder[key]
        elif what == 5:
            other, other_key = random.choice(places)
            holder[key] = copy.deepcopy(other[other_key]) if _has(other, other_key) else None
        elif isinstance(holder, dict):
            holder[random.choice((*TEXTS[3:16], *(str(k) for _, k in places)))] = (
                hostile(random) if what == 6 else holder.pop(key)
            )
        else:
            holder.insert(key, copy.deepcopy(holder[key]))
    return value


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def spoil_tokens(random: Random, data: bytes) -> bytes:
    """Return text with words, numbers or signs replaced, doubled, swapped or gone."""
    tokens = _TOKEN.findall(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        if not tokens:
            break
        at = random.randrange(len(tokens))
        odd = str(random.choice((*NUMBERS, *TEXTS))).encode("utf-8", "surrogatepass")
        tokens[at] = random.choice([odd, b"", tokens[at] * 2, random.choice(tokens)])
    return b"".join(tokens)


def spoil_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes flipped, cut, repeated, inserted, or in another encoding."""
    at = random.randrange(len(data) + 1)
    to = random.randrange(at, len(data) + 1)
    what = random.randrange(7)
    if what == 0:
        return data[:at]
    if what == 1:
        return data[:at] + data[to:]
    if what == 2:
        return data[:to] + data[at:]
    if what == 3:
        return data[:at] + random.randbytes(random.choice((1, 2, 4, 40))) + data[at:]
    if what == 4:
        return random.choice((b"\xef\xbb\xbf" + data, data.decode("latin-1").encode("utf-16"), b"", b"\0" * 100))
    if what == 5:
        return data[:at] + random.choice((b"[", b'{"a":', b"-", b"<a>")) * 20_000 + data[at:]
    spoilt = bytearray(data)
    for _ in range(random.choice((1, 1, 4, 20))):
        if spoilt:
            spoilt[random.randrange(len(spoilt))] = random.randrange(256)
    return bytes(spoilt)


def to_bytes(content: Any) -> bytes:
    """Return a file's bytes: those given, text as UTF-8, anything else as JSON (with NaN and Infinity)."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    return json.dumps(content).encode("utf-8", "surrogatepass")


def spoil(random: Random, content: Any) -> bytes:
    """Return a file's bytes, spoilt in a way that suits its content."""
    kind = random.random()
    if isinstance(content, bytes):
        return spoil_bytes(random, content)
    if isinstance(content, str):
        return (spoil_bytes if kind < 0.2 else spoil_tokens)(random, to_bytes(content))
    if kind < 0.1:
        return spoil_bytes(random, to_bytes(content))
    if kind < 0.15:
        return spoil_tokens(random, to_bytes(content))
    return to_bytes(spoil_value(random, content))
