"""Projection: the base of what carries spikes from one population to another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from ..dynamics import Deferred, Dynamics
from ..module import Module

_count = itertools.count()


class _Ref:
    """Holds the target population, which belongs to the network and not to the projection."""

    def __init__(self, target: Any) -> None:
        self.target = target


class Projection(Module):
    """Base of all projections: `modules` act on the input first, then `comm` weighs it.

    `comm` maps spikes to sums of weights (`EventFixedProb`, `Linear`, any module or function).
    Call a projection with the spikes of the last step, before its target's step.
    """

    def __init__(self, modules: tuple, comm: Callable[[Any], Any], post: Dynamics) -> None:
        super().__init__(f"{type(self).__name__}{next(_count)}")
        kind = type(self).__name__
        for what, module in (("comm", comm), *((f"module {k}", m) for k, m in enumerate(modules))):
            if not callable(module):
                raise TypeError(f"{kind}: {what} is {module!r}, which cannot be called with spikes")
        if not isinstance(post, Dynamics):
            raise TypeError(
                f"{kind}: post is {post!r}; give a population of neurons, such as LIF(100)"
            )
        out_size = getattr(comm, "out_size", None)
        if out_size is not None and out_size != post.in_size:
            raise ValueError(
                f"{kind}: comm has out_size {out_size}, but post has {post.in_size} neurons. Give "
                "comm the out_size of post."
            )
        self.modules, self.comm = list(modules), comm
        self._post = _Ref(post)

    @property
    def post(self) -> Any:
        """The target population."""
        return self._post.target

    @property
    def _unit(self) -> str | None:
        return getattr(self.comm, "unit", None)

    def _weighed(self, args: tuple) -> Any:
        """The input after `modules` and `comm`; deferred where `comm` can add in place."""
        for module in self.modules:
            args = (module(*args),)
        if len(args) == 1 and hasattr(self.comm, "accumulate"):
            return Deferred(self.comm, args[0])
        return self.comm(*args)

    def _require_unit(self, *allowed: str) -> None:
        if self._unit not in (None, *allowed):
            raise TypeError(
                f"{type(self).__name__}: the weights are in {self._unit}, but the target takes "
                f"{' or '.join(allowed)}"
            )
