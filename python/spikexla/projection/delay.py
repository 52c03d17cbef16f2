"""Delay: how many steps spikes travel, and a shift register of those on their way."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ
from ..comm.base import EventComm
from ..comm.drawn import EventDrawn
from ..connect.base import trusted_csr
from ..dynamics import Deferred
from ..module import Batch
from ..ops.raster import pack_bits, spikes_of
from ..ops.wiring import MOST_DELAY, DrawnDelays
from ..state import has_tracer
from ..steps import nearest_steps
from ..units import mantissa
from ..value import lead_of

BLOCK = 1 << 20  # delays at once: there may be billions


class Part(NamedTuple):
    """The synapses of one delay: all of `comm`, those of the `sources`, or those of `conn`."""

    steps: int
    sources: np.ndarray | None = None
    conn: Any = None
    order: Any = None  # of its weights among those of comm


class Delay:
    """The delays of a projection, in ms: as given, or those of its `comm`.

    Steps are counted to the arrival: `ahead` fewer than the ms are, and not below 0.
    """

    def __init__(
        self, owner: str, comm: Any, given: Any, differentiable: bool, ahead: int = 0
    ) -> None:
        self.owner, self.comm, self.differentiable = owner, comm, differentiable
        self.ahead = ahead  # steps of the delay that pass after the arrival
        in_size = getattr(comm, "in_size", None)
        if in_size is None:
            raise TypeError(
                f"{owner}: delay needs to know how many sources there are, but comm="
                f"{comm!r} has no in_size. Give it one, or use a connection of spikexla."
            )
        self.in_size: tuple[int, ...] = in_size
        self._given = None if given is None else self._checked(given)
        self._made: tuple[float, np.ndarray, list[Part]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__dict__.update(saved)

    @property
    def n_pre(self) -> int:
        """The number of sources."""
        return math.prod(self.in_size)

    # -- numbers ------------------------------------------------------------------------------

    def _checked(self, delay: Any) -> np.ndarray:
        number = mantissa(delay, "ms", what=f"{self.owner}: delay")
        if has_tracer(number):
            raise TypeError(
                f"{self.owner}: delay is a traced value, but the number of steps is part of the "
                "program. Build the projection outside of jit and grad."
            )
        try:
            given = np.asarray(number)
            ms = given if given.dtype == np.float32 else given.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{self.owner}: delay={delay!r} must be a time: ms, an array of ms or a quantity"
            ) from None
        if ms.ndim and ms.shape != (self.n_pre,) and ms.shape != self._synapses():
            sparse = self._synapses()
            each = f" or {sparse}, one a synapse like conn.indices" if sparse else ""
            raise ValueError(
                f"{self.owner}: delay has shape {ms.shape}, but must be one number, "
                f"({self.n_pre},), one a source{each}"
            )
        if ms.ndim and not isinstance(self.comm, EventComm):
            raise TypeError(
                f"{self.owner}: delay has shape {ms.shape}, but {type(self.comm).__name__} has no "
                "sparse synapses to tell apart. Give one number, or a sparse connection."
            )
        wrong = ms[~(ms >= 0) | np.isinf(ms)]
        if wrong.size:
            raise ValueError(
                f"{self.owner}: delay is {wrong.flat[0]} ms; it must be 0 or longer, and finite. "
                "Without delay, a spike acts in the step after its own"
            )
        return ms

    def _synapses(self) -> tuple[int, ...]:
        return self.comm.conn.indices.shape if isinstance(self.comm, EventComm) else ()

    def steps(self, dt: float) -> np.ndarray:
        """The steps of `dt` ms until arrival: (), (n_pre,) or like `conn.indices`; uint16."""
        if self._made is None or self._made[0] != dt:
            own = self.comm.delay if self._given is None else None
            ms = self._checked(0.0 if own is None else own) if self._given is None else self._given
            longest = ms.max(initial=0.0)
            self._in_range(int(self._arrival(longest, dt)), float(longest), dt)
            steps = np.empty(ms.shape, np.uint16)
            flat, given = steps.reshape(-1), ms.reshape(-1)
            for at in range(0, ms.size, BLOCK):
                flat[at : at + BLOCK] = self._arrival(given[at : at + BLOCK], dt)
            self._made = dt, steps, []
        return self._made[1]

    def longest(self, dt: float) -> int:
        """No delay has more steps; a comm that draws its delays may say so by `longest_delay`."""
        most = getattr(self.comm, "longest_delay", None) if self._given is None else None
        if most is None:
            return int(self.steps(dt).max(initial=0))
        ms = float(mantissa(most, "ms", what=f"{self.owner}: longest_delay"))
        return self._in_range(int(self._arrival(ms, dt)), ms, dt)

    def _arrival(self, ms: Any, dt: float) -> np.ndarray:
        """To the nearest step. What was drawn needs no care for halves, and its float32 is rounded
        as the rows of csrc/cpu/row_packer.h are, without a look at any other synapse."""
        drawn = self._given is None and getattr(self.comm, "delay_range", None) is not None
        steps = np.floor(np.asarray(ms, np.float64) / dt + 0.5) if drawn else nearest_steps(ms, dt)
        return np.maximum(steps - self.ahead, 0)

    def drawn(self, dt: float) -> DrawnDelays | None:
        """The range of the delays that `comm` has yet to draw, if it has."""
        comm = self.comm
        if self._given is not None or not isinstance(comm, EventDrawn) or not comm.undrawn:
            return None
        if comm.delay_range is None:
            return None
        first = int(self._arrival(comm.delay_range[0], dt))
        return DrawnDelays(dt, first, self.longest(dt), self.ahead)

    def _in_range(self, steps: int, ms: float, dt: float) -> int:
        if steps > MOST_DELAY:
            raise ValueError(
                f"{self.owner}: a delay of {ms} ms is {steps} steps of {dt} ms, but at most "
                f"{MOST_DELAY} steps are kept. Shorten it, or use a longer dt."
            )
        return steps

    def parts(self, dt: float) -> list[Part]:
        """The synapses by their delay, shortest first; made once."""
        steps = self.steps(dt)
        assert self._made is not None
        parts = self._made[2]
        if not parts:
            found = np.unique(steps)
            with jax.ensure_compile_time_eval():
                parts.extend(self._part(steps, int(k), found.size > 1) for k in found)
        return parts

    def _part(self, steps: np.ndarray, k: int, several: bool) -> Part:
        if not several:
            return Part(k)
        chosen = steps == k
        if steps.shape != self._synapses():
            return Part(k, sources=chosen)
        conn, order = self.comm.conn, np.flatnonzero(chosen)
        indptr = getattr(conn, "indptr", None)
        if indptr is None:
            indptr = np.arange(conn.n_pre + 1, dtype=np.int64) * conn.fan_out
        before = np.concatenate([[0], np.cumsum(chosen.reshape(-1), dtype=np.int64)])
        targets = np.asarray(conn.indices).reshape(-1)[order]
        part = trusted_csr(before[np.asarray(indptr)], targets, conn.n_post)
        return Part(k, conn=part, order=jnp.asarray(order))

    # -- spikes on their way ------------------------------------------------------------------

    def empty(self, batch_size: Batch) -> jax.Array | None:
        """A history without spikes, or None if nothing is delayed."""
        longest, lead = self.longest(environ.get_dt_ms()), lead_of(batch_size)
        if not longest:
            return None
        if self.differentiable:
            return jnp.zeros((*lead, longest, self.n_pre), environ.dftype())
        return jnp.zeros((*lead, longest, -(-self.n_pre // 32)), jnp.uint32)

    def send(self, spikes: Any, history: jax.Array) -> tuple[list[Any], jax.Array]:
        """(what arrives in this step, shortest delay first; the history with `spikes` in it)."""
        lead = history.shape[:-2]
        now = self._now(spikes, lead, history.dtype)
        arrivals = []
        for part in self.parts(environ.get_dt_ms()):
            sent = now if part.steps == 0 else self._row(history[..., part.steps - 1, :])
            if part.sources is not None:
                sent = jnp.where(part.sources, sent, jnp.zeros((), sent.dtype))
            sent = sent.reshape(*lead, *self.in_size)
            if part.conn is not None:
                arrivals.append(Deferred(_Some(self.comm, part), sent, part.steps))
            elif hasattr(self.comm, "accumulate"):
                arrivals.append(Deferred(self.comm, sent, part.steps))
            else:
                arrivals.append(self.comm(sent))
        newest = now if self.differentiable else pack_bits(now)
        return arrivals, jnp.concatenate([newest[..., None, :], history[..., :-1, :]], -2)

    def _now(self, spikes: Any, lead: tuple[int, ...], dtype: Any) -> jax.Array:
        spikes = jnp.asarray(spikes)
        batch = spikes.shape[: max(0, spikes.ndim - len(self.in_size))]
        if spikes.shape[len(batch) :] != self.in_size:
            raise ValueError(
                f"{self.owner}: spikes have shape {spikes.shape}, but comm has in_size "
                f"{self.in_size}"
            )
        now = spikes.astype(dtype) if self.differentiable else _events(spikes)
        try:
            return jnp.broadcast_to(now.reshape(*batch, self.n_pre), (*lead, self.n_pre))
        except ValueError:
            raise ValueError(
                f"{self.owner}: spikes have the batch {batch}, but the spikes on their way "
                f"{lead}. Call init_all_states(net, batch_size={batch}) before."
            ) from None

    def _row(self, row: jax.Array) -> jax.Array:
        return row if self.differentiable else spikes_of(row, self.n_pre)


class _Some:
    """Some synapses of a connection, with its weights."""

    def __init__(self, comm: EventComm, part: Part) -> None:
        self.comm, self.part = comm, part

    def accumulate(self, spikes: Any, total: Any = None) -> jax.Array:
        weight = self.comm.weight_mantissa
        if weight.size != 1 or weight.shape == self.comm.conn.indices.shape:
            weight = weight.reshape(-1)[self.part.order]
        return self.comm.along(self.part.conn, weight, spikes, total)

    def __call__(self, spikes: Any) -> Any:
        return self.comm.with_unit(self.accumulate(spikes))


@jax.custom_vjp
def _events(spikes: jax.Array) -> jax.Array:
    return spikes != 0


def _no_gradient(spikes: jax.Array) -> Any:
    raise TypeError(
        "a delayed projection keeps its spikes as bits, through which no gradient passes. Give it "
        "differentiable_delay=True, or stop the gradient of the spikes (`spikes != 0`)."
    )


_events.defvjp(_no_gradient, lambda residuals, cotangent: (None,))
