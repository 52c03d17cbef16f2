"""Other packages with explicit state, measured by the state suite where they are installed.

None of them is needed; each is loaded by those who measure it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from . import populations as P

BRAINSTATE, NNX, EQUINOX, BRAINPY = "brainstate", "flax nnx", "equinox", "brainpy.state"
PACKAGES = {BRAINSTATE: "brainstate", NNX: "flax", EQUINOX: "equinox", BRAINPY: "brainpy"}


class Competitor(NamedTuple):
    """`step()` makes one call, `values()` gives the arrays that it leaves."""

    step: Callable[[], Any]
    values: Callable[[], list]


def is_installed(column: str) -> bool:
    """Whether the package behind this column can be measured."""
    return importlib.util.find_spec(PACKAGES[column]) is not None


def measured() -> str:
    """Says which packages are measured, in which version, and which are not installed."""
    found = [f"{c} {metadata.version(PACKAGES[c])}" for c in PACKAGES if is_installed(c)]
    missing = [column for column in PACKAGES if not is_installed(column)]
    return "; ".join(
        f"{what}: {', '.join(which)}"
        for what, which in (("beside", found), ("not installed, so not measured", missing))
        if which
    )


def imports() -> dict[str, str]:
    """The modules whose import is timed, by column."""
    return {column: PACKAGES[column] for column in PACKAGES if is_installed(column)}


# -- a call of a jitted function ------------------------------------------------------------------


def counters(n: int, elements: int) -> dict[str, Competitor]:
    """A step that adds 1 to each of `n` states of `elements` numbers."""
    makers = {BRAINSTATE: _brainstate, NNX: _nnx, EQUINOX: _equinox}
    return {
        column: make([jnp.zeros(elements, jnp.float32) for _ in range(n)])
        for column, make in makers.items()
        if is_installed(column)
    }


def _brainstate(arrays: list) -> Competitor:
    brainstate = importlib.import_module("brainstate")
    states = [brainstate.ShortTermState(x) for x in arrays]

    def add() -> None:
        for state in states:
            state.value = state.value + 1.0

    return Competitor(brainstate.transform.jit(add), lambda: [state.value for state in states])


def _nnx(arrays: list) -> Competitor:
    """The fastest way that nnx offers: the module is taken apart once, not in every call."""
    nnx = importlib.import_module("flax.nnx")
    module = nnx.Module()
    for k, x in enumerate(arrays):
        setattr(module, f"s{k}", nnx.Variable(x))
    variables = [getattr(module, f"s{k}") for k in range(len(arrays))]

    def add(module: Any) -> None:
        for k in range(len(arrays)):
            variable = getattr(module, f"s{k}")
            variable[...] = variable[...] + 1.0

    if hasattr(nnx, "jit_partial"):
        step = nnx.jit_partial(add, module, graph=False)
    else:
        step = nnx.cached_partial(nnx.jit(add), module)
    return Competitor(step, lambda: [variable[...] for variable in variables])


def _equinox(arrays: list) -> Competitor:
    equinox = importlib.import_module("equinox")
    step = equinox.filter_jit(lambda xs: [x + 1.0 for x in xs], donate="all")
    kept = [arrays]

    def call() -> None:
        kept[0] = step(kept[0])

    return Competitor(call, lambda: kept[0])


# -- models of brainpy.state ----------------------------------------------------------------------


def _brainpy() -> tuple[Any, Any, Any]:
    return tuple(map(importlib.import_module, ("brainunit", "brainstate", "brainpy.state")))


def steps(n: int) -> dict[str, Competitor]:
    """One step of a LIF population outside of jit."""
    if not is_installed(BRAINPY):
        return {}
    u, brainstate, brainpy = _brainpy()
    neuron = brainpy.LIF(n, tau=10.0 * u.ms)
    brainstate.nn.init_all_states(neuron)
    x = jnp.full(n, 3.0, jnp.float32) * u.mA

    def step() -> Any:
        with brainstate.environ.context(dt=0.1 * u.ms, t=0.0 * u.ms):
            return neuron(x)

    return {BRAINPY: Competitor(step, lambda: jax.tree.leaves(neuron.V.value))}


def starts(method: str, modules: int, elements: int, batch: int) -> dict[str, Competitor]:
    """`init_all_states` or `reset_all_states` of LIF populations and exponential synapses."""
    if not is_installed(BRAINPY):
        return {}
    _, brainstate, brainpy = _brainpy()
    net = brainstate.nn.Module()
    for k in range(modules):
        made = brainpy.Expon(elements) if k % 2 else brainpy.LIF(elements)
        setattr(net, f"part{k}", made)
    brainstate.nn.init_all_states(net, batch_size=batch)

    def values() -> list:
        return jax.tree.leaves([state.value for state in net.states().values()])

    start = getattr(brainstate.nn, method)
    return {BRAINPY: Competitor(lambda: start(net, batch_size=batch), values)}


def networks(populations: int, dt: float) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Makers of the first call of the network that `populations.Populations` is."""
    if not is_installed(BRAINPY):
        return {}
    u, brainstate, brainpy = _brainpy()
    if importlib.util.find_spec("numba") is None:  # what its sparse products are compiled with
        importlib.import_module("brainevent.config").set_backend("cpu", "jax_raw")
    V = {name: x * u.mV for name, x in (("V_th", P.V_TH), ("V_rest", P.V_REST))}
    cells = [
        brainpy.LIF(P.N, tau=P.TAU * u.ms, V_reset=V["V_rest"], **V) for _ in range(populations)
    ]
    wiring = P.pairs(populations)
    projections = [
        brainpy.AlignPostProj(
            comm=brainstate.nn.EventFixedProb(P.N, P.N, P.PROB, P.WEIGHT * u.mS),
            syn=brainpy.Expon.desc(P.N, tau=P.TAU_SYN * u.ms),
            out=brainpy.COBA.desc(E=P.E * u.mV),
            post=cells[post],
        )
        for _, post in wiring
    ]
    for part in (*cells, *projections):
        brainstate.nn.init_all_states(part)

    def update() -> list:
        with brainstate.environ.context(dt=dt * u.ms, t=0.0 * u.ms):
            spikes = [cell.get_spike() for cell in cells]
            for (pre, _), projection in zip(wiring, projections, strict=True):
                projection(spikes[pre])
            return [cell(P.DRIVE * u.mA) for cell in cells]

    return {BRAINPY: lambda: brainstate.transform.jit(lambda: update())}
