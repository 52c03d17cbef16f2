"""Delta: spikes that move the potential of their targets at once."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..dynamics import Size
from .decaying import Decaying


class Delta(Decaying):
    """Delta synapse: spikes add their weights, in mV, to V at the end of the step they arrive in.

    in_size: number of targets, or a tuple. For neurons that say how far a current of one step moves
    V, such as IafPscExp: `AlignPostProj(comm=..., **neurons.delta_receptor())`, which the engine
    runs. `DeltaProj` does the same to any neuron, step by step. A delay is the time until V jumps,
    as in NEST: dt or longer, for a spike without delay arrives in the step after its own.

    State: `g`, `(*batch, *in_size)`, the sum of the weights that arrived in the last step.

    Errors: TypeError for weights of another dimension, and in the step of other neurons.

    >>> import spikexla as sx
    >>> sx.environ.set(dt=0.1)
    >>> synapse = sx.Delta(2)
    >>> synapse(jax.numpy.array([0.0, 1.0])).tolist(), synapse().tolist()
    ([0.0, 1.0], [0.0, 0.0])
    """

    weight_units: ClassVar[tuple[str, ...]] = ("mV", "1")
    ahead: ClassVar[int] = 1  # V jumps at the end of the step of arrival

    def __init__(self, in_size: Size, name: str | None = None) -> None:
        super().__init__(in_size, name)
        self.g_initializer = 0.0
        self.init_state()

    def decay(self, dt: Any) -> jax.Array:
        """0: nothing is left of what arrived before."""
        return jnp.zeros((), self.kernel_state().dtype)
