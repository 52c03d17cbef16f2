"""Direct calls of the XLA handlers: what is wrong is an error that says what is right."""

import functools

import numpy as np
import pytest
from handler_cases import right_calls, right_too, wrong_calls
from spikexla.neuron import lif_step
from spikexla.ops import library

SAMPLE = 5  # wrong calls of each right one; tests/sanitize runs them all


@functools.cache
def calls():
    return right_calls([lif_step.LIF, lif_step.LIF_REF_COBA])


def refused_or_run(call, what, prefix=""):
    """Checks the error, ours or XLA's for an attribute's type, or that the call is right too."""
    try:
        call.run(prefix)
    except Exception as error:
        message = str(error)
        ours = "spikexla: " in message and "must" in message
        known = "Failed to decode" in message or "is not sorted" in message
        assert ours or known, f"{call.name}, {what}: {message}"
    else:
        structural = what.startswith(("args", "results"))
        assert right_too(call, what) or not structural, f"{call.name}: {what} was accepted"


def test_every_handler_is_called():
    """Those of two models stand for all: a model is a row of the same handlers."""
    models = {"", "lif", "lif_ref_coba"}
    names = {k.name for k in library.kernels().values() if k.model in models}
    assert {call.name for call in calls()} == names


@pytest.mark.parametrize("platform", ["cpu", "cuda on host"])
def test_wrong_calls_are_refused(platform, request):
    prefix = ""
    if platform != "cpu":
        request.getfixturevalue("host_kernels")
        prefix = "host."
    rng = np.random.default_rng(0)
    for call in calls():
        if prefix and call.name.startswith("spikexla.network_run") and len(call.results) % 2:
            continue  # a GPU takes no probes
        want, got = call.run(), call.run(prefix)
        for w, g in zip(want, got, strict=True):
            np.testing.assert_array_equal(w, g)
        wrong = wrong_calls(call)
        for k in rng.choice(len(wrong), min(SAMPLE, len(wrong)), replace=False):
            what, bad = wrong[k]
            refused_or_run(bad, what, prefix)
