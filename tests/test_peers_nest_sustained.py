"""Benchmarks 1 and 2 of Brette et al. (2007) as NEST ships them, beside live NEST.

A kick to 50 neurons starts activity that sustains itself: 3200 excitatory and 800 inhibitory
neurons, 64 and 16 inputs each, delays of 0.1 ms; the parameters of NEST's coba.py and cuba.py.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import spikexla as sx
from spikexla.network.validation import Reference, Verdict, mean_and_sem

NE, NI, KICKED = 3200, 800, 50
MODELS = {  # weights (COBA: nS), what is not counted and what is (ms)
    "coba": (6.0, -67.0, 100.0, 500.0),
    "cuba": (16.2, -139.5, 500.0, 2000.0),
}
ALIVE = 1.0  # Hz; in some networks the activity dies, in ours as in NEST's

NEST = """
import json, sys
import nest
nest.set_verbosity("M_ERROR") if hasattr(nest, "set_verbosity") else None
model, ne, ni, kicked, up, down, skip, ms, seed = json.loads(sys.argv[1])
nest.ResetKernel()
nest.resolution, nest.local_num_threads, nest.rng_seed = 0.1, 1, seed
own = dict(V_th=-50.0, V_reset=-60.0, t_ref=5.0, C_m=200.0, tau_syn_ex=5.0, tau_syn_in=10.0)
if model == "coba":
    kind, more = "iaf_cond_exp", dict(E_L=-60.0, g_L=10.0, E_ex=0.0, E_in=-80.0, V_m=-70.0)
else:
    kind, more = "iaf_psc_exp", dict(E_L=-49.0, tau_m=20.0, V_m=-49.0)
E, I = (nest.Create(kind, n, params={**own, **more}) for n in (ne, ni))
syn = [{"weight": w, "delay": 0.1} for w in (up, down)]
nest.Connect(E, E + I, {"rule": "fixed_indegree", "indegree": ne // 50}, syn[0])
nest.Connect(I, E + I, {"rule": "fixed_indegree", "indegree": ni // 50}, syn[1])
kick = nest.Create("poisson_generator", params=dict(rate=300.0, start=1.0, stop=51.0))
nest.Connect(kick, E[:kicked], "all_to_all", syn[0])
recorders = [nest.Create("spike_recorder", params=dict(start=skip)) for _ in "EI"]
for population, recorder in zip((E, I), recorders):
    nest.Connect(population, recorder)
nest.Simulate(skip + ms)
print(json.dumps([r.n_events / n / ms * 1e3 for r, n in zip(recorders, (ne, ni))]))
"""


@pytest.fixture(scope="module")
def nest_rates():
    found = subprocess.run([sys.executable, "-c", "import nest"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"NEST cannot be imported here: {found.stderr.strip().splitlines()[-1]}")

    def rates(model, seed):
        request = json.dumps([model, NE, NI, KICKED, *MODELS[model], seed])
        done = subprocess.run([sys.executable, "-c", NEST, request], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    return rates


class Sustained(sx.nn.Module):
    """The same network of our parts: LIFRef in units of the leak, or NEST's own neuron."""

    def __init__(self, model, seed):
        super().__init__()
        n, (up, down, *_) = NE + NI, MODELS[model]
        common = {"V_th": -50.0, "V_reset": -60.0}
        if model == "coba":
            start, up, down = sx.init.Constant(-70.0), up / 10, -down / 10
            own = {"tau": 20.0, "tau_ref": 5.0, "V_rest": -60.0, "spk_reset": "hard"}
            self.N = sx.LIFRef(n, V_initializer=start, **own, **common)
            receptors = [
                {"syn": sx.Expon.desc(n, tau=tau), "out": sx.COBA.desc(E=E), "post": self.N}
                for tau, E in ((5.0, 0.0), (10.0, -80.0))
            ]
        else:
            start = sx.init.Constant(-49.0)
            own = {"C_m": 200.0, "tau_m": 20.0, "E_L": -49.0, "t_ref": 5.0}
            self.N = sx.IafPscExp(n, V_initializer=start, **own, **common)
            receptors = [self.N.receptor(tau) for tau in (5.0, 10.0)]
        self.E, self.I = (
            sx.AlignPostProj(
                comm=sx.EventFixedNumConn(
                    m, n, m // 50, weight, efferent_target="pre", seed=2 * seed + k
                ),
                **receptor,
            )
            for k, (m, weight, receptor) in enumerate(
                zip((NE, NI), (up, down), receptors, strict=True)
            )
        )
        weight = np.where(np.arange(n) < KICKED, up, 0.0)
        self.kick = sx.PoissonInput(rate=300.0, weight=weight, seed=seed, **receptors[0])

    def update(self):
        spikes = self.N.get_spike() != 0.0
        self.E(spikes[:NE])
        self.I(spikes[NE:])
        return self.N()


class Kicked(sx.nn.Module):
    """The network with its kick."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def update(self):
        self.net.kick()
        return self.net.update()


def our_rates(model, seed):
    *_, skip, ms = MODELS[model]
    net = Sustained(model, seed)
    for part, duration in ((net, 1.0), (Kicked(net), 50.0), (net, skip - 51.0)):
        sx.simulate(part, duration, record=False)
    (spikes,) = sx.simulate(net, ms).spikes.values()
    excitatory = np.count_nonzero(spikes.ids < NE)
    return [excitatory / NE / ms * 1e3, (len(spikes) - excitatory) / NI / ms * 1e3]


def alive(rates, seeds, number):
    """The rates of the first so many networks that stay active."""
    found = []
    for seed in seeds:
        one = rates(seed)
        found += [one] if min(one) > ALIVE else []
        if len(found) == number:
            return np.transpose(found)
    raise AssertionError(f"only {len(found)} of {len(seeds)} networks stayed active")


@pytest.mark.sampled(0)
@pytest.mark.parametrize("model", MODELS)
def test_sustained_rates_agree_with_nest(nest_rates, dt, model):
    """By the rule of `spikexla validate`: 5 % or two standard errors of the networks drawn."""
    theirs = alive(lambda seed: nest_rates(model, seed), range(1, 6), 2)
    ours = alive(lambda seed: our_rates(model, seed), range(8), 4)
    for name, mine, other in zip(("E", "I"), ours, theirs, strict=True):
        verdict = Verdict("rate", name, *mean_and_sem(mine), Reference(*mean_and_sem(other)))
        said = f"{model} {name}: ours {mine} Hz, NEST {other} Hz"
        print(said)
        assert verdict.agrees, said
        assert verdict.tolerance < 0.15 * verdict.reference.mean, said
