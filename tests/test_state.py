"""States: reading, writing, kinds, names in errors, copies, pickles, threads."""

from __future__ import annotations

import copy
import pickle
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import (
    LongTermState,
    ParamState,
    PathKey,
    ShortTermState,
    State,
    StateDict,
    TraceError,
)
from spikexla.transform import jit

KINDS = [State, ParamState, ShortTermState, LongTermState]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_gives_back_what_was_written(kind):
    state = kind(jnp.zeros(3))
    state.value = jnp.ones((2, 3))
    assert state.value.shape == (2, 3)
    state.value += 1
    assert float(state.value.sum()) == 12.0


@pytest.mark.parametrize(
    "value", [0, 1.5, True, {"a": jnp.ones(2), "b": [jnp.zeros(1), 3]}, (), None, np.float32(2)]
)
def test_a_value_may_be_any_tree(value):
    state = State(value)
    jax.tree.map(np.testing.assert_array_equal, state.value, value)
    jit(lambda: state.value)()


def test_numpy_arrays_are_taken_over_not_shared():
    source = np.zeros(3, np.float32)
    state = State(source)
    source[:] = 7
    assert float(state.value.sum()) == 0.0


def test_assigning_a_state_is_refused():
    state = State(1.0, name="V")
    with pytest.raises(ValueError, match=r"'V'.*assign its value"):
        state.value = State(2.0)
    assert State(State(2.0)).value == 2.0


@pytest.mark.parametrize("write", ["new", "plain", "in jit"])
@pytest.mark.parametrize(
    "value",
    ["abc", object(), [1.0, "a"], [State(1.0)]],
    ids=["text", "object", "text in a list", "State in a list"],
)
def test_what_no_program_can_hold_is_refused(write, value):
    state = State(jnp.zeros(2), name="V")
    way = {
        "new": lambda: State(value, name="V"),
        "plain": lambda: setattr(state, "value", value),
        "in jit": lambda: jit(lambda: setattr(state, "value", value))(),
    }
    with pytest.raises(TypeError, match=r"State 'V' \(created at .*was given .*attribute of the"):
        way[write]()
    np.testing.assert_array_equal(state.value, np.zeros(2))


def test_kinds_are_disjoint_as_filters_but_parameters_are_long_lived():
    parameter = ParamState(0.0)
    assert isinstance(parameter, LongTermState)
    assert issubclass(ParamState, LongTermState)
    assert not isinstance(ShortTermState(0.0), LongTermState)
    assert not isinstance(State(0.0), LongTermState)
    assert LongTermState not in ParamState.__mro__

    class Counter(LongTermState):
        pass

    assert isinstance(Counter(0), LongTermState)
    assert not isinstance(parameter, Counter)


def test_subclasses_may_set_any_attribute():
    class Noise(State):
        def __init__(self, shape, low, high):
            super().__init__(jnp.zeros(shape))
            self.shape, self.low, self.high, self.dtype, self.size = shape, low, high, "f", 3

        def reset(self):
            self.value = sx.random.uniform(self.low, self.high, size=self.shape)

    noise = Noise((2, 3), 1.0, 2.0)
    noise.reset()
    assert noise.value.shape == noise.shape
    assert float(noise.value.min()) >= 1.0
    assert pickle.loads(pickle.dumps(noise.low)) == 1.0


def test_a_state_is_one_leaf():
    state = State({"a": jnp.ones(2)})
    assert jax.tree.leaves({"s": state}) == [state]


def test_the_label_names_kind_name_and_place():
    state = ShortTermState(0.0, name="V")
    assert "ShortTermState 'V' (created at " in state.label
    assert "test_state.py" in state.label


# -- copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_pickle_brings_jax_arrays_back(kind):
    state = kind({"a": jnp.arange(3), "k": jax.random.key(3)}, name="W", tag="t")
    state.note = "kept"
    twin = pickle.loads(pickle.dumps(state))
    assert type(twin) is kind
    assert (twin.name, twin.tag, twin.note) == ("W", "t", "kept")
    assert isinstance(twin.value["a"], jax.Array)
    np.testing.assert_array_equal(twin.value["a"], state.value["a"])
    assert twin.value["k"] == state.value["k"]


