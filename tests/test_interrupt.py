"""After any interrupt or error, and beside any thread, States are all old or all new."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from interrupt_cases import WORK, Counters, interrupts
from spikexla import atomic
from spikexla.transform import for_loop, jit

NEEDS_LIBRARY = pytest.mark.skipif(
    atomic.store is atomic._store, reason="without the compiled library none of this is promised"
)


# Python cannot raise what interrupts a generator that is let go; it says that it was lost.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@NEEDS_LIBRARY
@pytest.mark.parametrize("name", WORK)
def test_an_interrupt_leaves_all_states_old_or_all_new(name, dt):
    work = WORK[name]()
    for _ in range(2):  # the first time there is more to do
        work.again()
        places = interrupts(work.act)
    draw = np.random.default_rng(0).permutation(np.arange(1, places + 1))
    few = 20 if places < 500 else 6  # a call that traces takes long
    hit = 0
    for at in sorted(map(int, draw[:few])):
        work.again()
        try:
            interrupts(work.act, at)
        except KeyboardInterrupt:
            hit += 1
        work.check(0, f"{name}, interrupted at {at} of {places}")
    assert hit > 2  # calls of a program that is known by now have fewer places


@pytest.mark.parametrize("donate", [False, True], ids=["kept", "donated"])
def test_an_error_leaves_all_states_as_they_were(donate):
    net = Counters()

    class Fails(sx.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.compiled = net, jit(net.update, donate_states=donate)

        def update(self):
            self.net()
            self.compiled()
            for_loop(self.net, jnp.ones(2))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        Fails()()
    assert {*_numbers(net)} == {0.0}


def test_what_an_optimiser_did_is_kept_by_a_module_that_fails_later():
    net = Counters()
    opt = sx.optim.SGD(1.0).register_trainable_weights(net.states(sx.ParamState))

    class Training(sx.nn.Module):
        def update(self):
            opt.update({"weight": -jnp.ones(3)})
            net.counts[0].value = jnp.ones(())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        Training()()
    assert float(net.weight.value[0]) == 1.0
    assert int(opt.step_count.value) == 1
    assert float(net.counts[0].value) == 0.0


@NEEDS_LIBRARY
@pytest.mark.parametrize("donate", [False, True], ids=["kept", "donated"])
def test_threads_find_and_leave_all_states_of_one_call(donate):
    """Without a lock calls are lost, but never a part of one; donated calls take turns."""
    threads, calls = 4, 60
    net = Counters()
    f = jit(lambda x: (net(), [c.value for c in net.counts], x)[1], donate_states=donate)
    f(jnp.ones(1))
    torn = []

    def work(seed):
        for k in range(calls):
            seen = {*map(float, f(jnp.ones(1 + (k + seed) % 3)))}  # some of them trace
            if len(seen) != 1:
                torn.append(seen)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert not torn
    counted = {*_numbers(net)}
    assert len(counted) == 1
    assert counted.pop() <= 1 + threads * calls
    if donate:
        assert float(net.counts[0].value) == 1 + threads * calls


def _numbers(net):
    """Every number that the States hold."""
    for state in net.states().values():
        for leaf in jax.tree.leaves(state.value):
            yield from map(float, np.ravel(leaf))


WITHOUT_LIBRARY = """
import sys
sys.modules["spikexla._native"] = None
import jax
import jax.numpy as jnp, spikexla as sx
from interrupt_cases import WORK
from spikexla import atomic
assert atomic.store is atomic._store
sx.environ.set(dt=0.1)
for name in ("jit, donated", "for_loop, not kept"):
    work = WORK[name]()
    work.again()
    for done in range(2):
        work.check(done - 1, name)  # and calls it
class Fails(sx.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = sx.State(jnp.zeros(2))
    def update(self):
        self.a.value = {"tree": jnp.ones(3)}
        raise RuntimeError("stop")
net = Fails()
try:
    net()
except RuntimeError:
    assert net.a.value.shape == (2,)
"""


def test_without_the_compiled_library_the_values_are_the_same():
    folder = Path(__file__).parent
    subprocess.run([sys.executable, "-c", WITHOUT_LIBRARY], check=True, cwd=folder)


def test_what_a_block_chose_is_not_put_back_outside_of_it():
    """A transaction that fails after a block has ended puts back what the block had, in it."""

    class Fails(sx.nn.Module):
        def update(self):
            with sx.random.seed_context(5), sx.environ.context(t=1.0):
                sx.random.rand()
                sx.environ.set(t=2.0)
                raise KeyError("stop")

    first = float(sx.random.rand())
    sx.random.seed(0)
    with pytest.raises(KeyError, match="stop"):
        Fails()()
    assert float(sx.random.rand()) == first
    assert sx.environ.get("t", None) is None
