"""A program that is kept answers as a fresh one would, and keeps no model alive."""

from __future__ import annotations

import collections
import copy
import gc
import itertools
import queue
import random
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from kept_cases import CHANGES, NOT_REMADE, RIGHT, Ways, World, agree
from spikexla.transform import cond, for_loop, grad, jit, vmap
from spikexla.transform.capture import Snapshot
from spikexla.transform.jit import NotKeptWarning
from spikexla.transform.matching import matches
from test_eager import compilations  # noqa: F401

VALUES = itertools.cycle([0.5, 2.0, 0.25, 4.0])


@pytest.fixture(scope="module")
def world():
    world = World()
    return world, Ways(world)


@pytest.mark.parametrize("way", RIGHT)
def test_a_change_in_place_of_anything_is_seen(way, world):
    """Each way meets a quarter of the changes; `tests/fuzz/fuzz_kept.py` meets all, and many."""
    world, ways = world
    agree(world, ways, way, "nothing")
    for change in list(CHANGES)[[*RIGHT].index(way) % 4 :: 4]:
        CHANGES[change](world, next(VALUES))
        agree(world, ways, way, change)


def test_the_fast_comparison_is_the_defined_one():
    world = World()
    read = world.reader()
    snapshot = Snapshot(read)
    node, slots = snapshot.node, [0] * len(snapshot.bound)
    assert snapshot.holds(read)
    assert snapshot.holds(read, False)
    assert snapshot.holds(world.reader())
    assert matches(node, read, slots, True)
    assert matches(node, world.reader(), slots, True)
    for change, put in CHANGES.items():
        put(world, 3.0)
        read = world.reader() if change in NOT_REMADE else read
        assert not snapshot.holds(read), change
        assert not matches(node, read, slots, True), change
        read = world.reader()
        snapshot = Snapshot(read)
        node, slots = snapshot.node, [0] * len(snapshot.bound)


DRAWS = {
    "numpy generator": (np.random.default_rng(0), lambda r: r.random()),
    "numpy of old": (np.random.RandomState(0), lambda r: r.rand()),
    "random": (random.Random(0), lambda r: r.random()),
    "iterator": (iter(np.arange(1000.0)), next),
}


@pytest.mark.filterwarnings("ignore::spikexla.transform.jit.NotKeptWarning")
@pytest.mark.parametrize("kind", DRAWS)
def test_what_a_trace_draws_is_drawn_again(kind):
    source, draw = DRAWS[kind]
    got = [float(for_loop(lambda x: x * draw(source), jnp.ones(1))[0]) for _ in range(3)]
    assert len(set(got)) == 3


def test_what_cannot_be_compared_is_said_once_and_compiled_once(compilations):  # noqa: F811
    state, steps, data = sx.State(jnp.zeros(3)), itertools.count(), np.ones(3, np.float32)

    def step(x):
        next(steps)
        data[0] += 1
        state.value += x * data
        return x

    with pytest.warns(NotKeptWarning, match=r"step reaches an object of type itertools\.count"):
        for_loop(step, jnp.ones(2))
    compilations.clear()
    for _ in range(3):
        for_loop(step, jnp.ones(2))
    assert compilations == []
    np.testing.assert_array_equal(state.value, [2 * (2 + 3 + 4 + 5), 8.0, 8.0])


def test_an_array_that_changes_at_each_call_compiles_nothing_more(compilations):  # noqa: F811
    batch = np.ones((4, 3), np.float32)
    w = sx.ParamState(jnp.ones(3))
    call = lambda: grad(lambda: (w.value * batch).sum(), w)()  # noqa: E731
    for k in range(6):
        batch[0, 0] = k
        compilations.clear() if k > 3 else None
        np.testing.assert_array_equal(call(), batch.sum(0))
    assert compilations == []


def _large():
    rng = np.random.default_rng(0)
    return {
        "80 KB of numpy": rng.random(20_000),
        "1 MB of numpy": rng.random(125_000),
        "3,000 tuples": [(k,) for k in range(3000)],
        "a lock": threading.Lock(),
        "an ordered dict": collections.OrderedDict.fromkeys("abc"),
        "a generator": rng,
        "many Modules": [sx.nn.Module(str(k)) for k in range(300)],
    }


@pytest.mark.parametrize("thing", _large().values(), ids=_large())
def test_nothing_large_or_strange_ends_the_keeping(thing):
    traces, net = queue.SimpleQueue(), sx.nn.Module()
    net.gain = 2.0
    before = (thing,)

    def read(x):
        traces.put((before, 1)[1])
        return x * net.gain

    kept = jit(read)
    ways = [lambda: for_loop(lambda x: read(x), jnp.ones(1))[0], lambda: kept(1.0)]
    for way in ways:
        assert [float(way()) for _ in range(3)] == [net.gain] * 3
        assert traces.qsize() == 1
        net.gain += 1
        assert float(way()) == net.gain
        assert traces.qsize() == 2
        while traces.qsize():
            traces.get()


def test_an_eager_step_sees_parameters_change_in_place():
    with sx.environ.context(dt=0.1):
        for name in ("V_th", "tau", "R"):
            given = {"tau": np.array([10.0, 10.0]), "V_th": np.ones(2), "R": np.ones(2)}
            neuron = sx.LIF(2, **{k: v.copy() for k, v in given.items()})
            for value in (1e6, 2.0):
                getattr(neuron, name)[:] = given[name][:] = value
                sx.nn.init_all_states(neuron)
                fresh = sx.LIF(2, **given)
                fresh.init_state()
                for n in (neuron, fresh):
                    n(5.0)
                np.testing.assert_allclose(neuron.V.value, fresh.V.value, rtol=1e-6)
                np.testing.assert_array_equal(neuron.get_spike(), fresh.get_spike())


