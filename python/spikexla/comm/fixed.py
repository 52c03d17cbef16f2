"""Random connections: with a fixed probability, or a fixed number for each neuron or in all."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable
from typing import Any

from ..connect import Connectivity, fixed_num_post, fixed_num_pre, fixed_prob, fixed_total
from ..dynamics import Size, shape_of
from ..state import ParamState
from .base import EventComm, drawn_seed


class _EventFixed(EventComm, abc.ABC):
    """Draws its connections with `draw(n_pre, n_post, seed=..., allow_autapses=..., ...)`."""

    @abc.abstractmethod
    def __init__(
        self,
        draw: Callable[..., Connectivity],
        in_size: Size,
        out_size: Size,
        weight: Any,
        seed: int | None,
        allow_autapses: bool,
        first_source: int | None,
        name: str | None,
        param_type: type,
    ) -> None:
        sizes = [
            math.prod(shape_of(size, f"{type(self).__name__}: {what}"))
            for size, what in ((in_size, "in_size"), (out_size, "out_size"))
        ]
        seed = drawn_seed(seed)
        first = 0 if first_source is None else first_source
        conn = draw(*sizes, seed=seed, allow_autapses=allow_autapses, first_source=first)
        super().__init__(in_size, out_size, conn, weight, name=name, param_type=param_type)
        self.seed, self.allow_autapses, self.first_source = seed, allow_autapses, first_source


class EventFixedProb(_EventFixed):
    """Connects every pair independently with probability `prob`.

    in_size, out_size: numbers of sources and targets. weight: see `EventComm`. seed: an integer
    that makes the connections repeatable; None draws one from `spikexla.random`.
    allow_autapses=False: no neuron reaches itself, where source i is target `first_source + i`.
    first_source: where the sources begin in the target population, if they are a part of it:
    `first_source=80` for sources `spikes[80:]`. A projection refuses to guess it.

    >>> import spikexla as sx
    >>> sx.EventFixedProb(100, 50, 1.0, 0.6, seed=1).conn
    CSR(shape=(100, 50), nnz=5000)
    """

    def __init__(
        self,
        in_size: Size,
        out_size: Size,
        prob: float,
        weight: Any,
        *,
        seed: int | None = None,
        allow_autapses: bool = True,
        first_source: int | None = None,
        name: str | None = None,
        param_type: type = ParamState,
    ) -> None:
        draw, flags = functools.partial(fixed_prob, p=prob), (allow_autapses, first_source)
        super().__init__(draw, in_size, out_size, weight, seed, *flags, name, param_type)
        self.prob = prob


class EventFixedNumConn(_EventFixed):
    """Draws the same number of targets for every source (or of sources for every target).

    conn_num: how many; a float is a fraction of those there are. efferent_target: 'post' draws
    `conn_num` targets for each source, 'pre' draws `conn_num` sources for each target.
    allow_multi_conn: whether a pair may be drawn twice. Others as in `EventFixedProb`.

    >>> import spikexla as sx
    >>> sx.EventFixedNumConn(100, 50, 8, 0.6, seed=1).conn
    FixedFanOut(shape=(100, 50), nnz=800)
    """

    def __init__(
        self,
        in_size: Size,
        out_size: Size,
        conn_num: int | float,
        conn_weight: Any,
        *,
        efferent_target: str = "post",
        allow_multi_conn: bool = True,
        seed: int | None = None,
        allow_autapses: bool = True,
        first_source: int | None = None,
        name: str | None = None,
        param_type: type = ParamState,
    ) -> None:
        if efferent_target not in ("pre", "post"):
            raise ValueError(
                f"efferent_target={efferent_target!r}; choose 'post' (targets of each source) or "
                "'pre' (sources of each target)"
            )
        forward = efferent_target == "post"
        if isinstance(conn_num, float):
            if not 0.0 <= conn_num <= 1.0:
                raise ValueError(
                    f"conn_num={conn_num} is a float, so a fraction in [0, 1]; give a number of "
                    "connections as an int"
                )
            size, what = (out_size, "out_size") if forward else (in_size, "in_size")
            choices = math.prod(shape_of(size, f"{type(self).__name__}: {what}"))
            conn_num = int(choices * conn_num)
        draw = functools.partial(
            fixed_num_post if forward else fixed_num_pre,
            k=conn_num,
            allow_multapses=allow_multi_conn,
        )
        flags = allow_autapses, first_source
        super().__init__(draw, in_size, out_size, conn_weight, seed, *flags, name, param_type)
        self.conn_num = conn_num


class EventFixedTotal(_EventFixed):
    """Draws `total` pairs (source, target) in all.

    allow_multapses: whether a pair may be drawn twice. Others as in `EventFixedProb`.

    >>> import spikexla as sx
    >>> sx.EventFixedTotal(100, 50, 800, 0.6, seed=1).conn
    CSR(shape=(100, 50), nnz=800)
    """

    def __init__(
        self,
        in_size: Size,
        out_size: Size,
        total: int,
        weight: Any,
        *,
        seed: int | None = None,
        allow_autapses: bool = True,
        allow_multapses: bool = True,
        first_source: int | None = None,
        name: str | None = None,
        param_type: type = ParamState,
    ) -> None:
        draw = functools.partial(fixed_total, total=total, allow_multapses=allow_multapses)
        flags = allow_autapses, first_source
        super().__init__(draw, in_size, out_size, weight, seed, *flags, name, param_type)
        self.total = total
