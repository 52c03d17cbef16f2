"""`Probe`: which values `network_run` writes down while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


class Probe(NamedTuple):
    """Some neurons whose values are written down after the steps `phase`, `phase + every`, ..."""

    population: int
    variable: str | int  # a field of the kernel's State, or a port, whose g is meant
    index: Any  # int32 (neurons,), ascending
    every: int = 1
    phase: Any = 0  # int32 (), 0 to every - 1

    def rows(self, steps: int) -> int:
        """The most that fall into so many steps."""
        return -(-steps // self.every)


def checked(populations: Sequence[Any], probes: Sequence[Probe]) -> list[Probe]:
    """The probes with arrays in them. ValueError for what the populations have not."""
    made = []
    for k, q in enumerate(probes):
        if not 0 <= q.population < len(populations):
            raise ValueError(
                f"network_run: probe {k} reads population {q.population}, but there are "
                f"{len(populations)} of them."
            )
        p = populations[q.population]
        fields, ports = p.kernel.State._fields, range(len(p.ports))
        if q.variable not in (*fields, *ports):
            raise ValueError(
                f"network_run: probe {k} reads {q.variable!r} of population {q.population}, which "
                f"has {', '.join(fields)} and the ports {[*ports]}."
            )
        if not isinstance(q.every, int | np.integer) or q.every < 1:
            raise ValueError(
                f"network_run: probe {k} reads after every={q.every!r} steps, which must be a "
                "whole number of 1 or more."
            )
        made.append(q._replace(index=_index(k, q.index, p.size), phase=_phase(k, q)))
    return made


def place(kernel: Any, probe: Probe) -> int:
    """The variable as the native plan counts: the fields of the state, then the ports."""
    fields = kernel.State._fields
    named = isinstance(probe.variable, str)
    return fields.index(probe.variable) if named else len(fields) + int(probe.variable)


def _index(k: int, index: Any, size: int) -> Any:
    array = index if isinstance(index, Tracer) else np.asarray(index)
    if array.ndim != 1 or not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(
            f"network_run: probe {k} has an index of shape {array.shape} and type {array.dtype}; "
            "it must be whole numbers (neurons,)."
        )
    if not isinstance(array, Tracer):
        wrong = (array < 0) | (array >= size)
        wrong[1:] |= np.diff(array.astype(np.int64)) <= 0
        if wrong.any():
            raise ValueError(
                f"network_run: probe {k} names neuron {array[wrong][0]}, but must name those from "
                f"0 to {size - 1} in ascending order, each at most once."
            )
    return jnp.asarray(array, jnp.int32)


def _phase(k: int, q: Probe) -> Any:
    if not isinstance(q.phase, Tracer):
        phase = np.asarray(q.phase)
        if phase.shape or phase.dtype.kind not in "iu" or not 0 <= phase < q.every:
            raise ValueError(
                f"network_run: probe {k} has phase={q.phase!r}, which must be a whole number from "
                f"0 to every - 1 = {q.every - 1}."
            )
    return jnp.asarray(q.phase, jnp.int32)
