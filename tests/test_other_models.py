"""What steps neurons knows none of them: three unlike models give the same on every path."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled_models import ROOT, compiled, make_models
from other_models import CASE, IZHIKEVICH, MIHALAS_NIEBUR, OTHERS, adaptive
from spikexla.connect import fixed_prob
from spikexla.ops import library, neuron_scan
from spikexla.ops.network_probe import Probe
from spikexla.ops.network_run import Population, Port, network_run
from spikexla.ops.raster import unpack_bits
from spikexla.ops.wiring import Projection

every_model = pytest.mark.parametrize("kernel", OTHERS, ids=lambda kernel: kernel.name)


def population(kernel, n=3, ports=(), params=None):
    state, constants, drive = OTHERS[kernel]
    own = {name: jnp.full(n, jnp.float32(x)) for name, x in state.items()}
    drives = jnp.float32(drive) * jnp.linspace(1, 1.3, n, dtype=jnp.float32)
    given = kernel.Params(**{name: jnp.float32(x) for name, x in constants.items()})
    return Population(kernel, n, kernel.State(**own), params or given, drives, False, ports)


def by_hand(kernel, steps):
    """Spikes (time, id) and the last state by the model's own step."""
    p = population(kernel)
    given = {"I": p.drive, "G": jnp.zeros(()), "jump": jnp.zeros(())}
    inputs = kernel.Inputs(*(jnp.broadcast_to(given[f], (steps, 3)) for f in kernel.Inputs._fields))
    last, spikes = neuron_scan(kernel, p.state, p.params, inputs, backend="xla")
    return np.argwhere(np.asarray(spikes)), last


@every_model
def test_a_population_fires_alike_by_hand_in_jax_on_the_cpu_and_on_cuda(
    kernel, other_models, instead
):
    want, last = by_hand(kernel, 100)
    assert len(want) > 10

    def run(backend):
        return network_run([population(kernel)], [], 100, backend=backend)

    outs = [run("xla"), run("native")]
    with instead() as calls:
        outs.append(run("native"))
        assert calls
    for out in outs:
        np.testing.assert_array_equal(np.stack(unpack_bits(np.asarray(out.rasters[0])), 1), want)
        for got, expected in zip(out.states[0], last, strict=True):
            np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-4)
    for cpu, cuda in zip(outs[1].states[0], outs[2].states[0], strict=True):
        np.testing.assert_array_equal(cpu, cuda)


def test_the_how_tos_neuron_fires_thirty_spikes(other_models, instead):
    own = population(adaptive.ADAPTIVE)._replace(drive=jnp.float32(2.0))
    counts = []
    for backend in ("xla", "native"):
        raster = network_run([own], [], 100, backend=backend).rasters[0]
        counts.append(len(unpack_bits(np.asarray(raster))[0]))
    with instead():
        raster = network_run([own], [], 100).rasters[0]
    assert [*counts, len(unpack_bits(np.asarray(raster))[0])] == [30, 30, 30]


def mixed():
    """A network of all three, with a conductance where a model takes one, that is wired."""
    g, decay = jnp.zeros(40, jnp.float32), jnp.float32(0.9)
    current = Port(g, decay, jnp.float32(0.5), False)
    conductance = Port(g, decay, jnp.float32(-60.0), True)
    pops = [
        population(adaptive.ADAPTIVE, 40, (current,)),
        population(IZHIKEVICH, 40, (current,)),
        population(MIHALAS_NIEBUR, 40, (current, conductance)),
    ]
    projections = [
        Projection(pre, 0, 40, post, port, fixed_prob(40, 40, 0.2, seed=pre + 3 * post), w)
        for pre in range(3)
        for post, port, w in ((0, 0, 0.2), (1, 0, 1.5), (2, 0, 0.3), (2, 1, 0.002))
    ]
    probes = [Probe(0, "a", [0, 7]), Probe(1, "u", [3]), Probe(2, "B", [39])]
    return pops, projections, probes


def test_a_wired_network_of_all_three_has_the_bits_of_cuda_and_of_two_calls(other_models, instead):
    pops, projections, probes = mixed()
    whole = network_run(pops, projections, 60)
    assert all(len(unpack_bits(np.asarray(r))[0]) > 20 for r in whole.rasters)
    first = network_run(pops, projections, 25)
    again = [
        p._replace(
            state=state,
            history=history,
            ports=tuple(q._replace(g=g) for q, g in zip(p.ports, gs, strict=True)),
        )
        for p, state, gs, history in zip(pops, first.states, first.gs, first.histories, strict=True)
    ]
    rest = network_run(again, projections, 35)
    with instead():
        cuda = network_run(pops, projections, 60)
    jax.tree.map(np.testing.assert_array_equal, cuda, whole)
    rasters = [np.concatenate(two) for two in zip(first.rasters, rest.rasters, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, rasters, whole.rasters)
    jax.tree.map(np.testing.assert_array_equal, rest[:2], whole[:2])
    traces = [
        network_run(pops, projections, 8, probes=probes, backend=backend).traces
        for backend in ("native", "xla")
    ]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), *traces)


