"""Times to steps: the same number whatever the unit, the type and the place that asks."""

from __future__ import annotations

import re
from pathlib import Path

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from spikexla.cli.options import UserError, check_time
from spikexla.network.simulate import _count_steps
from spikexla.ops.wiring import MOST_DELAY
from spikexla.projection.delay import Delay
from spikexla.steps import steps_up

DTS = (0.01, 0.05, 0.1, 1.0)
LENGTHS = np.unique(np.concatenate([np.arange(1, 301), np.geomspace(300, 20_000, 40).astype(int)]))
UNITS = {"us": (1e3, u.us), "ms": (1.0, u.ms), "s": (1e-3, u.second), "number": (1.0, None)}
SCALARS = {
    "float": float,
    "np.float64": np.float64,
    "np.float32": np.float32,
    "jax": lambda x: jnp.asarray(x, jnp.float32),
}
ARRAYS = {
    "float64": lambda x: x,
    "float32": lambda x: x.astype(np.float32),
    "jax": lambda x: jnp.asarray(x, jnp.float32),
}
PLACES = {
    "given": lambda x: x,
    "ParamState": sx.ParamState,
    "initialiser": lambda x: lambda shape: x,
}


def spelled(ms, unit, make):
    factor, of = UNITS[unit]
    number = make(ms * factor)
    return number if of is None else number * of


@pytest.mark.parametrize("dt", DTS)
def test_refractory_periods_have_their_steps_in_every_spelling(dt):
    """LIFRef holds V for n - 1 steps, IafPscExp for n: whole numbers, and those rounded up."""
    lengths = np.concatenate([LENGTHS, LENGTHS - 0.4])
    found = {}
    for unit in UNITS:
        for kind, make in ARRAYS.items():
            for place, put in PLACES.items():
                value = put(spelled(lengths * dt, unit, make))
                ref, nest = (
                    sx.LIFRef(lengths.size, tau_ref=value),
                    sx.IafPscExp(lengths.size, t_ref=value),
                )
                found[unit, kind, place] = ref.derived(dt, False).hold + 1
                found[unit, kind, place, "NEST"] = nest.derived(dt, False).hold
        constant = sx.init.Constant(spelled(43 * dt, unit, float))
        hold = sx.IafPscExp(1, t_ref=constant).derived(dt, False).hold
        found[unit, "Constant"] = hold - 43 + np.ceil(lengths)

    def traced(tau):
        return sx.LIFRef(lengths.size, tau_ref=tau * u.us).derived(dt, False).hold + 1

    found["traced"] = jax.jit(traced)(jnp.asarray(lengths * dt * 1e3, jnp.float32))
    wrong = {name: lengths[steps != np.ceil(lengths)] for name, steps in found.items()}
    assert not {name: n for name, n in wrong.items() if n.size}


def delay_steps(value, dt):
    comm = sx.EventFixedProb(1, 1, 1.0, 1.0, seed=1)
    return int(Delay("it", comm, value, False).steps(dt))


ASKED = {
    "duration": lambda value, dt: _count_steps(value, dt, "duration"),
    "bin": lambda value, dt: sx.record.Rates(bin=value).steps(dt),
    "delay": delay_steps,
}


@pytest.mark.parametrize("asked", ASKED)
def test_durations_bins_and_delays_have_their_steps_in_every_spelling(asked):
    wrong = []
    lengths = LENGTHS[LENGTHS <= MOST_DELAY] if asked == "delay" else LENGTHS
    for dt in DTS:
        for unit in UNITS:
            for kind, make in SCALARS.items():
                for n in lengths[:: 1 if kind == "np.float32" else 9]:
                    if (steps := ASKED[asked](spelled(n * dt, unit, make), dt)) != n:
                        wrong.append((dt, unit, kind, n, steps))
    assert not wrong


def test_no_length_between_two_steps_is_taken_for_a_whole_one():
    """From 0.002 of a step on, in float64 and, for short times, in float32."""
    rng = np.random.default_rng(3)
    for dt in DTS:
        for make in (float, np.float32):
            for n in rng.integers(1, 100, 50):
                ms = make((n + rng.uniform(0.002, 0.998)) * dt)
                assert float(steps_up(ms, dt)) == n + 1
                for asked in ("duration", "bin"):
                    with pytest.raises(ValueError, match="must be a multiple of dt"):
                        ASKED[asked](ms, dt)
                with pytest.raises(UserError, match=r"no whole number of steps|shorter than one"):
                    check_time("--duration", float(ms), dt)


@pytest.mark.parametrize("kind", ARRAYS)
def test_half_a_step_of_delay_goes_up_in_every_spelling(kind):
    halves = np.arange(300) + 0.5
    comm = sx.EventFixedProb(halves.size, 1, 1.0, 1.0, seed=1)
    for dt in DTS:
        for unit in UNITS:
            delay = Delay("it", comm, spelled(halves * dt, unit, ARRAYS[kind]), False)
            np.testing.assert_array_equal(delay.steps(dt), np.arange(1, 301))


@pytest.mark.parametrize("dt", DTS)
def test_the_time_step_is_the_number_that_was_written(dt):
    for unit in UNITS:
        for kind, make in SCALARS.items():
            with sx.environ.context(dt=spelled(dt, unit, make)):
                assert sx.environ.get_dt_ms() == pytest.approx(dt, rel=1e-15), (unit, kind)
                assert _count_steps(1e5 * dt, sx.environ.get_dt_ms(), "duration") == 100_000
    third = np.float32(1 / 3)
    with sx.environ.context(dt=third):
        assert sx.environ.get_dt_ms() == third


def test_infinite_refractory_periods_and_gradients_in_lengths():
    sx.environ.set(dt=0.1)
    assert np.isinf(sx.LIFRef(1, tau_ref=np.inf).derived(0.1, False).hold)
    slope = jax.grad(lambda ms: steps_up(ms, 0.1))(jnp.float32(0.3))
    assert float(slope) == 0


def test_no_other_file_rounds_a_quotient_by_dt():
    package = Path(sx.__file__).parent
    rounds = re.compile(r"(ceil|floor|rint|round|isclose|int)\([^#\n]*/ ?\(?(\w+\.)*_?dt\b")
    told = {"network/record.py", "network/simulate.py", "projection/delay.py"}  # messages; draws
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "bench" not in path.parts and rounds.search(path.read_text())
    }
    assert found == told
