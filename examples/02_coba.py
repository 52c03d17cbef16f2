"""A recurrent network of 4,000 neurons with conductances (Vogels and Abbott, 2005).

Run: python examples/02_coba.py
"""

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
run = sx.simulate(net, 1000.0, inputs=(20.0,))
print(f"1 s of {n:,} neurons took {run.wall_s:.3f} s in {run.path}: {run.rates_hz['N']:.1f} Hz")
