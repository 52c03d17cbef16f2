"""EventDrawn: connections that are a description until somebody asks for the synapses."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..connect.distributions import Distribution
from ..connect.drawn import describe
from ..connect.rules import Rule
from ..dynamics import Size, shape_of
from ..module import Module
from ..state import ACTIVE, ParamState, State
from ..synapse.base import plain, unit_name
from ..units import attach, mantissa
from .base import EventComm, drawn_seed

_LAZY = frozenset({"conn", "weight", "_delay"})


class EventDrawn(EventComm):
    """Synapses drawn from a rule, with drawn weights and delays, once they are asked for.

    in_size, out_size: numbers of sources and targets. rule: one of `spikexla.connect`, such as
    `FixedTotal(k)` or `FixedProb(p)`. weight: a distribution of `spikexla.connect`, or what
    `EventComm` takes. delay: None, a distribution, or what a projection takes, in ms. seed: an
    integer that makes the draws repeatable; None draws one from `spikexla.random`.
    allow_autapses, first_source: see `EventFixedProb`. allow_multapses=False: no pair twice.
    stored=False: the engine of `sx.simulate` draws the synapses of a source anew whenever it
    spikes, so that memory does not bound their number; results are the same, and a spike takes
    longer.

    `conn`, `weight` and `delay` are drawn when first read; `description` is what they are drawn
    from. A drawn weight joins the states of the module then. `sx.simulate` packs the synapses
    straight from the description, without these arrays, unless somebody has read them.

    Errors: ValueError for a rule that cannot be kept, a delay that could be negative, and where
    arrays are asked for with stored=False; MemoryError, before memory is asked for, when the
    synapses are drawn.

    >>> import spikexla as sx
    >>> from spikexla.connect import FixedTotal, Normal
    >>> comm = sx.EventDrawn(100, 50, FixedTotal(800), Normal(0.6, 0.06), seed=1)
    >>> comm.conn, comm.weight.value.shape
    (CSR(shape=(100, 50), nnz=800), (800,))
    """

    def __init__(
        self,
        in_size: Size,
        out_size: Size,
        rule: Rule,
        weight: Any,
        *,
        delay: Any = None,
        seed: int | None = None,
        allow_autapses: bool = True,
        allow_multapses: bool = True,
        first_source: int | None = None,
        stored: bool = True,
        name: str | None = None,
        param_type: type = ParamState,
    ) -> None:
        Module.__init__(self, name)  # EventComm's takes synapses
        self.in_size = shape_of(in_size, "EventDrawn: in_size")
        self.out_size = shape_of(out_size, "EventDrawn: out_size")
        self.rule, self.param_type, self.seed = rule, param_type, drawn_seed(seed)
        self.stored, self.allow_autapses, self.first_source = stored, allow_autapses, first_source
        self.description = describe(
            rule,
            math.prod(self.in_size),
            math.prod(self.out_size),
            self.seed,
            allow_autapses,
            allow_multapses,
            weight.law(_weight_number) if isinstance(weight, Distribution) else None,
            _delay_law(delay) if isinstance(delay, Distribution) else None,
            0 if first_source is None else first_source,
        )
        unit = weight.unit if isinstance(weight, Distribution) else None
        self._unit = None if unit is None else unit_name(1.0 * unit)
        if not isinstance(delay, Distribution):
            self._delay = delay
        if isinstance(weight, State):
            self.weight = weight
        elif not isinstance(weight, Distribution):
            one = not callable(weight) and np.ndim(plain(weight)) == 0
            shape = () if one else self.conn.indices.shape
            self.weight = param_type(self._weight(weight, shape))

    @property
    def delay(self) -> Any:
        """The delays as given, or those drawn, in ms, in the order of `conn.indices`."""
        return self._delay

    @property
    def delay_range(self) -> tuple[float, float] | None:
        """The ms between which all drawn delays lie; None where delays are not drawn."""
        law = self.description.delay
        if law is None:
            return None
        return float(np.float32(law[-2])), float(np.float32(law[-1]))  # as they are drawn

    @property
    def longest_delay(self) -> float | None:
        """The ms that no drawn delay exceeds; None where delays are not drawn."""
        return None if self.delay_range is None else self.delay_range[1]

    @property
    def undrawn(self) -> bool:
        """Whether nobody has asked for the synapses yet."""
        return "conn" not in vars(self)

    def count_synapses(self) -> int:
        """See `EventComm`; asks for no synapses."""
        return self.description.count() if self.undrawn else self.conn.nnz

    @property
    def given_weight(self) -> jax.Array | None:
        """`weight_mantissa`, or None while the weights are a law."""
        return self.weight_mantissa if "weight" in vars(self) else None

    @property
    def unit(self) -> str | None:
        """See `EventComm`; asks for no synapses."""
        return unit_name(self.weight.value) if "weight" in vars(self) else self._unit

    def __getattr__(self, name: str) -> Any:
        if name not in _LAZY or "description" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if not self.stored:
            raise ValueError(
                f"{type(self).__name__}: {name.strip('_')} is asked for, but the synapses are not "
                "stored: only the engine of simulate() draws them, on a CPU, and "
                "with one weight or a distribution. Use stored=True for all else."
            )
        with _untraced():
            drawn = self.description.build()
            self.conn = drawn.conn
            if drawn.delay is not None:
                self._delay = drawn.delay
            if drawn.weight is not None and "weight" not in vars(self):
                number = jnp.asarray(drawn.weight)
                weight = number if self._unit is None else attach(number, self._unit)
                self.weight = self.param_type(self._weight(weight, number.shape))
        return self.__dict__[name]


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """What is created here belongs to no trace: concrete values that are made when first read."""
    frame, ACTIVE.frame = ACTIVE.frame, None
    try:
        with jax.ensure_compile_time_eval():
            yield
    finally:
        ACTIVE.frame = frame


def _weight_number(value: Any) -> float:
    return float(plain(value))


def _delay_law(delay: Any) -> Any:
    law = delay.law(lambda x: float(mantissa(x, "ms", what="a delay")))
    if law[-2] < 0:
        raise ValueError(
            f"delay={delay} could be negative. Bound it: low=0.1 draws again what is below 0.1 ms."
        )
    return law
