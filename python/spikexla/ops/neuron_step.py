"""One step of a neuron model."""

from __future__ import annotations

from typing import Any

import jax

from .. import surrogate as surrogates
from .call import uses_native
from .neuron_kernel import NeuronKernel, check_surrogate, is_hard, prepare
from .neuron_scan import neuron_scan


def neuron_step(
    kernel: NeuronKernel,
    state: Any,
    params: Any,
    inputs: Any,
    *,
    reset: str = "soft",
    surrogate: surrogates.Surrogate = surrogates.DEFAULT,
    backend: str | None = None,
) -> tuple[Any, jax.Array]:
    """Advances one step of dt; returns the new state and the spikes `(*lanes)`.

    `state` fields are `(*lanes)`; `params` and `inputs` broadcast to that. The state is updated in
    place where XLA finds the old one dead (inside a loop, or donated to `jax.jit`).

    Errors: ValueError for shapes that do not broadcast, TypeError for dtypes without a kernel and
    for forward-mode differentiation of the native path.
    """
    native = uses_native(backend, kernel.target("forward"))
    check_surrogate(surrogate, native)
    state, params, inputs, _ = prepare(kernel, state, params, inputs, time=False, native=native)
    if not native:
        return kernel.step(
            kernel.State(*state),
            kernel.Params(*params),
            kernel.Inputs(*(x[0] for x in inputs)),
            hard=is_hard(reset),
            spike=surrogate,
        )
    state, spikes = neuron_scan(
        kernel, state, params, inputs, reset=reset, surrogate=surrogate, backend=backend
    )
    return state, spikes[0]
