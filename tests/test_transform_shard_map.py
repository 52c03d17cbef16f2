"""`shard_map`: States cut over a mesh of two devices, or whole on each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from jax.sharding import AxisType, PartitionSpec
from shard_cases import CHAINS, SHARDED, check_on_shards
from spikexla import ParamState, State, TraceError
from spikexla.connect import fixed_prob
from spikexla.ops import spike_matvec
from spikexla.transform import checkpoint, cond, for_loop, grad, jit, scan, shard_map, vmap

P = PartitionSpec


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def mesh(request):
    return jax.make_mesh((2,), ("n",), axis_types=(request.param,))


@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
@pytest.mark.parametrize("specs", ["by state", "for all"])
def test_a_buffer_on_each_shard(mesh, wrap, specs):
    buffer, gain = State(jnp.zeros(4)), State(jnp.asarray([2.0, 2.0]))

    def f(x, *, shift):
        buffer.value = buffer.value + gain.value[0] * x + shift
        assert buffer.value.shape == (2,)
        return x, jax.lax.psum(x.sum(), "n"), "name"

    of_states = {buffer: P("n")} if specs == "by state" else P("n")
    run = wrap(shard_map(f, mesh, P("n"), (P("n"), P(), None), state_in_specs=of_states))
    for k in (1, 2):
        parts, total, name = run(jnp.arange(4.0), shift=1.0)
        np.testing.assert_array_equal(parts, np.arange(4))
        assert (float(total), name) == (6.0, "name")
        np.testing.assert_array_equal(buffer.value, k * (2 * np.arange(4) + 1))
    assert len(buffer.value.sharding.device_set) == 2


def test_a_replicated_state_is_written_with_one_value(mesh):
    total = State(0.0)

    def f(x, scale):
        total.value = total.value + jax.lax.psum(x.sum(), "n") * scale
        return x

    run = shard_map(f, mesh, (P("n"), None), P("n"))
    run(jnp.arange(4.0), 2.0)
    run(jnp.arange(4.0), 3.0)
    assert float(total.value) == 30.0


def test_what_shard_map_refuses(mesh):
    state, wide = State(jnp.zeros(()), name="V"), State(jnp.zeros(4))

    def writes(x):
        state.value = x.sum()
        return x

    with pytest.raises(ValueError, match=r"wrote State 'V'.*psum.*state_out_specs"):
        shard_map(writes, mesh, P("n"), P("n"))(jnp.arange(4.0))
    with pytest.raises(TypeError, match="incompatible shapes") as caught:
        shard_map(lambda x: x + wide.value, mesh, P("n"), P("n"))(jnp.arange(4.0))
    assert "state_in_specs" in caught.value.__notes__[0]
    with pytest.raises(TraceError, match="created inside shard_map"):
        shard_map(lambda x: State(x).value, mesh, P("n"), P("n"))(jnp.arange(4.0))
    with pytest.raises(TypeError, match="one PartitionSpec or"):
        shard_map(writes, mesh, P("n"), P("n"), state_in_specs=[P("n")])
    with pytest.raises(ValueError, match="divide"):
        shard_map(lambda x: x, mesh, P("n"), P("n"))(jnp.arange(3.0))
    with pytest.raises(ValueError, match=r"in_specs.*does not fit"):
        shard_map(lambda x: x, mesh, (P("n"), P("n")), P("n"))(jnp.arange(4.0))
    assert float(state.value) == 0.0
    assert wide._frame is None


def test_each_shard_draws_numbers_of_its_own(mesh):
    sx.random.seed(0)
    run = shard_map(lambda: sx.random.rand(3), mesh, (), P("n"))
    first, second = run(), run()
    assert len({*map(float, [*first, *second])}) == 12
    sx.random.seed(0)
    np.testing.assert_array_equal(jit(run)(), first)


def test_shard_map_among_other_transforms(mesh):
    w = ParamState(jnp.asarray(3.0))
    double = shard_map(lambda x: x * w.value, mesh, P("n"), P("n"))
    xs = jnp.arange(4.0)
    for _ in range(2):
        assert float(grad(lambda x: double(x).sum(), w)(xs)) == 6.0
    np.testing.assert_array_equal(for_loop(double, jnp.stack([xs, 2 * xs]))[1], 6 * xs)
    inside = shard_map(
        lambda x: vmap(lambda y: for_loop(lambda k: k * y * w.value, jnp.arange(3.0)))(x),
        mesh, P("n"), P("n"),
    )  # fmt: skip
    np.testing.assert_array_equal(np.asarray(inside(xs))[3], [0.0, 9.0, 18.0])


@pytest.mark.parametrize("explicit", [False, True], ids=["auto", "explicit"])
def test_transforms_on_the_cut_part_of_inputs_and_states(explicit):
    """Each alone, and some in one another; all of these are searched by `nox -s fuzz`."""
    pairs = np.random.default_rng(int(explicit)).permutation(np.arange(len(SHARDED), len(CHAINS)))
    chains = CHAINS[: len(SHARDED)] + [CHAINS[k] for k in pairs[:8]]
    check_on_shards(chains, jnp.linspace(-0.3, 0.7, 6), explicit=explicit)


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_neurons_and_synapses_in_loops_on_shards(backend, dt):
    """Trials are cut; the gradient of a weight that all shards hold is the sum over them."""
    mesh = jax.make_mesh((2,), ("n",), axis_types=(AxisType.Explicit,))
    xs = jnp.asarray(np.random.default_rng(0).normal(20.0, 10.0, (3, 4, 6)), jnp.float32)
    conn = fixed_prob(6, 7, 0.5, seed=1)

    def made():
        neurons, weight = sx.LIF(6, tau=10.0, V_th=1.0), ParamState(jnp.asarray(1.3))
        sx.nn.init_all_states(neurons, batch_size=4)

        def step(total, x):
            spikes = neurons(x * weight.value)
            arrived = spike_matvec(conn, weight.value, spikes)
            return total + arrived.sum(), (arrived, vmap(lambda v: v * weight.value)(arrived))

        def loss(xs):
            total, arrived = scan(checkpoint(step), 0.0, xs)
            total = total + cond(total > 0, lambda: (xs**2).sum(), lambda: 0.0)
            return total, arrived

        def run(xs):
            grads, arrived = grad(loss, {"w": weight}, argnums=0, has_aux=True)(xs)
            return *grads, arrived

        return neurons, run

    with sx.backend(backend):
        (plain, run), (neurons, cut) = made(), made()
        expected = run(xs)
        trials = P(None, "n")
        out = ({"w": P()}, trials, trials)
        found = shard_map(cut, mesh, trials, out, state_in_specs={neurons.V: P("n")})(xs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    np.testing.assert_allclose(neurons.V.value, plain.V.value, rtol=1e-6)
    assert float(jnp.abs(expected[2][0]).sum()) > 0  # some spikes arrived
