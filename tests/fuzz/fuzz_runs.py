"""Runs one after the other, in any pieces, record what one run from the last start does."""

from __future__ import annotations

import functools

import numpy as np
import spikexla as sx
from test_clock import Plain, Timed

MOST = 40  # steps
CHUNKS, EVERY = (1, 4), (1, 3)  # few, for each is a program


@functools.cache
def whole(kind):
    """Spike steps and ids, and V after each step, of one run."""
    run = sx.simulate(kind(), MOST * 0.1, record=[sx.record.Spikes(), sx.record.Trace("V")])
    return run.spikes["n"], run.traces["n", "V"].values


@functools.cache
def network(kind):
    return kind()


def case(rng):
    sx.environ.set(dt=0.1)
    kind = Plain if rng.random() < 0.8 else Timed
    train, V = whole(kind)
    net, at, story = network(kind), 0, [kind.__name__]
    sx.nn.init_all_states(net)
    for _ in range(rng.integers(1, 6)):
        if rng.random() < 0.2:
            sx.nn.init_all_states(net)
            at = 0
            story.append("init")
        steps = int(rng.integers(1, 14))
        if at + steps > MOST:
            break
        chunk, every = int(rng.choice(CHUNKS)), int(rng.choice(EVERY))
        stop = int(rng.integers(0, steps // chunk + 1)) * chunk if rng.random() < 0.2 else steps
        story.append((steps, chunk, every, stop))
        run, done = _simulate(net, steps, chunk, every, stop)
        assert run.steps == done, story
        spikes, trace = run.spikes["n"], run.traces["n", "V"]
        mine = (train.steps >= at) & (train.steps < at + done)
        np.testing.assert_array_equal(spikes.ids, train.ids[mine], err_msg=str(story))
        np.testing.assert_array_equal(spikes.times_ms, train.times_ms[mine], err_msg=str(story))
        sampled = np.arange(at, at + done)
        sampled = sampled[(sampled + 1) % every == 0]
        np.testing.assert_array_equal(trace.values, V[sampled], err_msg=str(story))
        np.testing.assert_array_equal(trace.times_ms, (sampled + 1) * 0.1, err_msg=str(story))
        at += done


def _simulate(net, steps, chunk, every, stop):
    """The record of a run that ends after the chunk in which `stop` is, and its steps."""

    def progress(done, _):
        if stop <= done < steps:
            raise RuntimeError("stop")

    record = [sx.record.Spikes(), sx.record.Trace("V", every=every)]
    try:
        run = sx.simulate(net, steps * 0.1, record=record, chunk=chunk * 0.1, progress=progress)
    except RuntimeError as error:
        return error.result, max(chunk, -(-stop // chunk) * chunk)  # pyright: ignore
    return run, steps
