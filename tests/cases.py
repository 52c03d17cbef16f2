"""One `Case` per neuron model: parameters, a drive clear of the threshold, a tolerance.

A newcomer adds a model here once; test_neuron_kernels.py then holds its kernel to every law.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from spikexla.neuron import lif_step
from spikexla.ops.neuron_kernel import NeuronKernel
from spikexla.ops.neuron_scan import reference_scan
from spikexla.surrogate import DEFAULT

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def between(low: float, high: float) -> Draw:
    """Uniform numbers."""
    return lambda rng, shape: rng.uniform(low, high, shape)


def count(high: int) -> Draw:
    """Whole numbers 0 ... high."""
    return lambda rng, shape: rng.integers(0, high + 1, shape).astype(float)


def kicks(size: float) -> Draw:
    """Mostly nothing, now and then a kick of either sign."""
    return lambda rng, shape: (rng.random(shape) < 0.1) * rng.uniform(-size, size, shape)


@dataclass(frozen=True)
class Case:
    """A model and the numbers to test it with.

    `margin` is the least `distance` from the threshold on every step, in the model's own unit, so
    that a rounding error cannot turn into a spike. `rtol` bounds float32 differences, relative to
    the largest value; `reason` says why it is not smaller. float64 is always held to RTOL64.
    """

    kernel: NeuronKernel
    state: dict[str, Draw]
    params: dict[str, float]
    inputs: dict[str, Draw]
    reason: str
    rtol: float = 3e-4
    margin: float = 2e-4
    whole: frozenset[str] = field(default=frozenset({"hold"}))

    def __str__(self) -> str:
        return self.kernel.name

    def draw(self, lanes=(33,), steps=33, *, dtype=np.float64, reset="soft", spread=0.0, seed=0):
        """(state, params, inputs) as the kernel's NamedTuples; `spread` > 0 gives each lane its own
        parameters, that much apart."""
        lanes = (lanes,) if isinstance(lanes, int) else tuple(lanes)
        rng = np.random.default_rng(seed)
        n = int(np.prod(lanes))
        params = {
            name: self._param(rng, name, value, n, spread) for name, value in self.params.items()
        }
        if spread and "scale" in params:
            params["scale"] = 1 / (params["V_th"] - params["V_reset"])
        state = {name: np.empty(n) for name in self.state}
        inputs = {name: np.empty((steps, n)) for name in self.inputs}
        todo = np.ones(n, bool)
        for _ in range(50):
            for name, make in self.state.items():
                state[name][todo] = make(rng, (n,))[todo]
            for name, make in self.inputs.items():
                inputs[name][:, todo] = make(rng, (steps, n))[:, todo]
            todo = self._too_close(state, params, inputs, reset == "hard")
            if not todo.any():
                break
        else:
            raise RuntimeError(f"{self}: no drive keeps a margin of {self.margin} to the threshold")
        kernel = self.kernel

        def cast(x, *lead):
            return jnp.asarray(x.reshape((*lead, *lanes)), dtype)

        return (
            kernel.State(**{k: cast(v) for k, v in state.items()}),
            kernel.Params(
                **{k: cast(v) if np.ndim(v) else jnp.asarray(v, dtype) for k, v in params.items()}
            ),
            kernel.Inputs(**{k: cast(v, steps) for k, v in inputs.items()}),
        )

    def _param(self, rng, name, value, n, spread):
        if not spread:
            return value
        if name in self.whole:
            return rng.integers(0, int(value) + 1, n).astype(float)
        return value * (1 + spread * rng.uniform(-1, 1, n))

    def _too_close(self, state, params, inputs, hard):
        """The lanes that come within `margin` of the threshold, in float64."""
        steps, n = next(iter(inputs.values())).shape
        params = {name: np.broadcast_to(value, n) for name, value in params.items()}
        wide = -n % 1024 + n  # few shapes, so that few programs are compiled
        long = -steps % 64 + steps

        def across(x):
            return np.pad(x, (0, wide - n))

        def both(x):
            return np.pad(x, ((0, long - steps), (0, wide - n)))

        with jax.enable_x64(True):
            path = _path(
                self.kernel,
                hard,
                self.kernel.State(**{k: across(v) for k, v in state.items()}),
                self.kernel.Params(**{k: across(v) for k, v in params.items()}),
                self.kernel.Inputs(**{k: both(v) for k, v in inputs.items()}),
            )
            start = self.kernel.distance(self.kernel.State(**state), self.kernel.Params(**params))
        path = np.concatenate([np.asarray(start)[None], np.asarray(path)[:steps, :n]])
        return (np.abs(path) < self.margin).any(0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _path(kernel, hard, state, params, inputs):
    """The distance from the threshold after every step."""

    def observed(state, params, inputs, *, hard, spike):
        state, _ = kernel.step(state, params, inputs, hard=hard, spike=spike)
        return state, kernel.distance(state, params)

    return reference_scan(replace(kernel, step=observed), hard, DEFAULT, state, params, inputs)[1]


_MEMBRANE = {"R": 1.2, "V_rest": -60.0, "V_th": -50.0, "V_reset": -62.0, "scale": 1 / 12}
_LEAK = "V sums terms of 60 mV: a float32 step rounds by 4e-6, and gradients multiply on a path"
_DECAY = (
    "as lif; besides, XLA's expm1 and ours differ by 2 ulp, (e^-z - r) / z cancels, and so does "
    "the sum over lanes that is the gradient of a shared parameter"
)
_COUNT = {"V": between(-65, -51), "refractory": count(3)}

CASES = [
    Case(
        lif_step.LIF,
        state={"V": between(-65, -45)},
        params={"rate": 0.1, **_MEMBRANE},
        inputs={"I": between(-5, 35), "jump": kicks(6)},
        reason=_LEAK,
    ),
    Case(
        lif_step.LIF_REF,
        state=_COUNT,
        params={"rate": 0.1, **_MEMBRANE, "hold": 4.0},
        inputs={"I": between(-5, 40), "jump": kicks(6)},
        reason=_LEAK,
    ),
    Case(
        lif_step.LIF_COBA,
        state={"V": between(-65, -45)},
        params={"rate": 0.1, **_MEMBRANE},
        inputs={"I": between(-10, 20), "G": between(0, 0.4), "jump": kicks(6)},
        reason=_DECAY,
        rtol=3e-3,
    ),
    Case(
        lif_step.LIF_REF_COBA,
        state=_COUNT,
        params={"rate": 0.1, **_MEMBRANE, "hold": 4.0},
        inputs={"I": between(-10, 25), "G": between(0, 0.4), "jump": kicks(6)},
        reason=_DECAY,
        rtol=3e-3,
    ),
]
RTOL64 = 1e-9
