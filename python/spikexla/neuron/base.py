"""Neuron: the base of all populations that spike."""

from __future__ import annotations

import abc
import types
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .. import environ, surrogate
from ..dynamics import Deferred, Dynamics, Size
from ..module import Batch
from ..ops.neuron_kernel import NeuronKernel, is_hard
from ..ops.neuron_step import neuron_step
from ..ops.rounded import rounded
from ..state import rely_on
from ..synapse.base import SynOut
from ..synapse.delta import Delta
from ..transform.staged import staged
from ..units import attach, expect, is_quantity, mantissa


class Spikes:
    """A read-only view of the spikes of a neuron: `neuron.spike.value` is `neuron.get_spike()`."""

    def __init__(self, neuron: Neuron) -> None:
        self._neuron = neuron

    @property
    def value(self) -> Any:
        """0 or 1 for each neuron, of the type of V."""
        return staged(_spikes, self._neuron, ())

    def __repr__(self) -> str:
        return f"Spikes({self.value})"


class Neuron(Dynamics, abc.ABC):
    """A population with a membrane potential `V`; `update(x)` makes one step and returns spikes.

    A spike resets V at the start of the next step: by `V_th - V_reset` (`spk_reset='soft'`) or to
    V_reset ('hard'), so V and `get_spike()` agree between steps. `spk_fun` is the step function
    with a surrogate derivative, of `spikexla.surrogate` or one's own (then the pure-JAX step runs).
    """

    current_unit: ClassVar[str] = "mA"  # of `x` and of all other currents

    V: Any

    def __init__(
        self,
        in_size: Size,
        name: str | None = None,
        *,
        spk_fun: Callable[[Any], Any] = surrogate.DEFAULT,
        spk_reset: str = "soft",
    ) -> None:
        super().__init__(in_size, name)
        is_hard(spk_reset)
        if not callable(spk_fun) or any(spk_fun is maker for maker in _MAKERS):
            raise ValueError(
                f"{type(self).__name__}: spk_fun={spk_fun!r} is no spike function; make one, for "
                "example spikexla.surrogate.ReluGrad()"
            )
        self.spk_fun, self.spk_reset = spk_fun, spk_reset

    # -- what a model defines -----------------------------------------------------------------

    @abc.abstractmethod
    def kernel(self, conductance: bool) -> NeuronKernel:
        """The equations, with or without conductances in them."""

    @abc.abstractmethod
    def derived(self, dt: Any, conductance: bool) -> Any:
        """The constants that the kernel takes, in its `Params`, for a step of `dt`."""

    @abc.abstractmethod
    def kernel_state(self) -> Any:
        """The plain arrays of the states, in the kernel's `State`."""

    @abc.abstractmethod
    def set_kernel_state(self, state: Any) -> None:
        """Writes back what `kernel_state` gave and a step changed."""

    @abc.abstractmethod
    def get_spike(self, V: Any = None) -> Any:
        """0 or 1 for each neuron at potential `V`, by default the present one."""

    @abc.abstractmethod
    def after_reset(self) -> Any:
        """The potential in mV that the next step starts from."""

    def port_value(self, syn: Any, out: SynOut, dt: Any) -> Any:
        """What the g of `syn` (None: of no synapse) counts for in a step of `dt` through `out`.

        The reversal potential of COBA in mV, the factor of CUBA; None for an output that has
        neither. Step and engine read it here, so a model that integrates g exactly says so once.
        """
        if isinstance(syn, Delta):
            raise TypeError(
                f"{type(self).__name__} does not say how far a current of one step moves V, so it "
                "takes no Delta synapse. Use DeltaProj, or IafPscExp neurons."
            )
        return out.value_mantissa

    # -- stepping -----------------------------------------------------------------------------

    @property
    def spike(self) -> Spikes:
        """A view whose `.value` is `get_spike()`."""
        return Spikes(self)

    @property
    def carries_unit(self) -> bool:
        """Whether V is a quantity."""
        return is_quantity(self.V.value)

    def update(self, x: Any = None) -> jax.Array:
        """One step with the current `x` (in `current_unit`, or a quantity); returns spikes.

        x is a number or an array. Currents and jumps that were added, and projections onto these
        neurons, count as well.
        """
        if x is None or (type(x) in (int, float) and x == 0):
            x = None
        if not self._alone():
            return self._step(x)
        if x is not None and self.carries_unit and not is_quantity(x):
            x = self._plain(x, self.current_unit, f"the input current of {type(self).__name__}")
        return staged(_step_alone, self, (x,))

    def _alone(self) -> bool:
        """Whether a step depends on states and arguments only, so that its program can be kept."""
        return not (self._current or self._delta or self._before)

    def _step(self, x: Any) -> jax.Array:
        current, conductance = self._currents(x)
        kernel = self.kernel(conductance is not None)
        given = (current,) if conductance is None else (current, conductance)
        inputs = kernel.Inputs(*given, self._jump())
        params = self.derived(environ.get_dt_ms(), conductance is not None)
        native = isinstance(self.spk_fun, surrogate.Surrogate)
        try:
            state, spikes = neuron_step(
                kernel,
                self.kernel_state(),
                params,
                inputs,
                reset=self.spk_reset,
                surrogate=self.spk_fun,  # type: ignore[arg-type]
                backend=None if native else "xla",
            )
        except ValueError as error:  # the op knows arrays only, not whose they are
            raise ValueError(f"{self.V.label}: {error}") from error
        self.set_kernel_state(state)
        return spikes

    def _currents(self, x: Any) -> tuple[Any, Any]:
        """(current, total conductance in S or None), both linear in V over the step."""
        what = f"the input current of {type(self).__name__}"
        current: Any = 0.0 if x is None else self._plain(x, self.current_unit, what)
        conductance = None
        for inp in self._current.take():
            if isinstance(inp, SynOut):
                value = self.port_value(inp.synapse, inp, environ.get_dt_ms())
                part, slope = inp.linear() if value is None else inp.linear(value)
                part = rounded(part)
            elif callable(inp):
                part, slope = self._linearised(inp, what)
            else:
                part, slope = self._plain(inp, self.current_unit, what), None
            current = current + part
            if slope is not None:
                conductance = slope if conductance is None else conductance + slope
        return current, conductance

    def _linearised(self, current: Callable[[Any], Any], what: str) -> tuple[Any, Any]:
        """A current that depends on V, by its tangent at the V that the step starts from."""
        unit = self.V.value.unit if self.carries_unit else None

        def plain(V: Any) -> Any:
            given = V if unit is None else mantissa_as(V, unit)
            return jnp.asarray(self._plain(current(given), self.current_unit, what), V.dtype)

        V = self.after_reset()
        value, slope = jax.jvp(plain, (V,), (jnp.ones_like(V),))
        return value - slope * V, -slope

    def _jump(self) -> Any:
        what = f"the delta input of {type(self).__name__}"
        jump: Any = 0.0
        for inp in self._delta.take():
            if isinstance(inp, Deferred):
                jump = inp.add_to(None if type(jump) is float else jump)
            else:
                value = inp(self.V.value) if callable(inp) else inp
                jump = jump + self._plain(value, "mV", what)
        return jump

    def _plain(self, x: Any, unit: str, what: str) -> Any:
        return expect(x, unit, what=what) if self.carries_unit else mantissa(x, unit, what=what)

    def _reset_inputs(self) -> None:
        self._current.clear()
        self._delta.clear()

    @abc.abstractmethod
    def init_state(self, batch_size: Batch = None) -> None:
        """Makes the states, `(*batch, *in_size)`."""

    def reset_state(self, batch_size: Batch = None) -> None:
        """The same as `init_state`: the states keep their identity."""
        self.init_state(batch_size=batch_size)


def _spikes(neuron: Neuron) -> jax.Array:
    rely_on(neuron, "_version")
    return neuron.get_spike()


def _step_alone(neuron: Neuron, x: Any) -> jax.Array:
    rely_on(neuron, "_version")
    return neuron._step(x)


def mantissa_as(V: Any, unit: Any) -> Any:
    """The quantity of `V` in mV, in the unit that the user's V has."""
    return attach(V, "mV").in_unit(unit)


# Passed without its parentheses, a maker of spike functions would be called with potentials.
_MAKERS = [
    made
    for made in vars(surrogate).values()
    if isinstance(made, types.FunctionType) and made.__module__ == surrogate.__name__
]
