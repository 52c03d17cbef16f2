"""Units: quantities at the surface, numbers of one coherent system inside."""

from __future__ import annotations

import subprocess
import sys
import warnings
from contextlib import nullcontext

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla import units
from spikexla.config import forget_warnings
from spikexla.units import UnitlessInputWarning


def test_importing_the_package_is_light():
    heavy = ["brainunit", "saiunit", "optax", "h5py", "matplotlib", "rich", "sklearn", "scipy"]
    code = (
        "import sys, jax\nbefore = set(sys.modules)\nimport spikexla\n"
        f"found = {heavy} and [m for m in {heavy} if m in sys.modules and m not in before]\n"
        "from jax._src import xla_bridge\n"
        "assert not found, found\nassert not xla_bridge.backends_are_initialized()\n"
        "from spikexla import units\nassert units.mantissa(1.0, 'mV', what='x') == 1.0\n"
        "assert 'brainunit' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_pass_through():
    x = jnp.ones(3)
    assert units.mantissa(x, "mV", what="V") is x
    assert not units.is_quantity(x)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ms", 0.02),
        ("mV", 0.02),
        ("mA", 0.02),
        ("ohm", 20.0),
        ("S", 20.0),
        ("kHz", 0.02),
        ("mF", 0.02),
    ],
)
def test_quantities_become_coherent_numbers(name, value):
    import brainunit as u

    base = {
        "ms": u.second,
        "mV": u.volt,
        "mA": u.amp,
        "ohm": u.ohm,
        "S": u.siemens,
        "kHz": u.hertz,
        "mF": u.farad,
    }[name]
    assert np.isclose(units.mantissa(value * base, name, what="x"), 20.0 if name != "kHz" else 2e-5)
    back = units.attach(jnp.ones(2), name)
    assert units.is_quantity(back)
    np.testing.assert_allclose(units.mantissa(back, name, what="x"), np.ones(2))


def test_the_system_is_coherent():
    import brainunit as u

    ohm_law = units.attach(2.0, "mA") * units.attach(3.0, "ohm")
    assert np.isclose(units.mantissa(ohm_law, "mV", what="RI"), 6.0)
    assert np.isclose(
        units.mantissa(units.attach(2.0, "S") * units.attach(3.0, "mV"), "mA", what="gV"), 6.0
    )
    assert np.isclose(units.mantissa(1.0 / (2.0 * u.ms), "kHz", what="rate"), 0.5)
    charge = units.attach(2.0, "mF") * units.attach(3.0, "mV") / units.attach(1.0, "ms")
    assert np.isclose(units.mantissa(charge, "mA", what="C dV/dt"), 6e-3 * 1e3)


def test_traced_quantities():
    import brainunit as u

    f = jax.jit(lambda x: units.mantissa(x, "mV", what="V"))
    assert float(f(0.5 * u.volt)) == 500.0


def test_a_wrong_dimension_names_argument_found_and_wanted():
    import brainunit as u

    with pytest.raises(TypeError, match=r"tau must be given in ms.*got mV.*brainunit\.ms"):
        units.mantissa(3.0 * u.mV, "ms", what="tau")
    with pytest.raises(ValueError, match="no unit 'parsnip'"):
        units.unit("parsnip")


def test_unitless_input_warns_once_or_raises():
    with pytest.warns(UnitlessInputWarning, match=r"LIF input has no unit.*brainunit\.mA"):
        assert units.expect(3.0, "mA", what="LIF input") == 3.0
    assert units.expect(3.0, "mA", what="LIF input") == 3.0
    with sx.config.context(strict_units=True), pytest.raises(TypeError, match="strict_units"):
        units.expect(3.0, "mA", what="LIF input")
    import brainunit as u

    assert np.isclose(units.expect(3.0 * u.amp, "mA", what="x"), 3000.0)


@pytest.mark.parametrize(
    ("first", "then", "warns"),
    [
        (1.0 * u.mV, 2.0, True),
        (1.0 * u.mV, jnp.ones(3), True),
        ({"a": 1.0 * u.ms, "b": 1.0}, {"a": 2.0, "b": 1.0}, True),
        (1.0 * u.mV, 2.0 * u.volt, False),
        (1.0, 2.0 * u.mV, False),
        ({"a": 1.0 * u.ms}, {"b": 1.0}, False),
        ({"a": 1.0 * u.ms, "b": 1.0}, {"a": 2.0 * u.ms, "b": 1.0 * u.mV}, False),
    ],
)
def test_a_state_that_loses_its_unit_says_so(first, then, warns):
    for write in (lambda s: setattr(s, "value", then), sx.transform.jit(lambda s: _put(s, then))):
        state = sx.State(first)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            write(state)
        assert [w.category for w in said] == [UnitlessInputWarning] * warns
        forget_warnings()
        strict = pytest.raises(TypeError, match="strict_units") if warns else nullcontext()
        state = sx.State(first)
        with sx.config.context(strict_units=True), strict:
            write(state)


def _put(state, value):
    state.value = value


def test_a_new_start_may_do_without_the_unit():
    class Holder(sx.nn.Module):
        def __init__(self, start):
            self.V = sx.ShortTermState(start)

    holder = Holder(jnp.zeros(3))
    holder.V.value = jnp.ones(3) * u.mV
    holder.V.reset()
    assert (holder.V.value == 0).all()
    holder.V = sx.ShortTermState(jnp.ones(3) * u.mV)
    holder.V = sx.ShortTermState(jnp.ones(3))
    assert (holder.V.value == 1).all()
