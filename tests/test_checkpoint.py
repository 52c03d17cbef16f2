"""Checkpoints: bit for bit, by name, of every kind of value."""

from __future__ import annotations

import datetime

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from checkpoint_cases import Changed, Net, Pair, assert_same, learner, train, values
from spikexla import LongTermState, ParamState, State, checkpoint, nn
from spikexla.checkpoint import CheckpointError
from spikexla.transform import jit


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rate", [None, 0.1], ids=["scheduled", "constant"])
def test_a_run_goes_on_bit_for_bit(path, rate):
    net, optimizer = learner(rate)
    train(net, optimizer, 3)
    sx.save_checkpoint(net, optimizer, 3, path, full=True)
    expected = train(net, optimizer, 4)
    sx.random.seed(99)
    again = learner(rate)
    train(*again, 1)
    assert sx.load_checkpoint(path, *again) == {"epoch": 3}
    assert train(*again, 4) == expected
    assert_same(values(net, optimizer), values(*again))


def test_without_full_a_trial_is_not_saved(path):
    net, optimizer = learner()
    train(net, optimizer, 3)
    sx.save_checkpoint(net, optimizer, 3, path)
    assert float(net.V.value[0]) != 0.0
    twin, twin_optimizer = learner()
    sx.load_checkpoint(path, twin, twin_optimizer)
    np.testing.assert_array_equal(twin.V.value, 0.0)
    np.testing.assert_array_equal(twin.W.value, net.W.value)
    assert int(twin.seen.value) == 3
    nn.init_all_states(net)
    random = sx.random.DEFAULT.value
    expected = train(net, optimizer, 2)
    sx.random.DEFAULT.value = random
    assert train(twin, twin_optimizer, 2) == expected


def test_neurons_go_on_from_the_middle_of_a_trial(path, dt):
    def make():
        net = nn.Sequential(sx.LIFRef(5))
        nn.init_all_states(net, batch_size=2)
        return net

    def run(net):
        return jnp.stack([net(40.0 + sx.random.rand(2, 5)) for _ in range(200)])

    net = make()
    run(net)
    sx.save_checkpoint(net, None, 0, path, full=True)
    expected = run(net)
    sx.random.seed(5)
    twin = make()
    sx.load_checkpoint(path, twin)
    np.testing.assert_array_equal(run(twin), expected)
    assert expected.sum() > 0
    with pytest.raises(CheckpointError, match=r"layers.0.V has shape \(2, 5\) in .*batch_size="):
        sx.load_checkpoint(path, nn.init_all_states(make()))


def kinds_of_values():
    import brainunit as u

    yield "float32", jnp.arange(3.0)
    yield "bfloat16", jnp.ones(3, jnp.bfloat16)
    yield "int8 matrix", jnp.ones((2, 3), jnp.int8)
    yield "bool", jnp.asarray([True, False])
    yield "complex", jnp.ones(2, jnp.complex64) * 1j
    yield "empty", jnp.zeros((0, 3))
    yield "scalar", jnp.asarray(2.0, jnp.float32)
    yield "weak", jnp.asarray(2.0)
    yield "int of Python", 3
    yield "float of Python", 0.1
    yield "bool of Python", True
    yield "key", jax.random.key(3)
    yield "keys", jax.random.split(jax.random.key(3, impl="rbg"), 4)
    yield "nan", jnp.asarray([jnp.nan, jnp.inf, -0.0])
    yield "quantity", jnp.ones(3) * u.mV
    yield "dict", {"weight": jnp.ones((2, 2)), "bias": jnp.zeros(2) * u.mA}
    yield "named tuple", Pair(jnp.ones(2), jnp.zeros(3, jnp.int32))
    yield "list", [jnp.ones(2), (jnp.zeros(1), {})]