def test_pickle_keeps_sharing_and_the_start():
    state = ShortTermState(jnp.ones(2))
    state.value = jnp.zeros(2)
    one, two = pickle.loads(pickle.dumps((state, state)))
    assert one is two
    one.reset(batch_size=4)
    np.testing.assert_array_equal(one.value, jnp.ones((4, 2)))


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_second_name_stays_one_in_a_copy(copier):
    state, other = ShortTermState(jnp.zeros(2)), ShortTermState(jnp.ones(2))
    state.adopt(other)
    one, two = copier((state, other))
    two.value = jnp.full(2, 9.0)
    np.testing.assert_array_equal(one.value, np.full(2, 9.0))
    np.testing.assert_array_equal(state.value, np.ones(2))


@pytest.mark.parametrize("copier", [copy.copy, pickle.dumps])
def test_a_state_cannot_be_pickled_inside_a_trace(copier):
    state = State(jnp.zeros(2), name="V")
    with pytest.raises(TraceError, match=r"State 'V' \(created at .*outside"):
        jit(lambda: copier(state))()
    np.testing.assert_array_equal(state.value, np.zeros(2))


def test_pickle_of_a_quantity():
    import brainunit as u

    twin = pickle.loads(pickle.dumps(State(jnp.ones(2) * u.mV)))
    np.testing.assert_array_equal(twin.value.to_decimal(u.mV), np.ones(2))


def test_deepcopy_is_independent():
    state = ShortTermState(jnp.ones(2))
    state.extra = [1]
    twin = copy.deepcopy(state)
    twin.value = jnp.zeros(2)
    twin.extra.append(2)
    assert float(state.value.sum()) == 2.0
    assert state.extra == [1]
    twin.reset()
    assert float(twin.value.sum()) == 2.0


# -- paths ------------------------------------------------------------------------------------


def test_a_key_reads_as_a_name_and_as_a_tuple():
    key = PathKey(("layer1", "W"))
    assert key == "layer1.W"
    assert key == ("layer1", "W")
    assert key != "layer1.b"
    assert (f"{key:>10}", str(key), key[-1], len(key)) == ("  layer1.W", "layer1.W", "W", 2)
    assert key.startswith("layer1")
    assert {key: 1}[("layer1", "W")] == 1
    assert sorted([PathKey("b"), PathKey("a")])[0] == "a"
    assert pickle.loads(pickle.dumps(key)) == key


def test_a_state_dict_takes_either_spelling():
    found = StateDict({("layer1", "W"): 1, ("ls", 0, "w"): 2})
    assert found["layer1.W"] == found[("layer1", "W")] == found.get("layer1.W") == 1
    assert found["ls.0.w"] == 2
    assert "layer1.W" in found
    assert ("layer1", "W") in found
    assert "W" not in found
    assert 3 not in found
    assert found.get("W", 7) == 7
    found["layer1.W"] = 5
    assert len(found) == 2
    assert found.pop("layer1.W") == 5
    assert found.setdefault("ls.0.w", 9) == 2
    assert found.pop("gone", None) is None
    del found["ls.0.w"]
    assert not found


def test_a_missing_key_lists_what_there_is():
    with pytest.raises(KeyError, match=r"no state at 'V'.*layer1\.W"):
        StateDict({("layer1", "W"): 1})["V"]


def test_a_state_dict_is_a_tree_and_pickles_in_order():
    found = StateDict({"b": 1, "a": 2})
    doubled = jax.tree.map(lambda x: 2 * x, found)
    assert isinstance(doubled, StateDict)
    assert list(doubled.items()) == [(("b",), 2), (("a",), 4)]
    twin = pickle.loads(pickle.dumps(found))
    assert isinstance(twin, StateDict)
    assert list(twin) == ["b", "a"]
    assert isinstance(copy.copy(found) | {"c": 3}, StateDict)
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(found)]
    assert len(set(paths)) == 2


