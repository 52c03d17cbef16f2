"""Parts that a user changed: the engine knows what the classes of spikexla do, and nothing else."""

from __future__ import annotations

from typing import Any

from ..comm.base import EventComm
from ..neuron.base import Neuron
from ..projection.align_post import AlignPostProj, shares
from ..projection.base import Projection
from ..projection.poisson_input import PoissonInput
from ..surrogate import Surrogate
from .not_a_plan import NotAPlan


def check_population(node: Neuron) -> None:
    """NotAPlan for a population that does more in a step than its kernel."""
    _same(node, Neuron, "update", "_step", "_currents", "_linearised", "_jump")
    # Who decides anew what a spike is must name another kernel as well.
    for name in ("get_spike", "after_reset", "kernel_state", "set_kernel_state"):
        if name in vars(node) or not issubclass(_definer(node, "kernel"), _definer(node, name)):
            raise _own(node, name)
    if not isinstance(node.spk_fun, Surrogate):
        raise NotAPlan(node, "spk_fun")
    for key, (function, _) in node._before._entries.items():
        if not shares(function):
            raise NotAPlan(node, "before", key=key)


def check_projection(node: AlignPostProj) -> None:
    """NotAPlan for a projection that does more than to weigh spikes and hand them on."""
    base = PoissonInput if isinstance(node, PoissonInput) else AlignPostProj
    _same(node, base, "update")
    _same(node, Projection, "_arrivals", "_weighed")
    if base is AlignPostProj:
        if not isinstance(node.comm, EventComm):
            raise NotAPlan(node, "comm", kind=type(node.comm).__name__)
        _same(node.comm, EventComm, "update", "accumulate", "along", "weight_mantissa")


def check_synapse(node: Any) -> None:
    """NotAPlan for one of the known synapses that does something of its own."""
    _same(node, type(node), "update", "decay", "kernel_state", "set_kernel_state")


def _same(node: Any, base: type, *names: str) -> None:
    for name in names:
        if name in vars(node) or getattr(type(node), name) is not getattr(base, name):
            raise _own(node, name)


def _definer(node: Any, name: str) -> type:
    return next(kind for kind in type(node).__mro__ if name in vars(kind))


def _own(node: Any, name: str) -> NotAPlan:
    return NotAPlan(node, "own", name=name, kind=type(node).__name__)
