"""A thread that reads a network while the engine runs finds the States of whole chunks."""

from __future__ import annotations

import sys
import threading

import brainunit as u
import jax
import numpy as np
import pytest
import spikexla as sx
from spikexla import atomic
from spikexla.network.capture import capture
from spikexla.network.engine import Engine

CHUNKS = 200


class Net(sx.nn.Module):
    """All kinds of States that a chunk changes: V with a unit, refractory, g, history, words."""

    def __init__(self) -> None:
        super().__init__()
        mV = {"V_rest": -60.0 * u.mV, "V_th": -50.0 * u.mV, "V_reset": -61.0 * u.mV}
        start = np.linspace(-60.0, -49.0, 40) * u.mV
        self.cells = [
            sx.LIFRef(40, V_initializer=lambda shape: start, tau_ref=0.3, **mV) for _ in range(3)
        ]
        self.to = [
            sx.AlignPostProj(
                comm=sx.EventFixedNumConn(40, 40, 5, 0.1 * u.mA, seed=k),
                syn=sx.Expon.desc(40, tau=5.0, g_initializer=sx.init.Constant(0.2 * u.mA)),
                out=sx.CUBA.desc(scale=1.0),
                post=cells,
                delay=0.5,
            )
            for k, cells in enumerate(self.cells)
        ]
        self.noise = [
            sx.PoissonInput(
                rate=800.0,
                num=3,
                weight=0.05 * u.mA,
                seed=k,
                syn=sx.Expon.desc(40, tau=5.0, g_initializer=sx.init.Constant(0.2 * u.mA)),
                out=sx.CUBA.desc(scale=1.0),
                post=cells,
            )
            for k, cells in enumerate(self.cells)
        ]

    def update(self) -> None:
        for projection in self.to:
            projection(self.cells[0].get_spike() != 0)
        for noise in self.noise:
            noise()
        for cells in self.cells:
            cells(1.0 * u.mA)


def arrays(states: list) -> list[jax.Array]:
    """The array that each State holds."""
    return [jax.tree.leaves(state.value)[0] for state in states]


@pytest.mark.skipif(
    atomic.store is atomic._store, reason="without the compiled library none of this is promised"
)
def test_a_reader_never_sees_a_part_of_a_chunk(dt):
    net = Net()
    sx.nn.init_all_states(net)
    engine = Engine(capture(net, ()), record=False)
    engine.compile(1)
    writes = arrays(states := list(net.states(sx.ShortTermState).values()))
    engine.advance(1, 0)
    states = [s for s, x in zip(states, writes, strict=True) if arrays([s])[0] is not x]
    assert len(states) == 18  # V, refractory, two g, a history and words of each
    kept, seen, done = [arrays(states)], [], threading.Event()

    def read() -> None:
        rng = np.random.default_rng(0)
        while not done.is_set():
            order = rng.permutation(len(states)).tolist()
            seen.append((order, arrays([states[k] for k in order])))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader = threading.Thread(target=read)
    try:
        reader.start()
        for k in range(CHUNKS):
            engine.advance(1, 1 + k)
            kept.append(arrays(states))
    finally:
        done.set()
        reader.join()
        sys.setswitchinterval(interval)
    # What is read later is of the same chunk or a later one.
    chunk = {id(x): k for k, its in enumerate(kept) for x in its}
    found = [[chunk[id(x)] for x in read] for _, read in seen]
    assert len({k for its in found for k in its}) > 20
    torn = [its for its in found if its != sorted(its)]
    assert not torn, f"{len(torn)} of {len(found)} readings, such as {torn[0]}"
