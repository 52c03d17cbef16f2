"""Looks at the global heaps of an HDF5 file, from which HDF5 1.14 does not come back if damaged.

Texts of attributes are in them. HDF5 goes from object to object by their sizes, and where a changed
byte leads it to a size of 0 it stays for ever.

    heap     "GCOL", version 1, 3 zeros, size (8 bytes) of the heap; then objects
    object   number (2; 0: free space to the end), references (2), zeros (4), size (8), its bytes,
             zeros up to a multiple of 8

Source: the HDF5 file format specification, III.E.
"""

from __future__ import annotations

import struct
from typing import Any

_START = b"GCOL\x01\0\0\0"
_OBJECT = struct.Struct("<HHIQ")
_FIRST = 1 << 20  # bytes that are looked through: heaps are made when the attributes are


def check(opened: Any) -> None:
    """ValueError where a heap is not as it must be; leaves the file at its start."""
    opened.seek(0)
    content = opened.read(_FIRST)
    opened.seek(0)
    at = content.find(_START)
    while at >= 0:
        if at % 8 == 0:
            _check(content, at)
        at = content.find(_START, at + 1)


def _check(content: bytes, at: int) -> None:
    (size,) = struct.unpack_from("<Q", content.ljust(at + 16, b"\0"), at + 8)
    place, end = at + 16, at + size
    if end > len(content) and len(content) == _FIRST:
        return  # goes on behind what was read
    while place + _OBJECT.size <= end <= len(content):
        number, _, _, length = _OBJECT.unpack_from(content, place)
        if number == 0 and place + length != end:
            break
        place += length if number == 0 else _OBJECT.size + -(-length // 8) * 8
    if place != end:
        raise ValueError("a heap of texts is damaged")
