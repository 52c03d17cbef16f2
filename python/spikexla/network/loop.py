"""`Loop`: any module, stepped in a compiled loop over its own `update`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ, transform
from ..module import Module
from ..neuron.base import Neuron
from ..ops.raster import pack_bits
from ..transform.trace import Traced, commit, read
from .record import Probe


class Loop:
    """Any module, stepped in a compiled loop over its own `update`."""

    def __init__(
        self, net: Module, inputs: tuple, populations: dict[str, Neuron], traces: list[Probe]
    ) -> None:
        self.net, self.inputs, self.dt = net, inputs, environ.get_dt_ms()
        self.populations, self.traces = list(populations.values()), traces
        for name, n in populations.items():
            if n.V.value.shape != n.in_size:
                raise ValueError(
                    f"simulate: {name or 'the population'} has states of shape {n.V.value.shape}, "
                    f"but spikes are recorded without a batch axis: {n.in_size}. Use record=False, "
                    "or transform.for_loop over net.update."
                )
        self.compiled: dict[int, tuple[Traced, Any]] = {}

    def _step(self, i: Any) -> list:
        with environ.context(i=i, t=i.astype(float) * self.dt):
            self.net.update(*self.inputs)
        return [
            *(pack_bits((n.get_spike() != 0).reshape(-1)) for n in self.populations),
            *(_values(trace) for trace in self.traces),
        ]

    def compile(self, steps: int) -> None:
        """Compiles a chunk of this many steps."""

        def run(first: Any) -> list:
            return transform.for_loop(self._step, first + jnp.arange(steps, dtype=jnp.int32))

        traced = Traced(run, (jnp.int32(0),))
        chunk = jax.jit(traced.call).lower([jnp.int32(0)], read(traced.states)).compile()
        self.compiled[steps] = traced, chunk

    def advance(self, steps: int, at: int) -> list:
        """Runs a chunk, gives the States their new values; returns the rasters, then the traces."""
        traced, chunk = self.compiled[steps]
        out, written, _ = jax.block_until_ready(chunk([jnp.int32(at)], read(traced.states)))
        commit(traced.written, written, traced.written_trees)
        out = [np.asarray(x) for x in traced.result(out)]
        rasters, values = out[: len(self.populations)], out[len(self.populations) :]
        pairs = zip(self.traces, values, strict=True)
        return [*rasters, *(np.ascontiguousarray(x[t.first(at) :: t.every]) for t, x in pairs)]


def _values(trace: Probe) -> jax.Array:
    """The traced elements of a State, as plain numbers in its own unit."""
    (values,) = jax.tree.leaves(trace.state.value)
    return values.reshape(-1)[trace.index]
