"""The states of a sparse network of excitation and inhibition (Brunel, 2000), beside mean field.

A fifth of its size, and weights five times as large: the mean input is that of the paper, at which
neurons fire regularly (SR) or irregularly (SI, AI), together (SR, SI) or each by itself (AI).
Run: python examples/05_brunel.py (needs elephant, for the irregularity and correlations).
"""

import spikexla as sx
from spikexla.network.brunel import REGIMES
from spikexla.network.statistics import correlations, cv_isi

sx.environ.set(dt=0.1)  # ms

print("state      g  eta   rate (Hz)  mean field    CV  correlation")
for state, (g, eta) in REGIMES.items():
    net = sx.network.Brunel(order=500, J=0.5, g=g, eta=eta, seed=1)
    sx.simulate(net, 200.0, record=False)  # the start
    run = sx.simulate(net, 1000.0)
    spikes = run.spikes["N"]
    print(
        f"{state:<8} {g:3g} {eta:4g} {run.rates_hz['N']:11.1f} {net.mean_field_hz():11.1f}"
        f" {cv_isi(spikes).mean():5.2f} {correlations(spikes, run.duration_ms).mean():12.3f}"
    )
