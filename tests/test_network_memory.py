"""A network that runs out of memory under way: an error, and the process lives on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import resource
import sys
import jax, jax.numpy as jnp
from spikexla.connect import AllToAll
from spikexla.connect.drawn import describe
from spikexla.ops import library, wiring
from spikexla.ops.network_run import network_run
from test_network_drawn import lif, not_stored

first, threads = float(sys.argv[1]), int(sys.argv[2])
N = 6000  # whose rows take 288 MB together; all spike in the same step
library.native().set_thread_limit(threads)
wiring.WORTH = N // threads
held = not_stored(describe(AllToAll(), N, N, 1, True, True, None, None).native(), N)
cells = lif(N)

@jax.jit
def run(V, held):
    state = cells.state._replace(V=V)
    return network_run([cells._replace(state=state)], held, 20, record=False).gs

jax.block_until_ready(run(jnp.full(N, -99.0), held))  # silent
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 100_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
try:
    jax.block_until_ready(run(jnp.full(N, first), held))
except Exception as error:
    print("said", error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print("then", float(run(jnp.full(N, first), held)[0][0].min()))
"""


@pytest.mark.sampled(2)
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("first", [2.0, 0.0], ids=["before the first step", "in a later step"])
def test_there_is_an_error_where_memory_ends(first, threads):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(first), str(threads)],
        capture_output=True, text=True, cwd=Path(__file__).parent, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said, then = done.stdout.rsplit("then", 1)
    assert "there is no memory for the spikes under way" in said
    assert float(then) > 0
