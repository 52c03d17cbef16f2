"""NEST: COBA has iaf_cond_exp (adaptive steps, float64), CUBA iaf_psc_exp (exact, float64)."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import json
import sys
import time

import nest

BALANCED = {
    "C_m": 200.0, "V_th": -50.0, "V_reset": -60.0, "t_ref": 5.0,
    "tau_syn_ex": 5.0, "tau_syn_in": 10.0,
}  # fmt: skip
LEAKY = {"g_L": 10.0, "E_L": -60.0, "E_ex": 0.0, "E_in": -80.0, "I_e": 200.0}
MODELS = {  # weights: 0.6 and 6.7 leaks in nS; 1.62 and 9 mV through 0.1 GOhm in pA
    "COBA": ("iaf_cond_exp", LEAKY, 6.0, -67.0),
    "CUBA": ("iaf_psc_exp", {"tau_m": 20.0, "E_L": -49.0}, 16.2, -90.0),
}


def start(ask, seed):
    """An empty kernel with the time step, threads and seed that were asked for."""
    if hasattr(nest, "set_verbosity"):
        nest.set_verbosity("M_ERROR")
    else:
        nest.verbosity = nest.VerbosityLevel.ERROR
    nest.ResetKernel()
    nest.resolution, nest.local_num_threads, nest.rng_seed = ask["dt"], ask["threads"], seed


def balanced(ask, seed):
    """Makes the COBA or CUBA network and runs it: the seconds of running, and the spikes."""
    start(ask, seed)
    kind, own, up, down = MODELS[ask["model"]]
    n = ask["n"]
    excitatory = nest.Create(kind, n * 4 // 5, params={**BALANCED, **own})
    inhibitory = nest.Create(kind, n - n * 4 // 5, params={**BALANCED, **own})
    both = excitatory + inhibitory
    both.V_m = nest.random.normal(-55.0, 2.0)
    rule = {"rule": "fixed_outdegree", "outdegree": ask["targets"]}
    for source, weight in ((excitatory, up), (inhibitory, down)):
        nest.Connect(source, both, rule, {"weight": weight, "delay": ask["dt"]})
    nest.Prepare()
    begin = time.perf_counter()
    nest.Run(ask["ms"])
    wall = time.perf_counter() - begin
    nest.Cleanup()
    return wall, nest.GetKernelStatus()["local_spike_counter"]


def network(ask):
    """As many networks, each from its own seed, as rounds are asked for and the budget holds."""
    runs, begin = [], time.perf_counter()
    while not runs or (len(runs) < ask["rounds"] and time.perf_counter() - begin < ask["budget_s"]):
        runs.append(balanced(ask, ask["seed"] + len(runs)))
    walls, spikes = zip(*runs, strict=True)
    return {"walls": walls, "spikes": spikes}


if __name__ == "__main__":
    answer = network(json.load(sys.stdin))
    print(json.dumps({**answer, "version": nest.__version__}))