@pytest.mark.parametrize("name", [name for name, _ in kinds_of_values()])
def test_every_kind_of_value(path, name):
    value = dict(kinds_of_values())[name]

    class Holder(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.x = LongTermState(value)

    def zeroed(x):
        if isinstance(x, jax.Array) and not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x * 0 if x.dtype != bool else ~x
        return type(x)(0) if isinstance(x, int | float) else x

    if name == "named tuple" and path.suffix:
        pytest.skip("a tuple class of one's own is code to a pickle: see the test of code")
    sx.save_checkpoint(Holder(value), None, 0, path)
    twin = Holder(jax.tree.map(zeroed, value))
    sx.load_checkpoint(path, twin)
    got = twin.x.value
    assert jax.tree.structure(got) == jax.tree.structure(value)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(value), strict=True):
        assert type(x) is type(y)
        assert jax.typeof(x) == jax.typeof(y)
        assert np.asarray(_data(x)).tobytes() == np.asarray(_data(y)).tobytes()


def _data(x):
    is_key = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x


def test_committed_arrays_stay_on_their_device(path):
    device = jax.devices()[1]
    net = Net()
    net.W.value = jax.device_put(net.W.value, device)
    sx.save_checkpoint(net, None, 0, path)
    sx.load_checkpoint(path, net)
    assert net.W.value.devices() == {device}


class Own(State):
    pass


class OwnParam(ParamState):
    pass


def test_states_of_ones_own_and_streams(path):
    class Streams(nn.Module):
        def __init__(self):
            super().__init__()
            self.stream = sx.random.RandomState(3)
            self.own = Own(jnp.zeros(2))

    a, b = Streams(), Streams()
    a.stream.split_key()
    a.own.value = jnp.ones(2)
    sx.save_checkpoint(a, None, 0, path)
    sx.load_checkpoint(path, b)
    assert a.stream.split_key() == b.stream.split_key()
    np.testing.assert_array_equal(b.own.value, 0.0)
    sx.save_checkpoint(a, None, 0, path, full=True)
    sx.load_checkpoint(path, b)
    np.testing.assert_array_equal(b.own.value, 1.0)


def test_a_parameter_class_of_ones_own(path):
    net = Changed(w=OwnParam(jnp.ones(2)))
    sx.save_checkpoint(net, None, 0, path)
    net.w.value = jnp.zeros(2)
    sx.load_checkpoint(path, net)
    np.testing.assert_array_equal(net.w.value, 1.0)
    assert type(net.w) is OwnParam


def test_an_optimiser_inside_of_the_model(path):
    def make():
        net, net.optimizer = learner()
        return net

    net, twin = make(), make()
    train(net, net.optimizer, 2)
    sx.save_checkpoint(net, None, 0, path)
    sx.load_checkpoint(path, twin)
    assert_same(values(net.optimizer), values(twin.optimizer))


def test_a_number_may_have_become_an_array(path):
    net = Changed(n=LongTermState(jnp.asarray(3, jnp.int32)))
    sx.save_checkpoint(net, None, 0, path)
    twin = Changed(n=LongTermState(0))
    sx.load_checkpoint(path, twin)
    assert (int(twin.n.value), twin.n.value.dtype) == (3, jnp.int32)


def test_metadata(path):
    when = datetime.datetime(2025, 1, 2, 3, 4, 5)
    about = {"best": np.float32(0.5), "config": {"layers": [1, 2]}, "when": when}
    sx.save_checkpoint(Net(), None, 7, path, metadata=about)
    found = sx.load_checkpoint(path, Net())
    assert (found["epoch"], found["best"], found["config"]) == (7, 0.5, {"layers": [1, 2]})
    assert str(found["when"]).replace(" ", "T") == when.isoformat()


def test_metadata_of_a_folder_is_json(tmp_path):
    with pytest.raises(TypeError, match="metadata holds a ndarray"):
        checkpoint.save(tmp_path / "a", Net(), metadata={"x": np.ones(2)})
    with pytest.raises(TypeError, match="metadata must be a dict"):
        checkpoint.save(tmp_path / "a", Net(), metadata=[1])


def test_nothing_is_there(path):
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        sx.load_checkpoint(path, Net())
    assert not path.exists()


def test_not_inside_of_a_trace(path):
    net = Net()
    with pytest.raises(sx.TraceError, match="cannot be saved inside a traced function"):
        jit(lambda: sx.save_checkpoint(net, None, 0, path))()
    sx.save_checkpoint(net, None, 0, path)
    with pytest.raises(sx.TraceError, match="inside a traced function"):
        jit(lambda: sx.load_checkpoint(path, net))()
