"""The cortical microcircuit of Potjans and Diesmann (2014) at a tenth of its size.

Run: python examples/06_microcircuit.py (needs elephant and matplotlib); scale=1.0 is the whole, and
takes 7 GB. The command line has it as `spikexla simulate microcircuit --scale 0.1 --out circuit`.
"""

import spikexla as sx
from spikexla.network.microcircuit import NAMES, RATES
from spikexla.network.statistics import correlations, cv_isi, firing_rates
from spikexla.viz.distributions import save_distributions
from spikexla.viz.raster import save_raster

sx.environ.set(dt=0.1)  # ms

net = sx.network.Microcircuit(scale=0.1, seed=1)
sx.simulate(net, 500.0, record=False)  # the start
run = sx.simulate(net, 2000.0)
populations = dict(zip(NAMES, run.spikes.values(), strict=True))

print("layer   rate  published (Hz)    CV")
values = {}
for (name, spikes), published in zip(populations.items(), RATES, strict=True):
    values[name] = {
        "rate": firing_rates(spikes, run.duration_ms),
        "cv": cv_isi(spikes),
        "cc": correlations(spikes, run.duration_ms),
    }
    rate, cv, _ = (quantity.mean() for quantity in values[name].values())
    print(f"{name:<5} {rate:6.2f} {published:15.2f} {cv:5.2f}")

dots = {
    name: (spikes.times_ms - run.start_ms, spikes.ids, spikes.n)
    for name, spikes in populations.items()
}
save_raster("raster.png", dots, duration_ms=run.duration_ms, title="cortical microcircuit")
save_distributions("distributions.png", values, title="cortical microcircuit")
