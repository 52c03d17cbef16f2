"""A long recording of 4,000 neurons with currents (Vogels and Abbott, 2005), streamed to a file.

Run: python examples/04_cuba.py (needs h5py). Each chunk that is done is on disk, and none stay in
memory. Also: `spikexla simulate cuba --neurons 4000 --duration 5s --to cuba.h5`.
"""

from pathlib import Path

import numpy as np
import spikexla as sx
from spikexla.network.sonata import read_spikes

sx.environ.set(dt=0.1)  # ms

file = Path("cuba.h5")
file.unlink(missing_ok=True)  # a file that is there is never written over
net = sx.CUBANet(4000, seed=1)
for second in range(5):
    run = sx.simulate(net, 1000.0, to=file, append=True)
    print(f"second {second + 1}: {run.rates_hz['N']:.1f} Hz, {file.stat().st_size / 1e6:.1f} MB")

spikes = read_spikes(file)["N"]
excitatory = spikes.node_ids < 3200
counts, _ = np.histogram(spikes.times_ms[excitatory], np.arange(0, 5001, 1000))
print("excitatory neurons, in Hz:", np.round(counts / 3200, 1))
