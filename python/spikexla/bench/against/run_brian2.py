"""Brian2 as a C++ program of its own (cpp_standalone), float32, with OpenMP."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import json
import sys
import tempfile
import time

import brian2 as b
import numpy as np

MODELS = {
    "COBA": (
        """dv/dt = (ge*(0*mV - v) + gi*(-80*mV - v) + (-60*mV - v) + 20*mV)/(20*ms)
              : volt (unless refractory)
           dge/dt = -ge/(5*ms) : 1
           dgi/dt = -gi/(10*ms) : 1
           fired : integer""",
        "exponential_euler", "ge += 0.6", "gi += 6.7",
    ),
    "CUBA": (
        """dv/dt = (ge + gi - (v + 49*mV))/(20*ms) : volt (unless refractory)
           dge/dt = -ge/(5*ms) : volt
           dgi/dt = -gi/(10*ms) : volt
           fired : integer""",
        "exact", "ge += 1.62*mV", "gi += -9*mV",
    ),
}  # fmt: skip


def network(ask, folder):
    """Writes, compiles and runs the program as often as the rounds and the budget allow."""
    b.set_device("cpp_standalone", directory=folder, build_on_run=False)
    b.prefs.devices.cpp_standalone.openmp_threads = ask["threads"]
    b.prefs.devices.cpp_standalone.extra_make_args_unix = [f"-j{ask['threads']}"]
    b.prefs.core.default_float_dtype = np.float32
    b.defaultclock.dt = ask["dt"] * b.ms
    b.seed(ask["seed"])
    equations, method, up, down = MODELS[ask["model"]]
    n, ne = ask["n"], ask["n"] * 4 // 5
    cells = b.NeuronGroup(
        n, equations, method=method, refractory=5 * b.ms,
        threshold="v > -50*mV", reset="v = -60*mV; fired += 1",
    )  # fmt: skip
    cells.v = "-55*mV + 2*mV*randn()"
    both = [b.Synapses(cells[:ne], cells, on_pre=up), b.Synapses(cells[ne:], cells, on_pre=down)]
    for synapses in both:
        synapses.connect(j=f"k for k in sample(N_post, size={ask['targets']})")
    net = b.Network(cells, *both)
    net.run(ask["ms"] * b.ms)
    b.device.build(directory=folder, compile=True, run=False, with_output=False)
    walls, spikes, begin = [], [], time.perf_counter()
    while not walls or (
        len(walls) < ask["rounds"] and time.perf_counter() - begin < ask["budget_s"]
    ):
        b.device.run(with_output=False)
        walls.append(b.device._last_run_time)
        spikes.append(int(np.asarray(cells.fired[:], np.int64).sum()))
    return {"walls": walls, "spikes": spikes}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        answer = network(json.load(sys.stdin), folder)
    print(json.dumps({**answer, "version": b.__version__}))
