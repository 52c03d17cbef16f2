"""Switches hold for the process or in a block of one context, left in any order."""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import pytest
import spikexla as sx
from spikexla import environ
from spikexla.random import DEFAULT
from spikexla.transform import jit


def _config(name):
    return lambda value: sx.config.context(**{name: value}), lambda: getattr(sx.config, name)


# (what makes a block of a value, what reads the value, two values), for every switch there is.
SWITCHES = {
    "backend": (sx.backend, sx.backend.current, ("xla", "native")),
    "dt": (lambda x: environ.context(dt=x), environ.get_dt_ms, (0.2, 0.5)),
    "a setting": (lambda x: environ.context(own=x), lambda: environ.get("own", None), ("a", "b")),
    "data": (lambda x: environ.context(t=x), lambda: environ.get("t", None), (1.5, 2.5)),
    "precision": (lambda x: environ.context(precision=x), lambda: environ.dftype(), (16, "bf16")),
    "seed_context": (sx.random.seed_context, lambda: int(DEFAULT.value[1]), (3, 4)),
    "check_state_value_tree": (
        sx.check_state_value_tree,
        lambda: sx.config.check_trees,
        (True, False),
    ),
    **{
        f"config.{name}": (*_config(name), (True, False))
        for name in ("strict", "strict_units", "cache_eager", "check_trees")
    },
}


def actor(make, read, value):
    """Enters a block of `value`; tells at each turn what it reads."""
    with make(value):
        yield read()
        yield read()
        yield read()


def in_threads(actors):
    """A way to take a turn of each actor in a thread of its own, and one to end them all."""
    pools = {id(a): ThreadPoolExecutor(1) for a in actors}
    return lambda a: pools[id(a)].submit(next, a, "left").result()


def in_tasks(actors):
    """As `in_threads`, in a context of its own each: what a task of asyncio is."""
    contexts = {id(a): contextvars.copy_context() for a in actors}
    return lambda a: contexts[id(a)].run(next, a, "left")


@pytest.mark.parametrize("where", [in_threads, in_tasks])
@pytest.mark.parametrize("name", SWITCHES)
def test_each_context_sees_its_own_block_in_any_order_of_entering_and_leaving(name, where):
    make, read, values = SWITCHES[name]
    environ.set(dt=0.1)
    before, rng = read(), random.Random(name)
    expected = {}
    for value in values:
        with make(value):
            expected[value] = read()
    for _ in range(4):
        actors = [(actor(make, read, value), value) for value in (*values, *values)]
        turn = where([a for a, _ in actors])
        while actors:
            a, value = rng.choice(actors)
            seen = turn(a)
            if seen == "left":
                actors.remove((a, value))
            else:
                assert seen == expected[value]
            assert read() == before


@pytest.mark.parametrize("name", SWITCHES)
def test_blocks_of_one_context_may_be_left_in_any_order(name):
    """As generators and exit stacks leave them: what holds is the last that is still open."""
    make, read, values = SWITCHES[name]
    environ.set(dt=0.1)
    before, rng = read(), random.Random(name)
    for _ in range(6):
        open_ = []
        for _ in range(12):
            if open_ and rng.random() < 0.5:
                block, _ = open_.pop(rng.randrange(len(open_)))
                block.__exit__(None, None, None)
            else:
                value = rng.choice(values)
                block = make(value)
                block.__enter__()
                open_.append((block, read()))
            assert read() == (open_[-1][1] if open_ else before)
        for block, _ in open_:
            block.__exit__(None, None, None)
        assert read() == before


def test_tasks_of_asyncio_and_their_threads():
    environ.set(dt=0.1)

    async def task(mine, enter, leave):
        await asyncio.sleep(enter)
        with environ.context(dt=mine):
            await asyncio.sleep(leave - enter)
            return environ.get_dt_ms(), await asyncio.to_thread(environ.get_dt_ms)

    async def both():
        return await asyncio.gather(task(0.2, 0.0, 0.04), task(0.5, 0.02, 0.06))

    assert asyncio.run(both()) == [(0.2, 0.2), (0.5, 0.5)]
    assert environ.get_dt_ms() == 0.1


def test_what_is_set_plainly_is_for_the_process():
    def elsewhere(f):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(f).result()

    environ.set(dt=0.1)

    def say():
        sx.backend("xla")
        environ.set(dt=0.3, t=2.0, own="x")

    elsewhere(say)
    assert (sx.backend.current(), environ.get_dt_ms()) == ("xla", 0.3)
    assert (environ.get("t"), environ.get("own")) == (2.0, "x")
    elsewhere(lambda: setattr(sx.config, "strict", True))
    assert sx.config.strict


