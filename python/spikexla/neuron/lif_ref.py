"""LIFRef: leaky integrate-and-fire neurons with a refractory period."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import surrogate
from ..dynamics import Size, filled
from ..module import Batch
from ..ops.neuron_kernel import NeuronKernel
from ..state import ShortTermState
from ..units import mantissa
from . import lif_step
from .lif import LIF


class LIFRef(LIF):
    """`LIF` whose V stays at the value after reset while `time since the spike < tau_ref` (in ms).

    Input of those steps is lost. With `tau_ref` of n steps, rounded up (0.001 of a step is none), V
    is held for the n - 1 steps that follow the step of the spike. Other arguments and errors are
    those of `LIF`; ValueError also for `tau_ref < 0`.

    States: `V`, and `refractory`, the number of steps for which V is still held.

    >>> import spikexla as sx
    >>> sx.environ.set(dt=0.1)
    >>> neuron = sx.LIFRef(1, tau_ref=0.3, spk_reset="hard")
    >>> [int(neuron(100.0)[0]) for _ in range(7)]
    [1, 0, 0, 1, 0, 0, 1]
    """

    tau_ref: Any
    refractory: Any

    def __init__(
        self,
        in_size: Size,
        R: Any = 1.0,
        tau: Any = 5.0,
        tau_ref: Any = 5.0,
        V_th: Any = 1.0,
        V_reset: Any = None,
        V_rest: Any = 0.0,
        V_initializer: Any = None,
        spk_fun: Callable[[Any], Any] = surrogate.DEFAULT,
        spk_reset: str = "soft",
        name: str | None = None,
    ) -> None:
        super().__init__(
            in_size, R, tau, V_th, V_reset, V_rest, V_initializer, spk_fun, spk_reset, name
        )
        self._set_parameter("tau_ref", tau_ref, "ms")
        self._require("tau_ref", lambda x: x >= 0, "a refractory period is 0 or longer")

    def init_state(self, batch_size: Batch = None) -> None:
        super().init_state(batch_size)
        V = self._potential()
        self.refractory = ShortTermState(filled(np.zeros((), V.dtype), V.shape))

    def kernel_state(self) -> Any:
        return lif_step.RefState(self._potential(), self.refractory.value)

    def set_kernel_state(self, state: Any) -> None:
        super().set_kernel_state(state)
        self.refractory.value = state.refractory

    def kernel(self, conductance: bool) -> NeuronKernel:
        return lif_step.LIF_REF_COBA if conductance else lif_step.LIF_REF

    def derived(self, dt: Any, conductance: bool) -> Any:
        steps = self._steps_up("tau_ref", dt)
        hold = steps - (steps > 0)  # counted from the step of the spike
        return self._params(mantissa(dt, "ms", what="dt"), conductance, hold)

    def _params(self, dt: Any, conductance: bool, hold: Any) -> Any:
        constants = self._constants(dt, conductance)
        return lif_step.RefParams(*[*constants, jnp.asarray(hold, constants[0].dtype)])
