"""Transforms: what runs under them does to its States what it does without them."""

from __future__ import annotations

import functools
import gc
import warnings
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import LongTermState, ParamState, ShortTermState, State, StateDict
from spikexla.nn import Module
from spikexla.transform import (
    BatchAxisError,
    BranchError,
    CarryError,
    UnusedStateWarning,
    checkpoint,
    cond,
    for_loop,
    grad,
    jit,
    scan,
    switch,
    trace,
    value_and_grad,
    vmap,
    while_loop,
)


class Cell(Module):
    def __init__(self, n=3):
        super().__init__()
        self.w = ParamState(jnp.full(n, 0.5))
        self.V = ShortTermState(jnp.zeros(n))
        self.steps = LongTermState(0)

    def update(self, x):
        self.V.value = 0.9 * self.V.value + self.w.value * x
        self.steps.value += 1
        return self.V.value


@pytest.fixture(params=["one pass", "public names only"])
def tracing(request, monkeypatch):
    """With and without the private hook: the results are the same."""
    if request.param == "one pass":
        assert trace.ONE_PASS
    else:
        monkeypatch.setattr(trace, "ONE_PASS", False)
        monkeypatch.setattr(trace, "_trace_ctx", None)


def count_traces(f):
    """`f`, and a list that grows each time Python runs it."""
    runs = []

    @functools.wraps(f)
    def counted(*args, **kwargs):
        runs.append(1)
        return f(*args, **kwargs)

    return counted, runs


def eagerly(cell, xs):
    return jnp.stack([cell(x) for x in xs])


XS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


# -- the law: every way to run five steps is the same ------------------------------------------

