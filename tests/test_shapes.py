"""A seeded sample of the shapes that tests/fuzz/fuzz_shapes.py searches."""

import numpy as np
import pytest
import shape_cases

# One of each op; and lanes that are a single neuron, so that time lies inside of the lanes.
CASES = [
    *({"op": op} for op in shape_cases.OPS),
    {"op": "neuron_scan", "depth": 1, "lanes": (), "steps": 33},
    {"op": "neuron_scan", "depth": 2, "lanes": (1, 1), "steps": 33},
    {"op": "neuron_scan", "depth": 3, "lanes": (1,), "steps": 2},
    {"op": "neuron_scan", "depth": 1, "lanes": (17,), "steps": 0},
    {"op": "spike_matvec", "depth": 3, "lanes": ()},
    {"op": "reset", "depth": 1, "lanes": (0,)},
]


@pytest.mark.parametrize("k", range(len(CASES)))
def test_the_kernels_are_right_for_every_shape(k):
    rng = np.random.default_rng([1, k])
    shape_cases.check(shape_cases.draw(rng, **CASES[k]), rng)
