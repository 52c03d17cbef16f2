"""`Loop`: any module, stepped in a compiled loop over its own `update`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ, transform
from ..config import config
from ..module import Module
from ..neuron.base import Neuron
from ..ops.raster import pack_bits
from ..state import State
from ..transform.staged import staged
from ..transform.trace import HOLE, join
from .record import Probe, batch_of


class Loop:
    """Any module, stepped in a compiled loop over its own `update`.

    Arrays of jax among the inputs are data: others of their shape are no other program.
    shift: how many steps of dt the time is ahead of the step, which is 0 unless dt has changed.
    """

    def __init__(
        self,
        net: Module,
        inputs: tuple,
        populations: dict[str, Neuron],
        traces: list[Probe],
        shift: float,
    ) -> None:
        self.populations, self.traces, self._shift = list(populations.values()), traces, shift
        self._net, self._inputs, self._room = net, inputs, 0
        self._program: Any = None

    def compile(self, steps: int) -> None:
        """Compiles chunks of up to this many steps: a chunk of none does nothing else."""
        if steps > self._room:
            self._room = steps
            self._make(lambda x: isinstance(x, jax.Array))

    def _make(self, is_data: Callable[[Any], bool]) -> None:
        """Compiles the program, of which those of the inputs are arguments that `is_data` says."""
        leaves, tree = jax.tree.flatten(self._inputs)
        constants = tuple(HOLE if is_data(x) else x for x in leaves)
        read = tuple((trace.state, trace.batch) for trace in self.traces)
        subject = self._net, tuple(self.populations), read, tree, constants, self._room
        indices = [trace.index.astype(np.int32) for trace in self.traces]
        data = self._shift, list(filter(is_data, leaves)), indices
        if config.cache_eager:
            self._program = lambda *args: staged(_chunk, subject, (*args, *data))
        else:  # kept for this run alone
            program = transform.jit(functools.partial(_chunk, subject))
            self._program = lambda *args: program(*args, *data)
        try:
            self._run(0, 0)
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
            if not data[1]:
                raise
            self._make(lambda _: False)  # `update` looks at the numbers of an input

    def advance(self, steps: int, at: int) -> list:
        """Runs a chunk from step `at` on; returns the rasters, then the traces."""
        out = [np.asarray(x)[:steps] for x in self._run(steps, at)]
        rasters, values = out[: len(self.populations)], out[len(self.populations) :]
        pairs = zip(self.traces, values, strict=True)
        return [*rasters, *(np.ascontiguousarray(x[t.first(at) :: t.every]) for t, x in pairs)]

    def _run(self, steps: int, at: int) -> list:
        return jax.block_until_ready(self._program(np.int32(at), np.int32(steps)))


def _chunk(subject: tuple, first: Any, steps: Any, shift: Any, data: list, indices: list) -> list:
    """`steps` steps from step `first` on: what each gives, in arrays with room for more of them.

    The number of steps is data, so that one program makes chunks of all sizes.
    """
    net, populations, traces, tree, constants, room = subject
    inputs, dt = join(tree, constants, data), environ.get_dt_ms()
    reads = [(state, batch, k) for (state, batch), k in zip(traces, indices, strict=True)]

    def go_on(carry: tuple) -> Any:
        return carry[0] < carry[1]

    def step(carry: tuple) -> tuple:
        k, last, kept = carry
        i = first + k
        with environ.context(i=i, t=(jnp.asarray(i, float) + shift) * dt):
            net.update(*inputs)
        rows = [*map(_spikes, populations), *(_values(*read) for read in reads)]
        put = jax.lax.dynamic_update_index_in_dim
        return k + 1, last, [put(x, row, k, 0) for x, row in zip(kept, rows, strict=True)]

    shapes = [
        *((*batch_of(n), -(-n.size // 32)) for n in populations),
        *((*batch, *index.shape) for _, batch, index in reads),
    ]
    dtypes = [jnp.uint32] * len(populations) + [_leaf(state).dtype for state, *_ in reads]
    kept = [jnp.zeros((room, *s), d) for s, d in zip(shapes, dtypes, strict=True)]
    return transform.while_loop(go_on, step, (jnp.int32(0), steps, kept))[2]


def _spikes(population: Neuron) -> jax.Array:
    """Which neurons spike, as bits."""
    spikes = population.get_spike() != 0
    return pack_bits(spikes.reshape(*batch_of(population), population.size))


def _values(state: State, batch: tuple[int, ...], index: jax.Array) -> jax.Array:
    """The traced elements of a State, as plain numbers in its own unit."""
    x = _leaf(state)
    return x.reshape(*batch, math.prod(x.shape[len(batch) :]))[..., index]


def _leaf(state: State) -> jax.Array:
    (leaf,) = jax.tree.leaves(state.value)
    return jnp.asarray(leaf)
