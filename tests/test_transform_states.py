"""The life of States around traces: made again, made inside, of new shapes, leaked, in threads."""

from __future__ import annotations

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import ParamState, ShortTermState, State, TraceError
from spikexla.nn import Module, init_all_states
from spikexla.transform import (
    checkpoint,
    cond,
    for_loop,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jit,
    jvp,
    vjp,
    vmap,
)
from transform_cases import XS, Cell, count_traces


class Neuron(Module):
    """Makes its State when it is initialised, as models of brainstate do."""

    def __init__(self, n=3):
        super().__init__()
        self.n = n
        self.w = ParamState(jnp.ones(n))

    def init_state(self, batch_size=None):
        lead = () if batch_size is None else (batch_size,)
        self.V = ShortTermState(jnp.zeros((*lead, self.n)))

    def update(self, x):
        self.V.value = self.V.value + self.w.value * x
        return self.V.value


RUNS = {
    "jit": lambda net: jit(lambda x: net(x)),
    "module as argument": lambda net: functools.partial(jit(lambda m, x: m(x)), net),
    "donated": lambda net: jit(lambda x: net(x), donate_states=True),
    "for_loop": lambda net: lambda x: for_loop(net, x[None])[0],
    "grad": lambda net: lambda x: grad(lambda x: (net(x).sum(), net.V.value), has_aux=True)(x)[1],
    "vmap": lambda net: lambda x: vmap(lambda _: net(x))(jnp.zeros(2))[0],
}


@pytest.mark.parametrize("way", RUNS)
def test_a_module_that_is_initialised_again_is_seen(way):
    net = Neuron()
    init_all_states(net)
    run = RUNS[way](net)
    x = jnp.ones(3)
    for _ in range(3):
        run(x)
    first = net.V
    np.testing.assert_array_equal(first.value, np.full(3, 3.0))
    init_all_states(net)
    run(x)
    np.testing.assert_array_equal(net.V.value, np.ones(3))
    assert net.V is first
    init_all_states(net, batch_size=2)
    assert run(x).shape == (2, 3)
    init_all_states(net)
    assert run(x).shape == (3,)
    net.w = ParamState(jnp.full(3, 5.0))  # another object under the same name
    run(x)
    np.testing.assert_array_equal(net.V.value, np.full(3, 6.0))


def test_a_state_that_is_replaced_by_another_kind_is_seen():
    net = Neuron()
    init_all_states(net)
    run = jit(lambda x: net(x))
    run(jnp.ones(3))
    del net.V
    net.V = State(jnp.full(3, 10.0))
    np.testing.assert_array_equal(run(jnp.ones(3)), np.full(3, 11.0))
    np.testing.assert_array_equal(net.V.value, np.full(3, 11.0))


def test_initialised_inside_a_trace():
    net = Neuron()

    @jit
    def trial(xs):
        init_all_states(net)
        return for_loop(net, xs)

    for _ in range(2):
        np.testing.assert_allclose(trial(XS)[-1], XS.sum(0), rtol=1e-6)
    np.testing.assert_allclose(net.V.value, XS.sum(0), rtol=1e-6)


MADE = {
    "jit": lambda f: jit(f)(1.0),
    "jit of jit": lambda f: jit(jit(f))(1.0),
    "grad": lambda f: grad(f)(1.0),
    "jacrev": lambda f: jacrev(f)(1.0),
    "jacfwd": lambda f: jacfwd(f)(1.0),
    "hessian": lambda f: hessian(f)(1.0),
    "vjp": lambda f: vjp(f, 1.0),
    "jvp": lambda f: jvp(f, (1.0,), (1.0,)),
    "checkpoint": lambda f: checkpoint(f)(1.0),
    "jit of checkpoint": lambda f: jit(checkpoint(f))(1.0),
}


@pytest.mark.parametrize("way", MADE)
@pytest.mark.usefixtures("tracing")
def test_a_state_made_inside_a_trace_lives_on(way):
    made = []

    def f(x):
        made.append(State(2 * x))
        made[-1].value = made[-1].value + 1
        return x * x

    MADE[way](f)
    assert float(made[-1].value) == 3.0
    assert made[-1]._frame is None


def test_states_made_by_vmap_have_a_slice_for_each_lane():
    nets = vmap(lambda k: Neuron(), axis_size=4)(jnp.arange(4))
    assert nets.w.value.shape == (4, 3)
    sx.random.seed(0)
    drawn = vmap(lambda k: State(sx.random.rand()))(jnp.arange(4))
    assert len({*map(float, drawn.value)}) == 4
    out = vmap(lambda x: (nets.w.value * x).sum(), in_states=nets.states(ParamState))(
        jnp.arange(4.0)
    )
    np.testing.assert_array_equal(out, [0.0, 3.0, 6.0, 9.0])


def test_shapes_may_change_from_call_to_call():
    state = State(jnp.zeros(2))
    f, runs = count_traces(lambda x: setattr(state, "value", jnp.concatenate([state.value, x])))
    f = jit(f)
    for n in (3, 4, 5):
        f(jnp.ones(1))
        assert state.value.shape == (n,)
    state.value = jnp.zeros(2)
    f(jnp.ones(1))
    assert len(runs) == 3
    state.value = {"a": jnp.zeros(2)}
    with pytest.raises(TypeError):
        f(jnp.ones(1))
    assert state.value["a"].shape == (2,)
    state.value = jnp.zeros(2, jnp.int32)
    f(jnp.ones(1, jnp.int32))
    assert state.value.dtype == jnp.int32


