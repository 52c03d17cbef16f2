"""Compiled code that is found again by what it computes: a jaxpr, its constants arguments.

A function is traced again when something that it reached has changed.  That takes milliseconds;
to compile takes a thousand times as long, and is needed only if it now computes something else.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Hashable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from .trace import Traced, is_plain

# Parameters of a primitive that only its derivative needs; what is found here is never traced.
_DERIVATIVES = {
    "custom_jvp_call": ("jvp_jaxpr_fun", "jvp_jaxpr_thunk"),
    "custom_vjp_call": ("fwd_jaxpr_thunk", "bwd", "fwd"),
    "custom_vjp_call_jaxpr": ("fwd_jaxpr_thunk", "bwd", "fwd"),
}


class Different(Exception):
    """What a jaxpr computes cannot be written down."""


class Lifted:
    """The compiled code of one jaxpr for one set of types; the constants are arguments."""

    def __init__(self, traced: Traced, donate: dict[str, Any], options: dict) -> None:
        self.pending: Traced | None = None  # what the next run is to compile
        written = [*map(id, traced.written)]
        kept = [id(state) for state in traced.states if id(state) not in written]
        self._order = [[*written, *kept].index(id(state)) for state in traced.states]
        self.run = jax.jit(self._body, **donate, **options)

    def _body(
        self, written: list, kept: list, constants: list, *args: Any, **kwargs: Any
    ) -> tuple[Any, list, list]:
        """Runs once; of other types it is never asked."""
        traced, self.pending = self.pending, None
        if traced is None:
            raise Different
        raws = [*written, *kept]
        leaves = jax.tree.leaves((args, kwargs))
        out, after, new = traced.call(leaves, [raws[k] for k in self._order], constants)
        return (traced.result(out) if is_plain(traced.out_statics) else out), after, new


def fingerprint(traced: Traced) -> Hashable:
    """What `traced` computes, but for the values of its constants; None if that cannot be said."""
    written = {id(state): k for k, state in enumerate(traced.written)}
    states = tuple(written.get(id(state)) for state in traced.states)
    plain = is_plain(traced.out_statics)
    structures = traced.tree, traced._out_structure, traced.out_tree if plain else None
    structures = *structures, len(traced.written), len(traced.new)
    raws = tuple(state._tree for state in traced.states)
    try:
        key = states, structures, raws, _Numbered().jaxpr(traced.jaxpr.jaxpr)
        hash(key)
    except (Different, TypeError):
        return None
    return key


class _Numbered:
    """Writes jaxprs down with numbers for their variables."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def jaxpr(self, jaxpr: Any) -> Hashable:
        given = tuple(map(self._new, (*jaxpr.constvars, *jaxpr.invars)))
        equations = tuple(map(self._equation, jaxpr.eqns))
        return len(jaxpr.constvars), given, equations, tuple(map(self._atom, jaxpr.outvars))

    def _new(self, variable: Any) -> Hashable:
        number = self._numbers[variable] = len(self._numbers)
        return number, variable.aval, getattr(variable.aval, "weak_type", None)

    def _atom(self, atom: Any) -> Hashable:
        if isinstance(atom, Literal):
            return atom.aval, getattr(atom.aval, "weak_type", None), _bytes(atom.val)
        return self._numbers[atom]

    def _equation(self, equation: Any) -> Hashable:
        name = equation.primitive.name
        left_out = _DERIVATIVES.get(name, ())
        params = tuple(
            (key, self._parameter(value))
            for key, value in sorted(equation.params.items())
            if key not in left_out
        )
        read = tuple(map(self._atom, equation.invars))
        made = tuple(map(self._new, equation.outvars))
        return equation.primitive, read, made, params, repr(equation.ctx)

    def _parameter(self, value: Any) -> Hashable:
        if hasattr(value, "eqns"):
            return _Numbered().jaxpr(value)
        if hasattr(value, "jaxpr") and hasattr(value, "consts"):
            return _Numbered().jaxpr(value.jaxpr), tuple(map(_bytes, value.consts))
        if isinstance(value, tuple | list):
            return type(value), tuple(map(self._parameter, value))
        if isinstance(value, dict):
            return tuple((key, self._parameter(x)) for key, x in value.items())
        if isinstance(value, np.ndarray | jax.Array):
            return _bytes(value)
        if isinstance(value, float | complex):
            return type(value), repr(value)
        if isinstance(value, types.FunctionType | types.MethodType | functools.partial):
            raise Different  # a callback: it would be held as long as its code
        hash(value)
        return type(value), value


def _bytes(x: Any) -> Hashable:
    array = np.asarray(x)
    if array.dtype.hasobject:
        raise Different
    return type(x), array.dtype, array.shape, array.tobytes()
