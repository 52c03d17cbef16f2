"""ParamGroup: parameters that share a learning rate, and what the optimiser remembers of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..module import Module
from ..state import LongTermState, ParamState, ShortTermState, State, is_kind
from ..statedict import PathKey, StateDict
from ..units import is_quantity
from .scheduler import LRScheduler, positive
from .state import OptimState

Rate = float | LRScheduler | Callable[[Any], Any]


class ParamGroup(Module):
    """Parameters with a learning rate and a weight decay of their own; made by the optimiser.

    `group.lr` and `group.weight_decay` may be set; `group['lr']` is the same.
    """

    def __init__(self, rate: Rate | OptimState, weight_decay: float, number: int) -> None:
        super().__init__()
        self.params, self.number = StateDict(), number
        self.weight_decay = positive(weight_decay, "weight_decay", zero=True)
        follows = isinstance(rate, OptimState | LRScheduler) or callable(rate)
        self.rate: Any = rate if follows else OptimState(_checked(rate))
        self.memory = OptimState(())

    @property
    def lr(self) -> Any:
        """The present learning rate; None when it depends on the count of updates."""
        if isinstance(self.rate, OptimState):
            return self.rate.value
        return self.rate(None, self.number) if isinstance(self.rate, LRScheduler) else None

    @lr.setter
    def lr(self, value: Any) -> None:
        if not isinstance(self.rate, OptimState):
            raise ValueError(
                f"the learning rate follows {self.rate!r} and cannot be set to {value!r}; change "
                "the schedule, or make the optimiser with a number"
            )
        self.rate.value = _checked(value)

    def lr_at(self, count: Any) -> Any:
        """The learning rate of an update after `count` others."""
        return self.lr if isinstance(self.rate, OptimState | LRScheduler) else self.rate(count)

    def numbers(self) -> dict[str, Any]:
        """The values of the parameters, without units, by name."""
        return {str(key): plain(state.value) for key, state in self.params.items()}

    def put(self, name: str, numbers: Any) -> None:
        """Gives a parameter these numbers, of the unit that it has."""
        state = self.params[name]
        tree = jax.tree.structure(state.value)
        state.value = jax.tree.unflatten(tree, jax.tree.leaves(numbers))

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in ("lr", "weight_decay"):
            raise KeyError(f"a parameter group has 'lr' and 'weight_decay' to set, not {name!r}")
        setattr(self, name, value)


def _checked(rate: Any) -> Any:
    if isinstance(rate, Tracer):
        return rate
    # A number of Python is weakly typed, as it is in optax, and its changes compile nothing anew.
    concrete = isinstance(rate, jax.Array | np.generic | np.ndarray) and rate.ndim == 0
    return positive(float(rate) if concrete else rate, "the learning rate", zero=True)


def trainable(params: Any) -> StateDict:
    """The parameters of any tree of States, by path, each checked to be one that can be trained."""
    found, seen = StateDict(), {}
    for path, state in _walk(params, ()):
        if not isinstance(state, State):
            raise TypeError(
                f"parameters are States, such as net.states(ParamState); "
                f"got {type(state).__name__} at {'.'.join(path) or 'the top'!r}"
            )
        state, name = state.root(), ".".join(path) or state.name or "param"
        fixed = isinstance(state, ShortTermState) or type(state) is State
        if fixed or (isinstance(state, LongTermState) and not is_kind(state, ParamState)):
            raise TypeError(
                f"{state.label} at {name!r} is not trained: only a ParamState is. Register "
                "net.states(ParamState), or make it a ParamState."
            )
        if id(state) in seen:
            raise ValueError(
                f"{state.label} is registered as {seen[id(state)]!r} and as {name!r}; give each "
                "parameter once (net.states() does)"
            )
        for leaf in jax.tree.leaves(state.value):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
                raise TypeError(
                    f"{state.label} at {name!r} has dtype {jnp.result_type(leaf)} and cannot be "
                    "trained; make it floating point, or a LongTermState"
                )
        seen[id(state)] = name
        found[PathKey(name.split("."))] = state
    return found


def _walk(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, dict):
        pairs: Any = tree.items()
    elif isinstance(tree, list | tuple):
        pairs = enumerate(tree)
    else:
        yield path, tree
        return
    for key, item in pairs:
        yield from _walk(item, (*path, *spell(key)))


def spell(key: Any) -> tuple[str, ...]:
    """`('layer', 'W')`, `'layer.W'` and `0` as parts of a path."""
    return tuple(map(str, key)) if isinstance(key, tuple) else tuple(str(key).split("."))


def plain(value: Any) -> Any:
    """The value with the numbers of its quantities in their place."""
    if isinstance(value, jax.Array):
        return value
    return jax.tree.map(lambda x: x.mantissa if is_quantity(x) else x, value, is_leaf=is_quantity)
