"""`jit`: programs, static arguments, donation, memory."""

from __future__ import annotations

import functools
import gc
import sys
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import ShortTermState, State, TraceError
from spikexla.nn import Module
from spikexla.transform import for_loop, grad, jit, jit_error_if
from transform_cases import Cell, count_traces


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


def test_jit_new_states_that_somebody_keeps_are_new_in_every_call():
    made = []

    @jit
    def f(x):
        made.append(State(x * 2))
        return x

    f(1.0)
    f(5.0)
    assert [float(state.value) for state in made] == [2.0, 10.0]


def test_new_states_of_a_nested_jit():
    made = []
    inner = jit(lambda x: made.append(State(x * 2)))
    outer = jit(lambda x: (inner(x), made[-1].value + 1)[1])
    assert [float(outer(x)) for x in (1.0, 2.0)] == [3.0, 5.0]
    assert float(made[-1].value) == 4.0


@pytest.mark.filterwarnings("ignore:State.* carries the unit")
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


@pytest.mark.filterwarnings("ignore:State.* carries the unit")
@pytest.mark.parametrize("change", [lambda v, u: v * u.mV, lambda v, u: {"a": v}])
def test_jit_writes_a_new_unit_or_structure_each_time(change):
    import brainunit as u

    state = State(0.0)
    f = jit(lambda: setattr(state, "value", change(state.value, u)))
    for k in range(4):
        state.value = jnp.asarray(float(k))
        f()
        assert jax.tree.structure(state.value) == jax.tree.structure(change(1.0, u))
        assert float(jax.tree.leaves(state.value)[0]) == k


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


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"donate_argnums": 0}, "x"),
        ({"donate_argnames": ("y",)}, "y"),
        ({"donate_argnums": -1}, "y"),
    ],
)
@pytest.mark.parametrize("mode", [None, "static"])
def test_donated_arguments_are_those_of_the_function(options, given, states, mode):
    state = State(jnp.zeros(3))

    def f(x, mode, y):
        state.value = state.value + 1
        return x + 1, y * 2

    f = jit(f, donate_states=states, **options)
    for way in ("by position", "by name"):
        held, x, y = state.value, jnp.ones(3), jnp.ones(4)
        f(x, mode, y) if way == "by position" else f(x, mode, y=y)
        # The state and the other argument live; the given one is gone where a result could use it.
        assert {k for k, v in {"x": x, "y": y}.items() if v.is_deleted()} == {given}
        assert float(held[0]) + 1 == float(state.value[0])


def test_what_only_jax_can_shard_is_refused():
    for name in ("in_shardings", "out_shardings"):
        with pytest.raises(TypeError, match=f"jit takes no {name}"):
            jit(lambda x: x, **{name: jax.devices()[0]})


@pytest.mark.parametrize("donate", [False, True], ids=["kept", "donated"])
@pytest.mark.parametrize("calls", [0, 1], ids=["first call", "kept program"])
def test_an_error_of_a_compiled_call_leaves_every_state_as_it_was(calls, donate):
    state = ShortTermState({"a": jnp.zeros(2)}, name="V")

    def f(x):
        state.value = {"a": state.value["a"] + x}
        jit_error_if(x > 5, "too large")
        return x

    f, read = jit(f, donate_states=donate), jit(lambda: state.value["a"] + 1)
    for _ in range(calls):
        f(1.0)
    with pytest.raises(jax.errors.JaxRuntimeError, match="too large"):
        f(10.0)
    np.testing.assert_array_equal(read(), calls + np.ones(2))
    f(1.0)
    np.testing.assert_array_equal(read(), calls + 2 * np.ones(2))


def test_a_device_that_failed_with_what_it_was_given_says_so(monkeypatch):
    state = ShortTermState({"a": jnp.zeros(2)}, name="V")
    f = jit(lambda x: state.__setattr__("value", {"a": state.value["a"] + x}), donate_states=True)
    read = jit(lambda: state.value["a"] + 1)
    for _ in range(2):
        f(1.0)

    def fails(written, kept, x):
        written[0][0].delete()
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

    with monkeypatch.context() as patched:
        patched.setattr(f._last, "run", fails)
        with pytest.raises(jax.errors.JaxRuntimeError, match="EXHAUSTED"):
            f(10.0)
    for use in (lambda: state.value, read, lambda: f(1.0)):
        with pytest.raises(TraceError, match=r"'V' \(created at .*no value.*donate_states"):
            use()
    with sx.check_state_value_tree():  # nothing is left that a new value could differ from
        state.reset()
    f(1.0)
    np.testing.assert_array_equal(read(), [2.0, 2.0])


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


