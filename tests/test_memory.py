"""keep_memory: the memory of a freed array is there for the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import spikexla as sx
from spikexla.ops.library import native

COUNT = """
import resource, sys
import numpy as np
if sys.argv[1] == "kept":
    import spikexla as sx
    sx.keep_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    before = faults()
    x = np.empty(2**26, np.uint8)
    x.fill(1)
    del x
print(faults() - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults as Linux counts them")
def test_a_freed_array_leaves_its_pages_to_the_next():
    """Its 64 MiB have 32 huge pages at the least, if the system deals in such, else 16,384."""
    assert faults("kept") < 16 < 32 <= faults("given back")


def test_a_malloc_without_the_switch_is_an_error(monkeypatch):
    class Other:
        keep_memory = staticmethod(lambda: False)

    monkeypatch.setattr("spikexla.memory.library.native", lambda: Other)
    assert hasattr(native(), "keep_memory")
    with pytest.raises(OSError, match="glibc"):
        sx.keep_memory()
