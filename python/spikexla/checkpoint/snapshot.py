"""Snapshot: the values of a model's states as arrays by name, with what is needed to check them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import random
from ..atomic import Transaction
from ..clock import clock_of
from ..module import Module
from ..state import ACTIVE, LongTermState, ParamState, State, TraceError, is_kind
from ..units import is_quantity
from .dtypes import DTYPES, dtype_of

CLOCK = "clock"  # the entry of a full checkpoint for the time of `simulate`
_LISTED = 10  # problems that an error shows


class CheckpointError(ValueError):
    """A checkpoint is damaged, or does not fit the model it is loaded into."""


class Snapshot(NamedTuple):
    """Arrays by name, and for each its `shape`, `dtype`, `unit`, `kind` and `crc32`.

    kind: 'array', 'number' (of Python), 'weak' (an array of a number's type) or 'key <impl>'.
    """

    arrays: dict[str, np.ndarray]
    entries: dict[str, dict[str, Any]]
    full: bool


def chosen(net: Module, optimizer: Module | None, full: bool) -> dict[str, State]:
    """The states to save, by name: parameters and long-term states, or all, and random streams."""
    found: dict[str, State] = {}
    seen: set[int] = set()
    for part, module in (("net", net), ("optimizer", optimizer)):
        if module is None:
            continue
        if not isinstance(module, Module):
            raise TypeError(f"{part} must be a Module, got {type(module).__name__}: {module!r}")
        for path, state in module.states().items():
            keep = full or isinstance(state, random.RandomState)
            keep = keep or is_kind(state, ParamState) or is_kind(state, LongTermState)
            if keep and id(state) not in seen:
                seen.add(id(state))
                found[f"{part}.{path}"] = state
    if id(random.DEFAULT) not in seen:
        found["random"] = random.DEFAULT
    if full:
        found[CLOCK] = clock_of(net).state
    return found


def take(states: dict[str, State], full: bool, *, copy: bool = False) -> Snapshot:
    """The present values; with `copy` they stay as they are whatever happens to the states."""
    refuse_trace("saved")
    arrays, entries = {}, {}
    for name, leaf in _leaves(states):
        array, entry = _describe(leaf)
        arrays[name] = np.array(array) if copy else array
        entries[name] = entry
    return Snapshot(arrays, entries, full)


def put(snapshot: Snapshot, states: dict[str, State], where: str) -> None:
    """Gives the states the values of the snapshot; changes nothing when one does not fit."""
    assign(fitted(snapshot, states, where))


def fitted(snapshot: Snapshot, states: dict[str, State], where: str) -> list[tuple[State, Any]]:
    """The states with the values that the snapshot has for them; CheckpointError if one has not."""
    check(snapshot.entries, states, where)
    states = _expected(states, snapshot.entries)
    here = dict(_leaves(states))
    damaged = [n for n in here if not _is_whole(snapshot.arrays.get(n), snapshot.entries[n])]
    if damaged:
        raise CheckpointError(
            f"{where} is damaged: {_listed(damaged)} differs from what was saved. "
            "Restore an older checkpoint."
        )
    values = {
        name: _rebuilt(snapshot.arrays[name], snapshot.entries[name], leaf)
        for name, leaf in here.items()
    }
    new = []
    for name, state in states.items():
        _, tree = jax.tree.flatten(state.value, is_leaf=is_quantity)
        leaves = [values[leaf] for leaf, _ in _leaves({name: state})]
        new.append((state, jax.tree.unflatten(tree, leaves)))
    return new


def assign(new: list[tuple[State, Any]]) -> None:
    """Gives each State its value, all or none: the one step that changes anything."""
    with Transaction():
        for state, value in new:
            state.value = value


def _is_whole(array: Any, entry: dict[str, Any]) -> bool:
    return (
        isinstance(array, np.ndarray)
        and (list(array.shape), str(array.dtype)) == (entry["shape"], entry["dtype"])
        and _crc(array) == entry["crc32"]
    )


def entries_in(found: Any) -> dict[str, dict]:
    """`found`, if it can be the entries of a Snapshot; ValueError, TypeError or KeyError if not."""
    for name, entry in found.items():
        shape, kind, unit, crc = (entry[key] for key in ("shape", "kind", "unit", "crc32"))
        dtype_of(entry["dtype"])
        if not (
            isinstance(name, str)
            and isinstance(shape, list)
            and all(type(n) is int and n >= 0 for n in shape)
            and isinstance(kind, str)
            and isinstance(unit, str | None)
            and type(crc) is int
        ):
            raise ValueError(f"{name!r} is described by {entry!r}")
    return found


def check(entries: dict[str, dict], states: dict[str, State], where: str) -> None:
    """Raises CheckpointError that names each entry that is missing, extra or of another kind."""
    refuse_trace("restored")
    here = dict(_leaves(_expected(states, entries)))
    problems: list[str] = [
        f"{n} is here, but not in the checkpoint" for n in here if n not in entries
    ]
    problems += [f"{n} is in the checkpoint, but not here" for n in entries if n not in here]
    for name in here.keys() & entries.keys():
        saved, now = _comparable(entries[name]), _comparable(_describe(here[name], crc=False)[1])
        if "number" in (saved["kind"], now["kind"]):
            # A number takes the type that the code around makes of it: 0 becomes an int32.
            saved, now = ({**x, "kind": "number", "dtype": x["type"]} for x in (saved, now))
        for field in ("shape", "dtype", "unit", "kind"):
            if saved[field] != now[field]:
                there, mine = (_shown(x[field]) for x in (saved, now))
                problems.append(f"{name} has {field} {there} in the checkpoint, and {mine} here")
    if problems:
        raise CheckpointError(
            f"{where} does not fit: {_listed(sorted(problems))}. Build the same model first; if "
            "shapes differ by a batch, call init_all_states(net, batch_size=...) first."
        )


def _expected(states: dict[str, State], entries: dict[str, dict]) -> dict[str, State]:
    """The states that a checkpoint must have: an older one has no clock, which stays as it is."""
    return {name: s for name, s in states.items() if name != CLOCK or name in entries}


def wanted(entries: dict[str, dict], optimizer: Any) -> dict[str, dict]:
    """The entries to restore: without an optimiser at hand, what one remembered is left out."""
    if optimizer is not None:
        return entries
    return {n: e for n, e in entries.items() if not n.startswith("optimizer.")}


def plain_metadata(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """The metadata as JSON can hold it: dates become text, numpy numbers become numbers."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dict, got {type(metadata).__name__}: {metadata!r}")
    return json.loads(json.dumps(metadata, default=_as_json))


