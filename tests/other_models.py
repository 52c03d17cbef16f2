"""Three neurons unlike the package's own: what runs them knows no concrete model.

The adaptive one is the text of docs/how-to/add-a-neuron-model.md; `izhikevich` takes its inputs in
another order, `mihalas_niebur` has four states and thirteen parameters. Their C++ is in models/;
compiled_models.py compiles it.
"""

from __future__ import annotations

import types
from typing import Any, NamedTuple

import pytest
from cases import Case, between
from compiled_models import ROOT, blocks_of_the_how_to
from spikexla.ops.neuron_kernel import NeuronKernel

if not (ROOT / "docs").exists():
    pytest.skip("no docs/ beside the tests: this is not a checkout", allow_module_level=True)

adaptive = types.ModuleType("adaptive")
exec(compile(blocks_of_the_how_to("python")[0], "add-a-neuron-model.md", "exec"), vars(adaptive))


class IzhikevichState(NamedTuple):
    V: Any
    u: Any


class IzhikevichParams(NamedTuple):
    dt: Any
    a: Any
    b: Any
    c: Any
    d: Any
    V_th: Any


class JumpFirst(NamedTuple):
    jump: Any
    I: Any


def _izhikevich(state, params, inputs, *, hard, spike):
    p, s = params, spike(state.V - params.V_th)
    V, u = state.V + (p.c - state.V) * s, state.u + p.d * s
    V1 = V + p.dt * (0.04 * V * V + 5 * V + 140 - u + inputs.I) + inputs.jump
    return IzhikevichState(V1, u + p.dt * p.a * (p.b * V - u)), spike(V1 - p.V_th)


class NiebursState(NamedTuple):
    V: Any
    V_th: Any
    A: Any
    B: Any


class NiebursParams(NamedTuple):
    gain: Any
    g: Any
    E: Any
    V_r: Any
    T_j: Any
    A_j: Any
    B_j: Any
    dt: Any
    a: Any
    b: Any
    T_inf: Any
    f: Any
    h: Any


class ConductanceFirst(NamedTuple):
    G: Any
    I: Any


def _mihalas_niebur(state, params, inputs, *, hard, spike):
    p, s = params, spike(state.V - state.V_th)
    V, T = state.V + (p.V_r - state.V) * s, state.V_th + p.T_j * s
    A, B = state.A + p.A_j * s, state.B + p.B_j * s
    V1 = V + p.gain * (inputs.I + A + B - inputs.G * V - p.g * (V - p.E))
    T1 = T + p.dt * (p.a * (V - p.E) - p.b * (T - p.T_inf))
    return NiebursState(V1, T1, p.f * A, p.h * B), spike(V1 - T1)


IZHIKEVICH = NeuronKernel(
    "izhikevich",
    _izhikevich,
    lambda state, params: state.V - params.V_th,
    IzhikevichState,
    IzhikevichParams,
    JumpFirst,
)
MIHALAS_NIEBUR = NeuronKernel(
    "mihalas_niebur",
    _mihalas_niebur,
    lambda state, params: state.V - state.V_th,
    NiebursState,
    NiebursParams,
    ConductanceFirst,
)

CASE = Case(
    adaptive.ADAPTIVE,
    state={"V": between(0, 1.2), "a": between(0, 0.4)},
    params={"gain": 0.1, "decay": 0.95, "beta": 0.2, "V_th": 1.0},
    inputs={"I": between(-1, 6)},
    reason="of order one; gradients multiply on a path",
)
OTHERS = {
    adaptive.ADAPTIVE: (
        {"V": 0.0, "a": 0.0},
        {"gain": 0.1, "decay": 0.95, "beta": 0.2, "V_th": 1.0},
        2.0,
    ),
    IZHIKEVICH: (
        {"V": -65.0, "u": -13.0},
        {"dt": 0.5, "a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0, "V_th": 30.0},
        20.0,
    ),
    MIHALAS_NIEBUR: (
        {"V": -70.0, "V_th": -50.0, "A": 0.0, "B": 0.0},
        dict(
            zip(
                NiebursParams._fields,
                (0.5, 0.05, -70.0, -70.0, 3.0, 1.0, -0.6, 0.5, 0.005, 0.01, -50.0, 0.9, 0.98),
                strict=True,
            )
        ),
        3.0,
    ),
}
