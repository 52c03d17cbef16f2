"""The cortical microcircuit has the numbers of the literature, at any scale."""

from __future__ import annotations

import numpy as np
import pytest
import spikexla as sx
from spikexla.network.microcircuit import (
    EXTERNAL,
    EXTERNAL_RATE,
    NAMES,
    RATES,
    SIZES,
    TAU_SYN,
    current_of_psp,
    synapse_numbers,
)


@pytest.fixture(autouse=True)
def step():
    with sx.environ.context(dt=0.1):
        yield


def test_its_numbers_are_those_of_the_literature():
    """Neurons and synapses as van Albada et al. (2018) count them; the weight of NEST's example."""
    assert sum(SIZES) == 77_169
    assert abs(synapse_numbers().sum() - 298.9e6) < 0.1e6
    assert round(current_of_psp(), 3) == 87.808


@pytest.mark.sampled(1)
@pytest.mark.parametrize("drive", ["poisson", "dc"])
@pytest.mark.parametrize("scale", [0.02, 0.05])
def test_scaling_keeps_the_mean_input(drive, scale):
    """At the published rates, every population gets the mean current of the whole circuit."""
    net = sx.network.Microcircuit(scale, drive=drive)
    got = np.array([float(p.I_e) for p in net.populations])
    for pre, projection in zip(net.sources, net.projections, strict=True):
        post = net.populations.index(projection.post)
        inputs = projection.comm.conn.nnz / projection.post.size
        weight = float(np.mean(projection.comm.weight.value))
        got[post] += 1e-3 * TAU_SYN * inputs * weight * RATES[pre]
    for k, noise in enumerate(net.noise):
        got[k] += 1e-3 * TAU_SYN * noise.num * noise.rate * float(noise.weight_mantissa)
    inputs = _weights() * synapse_numbers() / np.array(SIZES)[:, None] * RATES
    external = current_of_psp() * np.array(EXTERNAL) * EXTERNAL_RATE
    want = 1e-3 * TAU_SYN * (inputs.sum(1) + external)
    np.testing.assert_allclose(got, want, rtol=0.02, atol=0.01 * external.max() * 1e-3 * TAU_SYN)


def _weights():
    weights = np.tile([current_of_psp(), -4 * current_of_psp()], (8, 4))
    weights[0, 2] *= 2
    return weights


def test_a_small_circuit_runs_in_the_engine_and_repeats_itself():
    def spikes(seed):
        net = sx.network.Microcircuit(0.02, seed=seed)
        result = sx.simulate(net, 100.0)
        assert result.path == "network_run", result.why
        assert len(result.spikes) == len(NAMES)
        return np.concatenate([s.ids + 2**20 * k for k, s in enumerate(result.spikes.values())])

    first = spikes(1)
    assert len(first) > 50
    np.testing.assert_array_equal(first, spikes(1))
    assert len(spikes(2)) != len(first)


def test_delays_and_weights_keep_their_signs_and_means():
    net = sx.network.Microcircuit(0.05)
    for pre, projection in zip(net.sources, net.projections, strict=True):
        weights, steps = projection.comm.weight.value, projection.delay_steps(0.1)
        assert (weights >= 0).all() if pre % 2 == 0 else (weights <= 0).all()
        assert steps.min() >= 1
        if steps.size > 5000:
            assert abs(steps.mean() - (15, 8)[pre % 2]) < 0.6


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"scale": 0.0}, "scale=0.0"),
        ({"scale": 1.5}, "scale=1.5"),
        ({"scale": 1e-5}, "smallest population"),
        ({"scale": float("nan")}, "scale=nan"),
        ({"scale": 0.02, "drive": "noise"}, "'poisson' or 'dc'"),
        ({"scale": 0.02, "seed": -1}, "seed=-1"),
    ],
    ids=str,
)
def test_what_is_no_circuit_is_refused(how, says):
    with pytest.raises(ValueError, match=says):
        sx.network.Microcircuit(**how)
