"""PoissonInput: the law of its counts, its generators, order in a step, states, errors."""

from __future__ import annotations

import math
import pickle

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from scipy import stats
from spikexla.ops.poisson import poisson_thresholds

N = 150


def drive(size=N, rate=8.0, num=1600, weight=1.0, seed=7, tau=1e9, post=None, **kwargs):
    post = sx.LIF(size) if post is None else post
    syn, out = sx.Expon.desc(size, tau=tau), sx.CUBA.desc()
    given = {"syn": syn, "out": out, "post": post, **kwargs}
    return sx.PoissonInput(rate=rate, num=num, weight=weight, seed=seed, **given)


def counts(drive, steps=200, step=None):
    """The events of each step, (steps, *batch, size): g of a synapse that forgets at once."""

    def one(i):
        drive()
        drive.post()
        return drive.syn.g.value

    return np.asarray(sx.transform.for_loop(step or one, jnp.arange(steps)))


def quick(**kwargs):
    return drive(tau=1e-6, **kwargs)


def plain_counts(projection, steps, size, dt=0.1):
    """The same in numpy, one generator after the other, from the published algorithm."""
    state = [[int(w) for w in column] for column in columns(projection.rng.value)]
    thresholds = projection.thresholds(dt)
    out = np.zeros((steps, size), int)
    for n in range(steps):
        for i in range(len(state) * 4):
            group, r, lane = i // 64, (i % 64) // 16, i % 16
            assert r < 4
            word = xoshiro(state[16 * group + lane])
            if i < size:
                out[n, i] = (word >= thresholds).sum()
    return out


def columns(rng):
    rng = np.asarray(rng)
    return [rng[g, :, lane] for g in range(rng.shape[0]) for lane in range(16)]


def xoshiro(s):
    """The next word of xoshiro128++, with the state s changed in place."""

    def rotl(x, k):
        return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF

    word = (rotl((s[0] + s[3]) & 0xFFFFFFFF, 7) + s[0]) & 0xFFFFFFFF
    t = (s[1] << 9) & 0xFFFFFFFF
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotl(s[3], 11)
    return word


