"""Checkpoints in one file, in the layout of the guide: a pickle of a dict.

{'params', 'long_term', 'epoch', 'optimizer_state'} and, written here, 'metadata' and 'other': the
random streams, and of a full checkpoint every other State.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import tempfile
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..module import Module
from ..state import LongTermState, ParamState, State, is_kind
from ..statedict import StateDict
from .snapshot import CheckpointError, Snapshot, check, chosen, put, take

_TRAILER = b"\nspikexla crc32 "  # after the end of the pickle, where pickle.load does not look

# What a checkpoint may be made of.  Unpickling calls whatever the file names, so nothing else is
# called unless the user vouches for the file.
_ALLOWED = {
    "builtins": {"complex", "set", "frozenset", "bytearray", "slice", "range"},
    "collections": {"OrderedDict"},
    "datetime": {"datetime", "date", "time", "timedelta", "timezone"},
    "jax._src.array": {"_reconstruct_array"},
    "ml_dtypes": {"bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"},
    "numpy": {"ndarray", "dtype", "bool", "bool_"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "saiunit": {"get_or_create_dimension"},  # of older versions; see `_unit_names`
    "saiunit._base_quantity": {"_quantity_with_unit"},
    "saiunit._base_unit": {"_to_unit"},
    "spikexla.optim.state": {"OptimState"},
    "spikexla.state": {"State", "ParamState", "ShortTermState", "LongTermState", "_Key"},
    "spikexla.value": {"_Key"},
    "spikexla.statedict": {"StateDict", "PathKey"},
}
_ALLOWED_TUPLES = {"optax"}  # what an optimiser remembers: named tuples of these packages
_LAYOUT = {"params", "long_term", "epoch", "optimizer_state", "other", "metadata"}


def save(
    path: Path,
    net: Module,
    optimizer: Any,
    epoch: int,
    *,
    full: bool = False,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Writes the file, as a whole or not at all."""
    kinds = {"params": ParamState, "long_term": LongTermState}
    kept = {part: net.states(kind) for part, kind in kinds.items()}
    known = {id(state) for states in kept.values() for state in states.values()}
    states = chosen(net, None, full)
    snapshot = take(states, full)
    others = take({n: s for n, s in states.items() if id(s) not in known}, full).arrays
    content: dict[str, Any] = {
        part: StateDict((key, kind(state.value)) for key, state in kept[part].items())
        for part, kind in kinds.items()
    }
    content |= {
        "epoch": epoch,
        "optimizer_state": None if optimizer is None else jax.device_get(optimizer.state_dict()),
        "other": {"arrays": others, "entries": snapshot.entries, "full": full},
        "metadata": dict(metadata or {}),
    }
    data = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    write(path, data + _TRAILER + b"%08x" % zlib.crc32(data))


def write(path: Path, data: bytes) -> None:
    """Replaces the file by one with these bytes; a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if os.name == "posix":  # the new name is on the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(path: Path, net: Module, optimizer: Any, *, trusted: bool = False) -> dict[str, Any]:
    """Gives the states and the optimiser what the file holds; returns the metadata and the epoch.

    Files that `pickle.dump` wrote as the guide shows are read too.
    """
    content = read(path, trusted=trusted)
    where = f"the checkpoint {path}"
    if not isinstance(content, dict) or "params" not in content:
        raise CheckpointError(f"{where} is no checkpoint: it holds no dict with 'params'")
    saved: dict[str, State] = {}
    for part in ("params", "long_term"):
        for key, state in (content.get(part) or {}).items():
            name = ".".join(map(str, key)) if isinstance(key, tuple) else str(key)
            saved[f"net.{name}"] = state if isinstance(state, State) else State(state)
    # A file of the guide's own making has no random streams, and perhaps parameters only.
    other = content.get("other") or {"arrays": {}, "entries": {}, "full": False}
    states = chosen(net, None, other["full"])
    if "other" not in content:
        kinds = (ParamState, LongTermState) if "long_term" in content else (ParamState,)
        states = {n: s for n, s in states.items() if any(is_kind(s, kind) for kind in kinds)}
    found = take(saved, other["full"])
    arrays, entries = found.arrays | other["arrays"], found.entries | other["entries"]
    snapshot = Snapshot(arrays, entries, other["full"])
    check(snapshot.entries, states, where)
    memory = content.get("optimizer_state")
    if optimizer is not None:
        if memory is None:
            raise CheckpointError(f"{where} has no optimiser; load it without one")
        optimizer.load_state_dict(memory)
    put(snapshot, states, where)
    extra = {key: value for key, value in content.items() if key not in _LAYOUT}
    return {**extra, **content.get("metadata", {}), "epoch": content.get("epoch")}


def read(path: Path, *, trusted: bool = False) -> Any:
    """The content of the file; CheckpointError when it is damaged or names what it should not."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no checkpoint {path}") from None
    body, trailer, crc = data.rpartition(_TRAILER)
    try:
        if trailer and int(crc, 16) != zlib.crc32(body):
            raise pickle.UnpicklingError("the checksum differs")
        return (pickle.Unpickler if trusted else _Careful)(io.BytesIO(data)).load()
    except CheckpointError as error:
        raise CheckpointError(f"the checkpoint {path} {error}") from None
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint {path} is damaged or no checkpoint ({type(error).__name__}: {error}). "
            "Load an older one."
        ) from error


class _Careful(pickle.Unpickler):
    """Unpickles what a checkpoint may be made of, and refuses the rest."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _ALLOWED.get(module, ()):
            return super().find_class(module, name)
        package = module.partition(".")[0]
        if package in ("saiunit", "brainunit") and (module, name) in _unit_names():
            return super().find_class(module, name)
        if package in _ALLOWED_TUPLES:
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, tuple):
                return found
        raise CheckpointError(
            f"names {module}.{name}, which is not part of a checkpoint; unpickling would run it. "
            "If you trust where the file is from, load it with trusted=True."
        )


@functools.cache
def _unit_names() -> set[tuple[str, str]]:
    """The names that pickles of quantities have in the installed version of brainunit."""
    import brainunit as u

    class Note(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.add((module, name))
            return super().find_class(module, name)

    names: set[tuple[str, str]] = set()
    for sample in (1.0 * u.mV, np.ones(1) * (u.mV / u.ms**2), 2.0 * u.UNITLESS):
        Note(io.BytesIO(pickle.dumps(sample))).load()
    return names
