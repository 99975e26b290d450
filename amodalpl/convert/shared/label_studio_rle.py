"""Label Studio's run lengths for brush masks: the bit format of thi.ng's rle-pack, over red, green, blue, alpha.

A head of 32 bits for the number of values, 5 for the bits of a value less one, four times 4 for the bits of the four
sizes of run less one. Then runs: a bit that says "all the same", 2 bits that choose a size, the run's length less one,
and one value, or as many as the run is long.
"""

from __future__ import annotations

import numpy as np

_VALUE_BITS = 8
_RUN_BITS = (3, 4, 8, 16)  # which Label Studio itself writes


def decode(data: bytes, expected: int) -> np.ndarray:
    """Unpack runs.

    Args:
        data: the packed bytes.
        expected: how many values there must be; checked before anything is allocated.

    Returns:
        (expected,) uint8.

    Raises:
        ValueError: another number of values, values that are no bytes, or data that ends too early.
    """
    bits = _Bits(data)
    count, value_bits = bits.take(32), bits.take(5) + 1
    if count != expected:
        raise ValueError(f"expected runs over {expected} values, got {count}")
    if value_bits != _VALUE_BITS:
        raise ValueError(f"expected values of {_VALUE_BITS} bits, got {value_bits}")
    run_bits = [bits.take(4) + 1 for _ in range(4)]
    values = np.zeros(count, dtype=np.uint8)
    at = 0
    while at < count:
        same = bits.take(1)
        end = at + 1 + bits.take(run_bits[bits.take(2)])
        if end > count:
            raise ValueError(f"expected runs over {expected} values, got more")
        if same:
            values[at:end] = bits.take(value_bits)
        else:
            values[at:end] = [bits.take(value_bits) for _ in range(end - at)]
        at = end
    return values


def encode(values: np.ndarray) -> bytes:
    """Pack runs.

    Args:
        values: (N,) uint8, N at least 1.

    >>> decode(encode(np.array([7, 7, 7, 0], dtype=np.uint8)), 4).tolist()
    [7, 7, 7, 0]
    """
    fields = [f"{len(values):032b}", f"{_VALUE_BITS - 1:05b}", *(f"{bits - 1:04b}" for bits in _RUN_BITS)]
    starts = np.append(0, np.flatnonzero(np.diff(values)) + 1)
    lengths = np.diff(np.append(starts, len(values)))
    for value, length in zip(values[starts].tolist(), lengths.tolist(), strict=True):
        while length:
            run = min(length, 1 << _RUN_BITS[-1])
            size = next(i for i, bits in enumerate(_RUN_BITS) if run <= 1 << bits)
            fields.append(f"1{size:02b}{run - 1:0{_RUN_BITS[size]}b}{value:0{_VALUE_BITS}b}")
            length -= run
    text = "".join(fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


class _Bits:
    """Reads whole numbers of any width, highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    def take(self, width: int) -> int:
        taken = self._text[self._at : self._at + width]
        if len(taken) < width:
            raise ValueError("the data ends too early")
        self._at += width
        return int(taken, 2)