# -- leaks ----------------------------------------------------------------------------------------

LEAKS = {
    "jit": lambda f: jit(f)(jnp.ones(3)),
    "for_loop": lambda f: for_loop(f, jnp.ones((2, 3))),
    "vmap": lambda f: vmap(f)(jnp.ones((2, 3))),
    "grad": lambda f: grad(f)(jnp.ones(3)),
    "cond": lambda f: cond(True, f, lambda x: x.sum(), jnp.ones(3)),
    "jax.jit": lambda f: jax.jit(f)(jnp.ones(3)),
    "jax.vmap": lambda f: jax.vmap(f)(jnp.ones((2, 3))),
    "jax.grad": lambda f: jax.grad(f)(jnp.ones(3)),
    "jax.jacfwd": lambda f: jax.jacfwd(f)(jnp.ones(3)),
    "jax.lax.scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0, jnp.ones((2, 3))),
}
WRITES = {
    "outside": lambda write: write(),
    "in jit": lambda write: jit(write)(),
    "in for_loop": lambda write: for_loop(lambda x: write(), jnp.ones(3)),
    "in grad": lambda write: grad(lambda x: (write(), x.sum())[1])(jnp.ones(3)),
    "in grad of vmap": lambda write: grad(lambda x: vmap(lambda y: (write(), y)[1])(x).sum())(
        XS[0]
    ),
}


@pytest.mark.parametrize("where", WRITES)
@pytest.mark.parametrize("source", LEAKS)
def test_a_leaked_tracer_is_reported_with_its_state(source, where):
    kept = []
    with sx.config.context(cache_eager=False):  # a program that is kept does not append again
        LEAKS[source](lambda x: (kept.append(2 * x), x.sum())[1])
    state = State(jnp.zeros(3), name="V")
    before = state.value
    with pytest.raises(
        TraceError, match=r"State 'V' \(created at .*test_transform_states.py:\d+\)"
    ):
        WRITES[where](lambda: setattr(state, "value", kept[0]))
    assert state.value is before


RAW = {
    "jax.jit": lambda f: jax.jit(f)(jnp.ones(3)),
    "jax.vmap": lambda f: jax.vmap(f)(jnp.ones((2, 3))),
    "jax.grad": lambda f: jax.grad(lambda x: (f(x), x.sum())[1])(jnp.ones(3)),
    "jax.lax.scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0, jnp.ones((2, 3))),
    "jax.lax.cond": lambda f: jax.jit(lambda x: jax.lax.cond(x[0] > 0, f, f, x))(jnp.ones(3)),
    "jax.checkpoint": lambda f: jax.checkpoint(f)(jnp.ones(3)),
}


@pytest.mark.parametrize("wrap", [lambda f: f(), lambda f: jit(f)()], ids=["alone", "in jit"])
@pytest.mark.parametrize("raw", RAW)
def test_transforms_of_jax_itself_are_refused(raw, wrap):
    state = State(jnp.zeros(3), name="V")
    before = state.value
    name = r"'V' \(created at .*test_transform_states.py:\d+\).*spikexla\.transform"
    with pytest.raises(TraceError, match=name):
        wrap(lambda: RAW[raw](lambda x: setattr(state, "value", x)))
    assert state.value is before
    with pytest.raises(TraceError, match=r"'new'.*spikexla\.transform"):
        wrap(lambda: RAW[raw](lambda x: (State(x, name="new"), x.sum())[1]))


def test_a_state_of_a_failed_trace_says_that_it_has_no_value():
    made = []

    def f(x):
        made.append(State(x, name="born"))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        jit(f)(1.0)
    with pytest.raises(TraceError, match=r"'born' \(created at .*has no value"):
        _ = made[0].value
    made[0].value = 3.0
    assert made[0].value == 3.0


# -- threads --------------------------------------------------------------------------------------


def in_threads(*works):
    """Runs the functions at once, and raises what the first of them raised."""
    errors = []

    def run(work):
        try:
            work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_threads_with_networks_of_their_own():
    ends = {}

    def work(k):
        cell = Cell()
        step = jit(lambda x: cell(x))
        for x in XS:
            step(x * k)
            for_loop(lambda x: cell(x), x[None] * 0)
            grad(lambda x: (cell.w.value * x).sum(), cell.w)(x)
        ends[k] = cell.V.value, int(cell.steps.value)

    in_threads(*(lambda k=k: work(k) for k in range(4)))
    for k in range(4):
        value, steps = ends[k]
        np.testing.assert_allclose(value, k * ends[1][0], rtol=1e-5, atol=1e-7)
        assert steps == 10


def test_a_thread_never_sees_the_tracers_of_another():
    """One thread traces with a State, slowly, while others read it and run a program with it."""
    state, tracing, done = State(jnp.zeros(2)), threading.Event(), threading.Event()
    step = jit(lambda: state.value + 1)
    step()

    def slow():
        def f(x):
            y = state.value + x
            tracing.set()
            done.wait(0.2)
            return y

        for k in range(5):
            jit(lambda x, k=k: f(x) + k)(jnp.ones(2))

    def reads():
        tracing.wait(5)
        for _ in range(50):
            assert not isinstance(state.value, jax.core.Tracer)
            np.testing.assert_array_equal(step(), [1.0, 1.0])
        done.set()

    in_threads(slow, reads, reads)