def test_the_head_of_a_with_is_not_seen_elsewhere():
    """`with sx.backend(...)` is a call and an `__enter__`; others look between the two."""

    def elsewhere():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(sx.backend.current).result()

    head = sx.backend("xla")
    assert elsewhere() == "native"
    with head:
        assert (sx.backend.current(), elsewhere()) == ("xla", "native")
    assert (sx.backend.current(), elsewhere()) == ("native", "native")
    kept = sx.backend("xla")  # kept, as notebooks do: what is said counts from its first use
    assert (sx.backend.current(), elsewhere()) == ("xla", "xla")
    del kept
    assert elsewhere() == "xla"


def test_inside_of_a_block_a_plain_switch_holds_to_its_end():
    with sx.backend("xla"), sx.config.context(strict=True), environ.context(dt=0.2, t=1.0):
        sx.backend("native")
        sx.config.strict = False
        environ.set(dt=0.3, t=2.0)
        assert (sx.backend.current(), sx.config.strict) == ("native", False)
        assert (environ.get_dt_ms(), environ.get("t")) == (0.3, 2.0)
    assert (sx.backend.current(), sx.config.strict, environ.all()) == ("native", False, {})


def test_one_context_object_in_several_threads():
    environ.set(dt=0.1)
    inside, go = threading.Barrier(3), threading.Barrier(3)

    @environ.context(dt=0.4)
    def f():
        inside.wait(20)
        go.wait(20)
        return environ.get_dt_ms()

    with ThreadPoolExecutor(2) as pool:
        seen = [pool.submit(f) for _ in range(2)]
        inside.wait(20)
        assert environ.get_dt_ms() == 0.1
        go.wait(20)
        assert [s.result() for s in seen] == [0.4, 0.4]
    assert environ.get_dt_ms() == 0.1


def test_64_bit_types_are_not_left_behind_by_tasks_that_overlap():
    """jax keeps them by thread, so the task that they do not belong to is told."""
    with jax.enable_x64(False):
        actors = [actor(lambda p: environ.context(precision=p), _wide, p) for p in (64, 32)]
        turn = in_tasks(actors)
        first, second = actors
        assert turn(first)
        assert not turn(second)
        with pytest.raises(RuntimeError, match="another task"):
            turn(first)
        assert not turn(second)
        while turn(second) != "left":
            pass
        assert not jax.config.jax_enable_x64
        assert environ.get_precision() == 32


def _wide():
    return environ.get_precision() == 64 and jax.config.jax_enable_x64


def test_a_kept_program_is_that_of_the_context_which_calls_it():
    runs = []

    @jit
    def f(x):
        runs.append(sx.backend.current())
        return x * environ.get_dt_ms() + environ.get("t", 0.0)

    environ.set(dt=1.0)
    places, opened = {}, []
    for dt, t, backend in ((2.0, 10.0, "xla"), (3.0, None, "native"), (4.0, 20.0, "xla")):
        places[dt, t, backend] = context = contextvars.copy_context()
        data = {} if t is None else {"t": t}
        for block in (environ.context(dt=dt, **data), sx.backend(backend)):
            context.run(block.__enter__)
            opened.append((context, block))
    rng = random.Random(0)
    for _ in range(40):
        (dt, t, backend), context = rng.choice([*places.items()])
        assert float(context.run(f, 1.0)) == dt + (t or 0.0)
        assert context.run(sx.backend.current) == backend
        if rng.random() < 0.3:
            assert float(f(1.0)) == 1.0
    assert len(runs) == 4
    assert sorted(runs) == ["native", "native", "xla", "xla"]
    for context, block in opened:
        context.run(block.__exit__, None, None, None)


def test_starting_again_in_a_context_of_another_precision():
    net = sx.LIF(2)
    sx.nn.init_all_states(net)
    sx.nn.init_all_states(net)
    with environ.context(precision=16):
        assert sx.nn.init_all_states(net).V.value.dtype == jnp.float16
    assert sx.nn.init_all_states(net).V.value.dtype == jnp.float32


def test_copies_of_the_default_stream_are_streams_of_their_own():
    import copy
    import pickle

    for twin in (copy.deepcopy(DEFAULT), pickle.loads(pickle.dumps(DEFAULT))):
        assert type(twin) is sx.random.RandomState
        assert (twin.value == DEFAULT.value).all()
        with sx.random.seed_context(7):
            assert float(twin.rand()) == float(sx.random.default_rng(0).rand())
    assert math.isclose(float(sx.random.rand()), float(sx.random.default_rng(0).rand()))
