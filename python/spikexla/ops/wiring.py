"""Packs the synapses of a network for `network_run`: what arrives together lies together."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..connect.base import Connectivity, empty, require_memory
from . import library

NARROW = 2**16  # inputs of a slice that a 16-bit target can name
WORTH, WORTH_ON_GPU = 1024, 64  # neurons that are worth a slice of their own
FEW_RUNS = 2**26  # in all slices, on a CPU: no reason for fewer slices
MOST_DELAY = 1023  # steps


class DrawnDelays(NamedTuple):
    """Delays that a rule draws, in ms: in steps of `dt` ms they lie in [first, last].

    These are `ahead` fewer than the ms say, and not below 0.
    """

    dt: float
    first: int
    last: int
    ahead: int = 0


class Projection(NamedTuple):
    """Sources [low, high) of population `pre` feed port `port` of population `post`.

    A rule is drawn while it is packed; its synapses are never all in memory as arrays.
    """

    pre: int
    low: int
    high: int
    post: int
    port: int
    conn: Any  # Connectivity, or a native RowRule
    weights: Any  # () or one a synapse; None, those that the rule draws
    delays: Any = 0  # steps: (), one a source (high - low,) or one a synapse; or DrawnDelays


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
        *("sizes", "ports", "slices", "first_delay", "delays", "kept", "stored", "by_synapse"),
        "bundles",
    ],
)
class Wiring:
    """The synapses of a network, packed; csrc/cpu/wiring.h says how.

    starts: uint32 (rows + 1, 2), the two words of where a row begins; runs: uint32 (rows, slices *
    delays + 1); targets: uint16 or uint32 (synapses,), places among the inputs of the target's
    slice; weights: (synapses,), or (rows,) where every row has one weight. `kept` steps of spikes
    are remembered.

    Without `stored`, a row is drawn when its source spikes: runs, targets and weights are empty,
    and starts, (1, 2), is the number under which `lent` holds what rows are drawn from. Keep the
    object that `pack` returned for as long as others with its arrays are in use.

    Arrays that `pack` did not make are checked when `network_run` first gets them; inside of
    `jax.jit` it cannot look into them, and takes them as they are.
    """

    lent: Any = None

    def __init__(
        self, starts: Any, runs: Any, targets: Any, weights: Any, *, sizes: tuple[int, ...],
        ports: tuple[int, ...], slices: int, first_delay: int, delays: int, kept: int,
        stored: bool, by_synapse: bool, bundles: tuple[Bundle, ...],
    ) -> None:  # fmt: skip
        self.starts, self.runs, self.targets, self.weights = starts, runs, targets, weights
        self.sizes, self.ports, self.slices = sizes, ports, slices
        self.first_delay, self.delays, self.kept = first_delay, delays, kept
        self.stored, self.by_synapse, self.bundles = stored, by_synapse, bundles

    def with_arrays(self, starts: Any, runs: Any, targets: Any, weights: Any) -> Wiring:
        """The same network with these arrays."""
        return jax.tree.unflatten(jax.tree.structure(self), [starts, runs, targets, weights])

    def check(self) -> None:
        """Raises ValueError if the arrays cannot be those of `pack`; looks into them once."""
        arrays = self.starts, self.runs, self.targets
        if not self.stored or any(isinstance(x, Tracer) for x in arrays) or _known(arrays):
            return
        if np.shape(self.starts)[1:] != (2,) or np.ndim(self.runs) != 2:
            raise ValueError(
                f"network_run: packed synapses have starts {np.shape(self.starts)} and runs "
                f"{np.shape(self.runs)}, which must be (rows + 1, 2) and (rows, slices * delays + "
                "1). Make them with ops.wiring.pack."
            )
        starts = np.ascontiguousarray(self.starts, np.uint32).view(np.int64).reshape(-1)
        runs, targets = (np.ascontiguousarray(x).reshape(-1) for x in (self.runs, self.targets))
        library.native().check_wiring(
            self.slices, list(self.sizes), list(self.ports), self.delays, starts, runs, targets
        )
        _know(arrays)

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


# Starts, runs and targets that are known to be sound together, by their addresses.
_SOUND: dict[tuple[int, ...], tuple[weakref.ref, ...]] = {}


def _know(arrays: tuple[Any, ...]) -> None:
    if not all(isinstance(x, jax.Array) for x in arrays):
        return  # others may be written to
    key = tuple(map(id, arrays))
    _SOUND[key] = tuple(weakref.ref(x, lambda _: _SOUND.pop(key, None)) for x in arrays)


def _known(arrays: tuple[Any, ...]) -> bool:
    refs = _SOUND.get(tuple(map(id, arrays)), ())
    return bool(refs) and all(ref() is x for ref, x in zip(refs, arrays, strict=True))


def _span(n: int, s: int, slices: int) -> tuple[int, int]:
    """The neurons of slice `s` in a population of `n`; csrc/cpu/slices.h repeats it."""
    edges = [n if k >= slices else min(n, -(-(n * k // slices) // 64) * 64) for k in (s, s + 1)]
    return edges[0], edges[1]


def most_slices() -> int:
    """As many slices as can be worked on at once: by threads, or multiprocessors of a GPU."""
    if library.default_platform() == "cuda":
        return getattr(library.default_device(), "core_count", None) or 128
    return library.native().thread_limit()


def _slices(neurons: int, synapses: int, runs: int) -> int:
    """The slices of a network that has so many `runs` in each."""
    on_gpu = library.default_platform() == "cuda"
    slices = min(most_slices(), neurons // (WORTH_ON_GPU if on_gpu else WORTH))
    # Not so many that runs would take more memory than synapses, if that is much.
    few = 0 if on_gpu else FEW_RUNS
    return max(1, min(slices, max(few, 2 * synapses) // max(1, runs)))


def pack(
    sizes: Sequence[int],
    ports: Sequence[int],
    projections: Sequence[Projection],
    dtype: Any,
    kept: int = 0,
    stored: bool = True,
) -> Wiring:
    """The wiring of populations of `sizes` neurons with `ports` inputs each.

    Cut for the processor that it will run on now; results do not depend on that. Projections with
    the same sources are packed together if that keeps the order in which every port is fed.
    Histories hold as many steps as the longest delay, or `kept` if that is more. Without `stored`
    nothing is packed: the CPU's engine draws rows when it needs them, with the same results.

    Errors: TypeError for traced connectivity; ValueError for delays that are negative, longer than
    1023 steps or of a wrong shape; MemoryError, before it is taken, if there is too little memory.
    """
    _refuse_traced(projections)
    read = [_Read.of(k, q, dtype) for k, q in enumerate(projections)]
    spans = [r.range(q) for q, r in zip(projections, read, strict=True)]
    first = min((span[0] for span in spans if span), default=0)
    last = max((span[1] for span in spans if span), default=0)
    groups = _groups(projections)
    bundles, row = [], 0
    for group in groups:
        q = projections[group[0]]
        bundles.append(Bundle(q.pre, q.low, q.high, row))
        row += q.high - q.low
    feeds = [
        (b.high - b.low, [read[k].feed(projections[k]) for k in group])
        for b, group in zip(bundles, groups, strict=True)
    ]
    expected = int(sum(r.rule.expected for r in read))
    slices = _slices(sum(sizes), expected, row * (last - first + 1))
    layout = _Layout(slices, list(sizes), list(ports), feeds, first, last - first + 1)
    rowwise = _row_weights(groups, [r.weights for r in read], bundles) if stored else None
    own = {
        "sizes": tuple(sizes), "ports": tuple(ports), "slices": slices, "first_delay": first,
        "delays": last - first + 1, "kept": max(kept, last), "stored": stored,
        "by_synapse": rowwise is None, "bundles": tuple(bundles),
    }  # fmt: skip
    if stored:
        wiring = Wiring(*_packed(layout, rowwise, groups, read, expected, dtype), **own)
        _know((wiring.starts, wiring.runs, wiring.targets))
        return wiring
    lent = getattr(library.native(), f"lend_rows_{np.dtype(dtype).name}")(*layout)
    number = np.array([lent.number], np.uint64).view(np.uint32).reshape(1, 2)
    none = (np.zeros(0, kind) for kind in (np.uint32, np.uint16, dtype))
    wiring = Wiring(*map(jnp.asarray, (number, *none)), **own)
    wiring.lent = lent
    return wiring


class _Layout(NamedTuple):
    """What csrc/wiring_module.cc takes to read rows and lay them out."""

    slices: int
    sizes: list[int]
    ports: list[int]
    bundles: list
    first_delay: int
    delays: int


def _packed(
    layout: _Layout,
    rowwise: np.ndarray | None,
    groups: list,
    read: list[_Read],
    expected: int,
    dtype: Any,
) -> tuple[Any, Any, Any, Any]:
    """The arrays of a `Wiring`."""
    native = library.native()
    rows, width = sum(b[0] for b in layout.bundles), layout.slices * layout.delays + 1
    index = np.uint16 if _most_inputs(*layout[1:3], layout.slices) <= NARROW else np.uint32
    a_synapse = np.dtype(index).itemsize + (np.dtype(dtype).itemsize if rowwise is None else 0)
    require_memory(
        a_synapse * expected + 4 * rows * width, f"the network's {expected} synapses, packed,"
    )
    lengths = [sum(read[k].lengths() for k in group) for group in groups]
    starts = np.concatenate([[0], *lengths]).astype(np.int64).cumsum()
    total = int(starts[-1])
    runs = empty((rows * width,), np.uint32, "the runs of all synapses")
    targets = empty((total,), index, "the targets of all synapses")
    weights = empty((0 if rowwise is not None else total,), dtype, "the weights of all synapses")
    if not native.pack_wiring(*layout, starts, runs, targets, weights):
        raise ValueError(
            "network_run: a projection's connectivity points outside of its population, or its "
            "rows are not ascending. Build it with spikexla.connect, which checks."
        )
    return (
        jnp.asarray(starts.view(np.uint32).reshape(-1, 2)),
        jax.device_put(runs.reshape(rows, width), may_alias=True),
        jax.device_put(targets, may_alias=True),
        jnp.asarray(rowwise) if rowwise is not None else jax.device_put(weights, may_alias=True),
    )


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


class _Read(NamedTuple):
    """What the rows of a projection are read from, checked."""

    rule: Any  # native RowRule
    weights: np.ndarray | None  # (1,) or (synapses,); None, drawn
    delays: np.ndarray | None  # uint16 of (1,), (sources,) or (synapses,); None, drawn

    @classmethod
    def of(cls, k: int, q: Projection, dtype: Any) -> _Read:
        weights = None if q.weights is None else np.ascontiguousarray(q.weights, dtype).reshape(-1)
        return cls(_rule(q.conn), weights, _delays(k, q))

    def range(self, q: Projection) -> tuple[int, int] | None:
        """The shortest and the longest delay, if there are any."""
        if self.delays is None:
            return q.delays.first, q.delays.last
        return (int(self.delays.min()), int(self.delays.max())) if self.delays.size else None

    def lengths(self) -> np.ndarray:
        """How many synapses each source has."""
        starts = np.empty(self.rule.n_pre + 1, np.int64)
        library.native().count_rows(self.rule, starts)
        return np.diff(starts)

    def feed(self, q: Projection) -> tuple:
        """The projection as csrc/wiring_module.cc takes it."""
        sparse = isinstance(q.conn, Connectivity) and self.delays is not None
        by_synapse = sparse and np.shape(q.delays) == q.conn.indices.shape
        dt, ahead = (q.delays.dt, q.delays.ahead) if self.delays is None else (1.0, 0)
        return *self, by_synapse, dt, q.post, q.port, ahead


def _rule(conn: Any) -> Any:
    """The native rule of a connectivity, which may be one."""
    if not isinstance(conn, Connectivity):
        return conn
    indptr, targets = getattr(conn, "indptr", None), np.asarray(conn.indices)
    rows = (
        {"fan": targets.shape[1]}
        if indptr is None
        else {"indptr": np.ascontiguousarray(indptr, np.int64)}
    )
    return library.native().row_rule(
        kind="given", seed=0, n_pre=conn.n_pre, n_post=conn.n_post, targets=targets.reshape(-1),
        **rows,
    )  # fmt: skip


def _delays(k: int, q: Projection) -> np.ndarray | None:
    """The delays of a projection: uint16 of (1,), (sources,) or (synapses,); None, drawn."""
    if isinstance(q.delays, DrawnDelays):
        return None
    delays = np.asarray(q.delays)
    allowed = [(), (1,), (q.high - q.low,)]
    if isinstance(q.conn, Connectivity):
        allowed.append(q.conn.indices.shape)
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


def _row_weights(groups: list, weights: list, bundles: list) -> np.ndarray | None:
    """One weight a row, if every bundle has one weight."""
    of = [
        {float(w[0]) if (w := weights[k]) is not None and w.size == 1 else None for k in group}
        for group in groups
    ]
    if any(len(its) != 1 or None in its for its in of):
        return None
    first = [weights[group[0]] for group in groups]
    parts = [np.broadcast_to(w, b.high - b.low) for w, b in zip(first, bundles, strict=True)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
