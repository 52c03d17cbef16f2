"""Schedules: pinned values, as functions, as counters, under jit, driving an optimiser."""

from __future__ import annotations

import inspect
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from spikexla import ParamState, optim
from spikexla.transform import jit

# Ten epochs, as braintools 0.4 computes them in double precision.
CASES = {
    "StepLR": (
        lambda: optim.StepLR(0.1, 3, 0.5),
        (0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125),
    ),
    "MultiStepLR": (
        lambda: optim.MultiStepLR(0.1, [5, 2, 5], 0.5),
        (0.1, 0.1, 0.05, 0.05, 0.05, 0.0125, 0.0125, 0.0125, 0.0125, 0.0125),
    ),
    "ExponentialLR": (lambda: optim.ExponentialLR(0.1, 0.9), [0.1 * 0.9**k for k in range(10)]),
    "ExponentialDecayLR": (
        lambda: optim.ExponentialDecayLR(0.1, 4, 0.5, 2, True, 0.04),
        (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05),
    ),
    "CosineAnnealingLR": (
        lambda: optim.CosineAnnealingLR(0.1, 6, 0.01),
        (0.1, 0.0939711432, 0.0775, 0.055, 0.0325, 0.0160288568, 0.01, 0.01, 0.01, 0.01),
    ),
    "PolynomialLR": (
        lambda: optim.PolynomialLR(0.1, 6, 2.0),
        (0.1, 0.0694444444, 0.0444444444, 0.025, 0.0111111111, 0.00277777778, 0, 0, 0, 0),
    ),
    "WarmupScheduler": (
        lambda: optim.WarmupScheduler(0.1, 4, 0.02),
        (0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1),
    ),
    "CyclicLR": (
        lambda: optim.CyclicLR(0.1, 0.5, 2, 3, "triangular2"),
        (0.1, 0.3, 0.5, 0.366666667, 0.233333333, 0.1, 0.2, 0.3, 0.233333333, 0.166666667),
    ),
    "OneCycleLR": (
        lambda: optim.OneCycleLR(0.1, 10),
        (0.004, 0.036, 0.068, 0.1, 0.0950489386, 0.0811763726, 0.0611299341, 0.0388800659,
         0.0188336274, 0.00496106145),
    ),
    "LinearLR": (
        lambda: optim.LinearLR(0.1, 0.5, 1.0, 4),
        (0.05, 0.0625, 0.075, 0.0875, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1),
    ),
    "ConstantLR": (lambda: optim.ConstantLR(0.1, 0.5, 3), (0.05,) * 3 + (0.1,) * 7),
    "CosineAnnealingWarmRestarts": (
        lambda: optim.CosineAnnealingWarmRestarts(0.1, 3, 2, 0.01),
        (0.1, 0.0775, 0.0325, 0.1, 0.0939711432, 0.0775, 0.055, 0.0325, 0.0160288568, 0.1),
    ),
    "WarmupCosineSchedule": (
        lambda: optim.WarmupCosineSchedule(0.1, 3, 9, 0.01, 0.02),
        (0.01, 0.04, 0.07, 0.1, 0.0946410162, 0.08, 0.06, 0.04, 0.0253589838, 0.02),
    ),
    "PiecewiseConstantSchedule": (
        lambda: optim.PiecewiseConstantSchedule(0.1, [2, 5], [1.0, 0.1, 0.01]),
        (1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01),
    ),
    "SequentialLR": (
        lambda: optim.SequentialLR(
            [optim.WarmupScheduler(0.1, 3), optim.ExponentialLR(0.1, 0.5)], [3]
        ),
        (0, 0.0333333333, 0.0666666667, *(0.1 * 0.5**k for k in range(7))),
    ),
    "ChainedScheduler": (
        lambda: optim.ChainedScheduler([optim.ExponentialLR(0.1, 0.9), optim.StepLR(0.1, 4, 0.5)]),
        (0.1, 0.09, 0.081, 0.0729, 0.032805, 0.0295245, 0.02657205, 0.023914845, 0.0107616803,
         0.00968551223),
    ),
}  # fmt: skip
UNPINNED = {"LRScheduler", "ReduceLROnPlateau"}


