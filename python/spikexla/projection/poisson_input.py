"""PoissonInput: many Poisson sources for each target, drawn as one number a step."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ
from ..comm.base import drawn_seed
from ..comm.each import Each
from ..config import warn_once
from ..connect.base import check_seed
from ..dynamics import Deferred, Dynamics
from ..module import Batch
from ..ops.poisson import MOST_EVENTS, generators, poisson_counts, poisson_thresholds
from ..random.lanes import LANE, Generators, apart
from ..state import ShortTermState, has_tracer
from ..units import mantissa
from ..value import lead_of
from .align_post import AlignPostProj

MOST_EXCESS = 0.01  # of the mean, by the rounding of probabilities


class PoissonInput(AlignPostProj):
    """`num` Poisson sources of `rate` Hz for each target; each event jumps by `weight` into `syn`.

    Every step, every target gets `weight k` with its own k, Poisson with mean `rate num dt`; so
    NEST's poisson_generator and Brian2's PoissonInput. The synapse is shared with projections of
    equal (syn, out, label), and k is added after all spikes. Call it once a step, without
    arguments, before its target's step.

    rate: one number (Hz) or quantity; num: one number; weight: a number, a quantity, one a target,
    or a State of these. seed: an integer makes the input repeatable; None draws one from
    `spikexla.random` when built. Starting the states starts the input again. Each member of a batch
    and each lane of `vmap` draws its own events, the first those of a run without batch; with
    `same=True` all get these.

    State: `rng`, uint32 `(*batch, ceil(size / 64), 4, 16)`, with `same` without batch: for each 64
    neurons, 16 generators xoshiro128++ (Blackman & Vigna 2021), each of which draws for 4 of them.
    A word w makes k the number of `thresholds(dt)` that are at most w. Probabilities are multiples
    of 2^-32, rounded up: the mean is up to `2^-32 L` too high, L the number of thresholds. That is
    1 % where some 10^-7 events are expected in a step; where it is more, a warning says so.

    Errors: ValueError for a rate or num that is negative, not finite or not one number, for more
    than 60 expected events a step, and those of AlignPostProj; TypeError for a wrong unit.

    >>> import spikexla as sx
    >>> sx.environ.set(dt=0.1)
    >>> neurons = sx.IafPscExp(100)
    >>> drive = sx.PoissonInput(rate=8.0, num=1600, weight=87.8, seed=1, **neurons.receptor(0.5))
    >>> drive()
    >>> spikes = neurons()
    """

    def __init__(
        self,
        *,
        post: Dynamics,
        syn: Any,
        out: Any,
        rate: Any,
        num: Any = 1,
        weight: Any,
        seed: int | None = None,
        label: str | None = None,
        same: bool = False,
    ) -> None:
        if not isinstance(post, Dynamics):
            raise TypeError(
                f"PoissonInput: post is {post!r}; give a population of neurons, such as LIF(100)"
            )
        self.rate, self.num = _one("rate", rate, "Hz"), _one("num", num, "1")
        self.seed, self.same = check_seed(drawn_seed(seed)), bool(same)
        try:
            comm = Each(post.in_size, weight)
        except ValueError as error:
            raise ValueError(f"PoissonInput: {error}") from None
        super().__init__(comm=comm, syn=syn, out=out, post=post, label=label)
        self.init_state()
        if environ.get("dt", None) is not None:
            self.expected(environ.get_dt_ms())

    @property
    def weight_mantissa(self) -> jax.Array:
        """The weight as a plain array in the coherent unit, `()` or one a target."""
        return self.comm.weight_mantissa

    # -- law ----------------------------------------------------------------------------------

    def expected(self, dt: float) -> float:
        """The mean number of events in a step of `dt` ms."""
        mean = self.rate * self.num * dt / 1000
        if mean > MOST_EVENTS:
            raise ValueError(
                f"PoissonInput: {self.num:g} sources of {self.rate:g} Hz make {mean:g} events in a "
                f"step of {dt} ms, but at most {MOST_EVENTS:g} are drawn at once. Use a shorter "
                "dt, or split the sources among several PoissonInputs: their events add up."
            )
        return mean

    def thresholds(self, dt: float) -> np.ndarray:
        """c_j = P(K <= j) 2^32 for j = 0 ... L - 1, ascending uint32; nothing for a rate of 0.

        L is the least with P(K >= L) < 2^-33.
        """
        expected = self.expected(dt)
        levels = poisson_thresholds(expected)
        drawn = float((1 - levels / 2.0**32).sum())
        if drawn > expected * (1 + MOST_EXCESS):
            warn_once(
                f"rare {self.name}",
                f"PoissonInput: {expected:g} events are expected in a step of {dt:g} ms, but "
                f"{drawn:g} are drawn, for probabilities are multiples of 2^-32. Use a longer dt, "
                "or give the spikes of such rare sources as an input.",
                UserWarning,
                stacklevel=3,
            )
        return levels

    # -- states -------------------------------------------------------------------------------

    def init_state(self, batch_size: Batch = None) -> None:
        """Starts the input again."""
        with jax.ensure_compile_time_eval():
            words = jnp.array(generators(self.seed, self.post.size), jnp.uint32)
        if self.same:
            self.rng = ShortTermState(words)
            return
        lead, lane = lead_of(batch_size), LANE.value
        if lead or has_tracer(lane):
            members = np.arange(math.prod(lead), dtype=np.uint32).reshape(lead)
            words = apart(words, lane * np.uint32(members.size) + members)
        self.rng = Generators(words)

    # -- stepping -----------------------------------------------------------------------------

    def update(self) -> None:
        """Draws the events of this step."""
        thresholds = self.thresholds(environ.get_dt_ms())
        self.rng.value, events = poisson_counts(self.rng.value, thresholds, self.post.size)
        events = events.reshape(*events.shape[:-1], *self.post.in_size)
        self.syn.add_delta_input(str(self.name), Deferred(self.comm, events, math.inf))
        if not self.merging:
            self.out.bind_cond(self.syn())


def _one(name: str, given: Any, unit: str) -> float:
    number = mantissa(given, unit, what=f"PoissonInput.{name}")
    if has_tracer(number):
        raise TypeError(f"PoissonInput: {name} is a traced value; it is part of the program")
    try:
        array = np.asarray(number, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"PoissonInput: {name}={given!r} must be a number") from None
    if array.size != 1:
        raise ValueError(
            f"PoissonInput: {name} has shape {array.shape}, but is one number for all targets. "
            "Make one PoissonInput for each group of neurons."
        )
    value = float(array.reshape(()))
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"PoissonInput: {name} is {value}; it must be 0 or more, and finite")
    return value
