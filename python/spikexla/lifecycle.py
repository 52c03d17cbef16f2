"""The start of a trial: `init_state` and `reset_state` of every module, children first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .module import Batch, Module, call_with_batch, traits
from .tree import all_nodes


def init_all_states(
    target: Module, *args: Any, batch_size: Batch = None, exclude: Any = None, **kwargs: Any
) -> Module:
    """Calls `init_state` on every module of `target`, children first; returns `target`.

    A class that defines only `reset_state` has that called.  States keep their identity, so this
    may be repeated at every trial, with another `batch_size`, inside `jit` too.  The time of
    `simulate` is 0 again.  `exclude` is a module class, or a tuple of them, to leave out.

    >>> _ = init_all_states(net, batch_size=32)
    """
    return _call_all(target, "init_state", args, {"batch_size": batch_size, **kwargs}, exclude)


def reset_all_states(
    target: Module, *args: Any, batch_size: Batch = None, exclude: Any = None, **kwargs: Any
) -> Module:
    """Calls `reset_state` on every module of `target`, children first; returns `target`.

    >>> _ = reset_all_states(net)
    """
    return _call_all(target, "reset_state", args, {"batch_size": batch_size, **kwargs}, exclude)


def call_order(level: int) -> Callable[[Callable], Callable]:
    """Marks an `init_state` or `reset_state` to run after all unmarked ones, by rising level."""

    def mark(method: Callable) -> Callable:
        method.call_order = level
        return method

    return mark


def _call_all(target: Module, method: str, args: tuple, kwargs: dict, exclude: Any) -> Module:
    if not isinstance(target, Module):
        raise TypeError(f"expected a Module, got {type(target).__name__}: {target!r}")
    late: list[tuple[int, Module]] = []
    for module in all_nodes(target):
        if exclude and isinstance(module, exclude):
            continue
        if module._clock is not None:
            module._clock.restart()
        bound = getattr(module, method)
        level = traits(getattr(bound, "__func__", bound)).call_order
        if level is None:
            call_with_batch(module, method, args, kwargs)
        else:
            late.append((level, module))
    for _, module in sorted(late, key=lambda entry: entry[0]):
        call_with_batch(module, method, args, kwargs)
    return target
