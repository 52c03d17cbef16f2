"""One leaky integrate-and-fire neuron under a constant current: its spikes and its rate.

Run: python examples/01_one_neuron.py
"""

import brainunit as u
import jax.numpy as jnp
import spikexla as sx

sx.environ.set(dt=0.1 * u.ms)

neuron = sx.LIFRef(
    1,
    V_rest=-65.0 * u.mV,
    V_th=-50.0 * u.mV,
    tau=10.0 * u.ms,
    tau_ref=2.0 * u.ms,
    spk_reset="hard",
)


def step(current):
    """One step of 0.1 ms; returns (spike, potential)."""
    return neuron(current * u.mA), neuron.V.value


currents = jnp.where(jnp.arange(5000) < 1000, 0.0, 20.0)  # on after 100 ms
spikes, V = sx.transform.for_loop(step, currents)

times = (jnp.flatnonzero(spikes[:, 0]) + 1) * 0.1
print(f"potential from {V.min()} to {V.max()}")
print("first spikes at", ", ".join(f"{t:.1f}" for t in times[:5]), "ms")
print(f"rate while the current is on: {len(times) / 0.4:.1f} Hz")
