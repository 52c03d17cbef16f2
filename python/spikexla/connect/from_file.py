"""Connectivity from a file that lists its edges."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .base import CSR
from .from_arrays import from_arrays

COLUMNS = {"pre": np.int64, "post": np.int64, "weight": np.float64, "delay": np.float64}
REQUIRED = ("pre", "post")


class Edges(NamedTuple):
    """Connectivity, and what the file says of each synapse, in the order of `conn.indices`."""

    conn: CSR
    weight: np.ndarray | None
    delay: np.ndarray | None


def from_file(path: str | Path, n_pre: int, n_post: int) -> Edges:
    """Reads synapses `pre -> post` with their weights and delays, where the file has them.

    path: a `.csv`, whose first line names its columns, or a `.npz` of arrays of one length; in both
    they are called pre, post (neurons, counted from 0), weight and delay, of which the last two may
    be absent. Numbers are taken as they are: what unit they have, the file does not say.

    Errors: FileNotFoundError, and ValueError with the path for another ending, a damaged file, a
    column that is absent or unknown, a cell that is no number or NaN, a negative delay, and a
    neuron out of range.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "edges.csv"
    >>> _ = path.write_text("pre,post,weight\\n1,2,0.5\\n0,1,-4\\n")
    >>> edges = from_file(path, 2, 3)
    >>> edges.conn.indices.tolist(), edges.weight.tolist(), edges.delay
    ([1, 2], [-4.0, 0.5], None)
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise ValueError(f"{path}: an edge list ends in {' or '.join(readers)}. Convert the file.")
    table = readers[path.suffix](path)
    try:
        conn, order = from_arrays(table["pre"], table["post"], n_pre, n_post)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from None
    return Edges(conn, *(_values(path, table, name, order) for name in ("weight", "delay")))


def _values(path: Path, table: dict[str, Any], name: str, order: np.ndarray) -> np.ndarray | None:
    if name not in table:
        return None
    x = table[name]
    if x.shape != order.shape or x.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: {name} has shape {x.shape} and dtype {x.dtype}, but must be one number for "
            f"each of {order.size} synapses."
        )
    wrong = ~np.isfinite(x) if name == "weight" else ~(np.isfinite(x) & (x >= 0))
    if wrong.any():
        at = int(np.argmax(wrong))
        rule = "finite" if name == "weight" else "finite and 0 or more"
        raise ValueError(f"{path}: {name}[{at}] = {x[at]}, but a {name} is {rule}. Correct it.")
    return x[order]


def _columns(path: Path, names: list[str]) -> None:
    wrong = [n for n in names if n not in COLUMNS] + [n for n in REQUIRED if n not in names]
    if wrong or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: the columns are {', '.join(names) or '(none)'}. They must be pre and post, "
            "and may be weight and delay, each once; other columns must go."
        )


def _read_csv(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8-sig") as file, warnings.catch_warnings():
            names = [name.strip() for name in file.readline().split(",")]
            _columns(path, names)
            law = np.dtype([(name, COLUMNS[name]) for name in names])
            warnings.simplefilter("error", DeprecationWarning)  # a source 1.5 is no source 1
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            rows = np.loadtxt(file, dtype=law, delimiter=",", ndmin=1)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: damaged, or no text in UTF-8 ({error}).") from None
    except (ValueError, KeyError, DeprecationWarning) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: {error}; rows are those after the line of names.") from None
    return {name: np.ascontiguousarray(rows[name]) for name in names}


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = list(file.files)
            _columns(path, names)
            return {name: file[name] for name in names}
    except (zipfile.BadZipFile, zlib.error, EOFError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"{path}: damaged, or not written by numpy.savez ({error}).") from None
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: damaged, or not written by numpy.savez ({error}).") from None