@pytest.mark.parametrize("static", [(), ("mode",)], ids=["data alone", "with a setting"])
def test_every_shape_is_as_fast_as_the_first(static):
    state = State(jnp.zeros(2))

    def f(x, mode):
        state.value += x.sum()
        return x

    f, runs = count_traces(f)
    f = jit(f, static_argnames=static)
    calls = []
    for n in (1, 2, 3):
        for _ in range(3):
            f(jnp.ones(n), mode=1)
        calls.append(_python_calls(functools.partial(f, jnp.ones(n), mode=1)))
    # Not a single function of jax's slow way runs for the shapes that came later.
    assert calls[0] == calls[1] == calls[2] < 40
    assert len(runs) == 3
    assert float(state.value[0]) == 4 * (1 + 2 + 3)


def _python_calls(f):
    """How many Python functions `f()` runs."""
    count = 0

    def note(frame, event, arg):
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        f()
    finally:
        sys.setprofile(None)
    return count


def test_alternating_programs_are_traced_once_each():
    a, b = State(jnp.zeros(2)), State(jnp.zeros(3))

    def f(x, y=None):
        (a if x.shape == (2,) else b).value += x
        return None if y is None else y

    f, runs = count_traces(f)
    f = jit(f)
    for _ in range(3):
        f(jnp.ones(2))
        f(jnp.ones(3))
        f(jnp.ones(2), 1.0)
        f(jnp.ones(3), y=1.0)
    assert len(runs) == 4
    assert (float(a.value[0]), float(b.value[0])) == (6.0, 6.0)


def test_structures_of_arguments_beside_a_setting_are_told_apart():
    f = jit(lambda setting, d: d["a"] + 1 if "a" in d else d["b"] * 10)
    for _ in range(2):
        assert float(f("on", {"a": 2.0})) == 3.0
        assert float(f("on", {"b": 2.0})) == 20.0


def test_settings_of_another_thread_are_not_taken_over():
    f = jit(lambda x: x * sx.environ.get_dt_ms())
    mine, yours = threading.Barrier(2, timeout=60), []

    def other():
        with sx.environ.context(dt=0.5):
            mine.wait()  # the last context anyone enters is now the main thread's
            mine.wait()
            yours.extend(float(f(1.0)) for _ in range(2))

    thread = threading.Thread(target=other)
    thread.start()
    mine.wait()
    with sx.environ.context(dt=0.25):
        assert float(f(1.0)) == 0.25
        mine.wait()
        thread.join()
        assert float(f(1.0)) == 0.25
    assert yours == [0.5, 0.5]


def test_threads_that_bring_new_shapes_at_once():
    f = jit(lambda x: 2 * x)
    f(jnp.ones(1))
    found, start = [], threading.Barrier(8, timeout=60)

    def bring(k):
        start.wait()
        found.extend(float(f(jnp.full(2 + (k + j) % 8, k)).sum()) for j in range(8))

    threads = [threading.Thread(target=bring, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    want = [2 * k * (2 + (k + j) % 8) for k in range(8) for j in range(8)]
    assert sorted(found) == sorted(map(float, want))


@pytest.mark.parametrize("kind", [list, dict])
def test_modules_put_into_a_container_later_are_seen(kind):
    net = Module()
    net.parts = [Cell()] if kind is list else {0: Cell()}
    walk = (lambda: net.parts) if kind is list else (lambda: net.parts.values())
    step = jit(lambda: [part(1.0) for part in walk()] and None)
    step()
    step()
    late = Cell()
    net.parts.append(late) if kind is list else net.parts.__setitem__(1, late)
    step()
    assert late.steps.value == 1
    net.parts.pop(0)
    late.extra = 1  # something changed somewhere
    step()
    assert late.steps.value == 2