class Lazy(sx.nn.Module):
    """Makes its State when it is first used."""

    def update(self, x):
        if not hasattr(self, "h"):
            self.h = sx.ShortTermState(jnp.zeros(()))
        self.h.value += x
        return self.h.value


def _lazy_dict():
    made = {}

    def update(x):
        if "h" not in made:
            made["h"] = sx.State(jnp.zeros(()))
        made["h"].value += x
        return made["h"].value

    return update


@pytest.mark.parametrize("make", [Lazy, _lazy_dict])
@pytest.mark.parametrize(
    "way",
    [jit, lambda f: f, lambda f: grad(f, return_value=True)],
    ids=["jit", "as it is", "grad"],
)
def test_a_state_made_at_first_use_is_made_once(make, way):
    f = way(make())
    values = [f(1.0) for _ in range(4)]
    assert [float(v[1] if isinstance(v, tuple) else v) for v in values] == [1.0, 2.0, 3.0, 4.0]


def test_jit_does_once_what_a_function_does_in_python():
    log = []
    f = jit(lambda x: (log.append(x.shape), x)[1])
    for n in (1, 2, 1, 2):
        f(jnp.ones(n))
    assert log == [(1,), (2,)]


STEP = jit(lambda m: m(1.0))
OTHER = sx.ParamState(jnp.ones(()), name="lives on")
USES = {
    "step": lambda n: n(1.0),
    "loop": lambda n: for_loop(lambda x: n(x).sum() * OTHER.value, jnp.ones(3)),
    "loop over the Module": lambda n: for_loop(n, jnp.ones(3)),
    "grad": lambda n: grad(lambda: n(1.0).sum() + OTHER.value, OTHER)(),
    "grad with the Module": lambda n: grad(lambda _, m: m(1.0).sum(), n.V)(n),
    "vmap": lambda n: vmap(lambda x: n.get_spike() * x)(jnp.ones(2)),
    "cond": lambda n: cond(True, lambda: n(1.0), lambda: n.get_spike()),
    "result": lambda n: cond(True, lambda: n, lambda: n),
    "jit with the Module": lambda n: STEP(n),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_programs_keep_no_model_alive(use):
    dead = []
    with sx.environ.context(dt=0.1):
        for _ in range(3):
            n = sx.LIF(2, tau=10.0)
            use(n)
            use(n)
            dead += [weakref.ref(n), weakref.ref(n.V)]
            del n
    gc.collect()
    assert [ref() for ref in dead] == [None] * 6


def test_settings_of_equal_numbers_are_two(monkeypatch):
    net = sx.nn.Module()
    f = jit(lambda x: jnp.copysign(x, net.sign))
    for sign in (0.0, -0.0, 0.0):
        net.sign = sign
        assert float(f(1.0)) == np.copysign(1.0, sign)


def test_nested_functions_see_changes_too():
    table = {"gain": 1.0}
    inner = jit(lambda x: x * table["gain"])
    outer = jit(lambda x: for_loop(lambda y: inner(y), x))
    for gain in (1.0, 2.0, 1.0):
        table["gain"] = gain
        np.testing.assert_array_equal(outer(jnp.ones(2)), [gain, gain])
        assert float(jax.grad(lambda x: inner(x))(1.0)) == gain


# -- what a trace itself changes in Python ---------------------------------------------------------


class Flagged(sx.nn.Module):
    """A step that takes back a setting."""

    def __init__(self):
        super().__init__()
        self.flag, self.a = False, sx.State(jnp.zeros(()))

    def update(self):
        if self.flag:
            self.a.value, self.flag = jnp.zeros(()), False
        else:
            self.a.value = self.a.value + 1


def test_a_setting_that_a_trace_takes_back_was_in_force_for_it():
    net = Flagged()
    step, seen = jit(net), []
    for flag in (False, False, True, False, True, True, False):
        net.flag = flag
        step()
        seen.append(float(net.a.value))
    assert seen == [1, 2, 0, 1, 0, 0, 1]


def test_what_is_used_up_by_a_trace_is_not_there_for_the_next():
    waiting, total = [], sx.State(jnp.zeros(()))

    def step(_):
        total.value = total.value + (waiting.pop() if waiting else 1.0)

    for given, want in (([], 1), ([5.0], 6), ([], 7), ([2.0, 3.0], 10), ([], 12), ([], 13)):
        waiting.extend(given)
        for_loop(step, jnp.arange(1))
        assert total.value == want


def test_a_setting_that_every_call_turns_is_turned_by_every_eager_call():
    net = Flagged()

    def turn(_):
        net.flag = not net.flag
        return jnp.float32(net.flag)

    assert [float(for_loop(turn, jnp.arange(1))[0]) for _ in range(6)] == [1, 0] * 3


@pytest.mark.parametrize("change", ["attribute", "tag"])
def test_attributes_and_tags_of_states_are_compared_in_every_call(change):
    state = sx.State(jnp.ones(()), tag="1")
    state.scale = 1.0
    read = (lambda: float(state.tag)) if change == "tag" else (lambda: state.scale)
    step = jit(lambda: state.value * read())
    for k in (1, 1, 1, 2, 2, 3, 1, 1, 4):
        state.scale, state.tag = (float(k), "1") if change == "attribute" else (1.0, str(k))
        assert step() == k


def test_a_copy_of_what_holds_a_compiled_function_has_programs_of_its_own():
    class Holder(sx.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = sx.State(jnp.zeros(()))
            self.step = jit(self._step)

        def _step(self, x):
            self.a.value = self.a.value + jnp.abs(x)

    one = Holder()
    one.step(1.0)
    other = copy.deepcopy(one)
    other.step(2.0)
    assert (float(one.a.value), float(other.a.value)) == (1.0, 3.0)
