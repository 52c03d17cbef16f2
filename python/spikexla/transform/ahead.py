"""Compiling ahead of time: what `jit(f).lower(...)` gives, and what its `compile()` gives.

One trace, one program, for the shapes, settings and States of the call that was lowered.
"""

from __future__ import annotations

from typing import Any

import jax

from .static import StaticArguments
from .trace import Traced, commit, read, split


class Lowered:
    """A function that was lowered for arguments of given shapes; `compile()` makes it callable."""

    def __init__(self, static: StaticArguments, args: tuple, kwargs: dict, options: dict) -> None:
        args, kwargs = static.mark(args, kwargs)
        self._static, self._traced = static, Traced(static.call, args, kwargs)
        self._traced.refuse_new("a function that is compiled ahead of time")
        data = split((args, kwargs))[0]
        states = read(self._traced.states)
        self._lowered = jax.jit(self._traced.call, **options).lower(data, states)

    def as_text(self) -> str:
        """The program as StableHLO."""
        return self._lowered.as_text()

    def cost_analysis(self) -> Any:
        """What `jax.stages.Lowered.cost_analysis` says of it."""
        return self._lowered.cost_analysis()

    def compile(self) -> Compiled:
        """The compiled program; it is called like the function."""
        return Compiled(self._static, self._traced, self._lowered.compile())


class Compiled:
    """A program that was compiled ahead of time; a call reads and writes the States' values.

    Errors: TypeError for arguments of another structure, other shapes or other settings (what is no
    data) than those it was lowered for.
    """

    def __init__(self, static: StaticArguments, traced: Traced, compiled: Any) -> None:
        self._static, self._traced, self._compiled = static, traced, compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        traced = self._traced
        data, statics, tree = split(self._static.mark(args, kwargs))
        if (tree, statics) != (traced.tree, traced.statics):
            raise TypeError(
                "a function that was compiled ahead of time takes arguments of the structure and "
                f"with the settings that it was lowered for, {traced.tree} of {traced.statics}, "
                f"got {tree} of {statics}. Lower it again for these."
            )
        out, written, _ = self._compiled(data, read(traced.states))
        commit(traced.written, written, traced.written_trees)
        return traced.result(out)

    def cost_analysis(self) -> Any:
        """What `jax.stages.Compiled.cost_analysis` says of it."""
        return self._compiled.cost_analysis()

    def memory_analysis(self) -> Any:
        """What `jax.stages.Compiled.memory_analysis` says of it."""
        return self._compiled.memory_analysis()
