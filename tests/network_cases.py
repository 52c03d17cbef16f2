"""Networks for the tests of network_run: three populations, wired in several ways."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from spikexla.connect import fixed_num_post, fixed_prob
from spikexla.neuron import lif_step
from spikexla.ops.network_run import Poisson, Population, Port
from spikexla.ops.poisson import generators, poisson_thresholds
from spikexla.ops.wiring import Projection

SIZES = (1500, 700, 900)  # so that several threads have slices, with edges inside of words


def populations(dtype=jnp.float32):
    """Three populations with 2, 1 and 1 ports, noisy starts and a drive that makes them fire."""

    def one(k, n, ports):
        f = functools.partial(jnp.asarray, dtype=dtype)
        rng = np.random.default_rng(k)
        state = lif_step.RefState(f(rng.uniform(-60, -50, n)), f(np.zeros(n)))
        params = lif_step.RefParams(*map(f, (0.005, 1.0, -60.0, -50.0, -60.0, 0.1, 19.0)))
        its = tuple(Port(f(rng.random(n)), f(0.98 - 0.01 * j), f(0.1), False) for j in range(ports))
        return Population(lif_step.LIF_REF, n, state, params, f(14.0 + k), True, its)

    return [one(k, n, p) for k, (n, p) in enumerate(zip(SIZES, (2, 1, 1), strict=True))]


def rich(dtype=jnp.float32):
    """The same three as other models, with conductances, Poisson inputs and values a neuron."""
    kinds = [lif_step.LIF_REF_COBA, lif_step.LIF, lif_step.LIF_COBA]

    def one(k, p, kernel):
        f = functools.partial(jnp.asarray, dtype=dtype)
        rng = np.random.default_rng(10 + k)
        each = lambda low, high: f(rng.uniform(low, high, p.size))  # noqa: E731
        state = kernel.State(*p.state[: len(kernel.State._fields)])
        params = kernel.Params(*p.params[: len(kernel.Params._fields)])
        if k != 1:
            params = params._replace(rate=each(0.004, 0.006), V_rest=each(-61, -59))
        ports = [q._replace(decay=each(0.9, 0.98) if k != 2 else q.decay) for q in p.ports]
        ports[-1] = ports[-1]._replace(conductance=k != 1, value=f(-60.0 if k != 1 else 0.1))
        poissons = [
            Poisson(
                port=j % len(ports),
                rng=jnp.asarray(generators(7 + j, p.size)),
                thresholds=jnp.asarray(poisson_thresholds(0.3 + 2 * j)),
                weight=each(0.1, 0.3) if j == 0 else f(0.05),
            )
            for j in range(1 + k)
        ]
        return p._replace(
            kernel=kernel, state=state, params=params, hard=k != 1, drive=each(14.0, 18.0),
            ports=tuple(ports), poissons=tuple(poissons),
        )  # fmt: skip

    return [one(k, p, kinds[k]) for k, p in enumerate(populations(dtype))]


def continued(populations, after):
    """The populations as a run left them. g was left before its decay, which starts a step."""
    parts = zip(populations, *after[:4], strict=True)
    return [
        p._replace(
            state=state,
            history=history,
            ports=tuple(q._replace(g=g) for q, g in zip(p.ports, gs, strict=True)),
            poissons=tuple(q._replace(rng=x) for q, x in zip(p.poissons, its, strict=True)),
        )
        for p, state, gs, history, its in parts
    ]


def uneven(n_pre, n_post, seed):
    return fixed_prob(n_pre, n_post, 0.02, seed=seed)


def weights_of(conn):
    return np.random.default_rng(conn.nnz).normal(0.3, 0.4, conn.indices.shape).astype(np.float32)


def delays_of(conn, most):
    return np.random.default_rng(conn.nnz).integers(0, most + 1, conn.indices.shape)


def projections(kind):
    one = uneven(1500, 700, 1)
    two, three = uneven(1500, 900, 2), fixed_num_post(900, 1500, 20, seed=3)
    part = uneven(600, 1500, 4)
    if kind == "no delay":
        return [Projection(0, 0, 1500, 1, 0, one, 0.5), Projection(2, 0, 900, 0, 1, three, -0.5)]
    if kind == "one delay":
        return [Projection(0, 0, 1500, 1, 0, one, 0.5, 3)]
    if kind == "a delay a source":
        return [Projection(0, 0, 1500, 1, 0, one, 0.5, np.arange(1500) % 7 + 1)]
    if kind == "a delay a synapse":
        return [Projection(2, 0, 900, 0, 1, three, weights_of(three), delays_of(three, 11))]
    if kind == "bundled":  # the first two share sources; the third is a part of a population
        return [
            Projection(0, 0, 1500, 1, 0, one, weights_of(one), delays_of(one, 5)),
            Projection(0, 0, 1500, 2, 0, two, weights_of(two), 2),
            Projection(0, 300, 900, 0, 0, part, 0.2, 1),
            Projection(2, 0, 900, 0, 1, three, weights_of(three), delays_of(three, 9)),
        ]
    # Two onto the same port are never packed together.
    again = uneven(1500, 700, 5)
    return [Projection(0, 0, 1500, 1, 0, c, weights_of(c), delays_of(c, 3)) for c in (one, again)]


KINDS = ["no delay", "one delay", "a delay a source", "a delay a synapse", "bundled", "same port"]
