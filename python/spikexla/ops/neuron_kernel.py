"""The link between a neuron's definition in JAX and its compiled kernels: their common name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..surrogate import Surrogate
from . import library

MOST_AXES = 16  # of lanes, those of vmap included: kMaxAxes of csrc/lanes.h


@dataclass(frozen=True)
class NeuronKernel:
    """A neuron model as data and two pure functions.

    `step(state, params, inputs, *, hard, spike)` advances one step and returns `(state, z)`, where
    `spike` is the Heaviside function with a surrogate derivative and `z` is 0 or 1 of V's type.
    `distance(state, params)` says how far a state is above its threshold: a state where it is 0 or
    more stands for a spike, `z = spike(distance(state, params))` of the new state, which the next
    step resets. Both are element-wise, written in JAX, and they are the definition: the C++ of the
    same `name` must agree. `State`, `Params` and `Inputs` are NamedTuples whose fields are those of
    the C++ structs; the first field of `State` is the membrane potential. In a network, `Inputs`
    may have I (current), G (conductance) and jump.
    """

    name: str
    step: Callable[..., tuple[Any, jax.Array]]
    distance: Callable[[Any, Any], jax.Array]
    State: type
    Params: type
    Inputs: type

    def target(self, direction: str) -> str:
        """The XLA target of this model: `direction` is "forward" or "backward"."""
        return f"spikexla.{self.name}.{direction}.v1"

    def spiked(self, state: Any, params: Any) -> jax.Array:
        """Which neurons' states stand for a spike."""
        return self.distance(state, params) >= 0


@functools.cache
def check_compiled(kernel: NeuronKernel) -> None:
    """Refuses fields that are not those compiled under this name: numbers would change places."""
    platforms = library.platforms(kernel.target("forward"))
    row = library.kernels()[kernel.target("forward"), "cpu" if "cpu" in platforms else "CUDA"]
    own = (kernel.State._fields, kernel.Params._fields, kernel.Inputs._fields)
    compiled = (row.state, row.params, row.inputs)
    if own != compiled:
        raise library.LibraryError(
            f"{kernel.name}: State, Params and Inputs have the fields {own}, but the compiled "
            f"kernel of that name has {compiled}. Give both the same, in one order, or use "
            "backend='xla'."
        )


def is_hard(reset: str) -> bool:
    """Reads the `reset` argument of the neuron ops."""
    if reset not in ("soft", "hard"):
        raise ValueError(
            f"reset={reset!r} is not a way to reset. Choose 'soft' (subtract V_th - V_reset, the "
            "default) or 'hard' (set to V_reset)."
        )
    return reset == "hard"


def check_surrogate(surrogate: Any, native: bool) -> None:
    """Refuses what is no spike function, or none that was compiled."""
    if isinstance(surrogate, Surrogate) or (callable(surrogate) and not native):
        return
    raise TypeError(
        f"surrogate={surrogate!r} is not one of spikexla.surrogate, such as ReluGrad(). A spike "
        "function of one's own needs backend='xla'."
    )


def prepare(kernel: NeuronKernel, state, params, inputs, *, time: bool, native: bool):
    """Checks the operands of a neuron op once and gives them one rank and one dtype.

    Returns (state, params, inputs, lanes): state broadcast to the shape `lanes`, params with as
    many axes as `lanes`, inputs with a time axis in front of them. Sizes of 1 stand for "repeats".
    """
    what = f"{kernel.name}: "
    state = tuple(jnp.asarray(x) for x in kernel.State(*state))
    dtype = state[0].dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{what}state {kernel.State._fields[0]} has dtype {dtype}, which cannot hold a "
            "membrane potential. Use float32 or float64."
        )
    if native and dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{what}the native kernels take float32 and float64, but the state is {dtype}. Cast "
            "it, or use backend='xla' for this call."
        )
    params, inputs = kernel.Params(*params), kernel.Inputs(*inputs)
    for name, x in (params._asdict() | inputs._asdict()).items():
        if jnp.iscomplexobj(x):
            raise TypeError(
                f"{what}{name} is complex, but the state is {dtype}. Give real numbers."
            )
    params = tuple(jnp.asarray(x, dtype) for x in params)
    inputs = tuple(jnp.asarray(x, dtype) for x in inputs)
    if time and not any(x.ndim for x in inputs):
        raise ValueError(
            f"{what}no input has a time axis: shapes {[x.shape for x in inputs]}. At least one "
            "input must be (time, *lanes)."
        )
    lanes = _lanes(kernel, state, params, inputs, time)
    rank = len(lanes)
    if native and rank > MOST_AXES:
        raise ValueError(
            f"{what}lanes have {rank} axes, and the native kernels take {MOST_AXES}. Reshape some "
            "into one, or use backend='xla' for this call."
        )
    state = tuple(jnp.broadcast_to(x.astype(dtype), lanes) for x in state)
    params = tuple(_with_rank(x, rank) for x in params)
    inputs = tuple(_with_rank(x, rank + 1) for x in inputs)
    return state, params, inputs, lanes


def _lanes(kernel, state, params, inputs, time):
    """The common shape of all lanes, or an error that lists who has which shape."""
    rank = max(x.ndim for x in (*state, *params))
    if time:
        rank = max(rank, *(x.ndim - 1 for x in inputs))
        shapes = [x.shape[max(0, x.ndim - rank) :] for x in inputs]
        steps = {x.shape[0] for x in inputs if x.ndim > rank} - {1}
        if len(steps) > 1:
            raise ValueError(
                f"{kernel.name}: inputs disagree on the number of steps: {sorted(steps)}. The "
                "first axis of an input is time."
            )
    else:
        shapes = [x.shape for x in inputs]
    named = dict(zip(kernel.State._fields, (x.shape for x in state), strict=True))
    named |= dict(zip(kernel.Params._fields, (x.shape for x in params), strict=True))
    named |= dict(zip(kernel.Inputs._fields, shapes, strict=True))
    try:
        return np.broadcast_shapes(*named.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in named.items() if shape)
        raise ValueError(
            f"{kernel.name}: these shapes do not broadcast to one shape of lanes: {listed}"
            f"{' (inputs without their time axis)' if time else ''}. States are (*batch, neurons); "
            "is a batch axis missing, or is an array transposed?"
        ) from None


def _with_rank(x, rank):
    return x.reshape((1,) * (rank - x.ndim) + x.shape)
