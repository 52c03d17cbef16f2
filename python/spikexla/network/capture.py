"""Reads off a module what one call of its `update` does, if that is a step of a known network.

`update` is traced once with every population and projection replaced by a stand-in that notes its
call; the currents that they are given are computed afterwards. Spikes are `SpikeView`s, which know
whose they are; slicing is all one can do with them. Whatever goes beyond that - reading a State,
calling out of the program, computing with spikes, an unknown model - makes the module one that is
stepped in a compiled loop instead, and the reason is kept for the report.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ
from ..comm.selves import check_sources
from ..dynamics import Inputs
from ..module import Module
from ..neuron.base import Neuron
from ..ops.library import kernels
from ..projection.align_post import AlignPostProj
from ..projection.base import Projection
from ..projection.poisson_input import PoissonInput
from ..state import has_tracer
from ..synapse.base import SynOut
from ..synapse.coba import COBA
from ..synapse.cuba import CUBA
from ..synapse.delta import Delta
from ..synapse.expon import Expon
from ..transform.effects import calls_out_of
from ..transform.trace import Traced
from ..units import mantissa
from .not_a_plan import NotAPlan, names_of
from .overridden import check_population, check_projection, check_synapse
from .under_way import first_to_differ

KNOWN = (Expon, Delta)  # synapses


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
            raise NotAPlan(self.neuron, "index", index=index)
        first, last, _ = index.indices(self.high - self.low)
        return SpikeView(self.neuron, self.low + first, self.low + max(first, last), self.new)

    def __ne__(self, other: Any) -> Any:
        if isinstance(other, int | float) and other == 0:
            return self  # spikes as bools: the same events
        raise self._computed_with("a comparison")

    def __gt__(self, other: Any) -> Any:
        return self.__ne__(other)

    def __eq__(self, other: Any) -> Any:
        raise self._computed_with("a comparison")

    def __bool__(self) -> bool:
        raise self._computed_with("a condition")

    def astype(self, dtype: Any) -> SpikeView:
        """The same events in another dtype."""
        return self

    def __getattr__(self, name: str) -> Any:
        raise self._computed_with(f".{name}")

    def _computed_with(self, how: str) -> NotAPlan:
        return NotAPlan(self.neuron, "computed", how=how)

    def _arithmetic(self, *_: Any) -> Any:
        raise self._computed_with("arithmetic")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _arithmetic
    __and__ = __rand__ = __or__ = __ror__ = __matmul__ = __rmatmul__ = __invert__ = _arithmetic
    __neg__ = __lt__ = __le__ = __ge__ = __pow__ = _arithmetic

    __hash__ = object.__hash__


def capture(net: Module, inputs: tuple) -> Plan:
    """The plan of `net.update(*inputs)`. Raises NotAPlan, which says what stands in the way."""
    notes: list[tuple[str, Any, Any]] = []
    names = names_of(net)
    try:
        return _captured(net, inputs, notes, names)
    finally:  # a loop would not see whose spikes it is given
        for what, node, given in notes:
            if what == "feed" and given and isinstance(given[0], SpikeView):
                _check_autapses(node, given[0], names)


def _captured(net: Module, inputs: tuple, notes: list, names: dict[int, str]) -> Plan:
    nodes = list(net.nodes().values())

    def step() -> list[Any]:
        net.update(*inputs)
        return [x for x in jax.tree.leaves([given for _, _, given in notes]) if has_tracer(x)]

    # As in the loop, the time is there, as data: who asks for it is told from who does not.
    with _stand_ins(nodes, notes), environ.context(i=jnp.int32(0), t=jnp.zeros(())):
        try:
            traced = Traced(step, ())
        except NotAPlan:
            raise
        except Exception as error:
            raise NotAPlan(None, "more", error=str(error).split("\n", 1)[0]) from error
    if traced.states or traced.new:
        touched = (traced.states or traced.new)[0]
        paths = {id(state): str(path) for path, state in net.states().items()}
        path = paths.get(id(touched), touched.name or touched.label)
        raise NotAPlan(None, "state", state=path)
    if call := next(calls_out_of(traced.jaxpr.jaxpr), None):
        raise NotAPlan(None, "effect", call=call)
    return _plan(nodes, _computed(notes, iter(traced.call((), ())[0])), names)


def _computed(notes: list, values: Iterator[Any]) -> list[tuple[str, Any, Any]]:
    """The notes with `values` in place of what was traced."""

    def number(x: Any) -> Any:
        return next(values) if has_tracer(x) else x

    return [(what, node, jax.tree.map(number, given)) for what, node, given in notes]


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
                raise NotAPlan(node, "other spikes")
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


def _plan(nodes: list[Module], notes: list, names: dict[int, str]) -> Plan:
    populations = [node for what, node, _ in notes if what == "step"]
    if not populations:
        raise NotAPlan(None, "no step")
    for node in nodes:
        if isinstance(node, Neuron):
            times = sum(node is p for p in populations)
            if times != 1:
                raise NotAPlan(node, "steps", times=times)
            check_population(node)
            if node.V.value.ndim != len(node.in_size):
                raise NotAPlan(node, "batch")
    fed, drawn, stepped = [], [], set()
    for what, node, given in notes:
        if what == "step":
            stepped.add(id(node))
        elif isinstance(node, PoissonInput):
            drawn.append(_drawn(node, given, stepped, drawn, names))
        else:
            fed.append(_feed(node, given, stepped, names))
    delayed = [f for f in fed if f.projection.delayed]
    histories = [f.projection.history.value for f in delayed]
    other = first_to_differ([(id(f.pre), f.low, f.high) for f in delayed], histories)
    if other is not None:
        raise NotAPlan(delayed[other].projection, "history")
    called = [f.projection for f in fed] + drawn
    ports = [_ports(p, nodes, called) for p in populations]
    random = [[q for q in drawn if q.post is p] for p in populations]
    drives = [_drive(node, given, names) for what, node, given in notes if what == "step"]
    for population, its in zip(populations, ports, strict=True):
        conductance = any(isinstance(out, COBA) for _, out in its)
        name = population.kernel(conductance).name
        if name not in {k.model for k in kernels().values()}:
            raise NotAPlan(population, "kernel", name=name)
    return Plan(populations, drives, ports, fed, random)


def _check_autapses(node: Projection, view: SpikeView, names: dict[int, str]) -> None:
    if view.neuron is node.post and len(view.neuron.in_size) == 1:
        population = names[id(view.neuron)]
        check_sources(names[id(node)], node.comm, population, view.low, view.high)


def _drawn(
    node: PoissonInput, given: tuple, stepped: set[int], before: list, names: dict[int, str]
) -> PoissonInput:
    if given:
        raise TypeError(
            f"{names[id(node)]} is a PoissonInput, which is called without arguments, but update() "
            f"gives it {len(given)}."
        )
    _check_target(node, stepped, names)
    if any(node is other for other in before):
        raise NotAPlan(node, "twice")
    return node


def _check_target(node: AlignPostProj, stepped: set[int], names: dict[int, str]) -> None:
    check_projection(node)
    if id(node.post) not in names:
        raise NotAPlan(node, "elsewhere")
    if id(node.post) in stepped:
        raise NotAPlan(node, "late")
    if node.out.synapse is not node.syn:
        raise NotAPlan(node, "undriven")


def _feed(projection: Projection, given: tuple, stepped: set[int], names: dict[int, str]) -> Fed:
    if not isinstance(projection, AlignPostProj):
        raise NotAPlan(projection, "kind", kind=type(projection).__name__)
    if projection.modules:
        raise NotAPlan(projection, "modules")
    if len(given) != 1 or not isinstance(given[0], SpikeView):
        raise NotAPlan(projection, "no spikes")
    if projection.delayed:
        history = projection.history.value
        if history.dtype != np.uint32 or history.ndim != 2:
            raise NotAPlan(projection, "floats")
    view = given[0]
    if view.new:
        raise NotAPlan(projection, "new spikes")
    _check_target(projection, stepped, names)
    if len(view.neuron.in_size) > 1:
        raise NotAPlan(projection, "shape", shape=view.neuron.in_size)
    sources = math.prod(projection.comm.in_size)
    if sources != view.high - view.low:
        raise ValueError(
            f"{names[id(projection)]} takes {sources} sources but gets the "
            f"spikes of {view.high - view.low} neurons, [{view.low}:{view.high}] of "
            f"{names[id(view.neuron)]}. Give it the slice that it was built for."
        )
    return Fed(projection, view.neuron, view.low, view.high)


def _ports(population: Neuron, nodes: list[Module], called: list[AlignPostProj]) -> list:
    """The synapses of a population. They advance in every step, fed or not, if they are shared."""
    onto = [n for n in nodes if isinstance(n, AlignPostProj) and n.post is population]
    ports = []
    for key, (out, _) in population._current._entries.items():
        owners = [n for n in onto if n.out is out and n.syn is out.synapse]
        if not owners or type(out) not in (COBA, CUBA) or type(owners[0].syn) not in KNOWN:
            raise NotAPlan(population, "input", key=key)
        syn = owners[0].syn
        calls = sum(n.syn is syn for n in called)
        check_synapse(syn)
        if not owners[0].merging and calls != 1:
            raise NotAPlan(syn, "calls", times=calls)
        if len(syn._current) or len(syn._delta):
            raise NotAPlan(syn, "synapse in")
        ports.append((syn, out))
    if len(population._delta):
        raise NotAPlan(population, "delta")
    for n in called:
        if n.post is population and not any(n.syn is syn for syn, _ in ports):
            raise NotAPlan(n, "undriven")
    return ports


def _drive(population: Neuron, given: Any, names: dict[int, str]) -> Any:
    """The constant current of a population in its unit: () or (size,)."""
    if isinstance(given, SpikeView):
        raise NotAPlan(population, "spikes in")
    current = 0.0 if given is None else given
    current = np.asarray(mantissa(current, population.current_unit, what="the input current"))
    if current.dtype.kind not in "biuf":
        raise TypeError(
            f"update() gives {names[id(population)] or 'itself'} the input current {given!r}. "
            "Give a number, or an array of them."
        )
    if np.isnan(current).any():
        raise ValueError(
            f"update() gives {names[id(population)] or 'itself'} an input current that is NaN. "
            "Give a number."
        )
    try:
        if current.size != 1:
            current = np.broadcast_to(current, population.in_size)
    except ValueError:
        raise ValueError(
            f"update() gives an input current of shape {current.shape} to "
            f"{names[id(population)] or 'itself'}, a population of shape {population.in_size}. "
            "Give a number or an array of that shape."
        ) from None
    return jnp.asarray(current.reshape(-1) if current.size != 1 else current.reshape(()))
