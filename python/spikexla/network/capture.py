"""Reads off a module what one call of its `update` does, if that is a step of a known network.

`update` runs once with every population and projection replaced by a stand-in that notes its call.
Spikes are `SpikeView`s, which know whose they are; slicing is all one can do with them. Whatever
goes beyond that - reading a State, computing with spikes, an unknown model - makes the module one
that is stepped in a compiled loop instead, and the reason is kept for the report.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..comm.base import EventComm
from ..dynamics import Inputs
from ..module import Module
from ..neuron.base import Neuron
from ..ops.library import kernels
from ..projection.align_post import AlignPostProj
from ..projection.base import Projection
from ..projection.poisson_input import PoissonInput
from ..synapse.base import SynOut
from ..synapse.coba import COBA
from ..synapse.cuba import CUBA
from ..synapse.delta import Delta
from ..synapse.expon import Expon
from ..transform.trace import Traced
from ..units import mantissa
from .under_way import agree

KNOWN = (Expon, Delta)  # synapses


class NotAPlan(Exception):
    """Why a module is stepped in a loop."""


class Fed(NamedTuple):
    """Sources [low, high) of `pre` feed `projection`."""

    projection: AlignPostProj
    pre: Neuron
    low: int
    high: int


class Plan(NamedTuple):
    """One step of a network: each population once, after the projections that were called."""

    populations: list[Neuron]
    drives: list[Any]  # in the unit of the population, () or (size,)
    ports: list[
        list[tuple[Expon | Delta, SynOut]]
    ]  # of each population, in the order of its inputs
    fed: list[Fed]  # in the order of their calls
    random: list[list[PoissonInput]]  # of each population, in the order of their calls


class SpikeView:
    """The last spikes of neurons [low, high) of a population, in a network that is being read."""

    def __init__(self, neuron: Neuron, low: int, high: int, new: bool) -> None:
        self.neuron, self.low, self.high, self.new = neuron, low, high, new

    def __getitem__(self, index: Any) -> SpikeView:
        if isinstance(index, tuple) and len(index) == 2 and index[0] is Ellipsis:
            index = index[1]
        if not isinstance(index, slice) or index.step not in (None, 1):
            raise NotAPlan(f"update() takes spikes by {index!r}, which is not a plain slice")
        first, last, _ = index.indices(self.high - self.low)
        return SpikeView(self.neuron, self.low + first, self.low + max(first, last), self.new)

    def __ne__(self, other: Any) -> Any:
        if isinstance(other, int | float) and other == 0:
            return self  # spikes as bools: the same events
        raise NotAPlan("update() computes with spikes")

    def __gt__(self, other: Any) -> Any:
        return self.__ne__(other)

    def astype(self, dtype: Any) -> SpikeView:
        """The same events in another dtype."""
        return self

    def __getattr__(self, name: str) -> Any:
        raise NotAPlan(f"update() computes with spikes (.{name})")

    __hash__ = object.__hash__


def capture(net: Module, inputs: tuple) -> Plan:
    """The plan of `net.update(*inputs)`. Raises NotAPlan, which says what stands in the way."""
    nodes = list(net.nodes().values())
    notes: list[tuple[str, Any, Any]] = []

    def step() -> None:
        with jax.ensure_compile_time_eval():
            net.update(*inputs)

    with _stand_ins(nodes, notes):
        try:
            traced = Traced(step, ())
        except NotAPlan:
            raise
        except Exception as error:
            reason = str(error).split("\n", 1)[0]
            raise NotAPlan(f"update() does more than step its parts ({reason})") from error
    if traced.states or traced.new:
        touched = (traced.states or traced.new)[0]
        raise NotAPlan(f"update() uses the state {touched.label} itself")
    return _plan(nodes, notes)


@contextlib.contextmanager
def _stand_ins(nodes: list[Module], notes: list) -> Iterator[None]:
    """Lets populations and projections note their calls instead of making them."""
    hidden: list[tuple[Module, dict]] = []

    def replace(node: Module, **names: Any) -> None:
        hidden.append((node, {k: node.__dict__[k] for k in names if k in node.__dict__}))
        node.__dict__.update(names)

    def neuron(node: Neuron) -> None:
        stepped = []

        def update(x: Any = None) -> SpikeView:
            stepped.append(True)
            notes.append(("step", node, x))
            return SpikeView(node, 0, node.size, True)

        def get_spike(V: Any = None) -> SpikeView:
            if V is not None:
                raise NotAPlan("update() asks for the spikes of a potential of its own")
            return SpikeView(node, 0, node.size, bool(stepped))

        replace(node, update=update, get_spike=get_spike, _before=Inputs())

    try:
        for node in nodes:
            if isinstance(node, Neuron):
                neuron(node)
            elif isinstance(node, Projection):
                replace(node, update=lambda *args, node=node: notes.append(("feed", node, args)))
        yield
    finally:
        for node, old in reversed(hidden):
            for name in ("update", "get_spike", "_before"):
                node.__dict__.pop(name, None)
            node.__dict__.update(old)


def _plan(nodes: list[Module], notes: list) -> Plan:
    populations = [node for what, node, _ in notes if what == "step"]
    everyone = [node for node in nodes if isinstance(node, Neuron)]
    if not populations:
        raise NotAPlan("update() steps no population of neurons")
    if len(populations) != len(everyone) or len({id(p) for p in populations}) != len(populations):
        raise NotAPlan("update() does not step every population exactly once")
    fed, drawn, stepped = [], [], set()
    for what, node, given in notes:
        if what == "step":
            stepped.add(id(node))
        elif isinstance(node, PoissonInput):
            drawn.append(_drawn(node, given, stepped, drawn))
        else:
            fed.append(_feed(node, given, stepped))
    delayed = [f for f in fed if f.projection.delayed]
    histories = [f.projection.history.value for f in delayed]
    if not agree([(id(f.pre), f.low, f.high) for f in delayed], histories):
        raise NotAPlan("projections of the same neurons remember different spikes")
    called = [f.projection for f in fed] + drawn
    ports = [_ports(p, nodes, called) for p in populations]
    random = [[q for q in drawn if q.post is p] for p in populations]
    drives = [_drive(node, given) for what, node, given in notes if what == "step"]
    for population, its in zip(populations, ports, strict=True):
        conductance = any(isinstance(out, COBA) for _, out in its)
        name = population.kernel(conductance).name
        if name not in {k.model for k in kernels().values()}:
            raise NotAPlan(f"the model {name!r} has no compiled kernel")
        if population.V.value.ndim != len(population.in_size):
            raise NotAPlan(f"the states of {type(population).__name__} have a batch axis")
    return Plan(populations, drives, ports, fed, random)


def _drawn(node: PoissonInput, given: tuple, stepped: set[int], before: list) -> PoissonInput:
    if given:
        raise NotAPlan("a PoissonInput is called with arguments")
    if id(node.post) in stepped:
        raise NotAPlan("a PoissonInput is called after its population was stepped")
    if any(node is other for other in before):
        raise NotAPlan("a PoissonInput is called twice a step")
    return node


def _feed(projection: Projection, given: tuple, stepped: set[int]) -> Fed:
    if not isinstance(projection, AlignPostProj) or projection.modules:
        raise NotAPlan(f"{type(projection).__name__} is not a sparse projection onto a synapse")
    if len(given) != 1 or not isinstance(given[0], SpikeView):
        raise NotAPlan("a projection is called with something else than spikes of a population")
    if projection.delayed:
        if not hasattr(projection, "history"):
            raise NotAPlan("a delayed projection has not been started: call init_all_states(net)")
        if projection.history.value.dtype != np.uint32 or projection.history.value.ndim != 2:
            raise NotAPlan("a delayed projection keeps floats or a batch, not bits")
    view = given[0]
    if view.new or id(projection.post) in stepped:
        raise NotAPlan("a projection is called after its population was stepped")
    if not isinstance(projection.comm, EventComm) or len(view.neuron.in_size) > 1:
        raise NotAPlan(f"{type(projection.comm).__name__} is not a sparse connection")
    sources = math.prod(projection.comm.in_size)
    if sources != view.high - view.low:
        raise ValueError(
            f"a projection takes {sources} sources but gets the spikes of "
            f"{view.high - view.low} neurons. Give it the slice that it was built for."
        )
    return Fed(projection, view.neuron, view.low, view.high)


def _ports(population: Neuron, nodes: list[Module], called: list[AlignPostProj]) -> list:
    """The synapses of a population. They advance in every step, fed or not, if they are shared."""
    onto = [n for n in nodes if isinstance(n, AlignPostProj) and n.post is population]
    ports = []
    for key, (out, _) in population._current._entries.items():
        owners = [n for n in onto if n.out is out]
        if not owners or type(out) not in (COBA, CUBA) or type(owners[0].syn) not in KNOWN:
            raise NotAPlan(
                f"{type(population).__name__} has an input {key!r} that is no exponential or delta "
                "synapse"
            )
        syn = owners[0].syn
        calls = sum(n.syn is syn for n in called)
        if not owners[0].merging and calls != 1:
            raise NotAPlan("a synapse that is not shared is advanced other than once a step")
        if len(syn._current) or len(syn._delta):
            raise NotAPlan("a synapse has inputs beside its projections")
        ports.append((syn, out))
    if len(population._delta):
        raise NotAPlan(f"{type(population).__name__} has delta inputs")
    if any(not any(n.syn is syn for syn, _ in ports) for n in called if n.post is population):
        raise NotAPlan("a projection feeds a synapse that does not drive its population")
    return ports


def _drive(population: Neuron, given: Any) -> Any:
    """The constant current of a population in its unit: () or (size,)."""
    if isinstance(given, SpikeView):
        raise NotAPlan("spikes are an input current")
    current = 0.0 if given is None else given
    try:
        current = np.asarray(mantissa(current, population.current_unit, what="the input current"))
    except jax.errors.TracerArrayConversionError:
        raise NotAPlan("update() computes the input current from states") from None
    if np.isnan(current).any():
        raise ValueError("update() gives a population an input current that is NaN.")
    try:
        if current.size != 1:
            current = np.broadcast_to(current, population.in_size)
    except ValueError:
        raise ValueError(
            f"update() gives an input current of shape {current.shape} to a population of shape "
            f"{population.in_size}. Give a number or an array of that shape."
        ) from None
    return jnp.asarray(current.reshape(-1) if current.size != 1 else current.reshape(()))