@pytest.mark.parametrize("name", CASES)
def test_the_rate_of_each_epoch(name):
    make, expected = CASES[name]
    s = make()
    np.testing.assert_allclose([float(s(k)) for k in range(10)], expected, rtol=2e-5, atol=1e-8)
    np.testing.assert_allclose(
        [float(s.schedule(jnp.asarray(k))) for k in range(10)], expected, rtol=2e-5, atol=1e-8
    )
    walked = []
    advance = jit(s.step)
    for k in range(10):
        walked.append(float(s.get_lr()[0]))
        advance() if k % 2 else s.step()
    np.testing.assert_allclose(walked, expected, rtol=2e-5, atol=1e-8)
    s.step(4)
    assert float(s()) == pytest.approx(expected[4], rel=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_scheduler_can_be_saved(name):
    s = CASES[name][0]()
    for _ in range(3):
        s.step()
    twin, fresh = pickle.loads(pickle.dumps(s)), CASES[name][0]()
    fresh.load_state_dict(s.state_dict())
    assert float(s()) == float(twin()) == float(fresh())
    with pytest.raises(ValueError, match=f"a {name} remembers"):
        fresh.load_state_dict({"epoch": 3})


def test_the_list_here_is_complete():
    kinds = {
        n for n, c in vars(optim).items() if inspect.isclass(c) and issubclass(c, optim.LRScheduler)
    }
    assert kinds == set(CASES) | UNPINNED


def test_the_other_modes():
    triangle = optim.CyclicLR(0.1, 0.5, 2)
    assert [round(float(triangle(k)), 3) for k in range(6)] == [0.1, 0.3, 0.5, 0.3, 0.1, 0.3]
    decaying = optim.CyclicLR(0.0, 1.0, 1, mode="exp_range", gamma=0.5)
    assert [float(decaying(k)) for k in range(4)] == [0.0, 0.5, 0.0, 0.125]
    scaled = optim.CyclicLR(0.0, 1.0, 1, scale_fn=lambda k: 1 / k, scale_mode="iterations")
    assert float(scaled(3)) == pytest.approx(1 / 3)
    linear = optim.OneCycleLR(1.0, epochs=2, steps_per_epoch=5, anneal_strategy="linear")
    assert float(linear(10)) == pytest.approx(1e-4, rel=1e-3)
    assert float(linear(6.5)) == pytest.approx((1 + 1e-4) / 2)
    restarts = optim.CosineAnnealingWarmRestarts(0.1, 4)
    assert float(restarts(8)) == pytest.approx(0.1)
    assert float(optim.WarmupScheduler(0.1, 0)(0)) == pytest.approx(0.1)


def test_far_restarts_are_exact():
    s = optim.CosineAnnealingWarmRestarts(1.0, 1, 2)
    for k in range(1, 24):
        assert float(s(2**k - 1)) == 1.0, k  # where a logarithm rounds down


METRICS = (1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5)
REDUCED = (1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125)  # as PyTorch does


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateaus(mode, compiled):
    s = optim.ReduceLROnPlateau(0.1, mode=mode, factor=0.5, patience=1, cooldown=1)
    step = jit(s.step) if compiled else s.step
    seen = []
    for k, metric in enumerate(METRICS):
        step(metric if mode == "min" else -metric)
        seen.append(float(s()))
        if k == 5:
            saved = s.state_dict()
            s = optim.ReduceLROnPlateau(0.1, mode=mode, factor=0.5, patience=1, cooldown=1)
            s.load_state_dict(saved)
            step = jit(s.step) if compiled else s.step
    np.testing.assert_allclose(seen, 0.1 * np.array(REDUCED), rtol=1e-6)


def test_plateaus_stop_at_the_least_rate():
    s = optim.ReduceLROnPlateau([0.1, 0.01], factor=0.1, patience=0, min_lr=[0.05, 0.002])
    for _ in range(9):
        s.step(1.0)
    np.testing.assert_allclose(s.get_lr(), [0.05, 0.002], rtol=1e-6)
    with pytest.raises(ValueError, match=r"takes one number, got shape \(2,\)"):
        s.step(jnp.ones(2))


def one_parameter(lr, **more):
    w = ParamState(jnp.zeros(()))
    return w, optim.SGD(lr=lr, **more).register_trainable_weights({"w": w})


def test_an_optimiser_follows_the_epochs():
    s = optim.StepLR(0.5, 1, 0.5)
    w, optimizer = one_parameter(s)
    assert optimizer.lr_scheduler is s
    for epoch in range(3):
        assert float(optimizer.lr) == 0.5**epoch * 0.5
        for _ in range(2):
            optimizer.update({"w": jnp.ones(())})
        s.step()
    assert float(w.value) == -(1.0 + 0.5 + 0.25)
    assert len(optimizer.__dict__["_compiled"]._programs) == 1
    with pytest.raises(ValueError, match="follows StepLR"):
        optimizer.lr = 0.1


def test_an_optimiser_follows_its_own_count():
    w, optimizer = one_parameter(optim.StepLR(0.5, 1, 0.5).schedule)
    for _ in range(3):
        optimizer.update({"w": jnp.ones(())})
    assert float(w.value) == -(0.5 + 0.25 + 0.125)
    assert float(optimizer.lr) == 0.0625


def test_a_rate_for_each_group():
    a, b, c = (ParamState(jnp.zeros(())) for _ in range(3))
    optimizer = optim.SGD(lr=optim.ExponentialLR([1.0, 0.1], 0.5))
    optimizer.register_trainable_weights({"a": a})
    optimizer.add_param_group({"b": b})
    optimizer.add_param_group({"c": c}, lr=2.0)
    one = jnp.ones(())
    optimizer.update({"a": one, "b": one, "c": one})
    optimizer.lr_scheduler.step()
    optimizer.update({"a": one, "b": one, "c": one})
    np.testing.assert_allclose([a.value, b.value, c.value], [-1.5, -0.15, -4.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: optim.StepLR(-0.1), "base_lr must be a finite number, 0 or more; got -0.1"),
        (lambda: optim.StepLR(float("nan")), "base_lr must be a finite number"),
        (lambda: optim.StepLR("x"), "base_lr must be a finite number"),
        (lambda: optim.StepLR([]), "one rate or more"),
        (lambda: optim.StepLR(0.1, 0), "step_size must be a finite number, above 0; got 0"),
        (lambda: optim.CyclicLR(mode="square"), "mode must be one of 'triangular'"),
        (lambda: optim.OneCycleLR(0.1), "total_steps, or epochs and steps_per_epoch"),
        (lambda: optim.OneCycleLR(0.1, 5, pct_start=1.0), "between 0 and 1"),
        (lambda: optim.WarmupCosineSchedule(0.1, 5, 5), "must exceed warmup_steps"),
        (lambda: optim.PiecewiseConstantSchedule(0.1, [1], [1.0]), "one more than they are"),
        (lambda: optim.ReduceLROnPlateau(factor=1.0), "must be below 1"),
        (lambda: optim.SequentialLR([], []), "needs one scheduler or more"),
        (lambda: optim.SequentialLR([optim.StepLR()], [1]), "between each two schedulers"),
        (
            lambda: optim.ChainedScheduler([optim.StepLR(), optim.StepLR(0.0)]),
            "has base_lr=0; give it the rate",
        ),
        (lambda: optim.CosineAnnealingWarmRestarts(T_mult=1.5), "an integer of 1 or more"),
    ],
)
def test_bad_schedules(make, what):
    with pytest.raises(ValueError, match=what):
        make()


def test_only_functions_of_the_count_are_combined():
    with pytest.raises(TypeError, match="functions of the count"):
        optim.ChainedScheduler([optim.ReduceLROnPlateau()])