WAYS = {
    "jit": lambda c: jnp.stack([f(x) for f in [jit(lambda x: c(x))] for x in XS]),
    "jit, module as argument": lambda c: jnp.stack(
        [f(c, x) for f in [jit(lambda m, x: m(x))] for x in XS]
    ),
    "jit, donated": lambda c: jnp.stack(
        [f(x) for f in [jit(lambda x: c(x), donate_states=True)] for x in XS]
    ),
    "jit of jit": lambda c: jnp.stack([f(x) for f in [jit(jit(lambda x: c(x)))] for x in XS]),
    "for_loop": lambda c: for_loop(lambda x: c(x), XS),
    "for_loop in halves": lambda c: jnp.concatenate([for_loop(c, XS[:2]), for_loop(c, XS[2:])]),
    "jit of for_loop": lambda c: jit(lambda xs: for_loop(lambda x: c(x), xs))(XS),
    "scan": lambda c: scan(lambda k, x: (k + 1, c(XS[k])), 0, None, length=5)[1],
    "unrolled scan": lambda c: scan(lambda k, x: (k, c(x)), None, XS, unroll=2)[1],
    "for_loop of jit": lambda c: for_loop(jit(lambda x: c(x)), XS),
    "for_loop of checkpoint": lambda c: for_loop(checkpoint(lambda x: c(x)), XS),
    "for_loop of cond": lambda c: for_loop(
        lambda x: cond(x.sum() > -99, lambda: c(x), lambda: jnp.zeros(3)), XS
    ),
    "loop of loop": lambda c: for_loop(lambda x: for_loop(c, x[None])[0], XS),
    "while_loop": lambda c: while_loop(
        lambda v: v[0] < 5, lambda v: (v[0] + 1, v[1].at[v[0]].set(c(XS[v[0]]))), (0, 0 * XS)
    )[1],
    "grad's value": lambda c: jnp.stack(
        [grad(lambda x: (c(x).sum(), c.V.value), c.w, has_aux=True)(x)[1] for x in XS]
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("tracing")
def test_every_way_to_run_is_the_same(way):
    plain, cell = Cell(), Cell()
    expected = eagerly(plain, XS)
    np.testing.assert_allclose(WAYS[way](cell), expected, rtol=1e-6)
    np.testing.assert_allclose(cell.V.value, plain.V.value, rtol=1e-6)
    assert int(cell.steps.value) == 5
    assert not isinstance(cell.steps.value, jax.core.Tracer)
    assert cell.V._frame is None


def test_no_tracer_leaks():
    with jax.checking_leaks():
        for way in WAYS.values():
            way(Cell())


def test_a_state_written_reversed():
    cell = Cell()
    out = for_loop(cell, XS, reverse=True)
    np.testing.assert_allclose(out[::-1], eagerly(Cell(), XS[::-1]), rtol=1e-6)


# -- jit ----------------------------------------------------------------------------------------


def test_jit_traces_once_for_each_shape():
    cell = Cell()
    step, runs = count_traces(lambda x: cell(x))
    step = jit(step)
    for _ in range(3):
        step(jnp.ones(3))
    # One more: the counter starts as a Python number and becomes an array.
    assert len(runs) <= 2
    first = len(runs)
    for n in (2, 4, 2, 4, 3):
        sx.nn.init_all_states(cell)
        cell.V.value = jnp.zeros((n, 3))
        assert step(jnp.ones((n, 3))).shape == (n, 3)
    assert len(runs) == first + 3


def test_jit_follows_a_changing_set_of_states():
    a, b = State(jnp.zeros(2)), State(jnp.zeros(3))

    def f(x):
        (a if x.shape == (2,) else b).value += x
        return x

    f, runs = count_traces(f)
    f = jit(f)
    for _ in range(3):
        f(jnp.ones(2))
        f(jnp.ones(3))
    assert (float(a.value[0]), float(b.value[0])) == (3.0, 3.0)
    assert len(runs) == 2


def test_jit_with_settings_as_arguments():
    f, runs = count_traces(lambda cell, x, mode, act: act(cell(x)) if mode == "on" else x)
    f = jit(f)
    one, two = Cell(), Cell()
    for _ in range(3):
        f(one, 1.0, "on", jnp.tanh)
        f(two, 1.0, "on", jnp.tanh)
        f(two, 1.0, mode="off", act=jnp.tanh)
    assert int(one.steps.value) == int(two.steps.value) == 3
    assert len(runs) <= 5


def test_jit_static_arguments():
    f, runs = count_traces(lambda n, x, flag=False: jnp.zeros(n) + x * flag)
    f = jit(f, static_argnums=0, static_argnames="flag")
    assert f(3, 1.0).shape == (3,)
    assert f(3, 2.0).shape == (3,)
    assert len(runs) == 1
    assert float(f(4, 2.0, flag=True)[0]) == 2.0
    assert float(f(4, 2.0, True)[0]) == 2.0
    with pytest.raises(ValueError, match=r"static argument \[1\] is not hashable"):
        f([1], 1.0)
    with pytest.raises(ValueError, match="static_argnames has 'nope'"):
        jit(lambda x: x, static_argnames="nope")


def test_jit_outputs_of_any_kind():
    cell = Cell()
    f = jit(lambda x: {"x": x, "name": "V", "cell": cell, "none": None})
    for _ in range(2):
        out = f(1.0)
        assert (out["name"], out["cell"], out["none"]) == ("V", cell, None)
        assert float(out["x"]) == 1.0


def test_jit_of_a_method_and_as_a_decorator():
    class Counter(Module):
        def __init__(self):
            super().__init__()
            self.n = State(jnp.zeros(()))

        @jit
        def add(self, x):
            self.n.value += x
            return self.n.value

        @jit(static_argnames="k")
        def times(self, x, k):
            return self.n.value * x * k

    one, two = Counter(), Counter()
    assert float(one.add(2.0)) == 2.0
    assert float(two.add(3.0)) == 3.0
    assert float(one.add(2.0)) == 4.0
    assert float(one.times(1.0, k=2)) == 8.0


def test_jit_new_states_are_filled_on_every_call():
    made = []

    @jit
    def f(x):
        made.append(State(x * 2))
        return x

    f(1.0)
    assert float(made[0].value) == 2.0
    f(5.0)
    assert len(made) == 1
    assert float(made[0].value) == 10.0


def test_new_states_of_a_nested_jit():
    made = []
    inner = jit(lambda x: made.append(State(x * 2)))
    outer = jit(lambda x: (inner(x), made[-1].value + 1)[1])
    assert [float(outer(x)) for x in (1.0, 2.0)] == [3.0, 5.0]
    assert float(made[-1].value) == 4.0


def test_jit_and_a_changing_unit():
    import brainunit as u

    state = State(jnp.ones(2))
    f = jit(lambda: state.value * 2)
    assert float(f()[0]) == 2.0
    state.value = jnp.ones(2) * u.mV
    assert f().unit == u.mV
    state.value = jnp.ones(2)
    assert isinstance(f(), jax.Array)

    @jit
    def toggle():
        state.value = state.value * u.mV if isinstance(state.value, jax.Array) else 1.0

    for _ in range(3):
        toggle()
    assert state.value.unit == u.mV


def test_jit_keeps_a_program_for_each_backend():
    f, runs = count_traces(lambda x: x)
    f = jit(f)
    for name in ("xla", "native", "xla", "native"):
        with sx.backend(name):
            f(1.0)
    assert len(runs) == 2


def test_clear_cache_and_disable_jit():
    f, runs = count_traces(lambda x: x)
    f = jit(f)
    f(1.0)
    f.clear_cache()
    f(1.0)
    assert len(runs) == 2
    with jax.disable_jit():
        f(1.0)
        f(1.0)
    assert len(runs) == 4


def test_jit_refuses_what_is_not_a_function():
    with pytest.raises(TypeError, match="jit compiles a function, got 3"):
        jit(3)


def test_donation_never_takes_what_others_hold():
    a, b = State(jnp.zeros(1000)), State(jnp.zeros(1000))
    b.value = a.value
    kept = a.value
    view = np.asarray(kept)

    @jit(donate_states=True)
    def f(x):
        a.value = a.value + x
        b.value = b.value + 2 * x
        return a.value

    outs = [f(1.0) for _ in range(3)]
    held = a.value
    f(1.0)
    assert float(kept[0]) == 0.0
    assert float(view[0]) == 0.0
    assert [float(o[0]) for o in outs] == [1.0, 2.0, 3.0]
    assert float(held[0]) == 3.0
    assert (float(a.value[0]), float(b.value[0])) == (4.0, 8.0)


def test_donation_reuses_memory():
    a = ShortTermState(jnp.zeros(100_000))
    f = jit(lambda: setattr(a, "value", a.value + 1), donate_states=True)
    f()
    reference = weakref.ref(a.value)
    pointer = a.value.unsafe_buffer_pointer()
    f()
    gc.collect()
    assert reference() is None
    assert a.value.unsafe_buffer_pointer() == pointer
    a.reset()
    f()
    assert float(a.value[0]) == 1.0
    a.reset(batch_size=2)
    f()
    assert float(a.value[1, 0]) == 1.0


# -- grad ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tracing")
def test_the_guides_convention():
    cell = Cell()

    def loss(params, net, x, y):
        return jnp.mean((net(x) - y) ** 2)

    params = cell.states(ParamState)
    x, y = jnp.ones(3), jnp.zeros(3)
    grads = grad(loss, params)(cell, x, y)
    assert isinstance(grads, StateDict)
    assert list(grads) == ["w"]
    np.testing.assert_allclose(grads["w"], 2 * 0.5 / 3 * np.ones(3), rtol=1e-6)
    cell.V.value = jnp.zeros(3)
    again = grad(loss, params)(params, cell, x, y)
    np.testing.assert_allclose(again["w"], grads["w"], rtol=1e-6)
    assert int(cell.steps.value) == 2


def test_what_grad_returns():
    w = ParamState(2.0)

    def f(x):
        return w.value**2 * x

    def g(x):
        return f(x), "aux"

    assert float(grad(f, w)(3.0)) == 12.0
    assert float(grad(f)(3.0)) == 4.0
    assert [float(v) for v in grad(f, w, 0)(3.0)] == [12.0, 4.0]
    assert [float(v[0]) for v in grad(f, [w], (0,))(3.0)] == [12.0, 4.0]
    assert [float(v) for v in grad(f, w, return_value=True)(3.0)] == [12.0, 12.0]
    grads, aux = grad(g, {"w": w}, has_aux=True)(3.0)
    assert (float(grads["w"]), aux) == (12.0, "aux")
    grads, loss, aux = grad(g, {"w": w}, has_aux=True, return_value=True)(3.0)
    assert (float(loss), aux) == (12.0, "aux")
    loss, grads = value_and_grad(f, w)(3.0)
    assert (float(loss), float(grads)) == (12.0, 12.0)
    (loss, aux), grads = value_and_grad(g, w, has_aux=True)(3.0)
    assert (float(loss), aux, float(grads)) == (12.0, "aux", 12.0)
    assert float(grad(grad_states=w)(f)(3.0)) == 12.0
    assert float(grad(grad(lambda x: x**3))(3.0)) == 18.0


def test_grad_of_shared_and_nested_states():
    w = ParamState({"a": jnp.ones(2), "b": jnp.ones(())})
    grads = grad(lambda: (w.value["a"] * w.value["b"]).sum(), {"x": w, "y": w})()
    np.testing.assert_allclose(grads["x"]["a"], np.ones(2))
    assert float(grads["y"]["b"]) == 2.0


@pytest.mark.usefixtures("tracing")
def test_grad_through_a_loop_matches_differences():
    def run(w):
        cell = Cell()
        cell.w.value = w
        return cell, lambda: (for_loop(cell, XS) ** 2).sum()

    w = jnp.full(3, 0.5)
    cell, loss = run(w)
    found = grad(loss, cell.w)()
    expected = jax.grad(lambda w: (_unrolled(w) ** 2).sum())(w)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    cell, loss = run(w)
    np.testing.assert_allclose(jit(grad(loss, cell.w))(), expected, rtol=1e-5)
    assert int(cell.steps.value) == 5


def _unrolled(w):
    v, out = jnp.zeros(3), []
    for x in XS:
        v = 0.9 * v + w * x
        out.append(v)
    return jnp.stack(out)


def test_unused_parameters_give_zeros_and_one_warning():
    used, unused = ParamState(jnp.ones(2), name="used"), ParamState(jnp.ones(3), name="unused")
    loss = lambda: used.value.sum()  # noqa: E731
    with pytest.warns(UnusedStateWarning, match="'unused'"):
        grads = grad(loss, {"a": used, "b": unused})()
    np.testing.assert_array_equal(grads["b"], np.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grad(loss, {"a": used, "b": unused})()
    with pytest.raises(ValueError, match="'unused'"):
        grad(loss, {"a": used, "b": unused}, check_states=True)()


def test_grad_says_what_is_wrong():
    w, n = ParamState(jnp.ones(2)), LongTermState(0, name="n")
    with pytest.raises(TypeError, match=r"'n'.*has dtype int32"):
        grad(lambda: n.value * 1.0, n)()
    with pytest.raises(TypeError, match="returns one scalar"):
        grad(lambda: w.value, w)()
    with pytest.raises(TypeError, match="must hold States"):
        grad(lambda: 0.0, {"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="argument 1 of"):
        grad(lambda x: x, argnums=1)(1.0)
    with pytest.raises(ValueError, match="not negative"):
        grad(lambda x: x, argnums=-1)
    with pytest.raises(TypeError, match=r"\(loss, aux\)"):
        grad(lambda x: x, has_aux=True)(1.0)


def test_a_failed_gradient_leaves_states_alone():
    cell = Cell()

    def loss(x):
        cell(x)
        raise RuntimeError("stop")

    for f in (grad(loss, cell.w), jit(grad(loss, cell.w))):
        with pytest.raises(RuntimeError, match="stop"):
            f(jnp.ones(3))
        assert float(cell.V.value.sum()) == 0.0
        assert cell.steps.value == 0


def test_higher_derivatives():
    w = ParamState(2.0)
    first = grad(lambda: w.value**3, w)
    assert float(grad(first, w)()) == 12.0


class _CountsTraces:
    """Counts in its class: a list in the closure would be part of what is compared."""

    runs = 0

    def __call__(self, cell, x):
        type(self).runs += 1
        return cell.w.value * x


# -- eager calls are compiled once ---------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda c, f: for_loop(lambda x: f(c, x), XS),
        lambda c, f: scan(lambda k, x: (k, f(c, x)), 0.0, XS),
        lambda c, f: grad(lambda p, n, x: f(n, x).sum(), c.states(ParamState))(c, XS[0]),
        lambda c, f: cond(True, lambda x: f(c, x), lambda x: x, XS[0]),
        lambda c, f: vmap(lambda x: f(c, x), out_states=(c.V, c.steps))(XS),
    ],
    ids=["for_loop", "scan", "grad", "cond", "vmap"],
)
def test_fresh_lambdas_do_not_trace_again(call):
    f, cell = _CountsTraces(), Cell()
    call(cell, f)
    before = _CountsTraces.runs
    for _ in range(3):
        call(cell, f)
    assert _CountsTraces.runs == before
    call(Cell(), f)
    assert _CountsTraces.runs > before


def test_what_a_loop_body_closes_over_is_not_forgotten():
    gain, table, cell = 1.0, [1.0], Cell()
    array = np.ones(3, np.float32)
    run = lambda: for_loop(lambda x: gain * table[0] * x.sum() * array[0] + cell.V.value[0], XS)  # noqa: E731
    one = run()
    gain = 2.0
    np.testing.assert_allclose(run(), 2 * one, rtol=1e-6)
    table[0] = 2.0
    np.testing.assert_allclose(run(), 4 * one, rtol=1e-6)
    array[0] = 2.0
    np.testing.assert_allclose(run(), 8 * one, rtol=1e-6)
    cell.V.value = jnp.ones(3)
    np.testing.assert_allclose(run(), 8 * one + 1, rtol=1e-6)


FACTOR = 1.0


def test_globals_are_not_forgotten(monkeypatch):
    run = lambda: for_loop(lambda x: FACTOR * x.sum(), XS)  # noqa: E731
    one = run()
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    np.testing.assert_allclose(run(), 3 * one, rtol=1e-6)


def test_caching_can_be_switched_off():
    with sx.config.context(cache_eager=False):
        cell = Cell()
        np.testing.assert_allclose(for_loop(cell, XS), eagerly(Cell(), XS), rtol=1e-6)
        assert float(grad(lambda x: x**2)(3.0)) == 6.0


# -- loops ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tracing")
def test_weak_numbers_settle_in_a_loop():
    n, total = State(0), State(0)

    def body(x):
        n.value += 1
        total.value = total.value + 0.5
        return x

    for_loop(body, jnp.zeros(4))
    assert (int(n.value), float(total.value)) == (4, 2.0)
    carry, _ = scan(lambda c, x: (c + 0.5, None), 0, None, length=4)
    assert float(carry) == 2.0


@pytest.mark.parametrize(
    ("start", "change", "what"),
    [
        (jnp.zeros(3, jnp.int32), lambda v: v + 0.5, r"'V'.*int32\[3\].*float32\[3\]"),
        (jnp.zeros(3), lambda v: jnp.zeros(4), r"'V'.*float32\[3\].*float32\[4\]"),
        (jnp.zeros(3), lambda v: {"a": v}, r"'V'.*structure must not change"),
    ],
)
def test_a_carry_that_changes_type_is_named(start, change, what):
    state = State(start, name="V")

    def body(x):
        state.value = change(state.value)

    with pytest.raises(CarryError, match=what):
        for_loop(body, jnp.zeros(3))
    assert state.value is start


def test_loops_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"disagree on its length: \[2, 3\]"):
        for_loop(lambda a, b: a, jnp.zeros(2), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"length="):
        for_loop(lambda: 1)
    with pytest.raises(ValueError, match="scalar input"):
        for_loop(lambda x: x, 1.0)
    with pytest.raises(CarryError, match=r"must return \(carry, y\)"):
        scan(lambda c, x: c, 0.0, jnp.zeros(3))
    with pytest.raises(CarryError, match="structure of `init`"):
        scan(lambda c, x: ((c, c), x), 0.0, jnp.zeros(3))
    with pytest.raises(sx.TraceError, match=r"created at .*test_transform.*inside the body"):
        for_loop(lambda x: State(x).value, jnp.zeros(3))
    state = State(0, name="n")

    def writes(v):
        state.value += 1
        return v < 3

    with pytest.raises(sx.TraceError, match=r"'n'.*only read"):
        while_loop(writes, lambda v: v + 1, 0)


def test_loops_without_inputs_and_over_nothing():
    cell = Cell()
    assert for_loop(lambda: cell(1.0), length=3).shape == (3, 3)
    assert int(cell.steps.value) == 3
    assert for_loop(cell, jnp.zeros((0, 3))).shape == (0, 3)
    assert for_loop(lambda a, b: (a, b["x"]), XS, {"x": XS})[1].shape == XS.shape


def test_random_draws_in_a_loop_are_those_of_a_python_loop():
    sx.random.seed(3)
    looped = for_loop(lambda: sx.random.rand(2), length=4)
    sx.random.seed(3)
    plain = jnp.stack([sx.random.rand(2) for _ in range(4)])
    np.testing.assert_array_equal(looped, plain)


# -- branches --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tracing")
def test_branches_write_what_the_taken_one_writes():
    a, b = State(jnp.zeros(())), State(0)

    def left(x):
        a.value = a.value + x
        return x

    def right(x):
        b.value = b.value + 1
        return -x

    for wrap in (lambda f: f, jit):
        f = wrap(lambda p: cond(p, left, right, 2.0))
        assert [float(f(p)) for p in (True, False, 0, 1.5)] == [2.0, -2.0, -2.0, 2.0]
    assert (float(a.value), int(b.value)) == (8.0, 4)
    assert int(switch(9, [lambda: 0, lambda: 10, lambda: 20])) == 20


def test_branches_say_what_is_wrong():
    state = State(jnp.zeros(3), name="V")
    with pytest.raises(BranchError, match="different structures"):
        cond(True, lambda: (1, 2), lambda: 1)
    with pytest.raises(BranchError, match=r"'V'.*float32\[3\].*float32\[2\]"):
        cond(True, lambda: setattr(state, "value", jnp.zeros(2)), lambda: None)
    with pytest.raises(BranchError, match="unit or structure"):
        cond(True, lambda: setattr(state, "value", {"a": 1}), lambda: None)
    with pytest.raises(TypeError, match=r"scalar, got shape \(2,\)"):
        cond(jnp.ones(2), lambda: 1, lambda: 2)
    with pytest.raises(ValueError, match="at least one branch"):
        switch(0, [])
    assert state.value.shape == (3,)


# -- vmap ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tracing")
def test_vmap_is_a_stack_of_calls():
    cell = Cell()
    cell.V.value = jnp.zeros((5, 3))
    cell.steps.value = jnp.zeros(5, jnp.int32)
    out = vmap(lambda x: cell(x), in_states=(cell.V, cell.steps))(XS)
    np.testing.assert_allclose(out, 0.5 * XS, rtol=1e-6)
    assert cell.V.value.shape == (5, 3)
    np.testing.assert_array_equal(cell.steps.value, np.ones(5))
    shared = State(jnp.ones(3))
    np.testing.assert_allclose(vmap(lambda x: x * shared.value)(XS), XS)
    grads = grad(lambda: vmap(lambda x: (x * shared.value).sum())(XS).sum(), shared)()
    np.testing.assert_allclose(grads, XS.sum(0), rtol=1e-6)


def test_vmap_axes():
    state = State(jnp.zeros((3, 5)))
    f = vmap(
        lambda x, y: (setattr(state, "value", state.value + x), x + y)[1],
        (0, None),
        1,
        in_states={1: state},
    )
    assert f(XS, 1.0).shape == (3, 5)
    np.testing.assert_allclose(state.value, XS.T)
    assert vmap(lambda: 1.0, axis_size=3)().shape == (3,)


def test_vmap_lanes_draw_their_own_numbers():
    sx.random.seed(0)
    drawn = vmap(lambda x: sx.random.rand() + 0 * x)(jnp.zeros(6))
    assert len(set(map(float, drawn))) == 6
    sx.random.seed(0)
    np.testing.assert_array_equal(
        drawn, jit(vmap(lambda x: sx.random.rand() + 0 * x))(jnp.zeros(6))
    )


def test_vmap_says_what_is_wrong():
    state = State(jnp.zeros(()), name="V")

    def f(x):
        state.value = x

    with pytest.raises(BatchAxisError, match=r"'V'.*out_states"):
        vmap(f)(jnp.zeros(3))
    assert float(state.value) == 0.0
    vmap(f, out_states=state)(jnp.ones(3))
    assert state.value.shape == (3,)
    with pytest.raises(ValueError, match=r"sizes \[2, 3\]"):
        vmap(lambda x, y: x)(jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match="in_axes has 1 entries"):
        vmap(lambda x, y: x, in_axes=(0,))(jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match="axis 0 of an array of shape"):
        vmap(lambda x: x)(1.0)
    with pytest.raises(TypeError, match="must hold States"):
        vmap(lambda x: x, in_states=3)


# -- devices and memory -----------------------------------------------------------------------


def test_sharded_states_stay_sharded():
    mesh = jax.make_mesh((2,), ("n",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("n"))
    state = State(jax.device_put(jnp.zeros(4), sharding))
    for donate in (False, True):
        step = jit(lambda x: setattr(state, "value", state.value + x), donate_states=donate)
        for _ in range(3):
            step(1.0)
            assert state.value.sharding.is_equivalent_to(sharding, 1)
    np.testing.assert_array_equal(state.value, np.full(4, 6.0))


def test_a_long_run_holds_no_memory():
    cell = Cell(1000)
    step = jit(lambda x: cell(x))
    x = jnp.ones(1000)
    step(x), step(x)
    before = len(jax.live_arrays())
    for _ in range(50):
        step(x)
        for_loop(lambda x: cell(x), x[None])
        grad(lambda: cell(x).sum(), cell.w)()
    gc.collect()
    assert len(jax.live_arrays()) <= before + 10


def test_a_forgotten_function_is_freed():
    def used():
        cell = Cell()
        jit(lambda x: cell(x))(1.0)
        return weakref.ref(cell)

    reference = used()
    gc.collect()
    assert reference() is None
