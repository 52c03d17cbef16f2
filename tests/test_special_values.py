"""NaN and infinity: kernels give what pure JAX gives, in a step, a scan and a product."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from cases import CASES
from spike_matvec_cases import synapses
from spikexla.connect import CSR
from spikexla.ops import neuron_scan, neuron_step, spike_matvec

SPECIAL = (np.nan, np.inf, -np.inf)
# A kernel compares V with V_th; JAX the sign of (V - V_th) scale, for its derivative. They agree
# where scale = 1 / (V_th - V_reset) is a positive number, as every model makes sure.
POSITIVE = {"scale"}


def with_each(case, steps):
    """The arguments of a case with one special value in each lane: in every field in turn."""
    fields = [
        (k, name)
        for k, of in enumerate((case.kernel.State, case.kernel.Params, case.kernel.Inputs))
        for name in of._fields
        if name not in POSITIVE
    ]
    n = len(fields) * len(SPECIAL)
    parts = [dict(x._asdict()) for x in case.draw(n, steps, dtype=np.float32)]
    for lane, (k, name) in enumerate(fields * len(SPECIAL)):
        shape = (steps, n) if k == 2 else (n,)
        value = np.array(np.broadcast_to(parts[k][name], shape))
        value[..., lane] = SPECIAL[lane // len(fields)]
        parts[k][name] = value
    kinds = (case.kernel.State, case.kernel.Params, case.kernel.Inputs)
    return [
        of(**{k: jnp.asarray(x) for k, x in x.items()}) for of, x in zip(kinds, parts, strict=True)
    ]


def close(found, want, rtol, names):
    for name, a, b in zip(names, jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-3, err_msg=name)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_and_a_scan_with_special_values_are_those_of_jax(case, reset):
    state, params, inputs = with_each(case, 3)
    names = [*case.kernel.State._fields, "spikes"]
    first = jax.tree.map(lambda x: x[0], inputs)
    for op, given in ((neuron_step, first), (neuron_scan, inputs)):
        native, xla = (
            op(case.kernel, state, params, given, reset=reset, backend=b) for b in ("native", "xla")
        )
        close(native, xla, case.rtol, names)


def products(conn, backend, weights, spikes, dy):
    """The product and its gradients in weights and spikes."""

    def total(w, s):
        y = spike_matvec(conn, w, s, backend=backend)
        return (y * dy).sum(), y

    (_, y), grads = jax.value_and_grad(total, (0, 1), has_aux=True)(weights, spikes)
    return y, *grads


@pytest.mark.sampled(1)
@pytest.mark.parametrize("one", [True, False], ids=["one weight", "one a synapse"])
def test_products_with_special_values_are_those_of_jax(one):
    """In weights, spikes and cotangents; rows without synapses and sources without spikes too."""
    conn = CSR(np.array([0, 2, 2, 3, 6, 6]), np.array([0, 3, 1, 0, 1, 2]), 5)
    size = 1 if one else synapses(conn)[0].size
    plain = np.full(size, 0.5), np.array([1.0, 1.0, 0.0, 2.0, 0.0]), np.linspace(1, 2, 5)
    for which in range(3):
        for at in range(plain[which].size):
            for x in SPECIAL:
                given = [np.array(v, np.float32) for v in plain]
                given[which][at] = x
                w, s, dy = map(jnp.asarray, given)
                native, xla = (products(conn, b, w, s, dy) for b in ("native", "xla"))
                for name, a, b in zip(("y", "d_weights", "d_spikes"), native, xla, strict=True):
                    if which == 2 and name == "d_weights":
                        # A kernel leaves silent sources out, where JAX multiplies 0 with dy.
                        if one:
                            continue
                        spoke = plain[1][synapses(conn)[0]] != 0
                        assert (np.asarray(a)[~spoke] == 0).all()
                        a, b = np.asarray(a)[spoke], np.asarray(b)[spoke]
                    np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=f"{name}: {which, at, x}")


def test_a_network_says_where_a_special_value_appears(dt):
    neurons = sx.LIF(3)
    neurons.V.value = jnp.array([0.0, jnp.nan, 0.0])
    with pytest.raises(ValueError, match="NaN"):
        sx.simulate(neurons, 1.0)
