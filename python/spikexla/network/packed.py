"""The packed synapses of a captured network, made anew only when something in them has changed."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import environ
from ..comm.drawn import EventDrawn
from ..connect.drawn import Description
from ..neuron.base import Neuron
from ..ops import library
from ..ops.wiring import DrawnDelays, Projection, Wiring, most_slices, pack
from ..projection.base import Projection as Between


class Source(NamedTuple):
    """What the synapses of a projection are packed from: arrays, or what they would be drawn from.

    Both give the same bits. The arrays count where there are some, for they may have been trained.
    """

    conn: Any  # Connectivity or Description
    weight: Any  # None: a law of the Description
    delay: Any  # steps; None: a law of the Description

    def rows(self) -> Any:
        """What `ops.wiring` reads rows from."""
        return self.conn.native() if isinstance(self.conn, Description) else self.conn


class _Packed(NamedTuple):
    what: tuple
    sources: list[Source]
    wiring: Wiring


# By the network's first population: what is packed lives as long as that.
_LAST: weakref.WeakKeyDictionary[Neuron, _Packed] = weakref.WeakKeyDictionary()


def packed(
    first: Neuron,
    projections: list[Between],
    places: list[tuple[int, int, int, int, int]],
    sizes: tuple[int, ...],
    ports: list[int],
    kept: int,
) -> Wiring:
    """The wiring of the network whose first population is `first`, as `ops.wiring.pack` has it.

    places: (pre, low, high, post, port) of each projection. One whose synapses are not stored
    keeps those of the whole network from being packed.
    """
    dt = environ.get_dt_ms()
    ranges = [p.drawn_delays(dt) for p in projections]
    sources = [_source(p, drawn, dt) for p, drawn in zip(projections, ranges, strict=True)]
    dtype = first.kernel_state()[0].dtype
    stored = all(p.comm.stored for p in projections)
    processor = library.default_device(), most_slices()
    what = processor, dt, dtype, places, sizes, ports, kept, stored
    last = _LAST.get(first)
    if last is not None and last.what == what and _same(last.sources, sources):
        return last.wiring
    wired = [
        Projection(*place, s.rows(), s.weight, drawn if s.delay is None else s.delay)
        for place, s, drawn in zip(places, sources, ranges, strict=True)
    ]
    wiring = pack(sizes, ports, wired, dtype, kept, stored)
    _LAST[first] = _Packed(what, sources, wiring)
    return wiring


def _source(projection: Between, drawn: DrawnDelays | None, dt: float) -> Source:
    comm = projection.comm
    if isinstance(comm, EventDrawn) and comm.undrawn:
        delay = None if drawn else projection.delay_steps(dt)
        weight = comm.given_weight
        law = weight is None and np.dtype(environ.dftype()).itemsize >= 4  # else they are rounded
        # Delays of one a synapse have asked for the synapses.
        if comm.undrawn and (law or (weight is not None and weight.size == 1)):
            return Source(comm.description, weight, delay)
    return Source(comm.conn, comm.weight_mantissa, projection.delay_steps(dt))


def _same(old: list[Source], new: list[Source]) -> bool:
    """Whether these are the very arrays, which do not change."""
    old, new = jax.tree.leaves(old), jax.tree.leaves(new)
    return len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))
