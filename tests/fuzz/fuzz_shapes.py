"""Every op is right for every shape, under any nest of `vmap`, forward and backward."""

from __future__ import annotations

import os

os.environ["SPIKEXLA_POISON"] = "1"  # before a handler runs: what it leaves out is NaN

import numpy as np
import shape_cases


def case(rng: np.random.Generator) -> None:
    shape_cases.check(shape_cases.draw(rng), rng)
