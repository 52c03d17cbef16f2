"""Projections and connections: the order of a step, sharing, units, networks."""

import math
import pickle

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.comm import EventComm
from spikexla.connect import CSR

BACKENDS = ["native", "xla"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    with sx.backend(request.param):
        yield request.param


class Dense:
    """A connection as a plain function."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, spikes):
        return spikes.astype(self.matrix.dtype) @ self.matrix


def cell(**kwargs):
    given = {"tau": 20.0, "tau_ref": 5.0, "V_rest": -60.0, "V_th": -50.0, "V_reset": -60.0}
    return sx.LIFRef(3, **{**given, **kwargs})


# -- the order of a step --------------------------------------------------------------------------


def test_a_step_adds_conductances_before_the_membrane_moves(backend):
    sx.environ.set(dt=0.1, precision=64)
    neurons = cell(V_th=1000.0)
    weights = np.array([[0.5, 0.0, 1.0], [0.0, 2.0, 0.0]])
    proj = sx.AlignPostProj(
        comm=Dense(jnp.asarray(weights)),
        syn=sx.Expon.desc(3, tau=5.0),
        out=sx.COBA.desc(E=0.0),
        post=neurons,
    )
    arrivals = (np.random.default_rng(0).random((50, 2)) < 0.2).astype(float)

    def step(x):
        proj(x)
        neurons(5.0)
        return proj.syn.g.value, neurons.V.value

    g, V = sx.transform.for_loop(step, jnp.asarray(arrivals))
    G, U = np.zeros(3), np.full(3, -60.0)
    for n in range(50):
        G = G * math.exp(-0.1 / 5.0) + arrivals[n] @ weights
        slope = (1 + G) / 20.0
        U = U + (-60.0 + 5.0 - U * (1 + G)) / 20.0 / slope * -np.expm1(-0.1 * slope)
        np.testing.assert_allclose(g[n], G, rtol=1e-12)
        np.testing.assert_allclose(V[n], U, rtol=1e-12)


def test_currents_of_cuba_and_jumps_of_delta(backend):
    sx.environ.set(dt=0.1, precision=64)
    neurons = cell()
    current = sx.AlignPostProj(
        comm=sx.EventFixedNumConn(2, 3, 3, 1.5, allow_multi_conn=False, seed=0),
        syn=sx.Expon.desc(3, tau=5.0),
        out=sx.CUBA.desc(scale=2.0),
        post=neurons,
    )
    jump = sx.DeltaProj(
        comm=sx.EventFixedProb(2, 3, 1.0, 0.25, seed=0), post=neurons, label="jumps"
    )
    direct = sx.CurrentProj(comm=sx.Linear(2, 3, w_init=3.0), out=sx.CUBA(), post=neurons)
    for proj in (current, jump, direct):
        proj(jnp.array([True, True]))
    neurons()
    gain = -math.expm1(-0.1 / 20.0)
    expected = -60.0 + gain * (2 * 1.5 * 2.0 + 2 * 3.0) + 2 * 0.25
    np.testing.assert_allclose(neurons.V.value, [expected] * 3, rtol=1e-13)


def test_projections_add_in_the_order_of_their_calls(backend, dt):
    """Float32 sums depend on their order, and the order is promised."""
    big, small = np.float32(1e8), np.float32(3.0)

    def total(first, second):
        neurons = cell()
        projections = [
            sx.AlignPostProj(
                comm=sx.EventFixedNumConn(1, 3, 3, weight, allow_multi_conn=False, seed=0),
                syn=sx.Expon.desc(3, tau=1e12, g_initializer=-1e8),
                out=sx.CUBA.desc(),
                post=neurons,
            )
            for weight in (big, small)
        ]
        assert projections[0].syn is projections[1].syn
        for k in (first, second):
            projections[k](jnp.array([True]))
        neurons()
        return projections[0].syn.g.value.tolist()

    start = np.float32(-1e8)
    assert total(0, 1) == [(start + big) + small] * 3
    assert total(1, 0) == [(start + small) + big] * 3


# -- sharing --------------------------------------------------------------------------------------


def projection(neurons, tau=5.0, E=0.0, label=None, **kwargs):
    kwargs = {"comm": sx.EventFixedProb(4, 3, 0.5, 0.1, seed=0), "post": neurons, **kwargs}
    syn, out = sx.Expon.desc(3, tau=tau), sx.COBA.desc(E=E)
    return sx.AlignPostProj(syn=syn, out=out, label=label, **kwargs)


def test_equal_descriptions_share_one_synapse():
    neurons = cell()
    first = projection(neurons)
    assert projection(neurons).syn is first.syn
    assert projection(neurons).out is first.out
    for other in (
        projection(neurons, tau=6.0),
        projection(neurons, E=-80.0),
        projection(neurons, label="far"),
        projection(cell()),
    ):
        assert other.syn is not first.syn


EQUAL = np.linspace(4.0, 6.0, 2000)
DESCRIBED = {  # what tau may be given as: equal ones share, all others do not
    "number": 5.0,
    "array": EQUAL,
    "float32": EQUAL.astype(np.float32),
    "other shape": EQUAL.reshape(2, 1000),
    "one element differs": np.where(np.arange(2000) == 1000, 7.0, EQUAL),
    "tuple of arrays": (EQUAL, 5.0),
    "tuple of other arrays": (np.where(np.arange(2000) == 1000, 7.0, EQUAL), 5.0),
    "quantity": EQUAL * u.ms,
    "other unit": EQUAL * u.second,
}


def test_descriptions_are_told_apart_by_content_and_stay_short():
    again = {k: jnp.asarray(v) if k == "float32" else v * 1 for k, v in DESCRIBED.items()}
    again |= {k: (v[0].copy(), 5.0) for k, v in DESCRIBED.items() if k.startswith("tuple")}
    keys = {name: sx.Expon.desc(3, tau=tau).key for name, tau in DESCRIBED.items()}
    assert len({*keys.values()}) == len(keys)
    assert {name: sx.Expon.desc(3, tau=tau).key for name, tau in again.items()} == keys
    assert max(map(len, keys.values())) < 200


def test_modules_are_not_shared_and_are_stepped_by_the_projection(backend, dt):
    neurons, syn, out = cell(), sx.Expon(3), sx.COBA(E=0.0)
    comm = sx.EventFixedProb(4, 3, 1.0, 0.5, seed=0)
    proj = sx.AlignPostProj(comm=comm, syn=syn, out=out, post=neurons)
    proj(jnp.ones(4))
    assert syn.g.value.tolist() == [2.0] * 3
    neurons()
    assert (neurons.V.value > -60.0).all()


def test_modules_act_on_spikes_first(dt):
    neurons = cell()
    proj = sx.DeltaProj(
        lambda x: 2 * x, comm=sx.EventFixedProb(4, 3, 1.0, 0.5, seed=0), post=neurons
    )
    proj(jnp.ones(4))
    neurons()
    assert neurons.V.value.tolist() == [-56.0] * 3


def test_the_target_belongs_to_the_network_not_to_the_projection():
    net = sx.COBANet(100)
    paths = ["E.comm.weight", "E.syn.g", "I.comm.weight", "I.syn.g", "N.V", "N.refractory"]
    assert list(net.states()) == paths
    assert net.E.post is net.N


# -- connections ----------------------------------------------------------------------------------


def dense(comm):
    return comm(jnp.eye(math.prod(comm.in_size)).reshape(-1, *comm.in_size))


def test_a_seed_repeats_connections():
    for make in (
        lambda seed: sx.EventFixedProb(30, 20, 0.3, 1.0, seed=seed),
        lambda seed: sx.EventFixedNumConn(30, 20, 5, 1.0, seed=seed),
    ):
        np.testing.assert_array_equal(dense(make(7)), dense(make(7)))
        assert (dense(make(7)) != dense(make(8))).any()
        assert (dense(make(None)) != dense(make(None))).any()
        sx.random.seed(3)
        first = dense(make(None))
        sx.random.seed(3)
        np.testing.assert_array_equal(first, dense(make(None)))


def test_fixed_numbers_on_either_side():
    out = dense(sx.EventFixedNumConn(30, 20, 5, 1.0, seed=1))
    assert (out.sum(1) == 5).all()
    into = dense(sx.EventFixedNumConn(30, 20, 5, 1.0, seed=1, efferent_target="pre"))
    assert (into.sum(0) == 5).all()
    half = dense(sx.EventFixedNumConn(30, 20, 0.5, 1.0, seed=1, allow_multi_conn=False))
    assert (half.sum(1) == 10).all()
    assert half.max() == 1


def test_populations_with_several_axes(backend):
    comm = sx.EventFixedProb((2, 3), (4, 5), 1.0, 0.5, seed=0)
    assert comm(jnp.ones((7, 2, 3))).shape == (7, 4, 5)
    added = comm.accumulate(jnp.ones((2, 3)), jnp.ones((4, 5)))
    np.testing.assert_array_equal(added, np.full((4, 5), 4.0))


def test_weights_may_be_drawn_shared_or_carry_a_unit(backend):
    drawn = sx.EventFixedNumConn(6, 4, 3, sx.init.Uniform(1.0, 2.0), seed=0)
    assert drawn.weight.value.shape == (6, 3)
    tied = sx.EventFixedNumConn(6, 4, 3, drawn.weight, seed=1)
    assert tied.weight is drawn.weight
    assert drawn.unit is None
    comm = sx.EventFixedProb(6, 4, 1.0, 600.0 * u.mS, seed=0)
    assert comm.unit == "S"
    assert float(comm.weight_mantissa) == pytest.approx(0.6)
    np.testing.assert_allclose(comm(jnp.ones(6)).to_decimal(u.siemens), [3.6] * 4, rtol=1e-6)


def test_a_connection_of_ones_own(backend):
    conn = CSR(np.array([0, 2, 3]), np.array([0, 2, 1]), n_post=3)
    comm = EventComm(2, 3, conn, np.array([1.0, 2.0, 3.0]))
    assert comm(jnp.array([1.0, 1.0])).tolist() == [1.0, 3.0, 2.0]
    with pytest.raises(ValueError, match=r"shape \(2, 3\).*exchanged"):
        EventComm(3, 2, conn, 1.0)


def test_linear_is_that_of_brainstate():
    layer = sx.Linear(3, 2, w_init=np.arange(6.0).reshape(3, 2), b_init=1.0, w_mask=np.eye(3, 2))
    assert set(layer.weight.value) == {"weight", "bias"}
    assert layer(jnp.ones(3)).tolist() == [1.0, 4.0]
    assert layer(jnp.ones((5, 3), bool)).shape == (5, 2)
    assert set(sx.Linear(3, 2, b_init=None).weight.value) == {"weight"}
    with pytest.raises(ValueError, match="last axis"):
        sx.Linear((2, 3), (4, 3))


# -- units and errors -----------------------------------------------------------------------------


def test_units_change_nothing_but_the_units(backend, dt):
    def spikes(volt, ms, mS, mA):
        neurons = sx.LIFRef(
            40, tau=20 * ms, tau_ref=5 * ms, V_rest=-60 * volt, V_th=-50 * volt, V_reset=-60 * volt
        )
        proj = sx.AlignPostProj(
            comm=sx.EventFixedNumConn(40, 40, 8, 0.6e3 * mS, seed=1),
            syn=sx.Expon.desc(40, tau=5 * ms, g_initializer=0 * mS),
            out=sx.COBA.desc(E=0 * volt),
            post=neurons,
        )

        def step(_):
            proj(neurons.get_spike() != 0)
            return neurons(20 * mA)

        return sx.transform.for_loop(step, jnp.arange(500))

    plain = spikes(1.0, 1.0, 1e-3, 1.0)
    units = spikes(1.0 * u.mV, 1.0 * u.ms, 1.0 * u.mS, 1.0 * u.mA)
    assert plain.sum() > 0
    np.testing.assert_array_equal(plain, units)


def test_cuba_without_a_scale_reads_the_unit_of_the_weights(dt):
    def after(weight):
        neurons = cell()
        proj = sx.AlignPostProj(
            comm=sx.EventFixedProb(1, 3, 1.0, weight, seed=0),
            syn=sx.Expon.desc(3),
            out=sx.CUBA.desc(),
            post=neurons,
        )
        proj(jnp.ones(1))
        neurons()
        return neurons.V.value

    for weight in (1.62 * u.mS, 1.62 * u.mA):  # 1 mS times 1 volt is 1 mA
        np.testing.assert_allclose(after(weight), after(1.62), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"comm": 3}, "comm is 3, which cannot be called"),
        ({"post": sx.nn.Module()}, "give a population of neurons"),
        ({"syn": sx.COBA.desc()}, r"syn is .*Expon\.desc"),
        ({"out": sx.Expon.desc(3)}, r"out is .*COBA\.desc"),
        ({"out": sx.COBA()}, "both describers"),
        ({"comm": sx.EventFixedProb(4, 3, 0.5, 1.0 * u.mV, seed=0)}, "weights are in mV"),
    ],
)
def test_wrong_parts_are_refused(change, message):
    parts = {
        "comm": sx.EventFixedProb(4, 3, 0.5, 0.1, seed=0),
        "syn": sx.Expon.desc(3),
        "out": sx.COBA.desc(),
        "post": cell(),
    }
    with pytest.raises(TypeError, match=message):
        sx.AlignPostProj(**{**parts, **change})


@pytest.mark.parametrize("shape", [(), (1, 1), (4, 1), (1, 2), (4, 2)])
def test_weights_broadcast_to_the_synapses(shape):
    weights = np.arange(1.0, 1.0 + np.prod(shape, dtype=int)).reshape(shape)
    comm = sx.EventFixedNumConn(4, 3, 2, weights, seed=0)
    each = sx.EventFixedNumConn(4, 3, 2, np.broadcast_to(weights, (4, 2)), seed=0)
    np.testing.assert_array_equal(comm(jnp.ones(4)), each(jnp.ones(4)))


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match=r"out_size \(5,\).*\(3,\) neurons"):
        projection(cell(), comm=sx.EventFixedProb(4, 5, 0.5, 0.1, seed=0))
    with pytest.raises(ValueError, match="syn has"):
        sx.AlignPostProj(comm=abs, syn=sx.Expon.desc(4), out=sx.CUBA.desc(), post=cell())
    with pytest.raises(ValueError, match="a float, so a fraction"):
        sx.EventFixedNumConn(4, 3, 2.0, 0.1)
    with pytest.raises(ValueError, match="a weight is NaN"):
        sx.EventFixedNumConn(4, 3, 2, math.nan)
    with pytest.raises(ValueError, match="efferent_target='both'"):
        sx.EventFixedNumConn(4, 3, 2, 0.1, efferent_target="both")


def test_calling_a_projection_twice_in_a_step_is_an_error(dt):
    proj = projection(cell())
    proj(jnp.ones(4))
    with pytest.raises(ValueError, match="already has an input"):
        proj(jnp.ones(4))


def test_a_step_that_failed_while_traced_leaves_nothing_behind(dt):
    neurons = cell()
    proj = projection(neurons)

    @sx.transform.jit
    def step(x, fail):
        proj(x)
        if fail.shape:
            raise KeyError("on purpose")
        return neurons()

    with pytest.raises(KeyError):
        step(jnp.ones(4), jnp.ones(1))
    assert step(jnp.ones(4), jnp.ones(())).shape == (3,)


# -- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "rate", "within"), [(sx.COBANet, 21.0, 2.0), (sx.CUBANet, 5.6, 0.3)]
)
def test_the_benchmark_networks_fire_at_their_rates(dt, network, rate, within):
    net = network(4000, seed=3)
    spikes = sx.transform.for_loop(lambda i: net(), jnp.arange(10000))
    assert float(spikes.mean()) * 10000 == pytest.approx(rate, abs=within)


@pytest.mark.parametrize("network", [sx.COBANet, sx.CUBANet])
def test_networks_repeat_by_seed_batch_and_pickle(dt, network):
    def spikes(net, batch=None):
        sx.nn.init_all_states(net, batch_size=batch)
        net.N.V.value = jnp.broadcast_to(start, net.N.V.value.shape)
        return sx.transform.for_loop(lambda i: net(), jnp.arange(300))

    net = network(200, seed=5)
    start = net.N.V.value
    np.testing.assert_array_equal(start, network(200, seed=5).N.V.value)
    assert (start != network(200, seed=6).N.V.value).any()
    once = spikes(net)
    assert once.sum() > 0
    np.testing.assert_array_equal(once, spikes(network(200, seed=5)))
    np.testing.assert_array_equal(once, spikes(pickle.loads(pickle.dumps(net))))
    np.testing.assert_array_equal(spikes(net, 2), jnp.stack([once, once], 1))


def test_gradients_reach_the_weights_of_a_network(backend, dt):
    net = sx.CUBANet(50, seed=1)
    weights = net.states(sx.ParamState)

    def loss():
        sx.nn.init_all_states(net)
        net.N.V.value = jnp.full(50, -50.2)  # spikes after 37 steps and is held for 49 more

        def step(i):
            spk = net.N.get_spike()
            net.E(spk[:40])
            net.I(spk[40:])
            return net.N()

        sx.transform.for_loop(step, jnp.arange(100))
        return net.N.V.value.mean()

    grads = sx.transform.grad(loss, weights)()
    assert list(grads) == ["E.comm.weight", "I.comm.weight"]
    assert all(np.isfinite(g) and g != 0 for g in grads.values())
