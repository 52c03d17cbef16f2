"""Which path each part of a network took, and why."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..module import Module
from ..neuron.base import Neuron
from ..projection.base import Projection
from ..synapse.coba import COBA
from .capture import Plan
from .not_a_plan import NotAPlan, names_of

ENGINE, LOOP, UPDATE = "network_run", "for_loop", "update()"


class Part(NamedTuple):
    """How a population, a projection or an input was run, and why so."""

    path: str  # 'network_run' or 'for_loop'
    why: str


def planned(net: Module, plan: Plan) -> dict[str, Part]:
    """The parts of a network that the engine runs."""
    names, told = names_of(net), {}
    for population, ports in zip(plan.populations, plan.ports, strict=True):
        kernel = population.kernel(any(isinstance(out, COBA) for _, out in ports))
        told[id(population)] = f"the kernel {kernel.name} advances its {population.size} neurons"
    for f in plan.fed:
        cut = "" if f.high - f.low == f.pre.size else f"[{f.low}:{f.high}]"
        told[id(f.projection)] = (
            f"{_synapses(f.projection.comm)} from {names[id(f.pre)] or UPDATE}{cut} to "
            f"{names[id(f.projection.post)]} are packed{_delays(f.projection)}"
        )
    for q in (q for its in plan.random for q in its):
        told[id(q)] = f"events of {names[id(q.post)]} are drawn by the kernel poisson"
    return _each(net, ENGINE, lambda node: told.get(id(node), "update() does not call it"))


def looped(net: Module, obstacle: NotAPlan) -> tuple[str, dict[str, Part]]:
    """Why a network is stepped in a loop, and what that means for its parts."""
    name, why = obstacle.named(names_of(net))
    rest = f"is compiled together with {name or UPDATE}"
    return why, _each(net, LOOP, lambda _: rest) | {name or UPDATE: Part(LOOP, why)}


def _synapses(comm: Any) -> str:
    """How many; they are not drawn to be counted."""
    return (
        f"synapses of {comm.rule}"
        if vars(comm).get("conn") is None
        else f"{comm.conn.nnz} synapses"
    )


def _delays(projection: Any) -> str:
    if not projection.delayed:
        return ""
    return f", with delays up to {projection.longest_delay_ms:g} ms"


def _each(net: Module, path: str, why: Any) -> dict[str, Part]:
    return {
        str(name): Part(path, why(node))
        for name, node in net.nodes().items()
        if isinstance(node, Neuron | Projection)
    }
