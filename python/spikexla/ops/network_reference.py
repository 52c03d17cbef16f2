"""What `network_run` means: a scan over the steps of all populations, in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import surrogate as surrogates
from .poisson import poisson_counts
from .raster import pack_bits, spikes_of
from .wiring import Wiring


def network_reference(
    populations: Any, wiring: Wiring, probes: Any, steps: int, record: bool
) -> list[Any]:
    """The results of the native handler, in its order."""
    synapses = _Synapses(wiring)

    def body(carry, t):
        (states, gs, histories, generators), traces = carry
        spikes = [p.kernel.spiked(s, p.params) for p, s in zip(populations, states, strict=True)]
        gs = [
            [g * port.decay for g, port in zip(gp, p.ports, strict=True)]
            for gp, p in zip(gs, populations, strict=True)
        ]
        seen = [jnp.concatenate([s[None], h]) for s, h in zip(spikes, histories, strict=True)]
        gs = synapses.deliver(seen, gs)
        generators, gs = _poisson(populations, generators, gs)
        states = [_advance(p, s, g) for p, s, g in zip(populations, states, gs, strict=True)]
        fired = [p.kernel.spiked(s, p.params) for p, s in zip(populations, states, strict=True)]
        traces = [_noted(q, t, x, states, gs) for q, x in zip(probes, traces, strict=True)]
        after = states, gs, [s[:-1] for s in seen], generators
        return (after, traces), [pack_bits(z) for z in fired] if record else None

    histories = [spikes_of(p.history, p.size) for p in populations]
    start = (
        [p.state for p in populations],
        [[q.g for q in p.ports] for p in populations],
        histories,
        [[q.rng for q in p.poissons] for p in populations],
    )
    dtype = populations[0].state[0].dtype
    traces = [jnp.zeros((q.rows(steps), len(q.index)), dtype) for q in probes]
    (after, traces), rasters = jax.lax.scan(body, (start, traces), jnp.arange(steps))
    states, gs, histories, generators = after
    if not record:
        rasters = [jnp.zeros((0, -(-p.size // 32)), jnp.uint32) for p in populations]
    flat = [*(x for s in states for x in s), *(g for gp in gs for g in gp)]
    sent = [h & synapses.sends(k, h.shape[1]) for k, h in enumerate(histories)]
    flat += [pack_bits(h) for h in sent] + [x for its in generators for x in its]
    return [*flat, *(rasters or ()), *traces]


class _Synapses:
    """The packed synapses one by one: row of the source, delay, and place of the target."""

    def __init__(self, w: Wiring) -> None:
        self.wiring, runs, count = w, w.runs, w.targets.shape[0]
        lengths = jnp.diff(runs.astype(jnp.int32), axis=1)
        key = jnp.repeat(jnp.arange(lengths.size), lengths.reshape(-1), total_repeat_length=count)
        self.row, run = key // lengths.shape[1], key % lengths.shape[1]
        self.delay, slice = run % w.delays, run // w.delays
        inputs = w.inputs()
        first = np.cumsum([0, *map(len, inputs)])[:-1]
        places = jnp.asarray(np.concatenate(inputs), jnp.int32)
        self.target = places[jnp.asarray(first, jnp.int32)[slice] + w.targets.astype(jnp.int32)]
        self.weight = w.weights if w.by_synapse else w.weights[self.row]

    def sends(self, population: int, n: int) -> np.ndarray:
        """Which neurons have synapses; nothing of the others is under way."""
        sends = np.zeros(n, bool)
        for b in self.wiring.bundles:
            if b.pre == population:
                sends[b.low : b.high] = True
        return sends

    def deliver(self, seen: list, gs: list) -> list:
        """Adds the spikes that arrive; `seen` holds those of the last steps, (delays, size)."""
        if not self.row.size:
            return gs
        w, sizes = self.wiring, [g.shape[0] for gp in gs for g in gp]
        total = jnp.concatenate([g for gp in gs for g in gp])
        for d in range(w.delays):
            rows = jnp.concatenate(
                [seen[b.pre][w.first_delay + d, b.low : b.high] for b in w.bundles]
            )
            arrives = rows[self.row] & (self.delay == d)
            total = total.at[self.target].add(jnp.where(arrives, self.weight, 0))
        parts = iter(jnp.split(total, np.cumsum(sizes)[:-1]))
        return [[next(parts) for _ in gp] for gp in gs]


def _poisson(populations: Any, generators: list, gs: list) -> tuple[list, list]:
    after, gs = [list(its) for its in generators], [list(gp) for gp in gs]
    for p, its, g in zip(populations, after, gs, strict=True):
        for k, q in enumerate(p.poissons):
            its[k], counts = poisson_counts(its[k], q.thresholds, p.size)
            g[q.port] = g[q.port] + q.weight * counts.astype(g[q.port].dtype)
    return after, gs


def _noted(q: Any, t: Any, rows: jax.Array, states: list, gs: list) -> jax.Array:
    """The rows of a probe, with that of step t if it is read then."""
    if not len(rows):
        return rows
    state, ports = states[q.population], gs[q.population]
    values = getattr(state, q.variable) if isinstance(q.variable, str) else ports[q.variable]
    due = (t >= q.phase) & ((t - q.phase) % q.every == 0)
    row = jnp.where(due, (t - q.phase) // q.every, len(rows))
    return rows.at[row].set(values[q.index], mode="drop")


def _advance(p: Any, state: Any, gs: list) -> Any:
    I = p.drive
    for g, port in zip(gs, p.ports, strict=True):
        I = I + g * port.value
    zero = jnp.zeros((), state[0].dtype)
    G = sum((g for g, port in zip(gs, p.ports, strict=True) if port.conductance), zero)
    given = {"I": I, "G": G, "jump": zero}
    inputs = p.kernel.Inputs(*(given[name] for name in p.kernel.Inputs._fields))
    return p.kernel.step(state, p.params, inputs, hard=p.hard, spike=surrogates.DEFAULT)[0]
