"""Finds for each parameter its gradient, and says what is wrong with the ones it cannot take."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..state import State
from ..statedict import StateDict
from ..units import is_quantity
from .group import plain, spell


def match(grads: Any, params: StateDict) -> dict[str, Any]:
    """The gradients without units, by name of the parameter, with the parameter's own structure.

    `grads` is any tree with the keys of the parameters: `{'W': g}`, `{('W',): g}`, nested dicts.
    """
    found: dict[str, Any] = {}
    _collect(grads, (), params, found)
    return {name: _numbers(name, g, params[name]) for name, g in found.items()}


def _collect(tree: Any, path: tuple[str, ...], params: StateDict, found: dict) -> None:
    name = ".".join(path)
    if name in params:
        if name in found:
            raise ValueError(f"there are two gradients for {name!r}; give one for each parameter")
        found[name] = tree
    elif not path and len(params) == 1 and not isinstance(tree, dict | list | tuple):
        found[str(next(iter(params)))] = tree  # the gradient of one State, without a name
    elif isinstance(tree, dict | list | tuple):
        pairs: Any = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, item in pairs:
            _collect(item, (*path, *spell(key)), params, found)
    else:
        raise KeyError(
            f"there is a gradient for {name!r}, which is not registered; registered are "
            f"{_names(params)}. Register it, or leave it out of grad_states."
        )


def _numbers(name: str, grad: Any, state: State) -> Any:
    """The gradient as numbers that fit those of the State."""
    value = state.value
    if isinstance(value, jax.Array) and isinstance(grad, jax.Array) and value.shape == grad.shape:
        return grad
    if grad is None:
        raise ValueError(
            f"the gradient of {name!r} is None; give zeros, or register only what is trained"
        )
    leaves, tree = jax.tree.flatten(value, is_leaf=is_quantity)
    given, shape = jax.tree.flatten(grad, is_leaf=is_quantity)
    if tree != shape:
        raise ValueError(
            f"the gradient of {name!r} is a {shape} where the parameter is a {tree}; "
            "it must have the structure of the value"
        )
    fitted = [_fitted(name, g, v) for g, v in zip(given, leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(plain(value)), fitted)


def _fitted(name: str, grad: Any, value: Any) -> Any:
    if is_quantity(grad):
        grad = _in_unit(name, grad, value)
    if jnp.shape(grad) != jnp.shape(value):
        raise ValueError(
            f"the gradient of {name!r} has shape {jnp.shape(grad)}, but the parameter has shape "
            f"{jnp.shape(value)}; they must be equal"
        )
    return jnp.asarray(grad)


def _in_unit(name: str, grad: Any, value: Any) -> Any:
    """The number of a gradient with a unit: that of the parameter, or one over it."""
    if is_quantity(value):
        for unit in (value.unit, value.unit**-1):
            if grad.unit.has_same_dim(unit):
                return grad.to_decimal(unit)
    wanted = value.unit if is_quantity(value) else "no unit"
    raise TypeError(
        f"the gradient of {name!r} is in {grad.unit}, and the parameter in {wanted}; give the "
        "gradient in the unit of the parameter, or as plain numbers in that unit"
    )


def check_complete(found: dict[str, Any], groups: list[Any]) -> None:
    """Each group has all of its gradients, or none (then it stays as it is); one has some."""
    for group in groups:
        missing = [str(key) for key in group.params if str(key) not in found]
        if missing and (len(missing) < len(group.params) or not found):
            raise KeyError(
                f"no gradient for {', '.join(map(repr, missing))}; give zeros for a parameter that "
                "stays, or put it into a parameter group of its own (a group without any gradient "
                "is left alone)"
            )


def _names(params: StateDict) -> str:
    return ", ".join(repr(str(key)) for key in params) or "none"