# -- traces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad])
def test_a_raw_transform_is_refused_and_changes_nothing(transform):
    state = State(jnp.zeros(()), name="V")

    def f(x):
        state.value = x * 2
        return x * state.value

    x = jnp.ones(3) if transform is jax.vmap else jnp.ones(())
    with pytest.raises(sx.TraceError, match=r"'V'.*spikexla\.transform"):
        transform(f)(x)
    with pytest.raises(sx.TraceError, match=r"'V'.*spikexla\.transform"):
        jit(lambda x: transform(f)(x))(x)
    with pytest.raises(sx.TraceError, match=r"'V'.*spikexla\.transform"):
        transform(jit(f))(x)
    jit(f)(jnp.ones(()))
    with pytest.raises(sx.TraceError, match=r"'V'.*spikexla\.transform"):
        transform(jit(f))(x)
    assert float(state.value) == 2.0


def test_a_raw_scan_inside_jit_is_refused():
    state = State(jnp.zeros(()), name="V")

    def step(c, x):
        state.value = state.value + x
        return c, x

    with pytest.raises(sx.TraceError, match="'V'"):
        jit(lambda xs: jax.lax.scan(step, 0.0, xs))(jnp.ones(3))
    assert float(state.value) == 0.0


def test_a_raw_jit_may_hold_what_does_not_write():
    state = State(jnp.ones(3))
    assert float(jax.jit(lambda x: (state.value * x).sum())(2.0)) == 6.0
    assert float(jax.jit(jit(lambda x: (state.value * x).sum()))(2.0)) == 6.0
    assert float(jax.grad(jit(lambda x: (state.value * x).sum()))(2.0)) == 3.0


def test_a_failed_trace_leaves_every_state_as_it_was():
    states = [State(jnp.full(2, float(k))) for k in range(3)]

    def f(x):
        for state in states:
            state.value = state.value + x
        if states[0].value.sum() > 0:  # a tracer has no truth value
            return 1

    with pytest.raises(jax.errors.TracerBoolConversionError):
        jit(f)(1.0)
    assert [float(s.value[0]) for s in states] == [0.0, 1.0, 2.0]
    states[0].value = jnp.ones(2)
    assert float(states[0].value.sum()) == 2.0


def test_a_state_lost_in_a_failed_trace_says_so_and_can_be_written():
    born = []

    def f(x):
        born.append(State(x, name="V"))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        jit(f)(jnp.ones(2))
    assert repr(born[0]) == "State(no value)"
    with pytest.raises(sx.TraceError, match=r"'V'.*no value"):
        _ = born[0].value
    born[0].value = jnp.zeros(2)
    assert born[0].value.shape == (2,)


def test_a_thread_waits_for_the_trace_of_another():
    state = State(jnp.zeros(()))
    tracing, looked = threading.Event(), threading.Event()
    seen = []

    def f(x):
        state.value = state.value + x
        tracing.set()
        looked.wait(0.3)
        return x

    def look():
        tracing.wait(5)
        seen.append(state.value)
        looked.set()

    thread = threading.Thread(target=look)
    thread.start()
    jit(f)(1.0)
    thread.join()
    assert not isinstance(seen[0], jax.core.Tracer)
    assert float(state.value) == 1.0


def test_threads_do_not_see_each_others_traces():
    errors = []

    def work(k):
        try:
            state = State(jnp.zeros(4))

            @jit
            def step(x):
                state.value = state.value + x
                return state.value

            for n in range(1, 20):
                out = step(jnp.full(4, float(k)))
                assert float(out[0]) == n * k
                step.clear_cache() if n % 5 == 0 else None
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_pickling_inside_a_trace_names_the_state():
    state = State(jnp.ones(2), name="held")
    with pytest.raises(
        sx.TraceError, match=r"State .held. .* was pickled inside a traced function"
    ):
        jit(lambda: (state.value, pickle.dumps(state))[0])()
