"""The mathematics of the leaky integrate-and-fire family; csrc/models/lif.h repeats it.

One step of dt (exponential Euler; exact for an input that is constant over the step, Rotter &
Diesmann 1999), with the order of operations of brainpy.state: the spike of the last step is reset
first.

    V0 = V - (V_th - V_reset) s      soft reset      s = [V >= V_th]
    V0 = V - (V - V_reset) s         hard reset
    V1 = V0 + gain (V_rest + R I - V0) + jump                             gain = 1 - exp(-dt / tau)
    V1 = V0 + rate (V_rest - V0 + R (I - G V0)) (1 - e^-z) / z + jump     rate = dt / tau  (_coba)
                                                                          z = rate (1 + R G)
    V  = V0 while refractory, else V1
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..ops.neuron_kernel import NeuronKernel


class State(NamedTuple):
    V: Array  # membrane potential, mV


class RefState(NamedTuple):
    V: Array  # membrane potential, mV
    refractory: Array  # steps for which V is still held


class Params(NamedTuple):
    rate: Array  # gain without a conductance, else dt / tau
    R: Array  # ohm
    V_rest: Array  # mV
    V_th: Array  # mV
    V_reset: Array  # mV
    scale: Array  # 1 / (V_th - V_reset)


class RefParams(NamedTuple):
    rate: Array
    R: Array
    V_rest: Array
    V_th: Array
    V_reset: Array
    scale: Array
    hold: Array  # steps a spike holds V for


class Inputs(NamedTuple):
    I: Array  # mA
    jump: Array  # mV, added after the membrane step


class CobaInputs(NamedTuple):
    I: Array  # mA; synapses add g E
    G: Array  # S; the sum of the conductances
    jump: Array  # mV


def distance(state, params):
    """How far V is above the threshold, in units of V_th - V_reset."""
    return (state.V - params.V_th) * params.scale


def step(state, params, inputs, *, hard, spike):
    """One step of any member of the family; which one, the types of its arguments say."""
    p = params
    s = spike(distance(state, p))
    fall = (jax.lax.stop_gradient(state.V) if hard else p.V_th) - p.V_reset
    V0 = state.V - fall * s
    if isinstance(inputs, CobaInputs):
        z = p.rate * (1 + p.R * inputs.G)
        V1 = V0 + p.rate * (p.V_rest - V0 + p.R * (inputs.I - inputs.G * V0)) * decay_ratio(z)
    else:
        V1 = V0 + p.rate * (p.V_rest + p.R * inputs.I - V0)
    V1 = V1 + inputs.jump
    if not isinstance(state, RefState):
        return State(V1), spike(distance(State(V1), p))
    V = jnp.where(state.refractory > 0, V0, V1)
    z = spike(distance(State(V), p))
    left = jnp.where(state.refractory > 1, state.refractory - 1, 0)  # 0 after NaN too
    refractory = jax.lax.stop_gradient(jnp.where(V >= p.V_th, p.hold, left))
    return RefState(V, refractory), z


def decay_ratio(z: Array) -> Array:
    """(1 - e^-z) / z, and its limit 1 at z = 0, with a gradient that is finite there."""
    small = jnp.abs(z) < 1e-6
    safe = jnp.where(small, 1, z)
    return jnp.where(small, 1 - z / 2, -jnp.expm1(-safe) / safe)


LIF = NeuronKernel("lif", step, distance, State, Params, Inputs)
LIF_REF = NeuronKernel("lif_ref", step, distance, RefState, RefParams, Inputs)
LIF_COBA = NeuronKernel("lif_coba", step, distance, State, Params, CobaInputs)
LIF_REF_COBA = NeuronKernel("lif_ref_coba", step, distance, RefState, RefParams, CobaInputs)
