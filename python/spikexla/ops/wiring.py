"""Packs the synapses of a network for `network_run`: what arrives together lies together."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..connect.base import empty
from . import library

NARROW = 2**16  # inputs of a slice that a 16-bit target can name
WORTH = 1024  # neurons that are worth a slice of their own
MOST_DELAY = 1023  # steps


class Projection(NamedTuple):
    """Sources [low, high) of population `pre` feed port `port` of population `post`."""

    pre: int
    low: int
    high: int
    post: int
    port: int
    conn: Any  # Connectivity
    weights: Any  # () or one a synapse
    delays: Any = 0  # steps: (), one a source (high - low,) or one a synapse


class Bundle(NamedTuple):
    """Sources whose projections are packed together: rows [row, row + high - low)."""

    pre: int
    low: int
    high: int
    row: int


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["starts", "runs", "targets", "weights"],
    meta_fields=[
        *("sizes", "ports", "slices", "first_delay", "delays", "kept", "by_synapse", "bundles")
    ],
)
class Wiring:
    """The synapses of a network, packed; csrc/cpu/wiring.h says how.

    starts: uint32 (rows + 1, 2), the two words of where a row begins; runs: uint32 (rows, slices *
    delays + 1); targets: uint16 or uint32 (synapses,), places among the inputs of the target's
    slice; weights: (synapses,), or (rows,) where every row has one weight. `kept` steps of spikes
    are remembered.
    """

    def __init__(
        self, starts: Any, runs: Any, targets: Any, weights: Any, *, sizes: tuple[int, ...],
        ports: tuple[int, ...], slices: int, first_delay: int, delays: int, kept: int,
        by_synapse: bool, bundles: tuple[Bundle, ...],
    ) -> None:  # fmt: skip
        self.starts, self.runs, self.targets, self.weights = starts, runs, targets, weights
        self.sizes, self.ports, self.slices = sizes, ports, slices
        self.first_delay, self.delays, self.kept = first_delay, delays, kept
        self.by_synapse, self.bundles = by_synapse, bundles

    def with_arrays(self, starts: Any, runs: Any, targets: Any, weights: Any) -> Wiring:
        """The same network with these arrays."""
        return jax.tree.unflatten(jax.tree.structure(self), [starts, runs, targets, weights])

    def inputs(self) -> list[np.ndarray]:
        """For each slice, the places of its inputs among those of all populations, port by port."""
        parts: list[list[np.ndarray]] = [[np.zeros(0, np.int64)] for _ in range(self.slices)]
        first = 0
        for n, ports in zip(self.sizes, self.ports, strict=True):
            for _ in range(ports):
                for s, part in enumerate(parts):
                    part.append(first + np.arange(*_span(n, s, self.slices)))
                first += n
        return [np.concatenate(part) for part in parts]


def _span(n: int, s: int, slices: int) -> tuple[int, int]:
    """The neurons of slice `s` in a population of `n`; csrc/cpu/slices.h repeats it."""
    edges = [n if k >= slices else min(n, -(-(n * k // slices) // 64) * 64) for k in (s, s + 1)]
    return edges[0], edges[1]


def pack(
    sizes: Sequence[int],
    ports: Sequence[int],
    projections: Sequence[Projection],
    dtype: Any,
    kept: int = 0,
) -> Wiring:
    """The wiring of populations of `sizes` neurons with `ports` inputs each.

    Cut for the threads that may work now; results do not depend on that. Projections with the same
    sources are packed together if that keeps the order in which every port is fed. Histories hold
    as many steps as the longest delay, or `kept` if that is more.

    Errors: TypeError for traced connectivity; ValueError for delays that are negative, longer than
    1023 steps or of a wrong shape; MemoryError, before it is taken, if there is too little memory.
    """
    native = library.native()
    _refuse_traced(projections)
    slices = int(max(1, min(native.thread_limit(), sum(sizes) // WORTH)))
    delays = [_delays(k, q) for k, q in enumerate(projections)]
    some = [d for d in delays if d.size] or [np.zeros(1, np.uint16)]
    first, last = min(int(d.min()) for d in some), max(int(d.max()) for d in some)
    groups = _groups(projections)
    bundles, row = [], 0
    for group in groups:
        q = projections[group[0]]
        bundles.append(Bundle(q.pre, q.low, q.high, row))
        row += q.high - q.low
    lengths = [sum(_lengths(projections[k]) for k in group) for group in groups]
    starts = np.concatenate([[0], *lengths]).astype(np.int64).cumsum()
    weights = [np.asarray(q.weights, dtype).reshape(-1) for q in projections]
    rowwise = _row_weights(groups, weights, bundles)
    width, total = slices * (last - first + 1) + 1, int(starts[-1])
    index = np.uint16 if _most_inputs(sizes, ports, slices) <= NARROW else np.uint32
    runs = empty((row * width,), np.uint32, "the synapses' runs")
    targets = empty((total,), index, "the targets of all synapses")
    packed = empty((0 if rowwise is not None else total,), dtype, "the weights of all synapses")
    feeds = [
        (b.high - b.low, [_feed(projections[k], weights[k], delays[k]) for k in group])
        for b, group in zip(bundles, groups, strict=True)
    ]
    sound = native.pack_wiring(
        slices,
        list(sizes),
        list(ports),
        feeds,
        first,
        last - first + 1,
        starts,
        runs,
        targets,
        packed,
    )
    if not sound:
        raise ValueError(
            "network_run: a projection's connectivity points outside of its population, or its row "
            "starts are not ascending. Build it with spikexla.connect, which checks."
        )
    return Wiring(
        jnp.asarray(starts.view(np.uint32).reshape(-1, 2)),
        jax.device_put(runs.reshape(row, width), may_alias=True),
        jax.device_put(targets, may_alias=True),
        jnp.asarray(rowwise) if rowwise is not None else jax.device_put(packed, may_alias=True),
        sizes=tuple(sizes), ports=tuple(ports), slices=slices, first_delay=first,
        delays=last - first + 1, kept=max(kept, last), by_synapse=rowwise is None,
        bundles=tuple(bundles),
    )  # fmt: skip


def _refuse_traced(projections: Sequence[Projection]) -> None:
    arrays = [x for q in projections for x in (q.conn, q.weights, q.delays)]
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(arrays)):
        raise TypeError(
            "network_run: the synapses are traced. They are packed before jax.jit: call "
            "ops.wiring.pack outside and pass its result."
        )


def _most_inputs(sizes: Sequence[int], ports: Sequence[int], slices: int) -> int:
    """The inputs of the slice that has most."""
    spans = [[_span(n, s, slices) for n in sizes] for s in range(slices)]
    return max(sum((b - a) * k for (a, b), k in zip(its, ports, strict=True)) for its in spans)


def _delays(k: int, q: Projection) -> np.ndarray:
    """The delays of a projection: uint16 of (1,), (sources,) or (synapses,)."""
    delays = np.asarray(q.delays)
    allowed = [(), (1,), (q.high - q.low,), q.conn.indices.shape]
    if delays.shape not in allowed or not np.issubdtype(delays.dtype, np.integer):
        raise ValueError(
            f"network_run: projection {k} has delays of shape {delays.shape} and type "
            f"{delays.dtype}; they are whole numbers of steps: one, one a source or one a synapse."
        )
    if delays.size and not 0 <= delays.min() <= delays.max() <= MOST_DELAY:
        wrong = delays.min() if delays.min() < 0 else delays.max()
        raise ValueError(
            f"network_run: projection {k} has a delay of {wrong} steps; 0 to {MOST_DELAY} are "
            "possible. Take a larger dt for longer delays."
        )
    return delays.reshape(-1).astype(np.uint16)


def _groups(projections: Sequence[Projection]) -> list[list[int]]:
    """Projections that are packed together.

    Same sources, no port twice, and no port fed earlier than by its projections before.
    """
    left, groups = list(range(len(projections))), []
    while left:
        source, group, passed = projections[left[0]][:3], [], set()
        for k in list(left):
            q = projections[k]
            port = q.post, q.port
            if q[:3] == source and port not in passed:
                group.append(k)
                left.remove(k)
            passed.add(port)
        groups.append(group)
    return groups


def _lengths(q: Projection) -> np.ndarray:
    if q.conn.indices.ndim == 2:
        return np.full(q.high - q.low, q.conn.indices.shape[1], np.int64)
    return np.diff(np.asarray(q.conn.indptr)).astype(np.int64)


def _row_weights(groups: list, weights: list, bundles: list) -> np.ndarray | None:
    """One weight a row, if every bundle has one weight."""
    of = [
        {float(weights[k][0]) if weights[k].size == 1 else None for k in group} for group in groups
    ]
    if any(len(its) != 1 or None in its for its in of):
        return None
    first = [weights[group[0]] for group in groups]
    parts = [np.broadcast_to(w, b.high - b.low) for w, b in zip(first, bundles, strict=True)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _feed(q: Projection, weights: np.ndarray, delays: np.ndarray) -> tuple:
    """A projection as csrc/wiring_module.cc takes it."""
    indices = np.asarray(q.conn.indices)
    fan = indices.shape[1] if indices.ndim == 2 else 0
    begins = np.zeros(0, np.int32) if indices.ndim == 2 else np.asarray(q.conn.indptr)
    flat = indices.reshape(-1)
    by_synapse = np.shape(q.delays) == indices.shape
    return begins, flat, fan, weights, delays, by_synapse, q.post, q.port
