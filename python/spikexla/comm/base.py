"""EventComm: a sparse connection whose work is proportional to the number of spikes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import environ, init, random
from ..connect import Connectivity
from ..dynamics import Size, shape_of
from ..module import Module
from ..ops.spike_matvec import spike_matvec
from ..state import ParamState, State, has_tracer
from ..synapse.base import plain, unit_name
from ..units import attach, real


class EventComm(Module):
    """Sends spikes along given synapses: `conn` and one weight, or one for each synapse.

    conn: a `CSR` or `FixedFanOut` of `spikexla.connect`, built for sources and targets that are
    counted along all axes of `in_size` and `out_size`. weight: a number, an array like
    `conn.indices`, a quantity or an initialiser. It is kept in a State of `param_type`, so it can
    be learned; pass a State to share it.

    >>> import jax.numpy as jnp, spikexla as sx
    >>> comm = sx.EventFixedNumConn(10, 4, 2, 0.5, seed=1)
    >>> float(comm(jnp.ones(10)).sum())
    10.0
    """

    stored: bool = True  # whether the synapses are, or may become, arrays
    allow_autapses: bool = True  # whether the rule they were drawn from does
    first_source: int | None = None  # see `EventFixedProb`; None: nobody said

    def __init__(
        self,
        in_size: Size,
        out_size: Size,
        conn: Connectivity,
        weight: Any,
        *,
        name: str | None = None,
        param_type: type = ParamState,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.in_size = shape_of(in_size, f"{kind}: in_size")
        self.out_size = shape_of(out_size, f"{kind}: out_size")
        wanted = math.prod(self.in_size), math.prod(self.out_size)
        if conn.shape != wanted:
            raise ValueError(
                f"{kind}: the connectivity has shape {conn.shape}, but in_size and out_size have "
                f"{wanted} elements. Are sources and targets exchanged?"
            )
        self.conn: Any = conn
        self.weight = (
            weight
            if isinstance(weight, State)
            else param_type(self._weight(weight, conn.indices.shape))
        )

    def _weight(self, weight: Any, shape: tuple[int, ...]) -> Any:
        try:
            weight = init.param(weight, shape, allow_none=False)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}: weight: {error}") from None
        unit = unit_name(weight)
        number = plain(weight)
        # In numpy where it can be: JAX would compile each of these lines for each shape.
        xp: Any = jnp if has_tracer(number) else np
        if xp is jnp:
            number = jnp.asarray(number, environ.dftype())
        else:
            number = real(number, environ.dftype(), what=f"{type(self).__name__}: weight")
            if np.isnan(number).any():
                raise ValueError(f"{type(self).__name__}: a weight is NaN; weights must be numbers")
        if number.size != 1:
            number = xp.broadcast_to(number, shape)  # for example one weight a source
        number = jnp.asarray(number)
        return number if unit is None else attach(number, unit)

    @property
    def weight_mantissa(self) -> jax.Array:
        """The weight as a plain array in the coherent unit."""
        return plain(self.weight.value)

    def count_synapses(self) -> int:
        """The number of synapses."""
        return self.conn.nnz

    @property
    def unit(self) -> str | None:
        """'S', 'mA', 'mV' or '1', or None for plain weights."""
        return unit_name(self.weight.value)

    def accumulate(self, spikes: Any, total: Any = None) -> jax.Array:
        """`total + spikes W` as a plain array, in the memory of `total` where it is dead."""
        return self.along(self.conn, self.weight_mantissa, spikes, total)

    def along(self, conn: Any, weight: Any, spikes: Any, total: Any) -> jax.Array:
        """`accumulate` along other synapses between the same populations."""
        spikes, shape = jnp.asarray(spikes), None
        if len(self.in_size) > 1:
            batch = spikes.shape[: spikes.ndim - len(self.in_size)]
            spikes = spikes.reshape(*batch, -1)
        if len(self.out_size) > 1 and total is not None:
            shape = total.shape
            total = total.reshape(*shape[: total.ndim - len(self.out_size)], -1)
        y = spike_matvec(conn, weight, spikes, init=total)
        return y if len(self.out_size) == 1 else y.reshape(shape or (*y.shape[:-1], *self.out_size))

    def update(self, spikes: Any) -> Any:
        """`spikes W`, `(*batch, *out_size)`, with the unit of the weights."""
        return self.with_unit(self.accumulate(spikes))

    def with_unit(self, y: jax.Array) -> Any:
        """`y` with the unit of the weights."""
        return y if self.unit is None else attach(y, self.unit)


def drawn_seed(seed: int | None) -> int:
    """`seed`, or one drawn from `spikexla.random`."""
    if seed is not None:
        return seed
    return int(np.asarray(jax.random.bits(random.split_key(), dtype=jnp.uint32)))
