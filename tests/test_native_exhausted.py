"""Where memory ends, a native op raises; the process goes on."""

import subprocess
import sys

PROGRAM = """
import resource, sys
import jax, jax.numpy as jnp
from spikexla.neuron import lif_step
from spikexla.ops import neuron_scan

LIF = lif_step.LIF
params = LIF.Params(*map(jnp.float32, (0.005, 1.0, -60.0, -50.0, -60.0, 0.1)))

def gradient(lanes, steps):
    def loss(p):
        inputs = LIF.Inputs(jnp.full((steps, 1), 20.0), jnp.zeros((1, 1)))
        state = LIF.State(jnp.full(lanes, -60.0))
        last, spikes = neuron_scan(LIF, state, p, inputs, checkpoint_every=steps)
        return last.V.sum() + spikes.sum()
    return jax.block_until_ready(jax.jit(jax.grad(loss))(params).V_th)

gradient(8, 10)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY))
try:
    gradient(64, 2_000_000)
except Exception as error:
    print(type(error).__name__, error)
print("goes on", float(gradient(8, 10)) != 0)
"""


def test_a_backward_pass_without_memory_raises():
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "RESOURCE_EXHAUSTED" in ran.stdout
    # 2,000,001 states and slopes of 64 lanes, and some rows more, for one thread or two
    assert "bytes of memory to work in" in ran.stdout
    assert "checkpoint_every" in ran.stdout
    assert "goes on True" in ran.stdout
