"""What a traced function does beside computing its results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# A pure callback has no effect that JAX knows of, and may be called any number of times, but what
# it reads may change: its answer belongs to the moment of the call.
_CALLBACKS = ("pure_callback",)


def calls_out_of(jaxpr: Any) -> Iterator[str]:
    """The names of the primitives that act on the world or ask it, in the order of the program."""
    for equation in jaxpr.eqns:
        inner = [x for part in _inside(equation.params.values()) for x in calls_out_of(part)]
        if inner:
            yield from inner
        elif equation.effects or equation.primitive.name in _CALLBACKS:
            yield equation.primitive.name


def _inside(params: Any) -> Iterator[Any]:
    for value in params:
        if isinstance(value, tuple | list):
            yield from _inside(value)
        elif hasattr(jaxpr := getattr(value, "jaxpr", value), "eqns"):
            yield jaxpr
