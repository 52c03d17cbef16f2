"""A recurrent network of 4,000 neurons with conductances (Vogels and Abbott, 2005).

Run: python examples/02_coba.py
"""

import time

import jax.numpy as jnp
import spikexla as sx

sx.environ.set(dt=0.1)  # ms; plain numbers are in ms, mV, mA, ohm, S

n, excitatory = 4000, 3200


class Network(sx.nn.Module):
    """Excitatory and inhibitory neurons, each with 80 random targets."""

    def __init__(self):
        super().__init__()
        self.N = sx.LIFRef(
            n,
            tau=20.0,
            tau_ref=5.0,
            V_rest=-60.0,
            V_th=-50.0,
            V_reset=-60.0,
            V_initializer=sx.init.Normal(-55.0, 2.0),
            spk_reset="hard",
        )
        self.E = sx.AlignPostProj(
            comm=sx.EventFixedNumConn(excitatory, n, 80, 0.6, seed=1),
            syn=sx.Expon.desc(n, tau=5.0),
            out=sx.COBA.desc(E=0.0),
            post=self.N,
        )
        self.I = sx.AlignPostProj(
            comm=sx.EventFixedNumConn(n - excitatory, n, 80, 6.7, seed=2),
            syn=sx.Expon.desc(n, tau=10.0),
            out=sx.COBA.desc(E=-80.0),
            post=self.N,
        )

    def update(self, current):
        """The spikes of the last step arrive, then the neurons move."""
        spikes = self.N.get_spike() != 0.0
        self.E(spikes[:excitatory])
        self.I(spikes[excitatory:])
        return self.N(current)


sx.random.seed(0)
net = Network()
for run in ("with compilation", "again"):
    sx.nn.init_all_states(net)
    begin = time.perf_counter()
    spikes = sx.transform.for_loop(lambda _: net(20.0), jnp.arange(10_000))
    rate = float(spikes.sum()) / n  # over one second
    print(f"1 s of {n} neurons {run}: {time.perf_counter() - begin:.2f} s, {rate:.1f} Hz")
