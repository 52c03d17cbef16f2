"""The COBA and CUBA networks as a user of JAX writes them: one `lax.scan`, spikes by `sparse`.

Same equations, constants, targets and initial potentials as the package's own networks, in another
order of operations, so that floats differ in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import sparse

DT, TAU, TAU_E, TAU_I, HOLD = 0.1, 20.0, 5.0, 10.0, 49
V_TH, V_RESET = -50.0, -60.0


class Model(NamedTuple):
    """What the two networks differ in."""

    weight_e: float
    weight_i: float
    rest: float  # the potential without synapses, drive included, mV
    conductance: bool


COBA = Model(0.6, 6.7, -40.0, True)
CUBA = Model(1.62, -9.0, -49.0, False)
E_I = -80.0  # reversal of inhibition, mV; that of excitation is 0


class Carry(NamedTuple):
    V: jax.Array
    held: jax.Array
    g_e: jax.Array
    g_i: jax.Array
    fired: jax.Array
    count: jax.Array  # spikes of each neuron


def targets(excitatory: jax.Array, inhibitory: jax.Array, n: int) -> jax.Array:
    """All rows in one array: targets of inhibition are moved up by `n`: one scatter does both."""
    return sparse.with_spare_row(jnp.concatenate([excitatory, inhibitory + n]), 2 * n)


def start(V: jax.Array) -> Carry:
    """The state at time 0. A neuron that starts above threshold delivers a spike, and counts it."""
    zero, none, fired = jnp.zeros_like(V), jnp.zeros(V.shape, jnp.int32), V >= V_TH
    return Carry(jnp.where(fired, V_RESET, V), none, zero, zero, fired, fired.astype(jnp.int32))


def runner(model: Model, steps: int) -> Callable[[jax.Array, Carry], Carry]:
    """(rows, state) -> state after `steps` steps, jitted."""

    @jax.jit
    def run(rows, carry):
        return jax.lax.scan(lambda c, _: (_step(model, rows, c), None), carry, length=steps)[0]

    return run


def _step(model: Model, rows: jax.Array, c: Carry) -> Carry:
    n, f = c.V.shape[0], np.float32
    arrived = sparse.nonzero_chunks(rows, 1.0, c.fired, jnp.zeros(2 * n, jnp.float32))
    g_e = c.g_e * f(np.exp(-DT / TAU_E)) + f(model.weight_e) * arrived[:n]
    g_i = c.g_i * f(np.exp(-DT / TAU_I)) + f(model.weight_i) * arrived[n:]
    if model.conductance:
        total = 1 + g_e + g_i
        goal = (f(model.rest) + g_i * f(E_I)) / total
        decay = jnp.exp(total * f(-DT / TAU))
    else:
        goal, decay = f(model.rest) + g_e + g_i, f(np.exp(-DT / TAU))
    V = jnp.where(c.held > 0, c.V, goal + (c.V - goal) * decay)
    fired = V >= V_TH
    return Carry(
        V=jnp.where(fired, f(V_RESET), V),
        held=jnp.where(fired, HOLD, jnp.maximum(c.held - 1, 0)),
        g_e=g_e,
        g_i=g_i,
        fired=fired,
        count=c.count + fired,
    )
