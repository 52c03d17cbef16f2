"""Step by step in float64, the models agree with those of the same name in brainpy.state."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    bp = pytest.importorskip("brainpy", reason="brainpy is not installed: no peer to compare with")
    brainstate = pytest.importorskip("brainstate")
    braintools = pytest.importorskip("braintools")
    import brainunit as u

pytestmark = pytest.mark.filterwarnings("ignore")

DT = 0.1
STEPS = 600
POTENTIALS = {"V_rest": -60.0 * u.mV, "V_reset": -65.0 * u.mV, "V_th": -50.0 * u.mV}


@pytest.fixture(autouse=True)
def same_environment():
    """Both packages at the same time step and precision."""
    sx.environ.set(dt=DT, precision=64)
    with brainstate.environ.context(dt=DT * u.ms, precision=64):
        yield


def drive(seed=0, high=60.0, shape=(STEPS, 3)):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, high, shape))


def peer_run(step, *xs):
    def timed(i, *x):
        with brainstate.environ.context(t=i * DT * u.ms, i=i):
            return step(*x)

    return brainstate.transform.for_loop(timed, jnp.arange(STEPS), *xs)


def start(value):
    return braintools.init.Constant(value)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("name", ["LIF", "LIFRef"])
def test_neurons_agree(name, backend, reset):
    given = {**POTENTIALS, "tau": 10.0 * u.ms, "spk_reset": reset}
    if name == "LIFRef":
        given["tau_ref"] = 2.05 * u.ms  # between two steps, where no rounding can matter
    peer = getattr(bp.state, name)(3, V_initializer=start(-60.0 * u.mV), **given)
    brainstate.nn.init_all_states(peer)
    xs = drive()
    expected, V = peer_run(lambda x: (peer(x * u.mA), peer.V.value), xs)
    with sx.backend(backend):
        neuron = getattr(sx, name)(3, **given)
        spikes, ours = sx.transform.for_loop(lambda x: (neuron(x * u.mA), neuron.V.value), xs)
    assert expected.sum() > 10
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_allclose(ours.to_decimal(u.mV), V.to_decimal(u.mV), rtol=1e-11)


def test_defaults_agree():
    peer, neuron = bp.state.LIF(3), sx.LIF(3)
    brainstate.nn.init_all_states(peer)
    xs = drive(high=4.0)
    expected = peer_run(lambda x: peer(x * u.mA), xs)
    assert expected.sum() > 10
    np.testing.assert_array_equal(sx.transform.for_loop(neuron, xs), expected)


def test_expon_agrees():
    peer, synapse = bp.state.Expon(3, tau=8.0 * u.ms), sx.Expon(3, tau=8.0 * u.ms)
    brainstate.nn.init_all_states(peer)
    xs = jnp.asarray((np.random.default_rng(1).random((STEPS, 3)) < 0.1).astype(float))
    expected = peer_run(lambda x: peer(x * u.mS), xs)
    np.testing.assert_allclose(
        sx.transform.for_loop(synapse, xs), expected.to_decimal(u.mS), rtol=1e-11
    )


@pytest.mark.parametrize("out", ["COBA", "CUBA"])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_a_recurrent_population_agrees(out, reset):
    """Two projections onto neurons that they come from, with the same dense weights."""
    rng = np.random.default_rng(2)
    n = 12
    siemens = 0.3 if out == "COBA" else 1e-3
    weights = [jnp.asarray(siemens * rng.random((n, n))) for _ in range(2)]

    def build(package, dense):
        given = {**POTENTIALS, "tau": 20.0 * u.ms, "tau_ref": 2.05 * u.ms, "spk_reset": reset}
        neurons = package.LIFRef(n, V_initializer=start(-60.0 * u.mV), **given)
        projections = []
        for k, E in enumerate((0.0, -80.0)):
            args = {"E": E * u.mV} if out == "COBA" else {"scale": (1.0, -1.0)[k] * u.volt}
            projections.append(
                package.AlignPostProj(
                    comm=dense(weights[k]),
                    syn=package.Expon.desc(
                        n, tau=(5.0, 10.0)[k] * u.ms, g_initializer=start(0.0 * u.siemens)
                    ),
                    out=getattr(package, out).desc(**args),
                    post=neurons,
                )
            )

        def step(x):
            spikes = neurons.get_spike()
            for projection in projections:
                projection(spikes)
            return neurons(x * u.mA), neurons.V.value

        return neurons, step

    class PeerDense(brainstate.nn.Module):
        def __init__(self, matrix):
            super().__init__()
            self.matrix = matrix

        def update(self, x):
            return (x @ self.matrix) * u.siemens

    def our_dense(matrix):
        return sx.Linear(n, n, w_init=matrix * u.siemens, b_init=None)

    peer, peer_step = build(bp.state, PeerDense)
    brainstate.nn.init_all_states(peer)
    for synapse in peer.before_updates.values():
        brainstate.nn.init_all_states(synapse)
    xs = drive(3, shape=(STEPS, n))
    expected, V = peer_run(peer_step, xs)
    _, step = build(sx, our_dense)
    spikes, ours = sx.transform.for_loop(step, xs)
    assert expected.sum() > 30
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_allclose(ours.to_decimal(u.mV), V.to_decimal(u.mV), rtol=1e-9)
