"""The neuron that the step, scan and grad suites run, and its hand-written pure JAX twin.

A LIF in units where V_rest = 0, V_th = 1, V_reset = 0. The gain is a power of two on purpose: its
products are then exact, so it makes no difference who fuses multiplications into additions, all
competitors compute the same bits, and spike counts must be equal to the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..neuron import lif_step
from ..ops import neuron_scan, neuron_step
from ..surrogate import Arctan, Surrogate

GAIN = np.float32(0.125)
CONSTANTS: tuple[Any, ...] = (GAIN, *(np.float32(x) for x in (1, 0, 1, 0, 1)))
PARAMS = lif_step.Params(*CONSTANTS)
SPIKE = Arctan(2.0)
NONE = np.float32(0)  # no jump


def op_step(backend: str) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """(V, I) -> (V, z) by `neuron_step` with this backend."""

    def step(V, current):
        state, z = neuron_step(lif_step.LIF, (V,), PARAMS, (current, NONE), backend=backend)
        return state.V, z

    return step


def op_scan(backend: str) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """(V, I over time) -> (V, z over time) by `neuron_scan` with this backend."""

    def scan(V, current):
        inputs = (current, NONE)
        state, z = neuron_scan(lif_step.LIF, (V,), PARAMS, inputs, surrogate=SPIKE, backend=backend)
        return state.V, z

    return scan


def hand_step(V, current):
    """The same step as a user of JAX writes it."""
    V = V - jnp.where(V >= 1, 1, 0).astype(V.dtype)
    V = V + GAIN * (current - V)
    return V, (V >= 1).astype(V.dtype)


def hand_scan(V, current):
    """`hand_step` under `lax.scan`."""
    return jax.lax.scan(hand_step, V, current)


def hand_scan_with_gradient(V, current, spike: Surrogate = SPIKE):
    """The same with a surrogate gradient through spike and reset."""

    def step(V, now):
        V = V - spike(V - 1)
        V = V + GAIN * (now - V)
        return V, spike(V - 1)

    return jax.lax.scan(step, V, current)


def currents(shape: tuple[int, ...]) -> jax.Array:
    """Uniform in [0, 3): two thirds of the neurons are above threshold."""
    return jnp.asarray(np.random.default_rng(0).random(shape, np.float32) * np.float32(3))