@every_model
def test_the_spike_of_a_step_is_where_its_state_is_above_the_threshold(kernel):
    want, _ = by_hand(kernel, 100)
    p = population(kernel)
    state, fired = p.state, []
    given = {"I": p.drive, "G": jnp.zeros(()), "jump": jnp.zeros(())}
    inputs = kernel.Inputs(*(given[f] for f in kernel.Inputs._fields))
    step = jax.jit(lambda s: kernel.step(s, p.params, inputs, hard=False, spike=lambda x: x >= 0))
    for _ in range(100):
        state, _ = step(state)
        fired.append(kernel.spiked(state, p.params))
    np.testing.assert_array_equal(np.argwhere(np.stack(fired)), want)


def test_step_vjp_of_each_is_the_transpose_of_its_step(tmp_path_factory):
    command = ["-O0", "-Icsrc", "csrc/tests/models_test.cc"]
    done = subprocess.run(
        [compiled("models_test", command, tmp_path_factory)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.search(r"[1-9]\d* passed, 0 failed", done.stdout)


# -- what is refused ------------------------------------------------------------------------------


class Strange(NamedTuple):
    I: float
    drive: float


class NoCurrent(NamedTuple):
    jump: float


class Swapped(NamedTuple):
    decay: float
    gain: float
    beta: float
    V_th: float


def wrong(**changes):
    return population(adaptive.ADAPTIVE)._replace(**changes)


REFUSED = {
    "an input of another name": (
        wrong(kernel=replace(adaptive.ADAPTIVE, Inputs=Strange)),
        ValueError,
        r"population 0 \(adaptive\) takes the inputs \('I', 'drive'\), but .*neuron_scan",
    ),
    "no current": (
        wrong(kernel=replace(adaptive.ADAPTIVE, Inputs=NoCurrent)),
        ValueError,
        r"takes the inputs \('jump',\)",
    ),
    "a conductance that it does not take": (
        wrong(ports=(Port(jnp.zeros(3), 0.9, -60.0, True),)),
        ValueError,
        r"takes no conductance G",
    ),
    "a parameter too few": (
        wrong(params=(0.1, 0.95, 0.2)),
        ValueError,
        r"given 3 arrays for the fields \('gain', 'decay', 'beta', 'V_th'\)",
    ),
    "fields in another order than they were compiled": (
        wrong(kernel=replace(adaptive.ADAPTIVE, Params=Swapped)),
        library.LibraryError,
        r"the compiled kernel of that name has .*'gain', 'decay'",
    ),
    "a model that was never compiled": (
        wrong(kernel=replace(adaptive.ADAPTIVE, name="nowhere")),
        library.LibraryError,
        r"nowhere.*backend",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_does_not_fit_is_refused(what, other_models):
    given, error, message = REFUSED[what]
    with pytest.raises(error, match=message):
        network_run([given], [], 5, backend="native")


def test_other_fields_than_compiled_are_refused_by_a_scan_too(other_models):
    state, params, inputs = CASE.draw(3, 4, dtype=np.float32)
    swapped = replace(adaptive.ADAPTIVE, Params=Swapped)
    with pytest.raises(library.LibraryError, match="Give both the same"):
        neuron_scan(swapped, state, Swapped(*params), inputs, backend="native")


def test_a_model_that_was_never_compiled_runs_its_definition():
    own = wrong(kernel=replace(adaptive.ADAPTIVE, name="nowhere"), drive=jnp.float32(2.0))
    assert len(unpack_bits(np.asarray(network_run([own], [], 100).rasters[0]))[0]) == 30


@pytest.mark.parametrize(
    ("header", "change", "why"),
    [
        ("mihalas_niebur.h", ("T gain, g", "T gain, q[4], g"), "raise kMaxFields"),
        ("izhikevich.h", ('"dt a b c d V_th"', '"dt a b c d"'), "name the fields"),
    ],
    ids=["too many fields", "a field without a name"],
)
def test_what_a_model_cannot_be_does_not_compile(header, change, why, tmp_path):
    text = (ROOT / "tests/models" / header).read_text()
    assert text.count(change[0]) == 1
    (make_models(tmp_path) / header).write_text(text.replace(*change))
    (tmp_path / "row.cc").write_text(
        '#include "model_row.h"\n#include "models.h"\nusing namespace spikexla;\n'
        "template <class... M> void rows(TypeList<M...>) { (neuron_row<M>({}, {}), ...); }\n"
        "int main() { rows(Models{}); }\n"
    )
    command = ["g++", "-std=c++17", "-fsyntax-only", f"-I{tmp_path}", "-Itests/models", "-Icsrc"]
    done = subprocess.run([*command, tmp_path / "row.cc"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert why in done.stderr