@pytest.mark.parametrize("size", [1, 15, 64, 65, 150])
def test_counts_are_those_of_the_published_generator(dt, size):
    projection = quick(size=size)
    want = plain_counts(projection, 20, size)
    found = counts(projection, 20)
    np.testing.assert_array_equal(found, want)
    assert projection.rng.value.shape == (-(-size // 64), 4, 16)
    assert projection.rng.value.dtype == jnp.uint32


def test_the_generator_is_xoshiro128_plus_plus():
    """The first words from the state 1, 2, 3, 4, as in the test vectors of rand_xoshiro."""
    state = [1, 2, 3, 4]
    words = [641, 1573767, 3222811527, 3517856514, 836907274, 4247214768]
    assert [xoshiro(state) for _ in words] == words


@pytest.mark.parametrize("mean", [0.01, 0.5, 1.28, 7.0, 60.0])
def test_counts_follow_the_law_of_poisson(dt, mean):
    found = counts(quick(size=2000, rate=mean * 10.0, num=1000), 100).ravel().astype(int)
    n = found.size
    assert abs(found.mean() - mean) < 4.5 * math.sqrt(mean / n)
    assert abs(found.var() - mean) < 4.5 * math.sqrt((mean + 2 * mean**2) / n)
    law = stats.poisson(mean)
    low, high = int(law.ppf(10 / n)), int(law.isf(10 / n))
    seen = np.bincount(np.clip(found, low, high) - low, minlength=high - low + 1)
    wanted = law.pmf(np.arange(low, high + 1)) * n
    wanted[0], wanted[-1] = law.cdf(low) * n, law.sf(high - 1) * n
    assert stats.chisquare(seen, wanted).pvalue > 1e-4


def test_neighbours_and_steps_are_independent(dt):
    found = counts(quick(size=640), 400)
    found = found - found.mean()
    bound = 5 / math.sqrt(found.size)
    for a, b in (
        (found[:-1], found[1:]),
        (found[:, :-1], found[:, 1:]),
        (found[:, :-16], found[:, 16:]),
        (found[:, :-64], found[:, 64:]),
    ):
        assert abs((a * b).mean() / found.var()) < bound


@pytest.mark.parametrize("mean", [1e-6, 0.3, 12.0, 60.0])
def test_thresholds_are_the_quantiles(mean):
    found = drive(rate=mean, num=1).thresholds(1000.0)
    assert found.dtype == np.uint32
    law = stats.poisson(mean)
    want = np.minimum(np.floor(law.cdf(np.arange(found.size)) * 2.0**32), 2.0**32 - 1)
    np.testing.assert_allclose(found, want, rtol=0, atol=1)
    assert (np.diff(found.astype(np.int64)) >= 0).all()
    assert law.sf(found.size - 1) < 2.0**-33 <= law.sf(found.size - 2)


@pytest.mark.parametrize("mean", [*np.geomspace(1e-10, 1e-3, 15), 1.3, 60.0])
def test_the_mean_that_is_drawn_is_within_its_bound_and_told_where_it_is_far_off(mean):
    projection = drive(rate=mean, num=1)
    levels = poisson_thresholds(projection.expected(1000.0))
    excess = (1 - levels / 2.0**32).sum() - mean
    assert -(2.0**-33) - 1e-12 * mean <= excess <= levels.size * 2.0**-32
    if excess > 0.01 * mean:
        with pytest.warns(UserWarning, match=r"events are expected .* but .* are drawn"):
            projection.thresholds(1000.0)
    else:
        projection.thresholds(1000.0)
    assert excess > 0.01 * mean or mean > 1e-9


def test_a_rate_of_zero_is_silence(dt):
    assert drive(rate=0.0).thresholds(0.1).size == 0
    assert not counts(drive(rate=0.0), 20).any()


# -- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 2, (2, 3)])
@pytest.mark.parametrize("same", [False, True])
def test_a_reset_starts_again_and_the_first_of_a_batch_is_the_run_without(dt, batch, same):
    projection = quick(same=same)
    once = counts(projection, 30)
    lead = () if batch is None else (batch,) if isinstance(batch, int) else batch
    net = sx.nn.Sequential(projection, projection.post)
    runs = []
    for start in (sx.nn.init_all_states, sx.nn.reset_all_states):
        rng = projection.rng
        start(net, batch_size=batch)
        assert projection.rng is rng
        runs.append(counts(projection, 30))
    np.testing.assert_array_equal(*runs)
    assert runs[0].shape == (30, *lead, N)
    members = runs[0].reshape(30, -1, N)
    np.testing.assert_array_equal(members[:, 0], once)
    for k in range(1, members.shape[1]):
        assert (members[:, k] == once).all() == same


def correlations(members):
    """Between each two of (steps, members, size)."""
    flat = np.moveaxis(members, 1, 0).reshape(members.shape[1], -1)
    return np.corrcoef(flat)[np.triu_indices(len(flat), 1)]


def lanes(projection, start, lead=(4,), **named):
    """The events of lanes of (nested) vmap, (*lead, steps, size)."""
    net = sx.nn.Sequential(projection, projection.post)

    def run(x):
        if start:
            sx.nn.init_all_states(net)
        return sx.transform.for_loop(step, jnp.arange(50))

    def step(i):
        projection()
        projection.post()
        return projection.syn.g.value

    for _ in lead:
        named = named or {"out_states": net.states()}
        run = sx.transform.vmap(run, **named)
    return np.asarray(run(jnp.zeros(lead)))


def test_members_of_a_batch_and_lanes_of_vmap_draw_their_own_events(dt):
    """Started in the lanes, they are the members of a batch; started before, independent too."""
    once = counts(quick(), 50)
    batched = quick()
    sx.nn.init_all_states(sx.nn.Sequential(batched, batched.post), batch_size=(2, 3))
    members = counts(batched, 50)  # (50, 2, 3, N)
    bound = 5 / math.sqrt(50 * N)
    assert np.abs(correlations(members.reshape(50, 6, N))).max() < bound
    nested = lanes(quick(), start=True, lead=(2, 3))
    np.testing.assert_array_equal(np.moveaxis(nested, 2, 0), members)
    projection = quick()
    before = lanes(projection, start=False)
    np.testing.assert_array_equal(before[0], once)
    assert np.abs(correlations(np.moveaxis(before, 1, 0))).max() < bound
    assert projection.rng.value.shape == (4, -(-N // 64), 4, 16)


def test_a_shared_input_moves_on_and_a_mapped_one_is_each_lane_s_own(dt):
    projection = quick()
    unnamed = {"out_states": (projection.syn.states(), projection.post.states())}
    runs = []
    for _ in range(2):  # the generators are not named: they stay those of one input, moved on
        runs.append(lanes(projection, start=False, **unnamed))
        assert projection.rng.value.shape == (-(-N // 64), 4, 16)
        projection.syn.init_state()
        projection.post.init_state()
    assert np.abs(correlations(np.moveaxis(np.concatenate(runs), 1, 0))).max() < 5 / 85
    batched, mapped = quick(), quick()
    for its in (batched, mapped):
        sx.nn.init_all_states(sx.nn.Sequential(its, its.post), batch_size=4)
    states = sx.nn.Sequential(mapped, mapped.post).states()
    found = lanes(mapped, start=False, in_states=states)
    np.testing.assert_array_equal(np.moveaxis(found, 1, 0), counts(batched, 50))


def test_the_same_events_in_all_lanes_on_request(dt):
    once = counts(quick(), 50)
    for start in (True, False):
        found = lanes(quick(same=True), start=start)
        np.testing.assert_array_equal(found, np.broadcast_to(once, found.shape))


def test_a_run_in_two_parts_is_the_run_compiled_or_not(dt):
    whole, projection = counts(quick(), 30), quick()
    first = counts(projection, 11)
    projection = pickle.loads(pickle.dumps(projection))
    rest = []
    for _ in range(19):
        projection()
        projection.post()
        rest.append(projection.syn.g.value)
    np.testing.assert_array_equal(np.concatenate([first, rest]), whole)


def test_seeds_tell_inputs_apart(dt):
    one = counts(quick(seed=1), 10)
    assert (one != counts(quick(seed=2), 10)).any()
    sx.random.seed(4)
    drawn = counts(quick(seed=None), 10)
    assert (drawn != counts(quick(seed=None), 10)).any()
    sx.random.seed(4)
    np.testing.assert_array_equal(counts(quick(seed=None), 10), drawn)


# -- in a network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [32, 64])
@pytest.mark.parametrize("each", [False, True])
def test_g_gains_weight_times_count_after_all_spikes(dt, precision, each):
    sx.environ.set(precision=precision)
    dtype = np.dtype(f"float{precision}").type
    weight = np.linspace(-0.7, 1.3, N) if each else 0.3
    neurons = sx.LIF(N)
    poisson = drive(weight=weight, tau=5.0, post=neurons)
    spikes = sx.AlignPostProj(
        comm=sx.EventFixedProb(4, N, 0.5, 0.1, seed=0),
        syn=sx.Expon.desc(N, tau=5.0),
        out=sx.CUBA.desc(),
        post=neurons,
        delay=0.3,
    )
    assert poisson.syn is spikes.syn
    given = np.random.default_rng(0).random((20, 4)) < 0.5

    def step(s):
        poisson()  # called first, added last
        spikes(s)
        neurons()
        return spikes.syn.g.value

    with sx.backend("native"):
        found = sx.transform.for_loop(step, jnp.asarray(given))
    events = counts(quick(), 20).astype(int)
    dense = np.asarray(spikes.comm(jnp.eye(4))) != 0
    decay, g = np.exp(-0.1 / 5.0).astype(dtype), np.zeros(N, dtype)
    for n in range(20):
        g = g * decay
        for i in np.flatnonzero(given[n - 3]) if n >= 3 else ():
            g = np.where(dense[i], g + dtype(0.1), g)
        g = g + np.asarray(weight).astype(dtype) * events[n].astype(dtype)
        np.testing.assert_array_equal(found[n], g)


def test_nest_neurons_take_it_in_pA_and_a_weight_may_be_learned(dt):
    weight = sx.ParamState(jnp.asarray(87.8))
    neurons = sx.IafPscExp((5, 3), V_th=100.0, V_reset=50.0)
    projection = sx.PoissonInput(weight=weight, rate=8.0, num=1600, **neurons.receptor(0.5))
    assert list(projection.states(sx.ParamState)) == ["comm.weight"]

    def loss():
        sx.nn.init_all_states(neurons)
        sx.nn.init_all_states(projection)

        def step(i):
            projection()
            neurons()

        sx.transform.for_loop(step, jnp.arange(100))
        return (neurons.V.value + 70.0).sum()

    assert neurons.V.value.shape == (5, 3)
    gradient, value = sx.transform.grad(loss, weight, return_value=True)()
    assert float(gradient) == pytest.approx(float(value) / 87.8, rel=1e-4)
    quantity = sx.IafPscExp(15)
    same = sx.PoissonInput(
        weight=87.8 * u.pA,
        rate=8.0 * u.Hz,
        num=1600,
        seed=projection.seed,
        **quantity.receptor(0.5),
    )
    for _ in range(20):
        same()
        quantity()
    sx.nn.init_all_states(neurons)
    sx.nn.init_all_states(projection)
    for _ in range(20):
        projection()
        neurons()
    np.testing.assert_allclose(quantity.V.value, neurons.V.value.reshape(-1), rtol=1e-5)


class Net(sx.nn.Module):
    """Neurons driven by noise."""

    def __init__(self):
        super().__init__()
        self.N = sx.LIF(N)
        self.P = drive(post=self.N, weight=0.02, tau=5.0)

    def update(self):
        self.P()
        return self.N()


def test_simulate_steps_it_and_says_how(dt):
    run = sx.simulate(Net(), 20.0)
    assert len(run.spikes["N"]) > 0
    if run.path == "for_loop":
        assert "PoissonInput" in run.why
    loop = sx.simulate(Net(), 20.0, backend="xla")
    np.testing.assert_array_equal(run.spikes["N"].steps, loop.spikes["N"].steps)


def test_a_module_synapse_is_stepped_by_it(dt):
    projection = drive(syn=sx.Expon(N, tau=1e-6), out=sx.CUBA())
    projection()
    np.testing.assert_array_equal(projection.syn.g.value, counts(quick(), 1)[0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rate": -1.0}, ValueError, r"rate is -1\.0; it must be 0 or more"),
        ({"rate": math.nan}, ValueError, "rate is nan"),
        ({"rate": np.ones(N)}, ValueError, r"rate has shape \(150,\).*each group of neurons"),
        ({"num": np.ones(2)}, ValueError, r"num has shape \(2,\)"),
        ({"rate": 1.0 * u.mV}, TypeError, "rate must be given in Hz"),
        ({"rate": "fast"}, TypeError, "rate='fast' must be a number"),
        ({"rate": 1e6}, ValueError, r"160000 events in a step of 0\.1 ms.*split the sources"),
        ({"weight": np.ones(3)}, ValueError, "PoissonInput: weight"),
        ({"weight": math.nan}, ValueError, "a weight is NaN"),
        ({"weight": 1.0 * u.second}, TypeError, "siemens, mA or mV"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"post": 3}, TypeError, "post is 3; give a population"),
    ],
)
def test_bad_input_is_refused(dt, change, error, message):
    with pytest.raises(error, match=message):
        drive(**{"post": sx.LIF(N), **change})


def test_it_is_called_once_a_step_without_arguments(dt):
    projection = drive()
    projection()
    with pytest.raises(ValueError, match="already has an input"):
        projection()