def _as_json(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, jax.Array | np.ndarray | np.generic) and np.ndim(value) == 0:
        return np.asarray(value).item()
    raise TypeError(
        f"metadata holds a {type(value).__name__}, {value!r}; it takes numbers, text, dates, lists "
        "and dicts. Arrays belong into States."
    )


def _leaves(states: dict[str, State]) -> Iterator[tuple[str, Any]]:
    """Every array, number or quantity in the states, by name; ValueError for one name of two."""
    seen: set[str] = set()
    for name, state in states.items():
        value = state.value
        for path, leaf in jax.tree_util.tree_leaves_with_path(value, is_leaf=is_quantity):
            tail = jax.tree_util.keystr(path, simple=True, separator=".")
            full = f"{name}.{tail}" if tail else name
            if full in seen:
                raise ValueError(
                    f"two values in States are called {full!r}; rename one of the keys"
                )
            seen.add(full)
            yield full, leaf


def _describe(leaf: Any, *, crc: bool = True) -> tuple[np.ndarray, dict[str, Any]]:
    unit, kind = None, "array"
    if is_quantity(leaf):
        leaf, unit = leaf.mantissa, str(leaf.unit)
    if isinstance(leaf, int | float | complex):
        kind = "number"
    elif isinstance(leaf, jax.Array):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            kind, leaf = f"key {jax.random.key_impl(leaf)}", jax.random.key_data(leaf)
        elif leaf.weak_type and leaf.ndim == 0:
            kind = "weak"
    array = np.asarray(leaf)
    if array.dtype not in DTYPES.values():
        raise TypeError(
            f"a checkpoint has arrays of {', '.join(DTYPES)}, and none of {array.dtype}"
        )
    entry = {"shape": list(array.shape), "dtype": str(array.dtype), "unit": unit, "kind": kind}
    return array, {**entry, "crc32": _crc(array)} if crc else entry


def _comparable(entry: dict[str, Any]) -> dict[str, Any]:
    kind = "number" if entry["kind"] == "weak" else entry["kind"]
    type_ = {"i": "an integer", "u": "an integer", "f": "a float", "V": "a float"}
    return {**entry, "kind": kind, "type": type_.get(np.dtype(entry["dtype"]).kind, entry["dtype"])}


def _rebuilt(array: np.ndarray, entry: dict[str, Any], leaf: Any) -> Any:
    """The array as the kind of thing it was, with the unit and on the devices of `leaf`."""
    kind = entry["kind"]
    if is_quantity(leaf):
        return type(leaf)(_rebuilt(array, entry, leaf.mantissa), unit=leaf.unit)
    if kind == "number":
        return array.item()
    if kind == "weak":
        return jnp.asarray(array.item())
    if isinstance(leaf, jax.Array) and leaf.committed:
        value = jax.device_put(array, leaf.sharding)
    else:
        value = jnp.array(array)
    return jax.random.wrap_key_data(value, impl=kind[4:]) if kind.startswith("key") else value


def _crc(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)


def _shown(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value or "none")


def _listed(problems: list[str]) -> str:
    more = len(problems) - _LISTED
    return "; ".join(problems[:_LISTED]) + (f"; and {more} more" if more > 0 else "")


def refuse_trace(done: str) -> None:
    """Raises TraceError within a traced function, where States have no numbers yet."""
    if ACTIVE.frame is not None:
        raise TraceError(f"a checkpoint cannot be {done} inside a traced function; do it outside")
