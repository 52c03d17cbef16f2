"""What a network must be to run, said before it does, and what it must be after each chunk."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ..comm.base import EventComm
from ..connect.base import available_memory
from ..dynamics import Dynamics
from ..module import Module
from ..neuron.base import Neuron
from ..projection.base import Projection
from ..state import State
from ..synapse.decaying import Decaying
from .record import Wanted


def check_parts(net: Module) -> None:
    """Starts projections whose delays were not; ValueError, by name, for what cannot run."""
    for path, node in net.nodes().items():
        name = str(path) or "net"
        if isinstance(node, Dynamics):
            _check_waiting(name, node)
        if isinstance(node, Neuron):
            _check_state(f"{name}.V", node.V, node.in_size)
        if isinstance(node, Decaying):
            _check_state(f"{name}.g", node.g, node.in_size)
        if isinstance(node, Projection):
            if isinstance(node.comm, EventComm) and "conn" in vars(node.comm):  # else to be drawn
                _check_comm(name, node.comm, node.post.size)
            if node.delayed:
                node._history()  # starts it, or says that it was started with another dt


def _check_waiting(name: str, node: Dynamics) -> None:
    if waiting := node.waiting():
        raise ValueError(
            f"simulate: {name} has the input {waiting[0]!r} for its next step, which would act in "
            "every step. Add it in update(), or make that step first: net()."
        )


def _check_state(name: str, state: State, size: tuple[int, ...]) -> None:
    (value,) = jax.tree.leaves(state.value)
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape[len(shape) - len(size) :] != size or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"simulate: {name} is {dtype} {shape}, but must be of a float type and end with "
            f"{size}. Write such an array to it, or start it anew by init_all_states(net)."
        )


def _check_comm(name: str, comm: EventComm, targets: int) -> None:
    wanted, weights = (math.prod(comm.in_size), targets), jnp.shape(comm.weight_mantissa)
    if comm.conn.shape != wanted:
        raise ValueError(
            f"simulate: the connectivity of {name} has shape {comm.conn.shape}, but there are "
            f"{wanted} sources and targets. Make it for these."
        )
    if math.prod(weights) != 1 and weights != comm.conn.indices.shape:
        raise ValueError(
            f"simulate: {name} has weights of shape {weights}, but must have one, or one a "
            f"synapse, {comm.conn.indices.shape}. Write such an array to its comm.weight."
        )


def check_memory(wanted: Wanted, steps: int) -> None:
    """MemoryError, with the figure, for traces that will not fit."""
    need = sum(
        steps // trace.every * trace.size * jnp.result_type(leaf).itemsize
        for trace in wanted.traces
        for leaf in jax.tree.leaves(trace.state.value)
    )
    have = available_memory() if need else None
    if have is not None and need > have:
        raise MemoryError(
            f"simulate: the traces of {steps} steps need {need / 1e9:.3g} GB, but "
            f"{have / 1e9:.3g} GB are free. Trace fewer neurons, or with a larger every=."
        )


def check_numbers(populations: Mapping[str, Neuron], at: int, steps: int) -> None:
    """ValueError for a membrane potential that is NaN: its neuron would be silent for ever."""
    for name, population in populations.items():
        (V,) = jax.tree.leaves(population.V.value)
        wrong = np.isnan(np.asarray(V))
        if wrong.any():
            raise ValueError(
                f"simulate: V of {name or 'net'} became NaN in the steps {at + 1} to {at + steps}, "
                f"for example of neuron {np.flatnonzero(wrong)[0] % population.size}. Look for NaN "
                "and infinite values in States, parameters and inputs, and in the weights to it."
            )
