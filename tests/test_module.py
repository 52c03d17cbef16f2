"""Modules: walking, paths, trials, adoption, overwriting, printing."""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import LongTermState, ParamState, ShortTermState, State
from spikexla.nn import Module, Sequential, StateOverwriteWarning, init_all_states
from spikexla.transform import for_loop, jit


class Linear(Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.W = ParamState(sx.random.randn(n_in, n_out) * 0.1)
        self.b = ParamState(jnp.zeros(n_out))

    def update(self, x):
        return jnp.dot(x, self.W.value) + self.b.value


class Leaky(Module):
    """The guide's pattern: states at construction, `reset_state` by hand."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.V = ShortTermState(jnp.zeros(size))
        self.count = LongTermState(0)

    def reset_state(self, batch_size=None):
        shape = self.size if batch_size is None else (batch_size, self.size)
        self.V.value = jnp.ones(shape)

    def update(self, x):
        self.V.value = 0.5 * self.V.value + x
        self.count.value += 1
        return self.V.value


class Late(Module):
    """States created by `init_state`, as brainpy.state does."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def init_state(self, batch_size=None):
        shape = self.size if batch_size is None else (batch_size, self.size)
        self.V = ShortTermState(sx.random.rand(*((shape,) if isinstance(shape, int) else shape)))

    def update(self, x):
        self.V.value = self.V.value + x
        return self.V.value


def net():
    return Sequential(Linear(3, 4), Leaky(4))


def test_states_by_kind_and_path():
    n = net()
    assert list(n.states(ParamState)) == ["layers.0.W", "layers.0.b"]
    assert list(n.states(ShortTermState)) == ["layers.1.V"]
    assert list(n.states(LongTermState)) == ["layers.1.count"]
    assert len(n.states(LongTermState, exact=False)) == 3
    assert len(n.states()) == 4
    params, short = n.states(ParamState, ShortTermState)
    assert (len(params), len(short)) == (2, 1)
    assert list(n.states(lambda path, s: path[-1] == "W")) == ["layers.0.W"]
    assert f"{next(iter(params))}: {params['layers.0.W'].value.shape}" == "layers.0.W: (3, 4)"
    assert repr(Linear(2, 3).states()) == (
        "{'W': ParamState(float32[2,3], 24 B), 'b': ParamState(float32[3], 12 B)}"
    )
    with pytest.raises(TypeError, match="filter by a class"):
        n.states(3)


def test_shared_states_and_cycles_appear_once():
    class Pair(Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = Linear(2, 2), Linear(2, 2)
            self.b.W = self.a.W
            self.b.parent = self

    pair = Pair()
    assert list(pair.states()) == ["a.W", "a.b", "b.b"]
    assert len(pair.nodes()) == 3
    pair.b.W.value = jnp.ones((2, 2))
    assert float(pair.a.W.value.sum()) == 4.0


def test_containers_are_walked():
    class Box(Module):
        def __init__(self):
            super().__init__()
            self.d = {"k": ParamState(1.0), "m": [Leaky(2), (Leaky(3),)]}

    assert list(Box().states()) == ["d.k", "d.m.0.V", "d.m.0.count", "d.m.1.0.V", "d.m.1.0.count"]
    assert [name for name, _ in Box().named_children()] == ["d.m.0", "d.m.1.0"]
    assert [type(child) for child in Box().children()] == [Leaky, Leaky]


def test_nodes_are_children_first_and_init_follows():
    order = []

    class Noted(Module):
        def __init__(self, name, **children):
            super().__init__(name)
            for key, child in children.items():
                setattr(self, key, child)

        def init_state(self):
            order.append(self.name)

    tree = Noted("root", z=Noted("z"), a=Noted("a", c=Noted("c")))
    assert [str(path) for path in tree.nodes()] == ["a.c", "a", "z", ""]
    assert init_all_states(tree) is tree
    assert order == ["c", "a", "z", "root"]


def test_call_order_moves_a_method_back():
    order = []

    def noted(label, level):
        class Noted(Module):
            @sx.nn.call_order(level)
            def init_state(self):
                order.append(label)

        return Noted()

    plain = net()
    plain.second, plain.first = noted("second", 3), noted("first", 2)
    init_all_states(plain)
    assert order == ["first", "second"]


@pytest.mark.parametrize("batch_size", [None, 5])
def test_init_all_states_calls_reset_state(batch_size):
    n = net()
    lead = () if batch_size is None else (batch_size,)
    n[1].count.value = 7
    init_all_states(n, batch_size=batch_size)
    np.testing.assert_array_equal(n[1].V.value, np.ones((*lead, 4)))
    assert n[1].count.value == 7
    assert n[0].W.value.shape == (3, 4)


def test_the_default_reset_restores_short_term_states_only():
    class Plain(Module):
        def __init__(self):
            super().__init__()
            self.V = ShortTermState(jnp.full(3, -65.0))
            self.W = ParamState(jnp.ones(3))
            self.n = LongTermState(0)

    plain = Plain()
    plain.V.value, plain.W.value, plain.n.value = jnp.zeros(3), jnp.zeros(3), 4
    init_all_states(plain, batch_size=(2, 5))
    np.testing.assert_array_equal(plain.V.value, np.full((2, 5, 3), -65.0))
    assert float(plain.W.value.sum()) == 0.0
    assert plain.n.value == 4
    sx.nn.reset_all_states(plain)
    assert plain.V.value.shape == (3,)


def test_custom_state_reset_is_called():
    class Noise(State):
        def reset(self):
            self.value = sx.random.uniform(1.0, 2.0, size=3)

    class Holder(Module):
        def __init__(self):
            super().__init__()
            self.noise = Noise(jnp.zeros(3))

    holder = Holder()
    init_all_states(holder, batch_size=2)
    first = holder.noise.value
    init_all_states(holder)
    assert float(first.min()) >= 1.0
    assert not np.array_equal(first, holder.noise.value)


def test_a_module_that_cannot_take_the_batch_says_so():
    class Fixed(Module):
        def reset_state(self):
            pass

    init_all_states(Fixed())
    with pytest.raises(TypeError, match=r"Fixed\.reset_state does not take batch_size"):
        init_all_states(Fixed(), batch_size=2)
    with pytest.raises(TypeError, match="expected a Module"):
        init_all_states(3)


# -- identity ---------------------------------------------------------------------------------


def test_creating_a_state_again_keeps_the_old_one():
    late = init_all_states(Late(3))
    first = late.V
    init_all_states(late, batch_size=2)
    assert late.V is first
    assert first.value.shape == (2, 3)
    fresh = ShortTermState(jnp.zeros(3))
    late.V = fresh
    fresh.value = jnp.full(3, 9.0)  # a second name of the same State
    assert late.V is first
    assert float(first.value[0]) == 9.0
    first.value = jnp.zeros(3)
    assert float(fresh.value[0]) == 0.0
    first.reset()
    assert float(first.value.sum()) == 0.0


def test_another_kind_of_state_replaces():
    late = init_all_states(Late(3))
    first = late.V
    late.V = ParamState(jnp.ones(2))
    assert late.V is not first
    assert list(late.states(ParamState)) == ["V"]


def test_a_jitted_function_sees_a_module_initialised_again():
    late = init_all_states(Late(3))
    step = jit(lambda x: late(x))
    step(1.0)
    before = late.V.value
    init_all_states(late, batch_size=4)
    assert step(0.0).shape == (4, 3)
    init_all_states(late)
    np.testing.assert_allclose(step(1.0), late.V.value)
    assert not np.array_equal(before, late.V.value)


@pytest.mark.parametrize("make", [Late, Leaky])
def test_initialisation_inside_jit(make):
    late = make(3)

    @jit
    def trial(x):
        init_all_states(late, batch_size=2)
        return late(x)

    first = trial(1.0)
    state = late.V
    assert state.value.shape == first.shape == (2, 3)
    second = trial(1.0)
    assert late.V is state
    np.testing.assert_array_equal(second, state.value)
    if make is Late:
        assert not np.array_equal(first, second)
    init_all_states(late)
    assert state.value.shape == (3,)
    assert trial(1.0).shape == (2, 3)


def test_initialisation_inside_a_loop():
    late = init_all_states(Late(3))

    def trial(x):
        init_all_states(late)
        return late(x)

    out = for_loop(trial, jnp.zeros(4))
    assert out.shape == (4, 3)
    assert len({float(x) for x in out[:, 0]}) == 4


# -- attributes -------------------------------------------------------------------------------


def test_overwriting_a_state_warns_with_the_fix():
    leaky = Leaky(3)
    with pytest.warns(StateOverwriteWarning, match=r"`\.V\.value = \.\.\.`") as record:
        leaky.V = jnp.ones(3)
    assert record[0].filename == __file__
    assert list(leaky.states()) == ["count"]


def test_overwriting_raises_in_strict_mode():
    leaky = Leaky(3)
    with sx.config.context(strict=True), pytest.raises(TypeError, match=r"\.V\.value"):
        leaky.V = jnp.ones(3)
    assert leaky.V.value.shape == (3,)


def test_a_changed_setting_is_seen_by_compiled_functions():
    class Gain(Module):
        gain = 1.0

        def update(self, x):
            return self.gain * x

    net = Sequential(Gain(), jnp.tanh)
    functions = [
        jit(lambda x: net(x)),
        jit(lambda x: net[0].gain * x),
        lambda x: jit(lambda m, x: m(x))(net, x),
        lambda x: for_loop(lambda x: net(x), x[None])[0],
    ]
    x = jnp.asarray(0.5)
    before = [float(f(x)) for f in functions]
    net[0].gain = 3.0
    after = [float(f(x)) for f in functions]
    assert all(a > b for a, b in zip(after, before, strict=True))
    net[0].gain = 1.0
    assert [float(f(x)) for f in functions] == before


def test_calling_forms():
    layer = Linear(3, 2)
    x = jnp.ones(3)
    np.testing.assert_array_equal(x >> layer, layer(x))
    np.testing.assert_array_equal(np.ones(3, np.float32) >> layer, layer(x))
    with pytest.raises(TypeError, match="does not define `update`"):
        Module()(1)


def test_sequential_is_a_sequence():
    n = Sequential(Linear(3, 2), jnp.tanh, Linear(2, 1))
    assert (len(n), len(list(n)), n[:2](jnp.ones(3)).shape) == (3, 3, (2,))
    with pytest.raises(TypeError, match="layer 1 of Sequential is 3"):
        Sequential(jnp.tanh, 3)


def test_modules_without_super_init():
    class Bare(Module):
        def __init__(self):
            self.V = ShortTermState(jnp.zeros(2))

    assert list(init_all_states(Bare()).states()) == ["V"]


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_modules_copy(copier):
    n = net()
    n.shared = n[0].W
    twin = copier(n)
    assert twin.shared is twin[0].W
    assert twin.shared is not n.shared
    x = jnp.ones(3)
    np.testing.assert_array_equal(twin(x), n(x))
    twin(x)
    assert (n[1].count.value, twin[1].count.value) == (1, 2)
    states = {"params": n.states(ParamState), "epoch": 3}
    back = pickle.loads(pickle.dumps(states))
    for name, state in back["params"].items():
        assert name in n.states(ParamState)
        n.states(ParamState)[name].value = state.value
    assert isinstance(back["params"]["layers.0.b"].value, jax.Array)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0), (0, 1, 2)])
def test_one_state_given_to_modules_that_had_one_is_one_parameter(order):
    nets, shared = [Linear(2, 2) for _ in range(3)], ParamState(jnp.ones((2, 2)))
    for k in order:
        nets[k].W = shared
    tied = [nets[k].W for k in order]
    assert all(W is tied[0] for W in tied)
    assert len({id(net.W) for net in nets}) == 4 - len({*order})
    for write in (shared, *tied):
        write.value = write.value + 1
        for read in (shared, *tied):
            np.testing.assert_array_equal(read.value, write.value)
    both = Module()
    both.parts = [nets[k] for k in order]
    assert len(both.states(ParamState)) == 1 + len({*order})  # W once, each b


def test_a_state_from_outside_is_not_tied_in_a_traced_function():
    """Its end would undo that, and the two would be apart again without a word."""
    net, W = sx.nn.Module(), sx.ParamState(jnp.ones(2))
    net.W = sx.ParamState(jnp.zeros(2))
    with pytest.raises(sx.TraceError, match="cannot become another name of"):
        sx.transform.jit(lambda: setattr(net, "W", W))()
    net.W = W
    net.W.value = jnp.full(2, 9.0)
    np.testing.assert_array_equal(W.value, 9.0)
