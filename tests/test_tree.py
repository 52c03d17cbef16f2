"""The tree of modules: levels, filters, what a walk remembers, how it prints."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from checklist_models import Counter, Layer, Net, names
from spikexla import LongTermState, ParamState, ShortTermState, State, filters
from spikexla.nn import Module, init_all_states, reset_all_states


def tagged():
    net = Net()
    net.layer1.W.tag = "frozen"
    net.layer1.b.tag = {"frozen", "small"}
    return net


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((filters.OfType(ParamState),), 4),
        (("frozen",), 2),
        (("small",), 1),
        ((...,), 7),
        ((True,), 7),
        ((None,), 0),
        (([LongTermState, ShortTermState],), 3),
        ((filters.All(ParamState, filters.Not("frozen")),), 2),
        ((filters.PathContains("rest"),), 5),
        ((filters.PathContains(1),), 3),
        ((lambda path, state: state.value.ndim == 2,), 2),
    ],
    ids=[
        "kind",
        "tag",
        "own_tag",
        "ellipsis",
        "all",
        "none",
        "list",
        "both",
        "path",
        "index",
        "function",
    ],
)
def test_states_pass_a_filter(given, found):
    assert len(tagged().states(*given)) == found


def test_several_filters_part_the_states():
    frozen, params, rest = tagged().states("frozen", ParamState, ...)
    assert names(frozen) == ["layer1.W", "layer1.b"]
    assert names(params) == ["rest.0.W", "rest.0.b"]
    assert len(rest) == 3


@pytest.mark.parametrize("wrong", [3, 1.5, {}])
def test_what_is_no_filter_is_refused(wrong):
    with pytest.raises(TypeError, match="filter by a class"):
        Net().states(wrong)
    with pytest.raises(TypeError, match="filter by a class"):
        Net().nodes([Layer, wrong])


@pytest.mark.parametrize(
    ("levels", "states", "nodes"),
    [((0, 0), 0, [""]), ((1, 1), 1, ["inner"]), ((0, 2), 8, None), ((2, 9), 7, None)],
)
def test_levels_bound_a_walk(levels, states, nodes):
    outer = Module()
    outer.inner, outer.own = Net(), ParamState(1.0)
    outer.inner.layer1.W = outer.own  # found on the first level that is allowed
    found = outer.states(allowed_hierarchy=levels)
    if levels == (0, 2):
        assert names(found) == ["own"]
    elif levels == (2, 9):
        assert len(found) == states
    else:
        assert len(found) == states
    if nodes is not None:
        assert names(outer.nodes(allowed_hierarchy=levels)) == nodes


def test_nodes_by_class():
    net = Net()
    assert names(net.nodes(Layer)) == ["layer1", "rest.0"]
    assert [len(part) for part in net.nodes(Counter, ...)] == [1, 3]


CHANGES = {
    "append to a list": lambda net: net.rest.append(Counter()),
    "replace in a list": lambda net: net.rest.__setitem__(1, Layer()),
    "new attribute": lambda net: setattr(net, "more", Counter()),
    "deleted attribute": lambda net: delattr(net, "layer1"),
    "replaced attribute": lambda net: setattr(net, "layer1", Counter()),
    "behind its back": lambda net: net.__dict__.update(more=Counter()),
    "empty list filled": lambda net: net.empty.append(Counter()),
    "dict in a tuple": lambda net: net.deep[0].update(x=Counter()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_walk_sees_every_change(change):
    """What a walk remembers of a module must never hide a State from it."""
    net = Net()
    net.empty, net.deep = [], ({},)
    init_all_states(net), net.states(), net.nodes()
    change(net)
    fresh = copy.deepcopy(net)  # remembers nothing
    assert names(net.states()) == names(fresh.states())
    assert names(net.nodes()) == names(fresh.nodes())
    counters = [node for node in net.nodes().values() if isinstance(node, Counter)]
    for counter in counters:
        counter.V.value = jnp.zeros(3)
    reset_all_states(net)
    assert all((counter.V.value == -65).all() for counter in counters)


def test_a_net_prints_as_a_tree_with_totals():
    class Whole(Module):
        def __init__(self):
            super().__init__()
            self.layer, self.rest = Layer(), [Counter(2)]
            self.tied = self.layer.W

    assert str(Whole()).splitlines() == [
        "Whole",
        "├─ layer: Layer",
        "│  ├─ W: ParamState(float32[3,2], 24 B)",
        "│  └─ b: ParamState(float32[2], 8 B)",
        "├─ rest.0: Counter",
        "│  ├─ V: ShortTermState(float32[2], 8 B)",
        "│  ├─ spike: ShortTermState(float32[2], 8 B)",
        "│  └─ total: LongTermState(int32[2], 8 B)",
        "└─ tied: ParamState(float32[3,2], 24 B) (shown above)",
        "14 numbers, 56 B",
        "├─ 1 LongTermState: 2 numbers, 8 B",
        "├─ 2 ParamState: 8 numbers, 32 B",
        "└─ 2 ShortTermState: 4 numbers, 16 B",
    ]
    assert str(Module()) == "Module"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "State(3)"),
        (jnp.float32(2), "State(float32[], 4 B)"),
        (np.zeros((2, 0)), "State(float32[2,0], 0 B)"),
        (jnp.zeros(1_000_000), "State(float32[1000000], 4 MB)"),
        ({"w": jnp.zeros(2), "n": 1}, "State({'n': 1, 'w': float32[2]}, 12 B)"),
        ((jnp.zeros(2, jnp.bfloat16), None), "State((bfloat16[2], None), 4 B)"),
        (jax.random.key(0), "State(key<fry>[], 8 B)"),
        ({}, "State({}, 0 B)"),
    ],
)
def test_a_state_prints_its_kind_type_shape_and_size(value, shown):
    state = State(value)
    assert repr(state) == shown
    assert sx.transform.jit(lambda: repr(state))().startswith("State(")  # while it is traced


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_keeps_everything(copier):
    import brainunit as u

    module = Module("m")
    module.key = LongTermState(jax.random.key(3), tag="rng")
    module.V = ShortTermState(jnp.ones(2) * u.mV, check="tree")
    module.half = ParamState(jnp.ones(2, jnp.bfloat16))
    module.neuron = init_all_states(sx.LIF(2, V_rest=-65 * u.mV, V_th=-50 * u.mV), batch_size=3)
    twin = copier(module)
    assert repr(twin) == repr(module)
    assert twin.key.tag == "rng"
    assert (jax.random.key_data(twin.key.value) == jax.random.key_data(module.key.value)).all()
    with pytest.raises(ValueError, match="structure"):
        twin.V.value = jnp.ones(2)
    twin.V.value = 5 * module.V.value
    assert (reset_all_states(twin).V.value == 1 * u.mV).all()
    assert twin.neuron.V.value.shape == (2,)
    assert module.neuron.V.value.shape == (3, 2)


def test_the_structure_of_all_states_is_checked_for_those_who_ask():
    import brainunit as u

    state = ShortTermState(jnp.ones(2) * u.mV, "V")
    with sx.check_state_value_tree():
        state.value = jnp.zeros(2) * u.mV
        with pytest.raises(ValueError, match=r"'V'.*check_trees"):
            state.value = jnp.zeros(2)
        with sx.environ.context(t=1.0), sx.environ.context(t=2.0 * u.ms):
            assert sx.environ.get("t") == 2.0 * u.ms
    with pytest.warns(sx.units.UnitlessInputWarning, match="carries the unit mV"):
        state.value = jnp.zeros(2)


@pytest.mark.parametrize("wrong", ["shapes", ("tree", "size"), 3])
def test_a_check_of_something_unknown_is_refused(wrong):
    with pytest.raises((ValueError, TypeError), match=r"tree, shape, dtype|not iterable"):
        State(1.0, check=wrong)


def test_a_checked_state_made_again_checks_the_new_value():
    module = Module()
    module.V = ShortTermState(jnp.zeros(3), check=True)
    held = module.V
    module.V = ShortTermState(jnp.zeros((2, 4)), check=True)
    assert module.V is held
    held.value = jnp.ones((2, 4))
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        held.value = jnp.zeros(3)


class Drawing(sx.LIF):
    """A model of a user: `init_state` does more than the one it extends."""

    def init_state(self, batch_size=None):
        super().init_state(batch_size)
        self.noise = ShortTermState(sx.random.rand(2))


@pytest.mark.parametrize("again", [init_all_states, reset_all_states])
def test_what_an_extended_init_state_adds_is_made_again(again):
    neuron = Drawing(2)
    first = neuron.noise.value
    assert (again(neuron).noise.value != first).all()


SETTINGS = {
    "initial value": (lambda n: setattr(n, "V_initializer", 3.0), 3.0),
    "array written in place": (lambda n: n.V_initializer.fill(2.0), 2.0),
    "another start": (lambda n: setattr(n, "V", ShortTermState(jnp.full(2, 9.0))), 1.0),
}


@pytest.mark.parametrize(("change", "start"), SETTINGS.values(), ids=SETTINGS)
def test_a_start_is_not_remembered_past_a_change(change, start):
    neuron = sx.LIF(2, V_th=20.0, V_initializer=np.ones(2, np.float32))
    for batch_size in (None, 3, 3):
        init_all_states(neuron, batch_size=batch_size)
    change(neuron)
    assert (init_all_states(neuron, batch_size=3).V.value == start).all()
    with sx.environ.context(precision=64):
        assert init_all_states(neuron, batch_size=3).V.value.dtype == jnp.float64
    assert init_all_states(neuron, batch_size=3).V.value.dtype == jnp.float32


def test_equal_starts_share_memory_and_survive_donation(dt):
    one, two = sx.LIF(4), sx.LIF(4)
    init_all_states(one, batch_size=2), init_all_states(two, batch_size=2)
    assert one.V.value is two.V.value
    sx.transform.jit(lambda: one(3.0), donate_states=True)()
    assert (two.V.value == 0).all()
    assert (one.V.value > 0).all()
    assert (init_all_states(one, batch_size=2).V.value == 0).all()


@pytest.mark.parametrize("make", [Layer, lambda: sx.LIF(3), lambda: sx.Expon(3)])
@pytest.mark.parametrize(
    ("batch_size", "lead"), [(None, ()), (0, (0,)), (np.int64(2), (2,)), ((2, 3), (2, 3))]
)
def test_a_batch_size_that_is_one(make, batch_size, lead):
    module = make()
    module.own = ShortTermState(jnp.zeros(3))
    init_all_states(module, batch_size=batch_size)
    shapes = {s.value.shape for s in module.states(ShortTermState).values()}
    assert shapes <= {(*lead, 3), (3,)}
    assert (*lead, 3) in shapes


@pytest.mark.parametrize("batch_size", [-1, 2.5, "3", (2, -1), jnp.ones(2)], ids=repr)
@pytest.mark.parametrize("kind", [Layer, sx.LIF])
def test_a_batch_size_that_is_none_is_refused(kind, batch_size):
    module = kind(3)
    module.own = ShortTermState(jnp.zeros(3))
    if kind is sx.LIF:
        del module.own
    with pytest.raises((ValueError, TypeError), match="batch_size="):
        init_all_states(module, batch_size=batch_size)


# -- States that would not be found ---------------------------------------------------------------


def _param():
    return ParamState(jnp.ones(1))


ONE_NAME = {  # what is made of a module; the name that two States would have
    "a number and its digits": (lambda m: setattr(m, "by", {"1": _param(), 1: _param()}), "by.1"),
    "a dot": (lambda m: setattr(m, "by", {"a.b": _param(), "a": {"b": _param()}}), "by.a.b"),
    "a bool and its name": (lambda m: setattr(m, "by", {True: _param(), "True": _param()}), "True"),
    "in a list": (lambda m: setattr(m, "by", [{"1": _param(), 1: _param()}]), "by.0.1"),
    "later": (lambda m: (setattr(m, "by", {"1": _param()}), m.by.update({1: _param()})), "by.1"),
    "of a module": (lambda m: setattr(m, "by", {"a.W": _param(), "a": Layer()}), "by.a.W"),
    "an attribute": (lambda m: (setattr(m, "a", Layer()), setattr(m, "a.W", _param())), "a.W"),
}


@pytest.mark.parametrize("case", ONE_NAME)
def test_two_states_of_one_name_are_refused(case):
    make, name = ONE_NAME[case]
    module = Module()

    def made():
        make(module)
        module.states()

    with pytest.raises(ValueError, match=rf"both called '.*{name}'.*Rename"):
        made()


def test_keys_that_read_apart_are_as_good_as_any(tmp_path):
    module = Module()
    module.by = {"1": _param(), 2: _param(), "a.b": _param(), "a": {"c": _param()}}
    for k, state in enumerate(module.states().values()):
        state.value = jnp.full(1, float(k))
    sx.save_checkpoint(module, None, 0, tmp_path / "x.safetensors")
    for state in module.states().values():
        state.value = jnp.full(1, -1.0)
    sx.load_checkpoint(tmp_path / "x.safetensors", module)
    assert [float(state.value[0]) for state in module.states().values()] == [0.0, 1.0, 2.0, 3.0]


def test_two_values_of_one_name_in_a_state_are_refused_where_names_are_needed(tmp_path):
    module = Module()
    module.x = ParamState({"a.b": 1.0, "a": {"b": 2.0}})
    for name in ("x.safetensors", "x.pkl", "x"):
        with pytest.raises(ValueError, match=r"are called 'net\.x\.a\.b'"):
            sx.save_checkpoint(module, None, 0, tmp_path / name)
    with pytest.raises(ValueError, match="two arrays are called"):
        sx.optim.Adam(0.1).register_trainable_weights(module.states()).state_dict()


class _Slotted:
    __slots__ = ("W",)


def test_a_class_with_slots_is_refused_when_it_is_made():
    with pytest.raises(TypeError, match=r"Dense has slots \(W, n, of Dense\).*slots=True"):

        @dataclasses.dataclass(slots=True, eq=False)
        class Dense(Module):
            n: int
            W: object = None

    with pytest.raises(TypeError, match="of _Slotted"):
        type("Mixed", (_Slotted, Module), {})
    type("Plain", (Module,), {"__slots__": ()})
    dataclasses.dataclass(eq=False)(type("Data", (Module,), {"__annotations__": {"n": int}}))
