"""Checkpoints in one file, in the layout of the guide: a pickle of a dict.

{'params', 'long_term', 'epoch', 'optimizer_state'} and, written here, 'format', 'metadata' and
'other': the random streams, of a full checkpoint every other State, and the checksums of all.
"""

from __future__ import annotations

import io
import os
import pickle
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax

from .. import disk
from ..module import Module
from ..state import LongTermState, ParamState, State, is_kind
from ..statedict import StateDict
from .snapshot import (
    CheckpointError,
    Snapshot,
    assign,
    chosen,
    entries_in,
    fitted,
    refuse_trace,
    take,
)
from .unpickle import unpickled

FORMAT = 2  # 1, of spikexla 0.1, has no number
_TRAILER = b"\nspikexla crc32 "  # after the end of the pickle, where pickle.load does not look
_LAYOUT = {"format", "params", "long_term", "epoch", "optimizer_state", "other", "metadata"}


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
    content: dict[str, Any] = {"format": FORMAT}
    content |= {
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
    Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
    disk.replace(path, data, _TRAILER + b"%08x" % zlib.crc32(data))


def load(path: Path, net: Module, optimizer: Any, *, trusted: bool = False) -> dict[str, Any]:
    """Gives the states and the optimiser what the file holds; returns the metadata and the epoch.

    Files that `pickle.dump` wrote as the guide shows are read too.
    """
    refuse_trace("restored")
    where = f"the checkpoint {path}"
    content = read(path, trusted=trusted)
    if not isinstance(content, dict) or "params" not in content:
        raise CheckpointError(f"{where} is no checkpoint: it holds no dict with 'params'")
    try:
        parts = _parts(content)
    except Exception as error:  # whoever wrote it can have put anything anywhere
        raise CheckpointError(
            f"{where} is not laid out as a checkpoint ({type(error).__name__}: {error}). "
            "save_checkpoint writes such files."
        ) from error
    states = chosen(net, None, parts.full)
    if parts.kinds is not None:
        kinds = parts.kinds
        states = {n: s for n, s in states.items() if any(is_kind(s, kind) for kind in kinds)}
    new = fitted(Snapshot(parts.arrays, parts.entries, parts.full), states, where)
    if optimizer is not None:
        _load_optimizer(optimizer, parts.memory, where)
    assign(new)
    return parts.result


class _Parts(NamedTuple):
    """What a file has to say."""

    arrays: dict[str, Any]
    entries: dict[str, dict]
    full: bool
    kinds: tuple[type[State], ...] | None  # that the guide's files have; None for those of ours
    memory: Any
    result: dict[str, Any]


def _parts(content: dict[Any, Any]) -> _Parts:
    written = content.get("format", 1)
    if type(written) is not int or written > FORMAT:
        raise ValueError(
            f"it has format {written!r}, and this spikexla knows those up to {FORMAT}: update it"
        )
    saved: dict[str, State] = {}
    for part in ("params", "long_term"):
        for key, state in (content.get(part) or {}).items():
            name = ".".join(map(str, key)) if isinstance(key, tuple) else str(key)
            if f"net.{name}" in saved:
                raise ValueError(f"it has two States {name!r}")
            saved[f"net.{name}"] = state if isinstance(state, State) else State(state)
    # A file of the guide's own making has no random streams, and perhaps parameters only.
    other = content.get("other") or {"arrays": {}, "entries": {}, "full": False}
    full, metadata = other["full"], content.get("metadata", {})
    if type(full) is not bool or not isinstance(metadata, dict):
        raise TypeError("'metadata' is no dict" if type(full) is bool else "'full' is no bool")
    kinds = (ParamState, LongTermState) if "long_term" in content else (ParamState,)
    found = take(saved, full)
    extra = {key: value for key, value in content.items() if key not in _LAYOUT}
    return _Parts(
        found.arrays | dict(other["arrays"]),
        found.entries | entries_in(other["entries"]),
        full,
        None if "other" in content else kinds,
        content.get("optimizer_state"),
        {**extra, **metadata, "epoch": content.get("epoch")},
    )


def _load_optimizer(optimizer: Any, memory: Any, where: str) -> None:
    """Gives the optimiser its memory, all of it or nothing."""
    if memory is None:
        raise CheckpointError(f"{where} has no optimiser; load it without one")
    is_module = isinstance(optimizer, Module)
    before = [(s, s.value) for s in (optimizer.states().values() if is_module else ())]
    try:
        optimizer.load_state_dict(memory)
    except Exception as error:
        assign(before)
        what = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise CheckpointError(
            f"{where} has no memory of this optimiser: {what}{error}. Load it without one."
        ) from error


def read(path: Path, *, trusted: bool = False) -> Any:
    """The content of the file; CheckpointError when it is damaged or names what it should not."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no checkpoint {path}") from None
    body, trailer, crc = data.rpartition(_TRAILER)
    try:
        if trailer and crc != b"%08x" % zlib.crc32(body):
            raise pickle.UnpicklingError("the checksum differs")
        load = pickle.Unpickler(io.BytesIO(data)).load if trusted else lambda: unpickled(data)
        content = load()
        ours = isinstance(content, dict) and ("format" in content or "other" in content)
        if ours and not trailer:
            raise pickle.UnpicklingError("its checksum is missing")
        return content
    except CheckpointError as error:
        raise CheckpointError(f"the checkpoint {path} {error}") from None
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint {path} is damaged or no checkpoint ({type(error).__name__}: {error}). "
            "Load an older one."
        ) from error
