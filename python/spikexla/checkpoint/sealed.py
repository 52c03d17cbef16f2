"""Checkpoints in one file of the layout of safetensors: arrays, and text that describes them.

    8 bytes    length of the header, little-endian
    header     JSON: {"__metadata__": {"spikexla": "2", "crc32": "...", "about": "..."},
                      "net.W": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}, ...}
    data       the bytes of the arrays

Nothing in it can run. `spikexla` is the number of the format, `crc32` is of the whole file with
zeros in its place, `about` is JSON: what a Snapshot has besides arrays, and the metadata. A type
that safetensors does not know is written as bytes (U8). Source: the README of safetensors.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .. import disk
from ..module import Module
from .dtypes import dtype_of
from .snapshot import (
    CheckpointError,
    Snapshot,
    chosen,
    entries_in,
    plain_metadata,
    put,
    take,
    wanted,
)

SUFFIX = ".safetensors"
FORMAT = 2

_HEAD = '{"__metadata__":{"spikexla":"'  # follows the length of the header; then FORMAT
_CRC = '","crc32":"'
_ZEROS = b"0" * 8
_TYPES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)},
    **{f"float{n}": f"F{n}" for n in (16, 32, 64)},
}


def save(
    path: Path,
    net: Module,
    optimizer: Module | None,
    epoch: Any,
    *,
    full: bool = False,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Writes the file, as a whole or not at all."""
    about = {"full": full, "metadata": plain_metadata({**(metadata or {}), "epoch": epoch})}
    snapshot = take(chosen(net, optimizer, full), full)
    Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
    disk.replace(path, *packed(snapshot.arrays, {**about, "entries": snapshot.entries}))


def load(path: Path, net: Module, optimizer: Module | None) -> dict[str, Any]:
    """Gives the states what the file holds; returns the metadata, the epoch among them."""
    where = f"the checkpoint {path}"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no checkpoint {path}") from None
    try:
        written, arrays, about = unpacked(data)
    except Exception as error:  # a changed byte can become any of them
        raise CheckpointError(
            f"{where} is damaged or no checkpoint ({type(error).__name__}: {error}). Load an older "
            "one."
        ) from error
    if written > FORMAT:
        raise CheckpointError(
            f"{where} has format {written}, and this spikexla knows those up to {FORMAT}: update it"
        )
    entries = wanted(about["entries"], optimizer)
    put(Snapshot(arrays, entries, about["full"]), chosen(net, optimizer, about["full"]), where)
    return about["metadata"]


def packed(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> list[bytes | memoryview]:
    """The pieces of the file."""
    header: dict[str, Any] = {
        "__metadata__": {
            "spikexla": str(FORMAT),
            "crc32": _ZEROS.decode(),
            "about": json.dumps(about),
        }
    }
    data, end = [], 0
    for name, array in arrays.items():
        data.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        start, end = end, end + array.nbytes
        dtype, shape = _TYPES.get(str(array.dtype), "U8"), list(array.shape)
        if str(array.dtype) not in _TYPES:
            shape = [array.nbytes]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    pieces = [struct.pack("<Q", len(text)) + text, *data]
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    at = 8 + len(f"{_HEAD}{FORMAT}{_CRC}")
    pieces[0] = pieces[0][:at] + b"%08x" % crc + pieces[0][at + 8 :]
    return pieces


def unpacked(data: bytes) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
    """The number of the format, the arrays, and what describes them, whole and checked.

    Any exception means that the bytes are not what `packed` gave.
    """
    head = data[8:72].decode("ascii", "replace")
    if not head.startswith(_HEAD):
        raise ValueError("it does not begin as a checkpoint does")
    number = head[len(_HEAD) : head.index(_CRC)]
    at = 8 + len(_HEAD) + len(number) + len(_CRC)
    crc = zlib.crc32(memoryview(data)[at + 8 :], zlib.crc32(_ZEROS, zlib.crc32(data[:at])))
    if data[at : at + 8] != b"%08x" % crc:
        raise ValueError("the checksum differs")
    if int(number) > FORMAT:
        return int(number), {}, {}
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    about = json.loads(header.pop("__metadata__")["about"])
    if type(about["full"]) is not bool or not isinstance(about["metadata"], dict):
        raise ValueError("it is not described")
    entries = entries_in(about["entries"])
    if entries.keys() != header.keys():
        raise ValueError("it has not the arrays that it describes")
    arrays = {
        name: _array(memoryview(data)[start:], header[name]["data_offsets"], entry)
        for name, entry in entries.items()
    }
    return int(number), arrays, about


def _array(data: memoryview, offsets: Any, entry: dict[str, Any]) -> np.ndarray:
    (first, last), dtype, shape = offsets, dtype_of(entry["dtype"]), entry["shape"]
    if type(first) is not int or not 0 <= first <= last <= len(data):
        raise ValueError("an array lies outside of it")
    if last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError("an array has not the bytes that its shape needs")
    return np.ndarray(shape, dtype, data[first:last] if last > first else None)
