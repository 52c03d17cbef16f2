"""What all derivatives share: the point where one is taken, and how its parts are put together.

A `Point` turns a function of States and arguments into one of a list of parts: the raw value of
each State, the leaves of each argument.  jax differentiates that; the parts of the result go back
into the structures that the user gave.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..config import warn_once
from ..state import LEAF, State
from ..units import is_quantity
from .staged import staged
from .trace import Frame, commit, is_dynamic, join, read, split


class UnusedStateWarning(UserWarning):
    """A derivative was asked for a State that the function does not read; it is zero."""


class Request(NamedTuple):
    """What to differentiate with respect to what, and what to give back."""

    fun: Callable
    states: tuple[State, ...]  # each once
    slots: tuple[int, ...]  # which of them stands at each leaf of the structure
    structure: Any
    argnums: tuple[int, ...]
    single: bool  # one argument, not a tuple of them
    has_aux: bool
    return_value: bool
    check_states: bool

    @staticmethod
    def of(name: str, fun: Callable, grad_states: Any, argnums: Any, *flags: bool) -> Request:
        if not callable(fun):
            raise TypeError(f"{name} differentiates a function, got {fun!r}")
        leaves, structure = jax.tree.flatten(grad_states)
        for leaf in leaves:
            if not isinstance(leaf, State):
                raise TypeError(
                    f"grad_states must hold States, such as net.states(ParamState), got {leaf!r}"
                )
        leaves = [leaf.root() for leaf in leaves]
        states = tuple({id(state): state for state in leaves}.values())
        slots = tuple(next(k for k, s in enumerate(states) if s is t) for t in leaves)
        if argnums is None and not states:
            argnums = 0
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums or ())
        if any(n < 0 for n in numbers) or len({*numbers}) < len(numbers):
            raise ValueError(
                f"argnums counts arguments from 0, is not negative and names each once, "
                f"got {argnums}"
            )
        single = isinstance(argnums, int)
        return Request(fun, states, slots, structure, numbers, single, *flags)


class Point:
    """A function at given arguments, as `pure(parts)` from `start`; afterwards, what it left."""

    def __init__(self, name: str, request: Request, args: tuple, kwargs: dict) -> None:
        self._name, self.request, self._args, self._kwargs = name, request, args, kwargs
        self.start = read(request.states)
        self.trees = [state._tree for state in request.states]
        labels = [state.label for state in request.states]
        for n in request.argnums:
            leaves, tree = jax.tree.flatten(_argument(name, request.fun, args, n))
            self.start.append(leaves)
            self.trees.append(tree)
            labels.append(f"argument {n}")
        for label, part in zip(labels, self.start, strict=True):
            _check_differentiable(label, part)
        self._written: list[State] = []

    def pure(self, parts: list) -> tuple[list, tuple[list, list]]:
        """The numbers that the function returns, and beside them (data, values) for `finish`."""
        request, states = self.request, self.request.states
        given = dict(zip(map(id, states), parts[: len(states)], strict=True))
        full = list(self._args)
        rest = zip(request.argnums, self.trees[len(states) :], parts[len(states) :], strict=True)
        for n, tree, leaves in rest:
            full[n] = tree.unflatten(leaves)
        with Frame(lambda _, state: given.get(id(state), state._raw)) as frame:
            out = frame.run(request.fun, tuple(full), self._kwargs)
            value, aux = _value_and_aux(out, request.has_aux)
            new = [s for s in frame.new if not isinstance(s._frame, State)]
            self._written = [*frame.writes(), *new]
            self._after = [s._tree for s in self._written]
            self._met = {id(state) for state in frame.states}
            values = [s._raw for s in self._written]
            data, *self._returned = split((value, aux))
            numbers, self.out_tree = jax.tree.flatten(value)
            self.out_types = list(map(jax.typeof, numbers))
        return numbers, (data, values)

    def scalar(self, parts: list) -> tuple[Any, tuple[list, list]]:
        """As `pure`, for a function that returns one number."""
        numbers, left = self.pure(parts)
        if len(numbers) != 1 or jnp.shape(numbers[0]) != ():
            raise TypeError(
                f"{self._name} needs a function that returns one scalar, got shapes "
                f"{[jnp.shape(leaf) for leaf in numbers]}; reduce it, for example with .mean(), "
                "or return (loss, aux) with has_aux=True"
            )
        return numbers[0], left

    def finish(self, left: tuple[list, list]) -> tuple[Any, Any]:
        """Writes the States that the function wrote, and gives back (value, aux)."""
        data, values = left
        _report_unused(self.request, self._met)
        commit(self._written, values, self._after)
        statics, tree = self._returned
        return join(tree, statics, data)

    def results(self, derivative: Any, left: tuple[list, list]) -> Any:
        """The derivative, with the value and what else was asked for."""
        value, aux = self.finish(left)
        extras = (value,) * self.request.return_value + (aux,) * self.request.has_aux
        return (derivative, *extras) if extras else derivative

    def assemble(self, parts: Sequence[Any]) -> Any:
        """The derivative in the structures that the user gave."""
        return assemble(self.request, self.trees, parts)

    def assemble_rows(self, rows: Sequence[Any], assemble: Callable) -> Any:
        """One derivative for each number that the function returned, in the place of it."""
        return without_units(self.out_tree).unflatten([assemble(row) for row in rows])


def assemble(request: Request, trees: list, parts: Sequence[Any]) -> Any:
    """Parts put together by their trees: (of states, of arguments), or what was asked of them."""
    found = [p if t is LEAF else t.unflatten(p) for t, p in zip(trees, parts, strict=True)]
    of_arguments = found[len(request.states) :]
    if not request.states:
        return of_arguments[0] if request.single else tuple(of_arguments)
    of_states = request.structure.unflatten([found[k] for k in request.slots])
    if not request.argnums:
        return of_states
    return of_states, of_arguments[0] if request.single else tuple(of_arguments)


def derivative(
    way: Callable, name: str, fun: Callable | None, grad_states: Any, argnums: Any, **flags: bool
) -> Any:
    """The function that calls `way(request, *args, **kwargs)`; without `fun` a decorator."""
    if fun is None:
        return lambda f: derivative(way, name, f, grad_states, argnums, **flags)
    order = ("has_aux", "return_value", "check_states")
    request = Request.of(name, fun, grad_states, argnums, *(flags[key] for key in order))

    takes_states = _TakesStates(fun)

    @functools.wraps(fun, updated=())
    def derived(*args: Any, **kwargs: Any) -> Any:
        if request.states and takes_states(args, kwargs):
            args = grad_states, *args
        return staged(way, request, args, kwargs)

    return derived


def without_units(tree: Any) -> Any:
    """The structure in which each quantity is a plain number."""
    value = tree.unflatten(range(tree.num_leaves))
    plain = jax.tree.map(lambda x: 0 if is_quantity(x) else x, value, is_leaf=is_quantity)
    return jax.tree.structure(plain)


class _TakesStates:
    """Whether `fun` is to be called with the states in front of the caller's arguments.

    That depends only on how many arguments there are and on their names.
    """

    def __init__(self, fun: Callable) -> None:
        self._fun, self._known = fun, {}

    def __call__(self, args: tuple, kwargs: dict) -> bool:
        given = len(args), *kwargs
        if given not in self._known:
            self._known[given] = not self._binds(args, kwargs) and self._binds((0, *args), kwargs)
        return self._known[given]

    def _binds(self, args: tuple, kwargs: dict) -> bool:
        try:
            signature = inspect.signature(self._fun)
        except (TypeError, ValueError):
            return False  # it does not say; the caller knows
        try:
            signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True


def _argument(name: str, fun: Callable, args: tuple, n: int) -> Any:
    if n >= len(args):
        raise ValueError(
            f"{name} with respect to argument {n} of {getattr(fun, '__name__', fun)}, which was "
            f"called with {len(args)} positional arguments; pass it by position"
        )
    return args[n]


def _value_and_aux(out: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"with has_aux the function must return (loss, aux), got {type(out)}")
    return out


def _check_differentiable(label: str, part: Any) -> None:
    for leaf in jax.tree.leaves(part):
        if not is_dynamic(leaf):
            raise TypeError(f"{label} holds {leaf!r}, which is no number and has no gradient")
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(
                f"{label} has dtype {jnp.result_type(leaf)}, which has no gradient; "
                "make it floating point or leave it out of grad_states and argnums"
            )


def _report_unused(request: Request, met: set[int]) -> None:
    unused = [state.label for state in request.states if id(state) not in met]
    if not unused:
        return
    name = getattr(request.fun, "__name__", "the function")
    message = (
        f"{name} does not read {', '.join(unused)}: the gradient is zero. Use its `.value` inside "
        "the function, or leave it out of grad_states."
    )
    if request.check_states:
        raise ValueError(message)
    warn_once(message, message, UnusedStateWarning, stacklevel=4)
