"""Optimisers: the numbers of optax, any keys, units, groups, jit, saving, errors that teach."""

from __future__ import annotations

import copy
import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import spikexla as sx
from spikexla import LongTermState, ParamState, ShortTermState, State, nn, optim
from spikexla.transform import grad, jit, vmap

W = np.linspace(-1, 1, 6).reshape(2, 3)
# Each optimiser, what it is in optax, and the parameter after five steps of `drive` where
# braintools 0.4 has the same rule (in double precision).
CASES = {
    "SGD": (
        lambda: optim.SGD(0.1, 0.9, True, weight_decay=0.01),
        optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1, 0.9, True)),
        (-1.13373594, -0.209249827, 0.365228529, 0.423120432, 0.272794389, 0.414053527),
    ),
    "Momentum": (
        lambda: optim.Momentum(0.1),
        optax.sgd(0.1, 0.9),
        (-1.22908123, -0.314032264, 0.338099288, 0.495504836, 0.381224601, 0.468085459),
    ),
    "MomentumNesterov": (
        lambda: optim.MomentumNesterov(0.1), optax.sgd(0.1, 0.9, nesterov=True), None,
    ),
    "Adam": (
        lambda: optim.Adam(0.1, (0.8, 0.99), weight_decay=0.01),
        optax.chain(optax.add_decayed_weights(0.01), optax.adam(0.1, 0.8, 0.99)),
        (-1.16656647, -0.528747144, 0.146561832, 0.396924994, 0.567382182, 0.640465656),
    ),
    "Adam amsgrad": (
        lambda: optim.Adam(0.1, amsgrad=True),
        optax.amsgrad(0.1),
        (-1.18221783, -0.558123258, 0.149887972, 0.4066065, 0.593842966, 0.639124748),
    ),
    "AdamW": (
        lambda: optim.AdamW(0.1, weight_decay=0.1),
        optax.adamw(0.1, weight_decay=0.1),
        (-1.1500556, -0.521963919, 0.16484455, 0.415630481, 0.563914865, 0.589724516),
    ),
    "Nadam": (lambda: optim.Nadam(0.1), optax.nadam(0.1), None),
    "RAdam": (
        lambda: optim.RAdam(0.1),
        optax.radam(0.1),
        (-1.18221784, -0.554483207, 0.0314034912, 0.404538887, 0.589622174, 0.784246786),
    ),
    "Adamax": (
        lambda: optim.Adamax(0.1),
        optax.adamax(0.1),
        (-1.18226002, -0.602460522, 0.0918833609, 0.40670307, 0.628873723, 0.704641939),
    ),
    "AdaBelief": (
        lambda: optim.AdaBelief(0.1),
        optax.adabelief(0.1),
        (-1.23444177, -0.549199122, 0.219611538, 0.465258378, 0.597289134, 0.574353864),
    ),
    "Yogi": (
        lambda: optim.Yogi(0.1),
        optax.yogi(0.1),
        (-1.20628844, -0.553913179, 0.163228829, 0.432987957, 0.596858773, 0.631093361),
    ),
    "Adan": (
        lambda: optim.Adan(0.1, weight_decay=0.1), optax.adan(0.1, weight_decay=0.1), None,
    ),
    "Lamb": (
        lambda: optim.Lamb(0.1, weight_decay=0.01),
        optax.lamb(0.1, weight_decay=0.01),
        (-1.12611371, -0.441102256, 0.165395422, 0.366271787, 0.484112763, 0.614147321),
    ),
    "Lars": (
        lambda: optim.Lars(0.1, weight_decay=0.01),
        optax.lars(0.1, 0.01, eps=1e-8),
        (-1.0002199, -0.599726149, -0.199477149, 0.200293487, 0.599791949, 0.999474662),
    ),
    "Lion": (
        lambda: optim.Lion(0.01, weight_decay=0.1),
        optax.lion(0.01, weight_decay=0.1),
        (-0.98497007, -0.587026014, -0.189081898, 0.188962078, 0.587026014, 0.96510989),
    ),
    "Novograd": (
        lambda: optim.Novograd(0.1, (0.9, 0.5)),
        optax.novograd(0.1, 0.9, 0.5, 1e-8),
        (-1.1359186, -0.43590939, 0.113235667, 0.374393297, 0.475214533, 0.690762953),
    ),
    "Adagrad": (
        lambda: optim.Adagrad(0.1),
        optax.adagrad(0.1, 0.0, 1e-10),
        (-1.01127752, -0.529159393, -0.0375747265, 0.226303256, 0.53679043, 0.81402049),
    ),
    "Adadelta": (
        lambda: optim.Adadelta(1.0),
        optax.adadelta(1.0, 0.9, 1e-6),
        (-0.997495881, -0.59421189, -0.195317795, 0.198160106, 0.594718445, 0.993939497),
    ),
    "RMSprop": (
        lambda: optim.RMSprop(0.05, 0.9, momentum=0.5, centered=True),
        optax.rmsprop(0.05, 0.9, 1e-8, centered=True, momentum=0.5),
        (-1.14679706, -0.40235157, 0.43178585, 0.400194671, 0.441565516, 0.30506629),
    ),
    "Rprop": (
        lambda: optim.Rprop(0.01), optax.rprop(0.01), (-1.004, -0.595, -0.178, 0.204, 0.595, 0.978),
    ),
    "Adafactor": (
        lambda: optim.Adafactor(0.1, weight_decay=0.1),
        optax.adafactor(0.1, weight_decay_rate=0.1),
        None,
    ),
    "SM3": (lambda: optim.SM3(0.1), optax.sm3(0.1), None),
    "Fromage": (lambda: optim.Fromage(0.1), optax.fromage(0.1), None),
    "LBFGS": (lambda: optim.LBFGS(0.1), optax.lbfgs(0.1, linesearch=None), None),
    "OptaxOptimizer": (lambda: optim.OptaxOptimizer(optax.adam, 0.1), optax.adam(0.1), None),
    "OptaxOptimizer made": (lambda: optim.OptaxOptimizer(optax.sgd(0.1)), optax.sgd(0.1), None),
    "clipped": (
        lambda: optim.SGD(0.1, grad_clip_norm=0.5, grad_clip_value=0.2),
        optax.chain(optax.clip_by_global_norm(0.5), optax.clip(0.2), optax.sgd(0.1)),
        (-0.984850373, -0.572980158, -0.177670478, 0.191285803, 0.574963794, 0.975947075),
    ),
}  # fmt: skip


def drive(k):
    return {"w": jnp.cos(k + jnp.arange(6.0)).reshape(2, 3), "b": jnp.sin(k + jnp.arange(2.0))}


def start():
    return {"w": ParamState(jnp.asarray(W)), "b": ParamState(jnp.ones(2))}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("compiled", [False, True])
def test_the_numbers_are_those_of_optax(name, compiled):
    jax.config.update("jax_enable_x64", True)
    make, tx, _ = CASES[name]
    params = start()
    optimizer = make().register_trainable_weights(params)
    update = jit(lambda grads: optimizer.update(grads)) if compiled else optimizer.update
    values = {"w": jnp.asarray(W), "b": jnp.ones(2)}
    memory = tx.init(values)
    for k in range(5):
        update(drive(k))
        changes, memory = jax.jit(tx.update)(drive(k), memory, values)
        values = optax.apply_updates(values, changes)
    for key, state in params.items():
        assert state.value.dtype == jnp.float64
        # Compiled whole or in parts, sums may differ in the last bits.
        np.testing.assert_allclose(state.value, values[key], rtol=1e-12, atol=1e-13)
    assert int(optimizer.step_count.value) == 5
    if not compiled:
        (programs,) = optimizer.__dict__["_compiled"]._programs.values()
        assert [p.run._cache_size() for p in programs] == [1]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2] is not None])
def test_the_numbers_are_those_of_braintools(name):
    jax.config.update("jax_enable_x64", True)
    make, _, expected = CASES[name]
    w = ParamState(jnp.asarray(W))
    optimizer = make().register_trainable_weights({"w": w})
    for k in range(5):
        optimizer.update({"w": drive(k)["w"]})
    np.testing.assert_allclose(w.value.ravel(), expected, rtol=1e-6)


def test_the_list_here_is_complete():
    kinds = {c for c in vars(optim).values() if inspect.isclass(c) and c is not optim.Optimizer}
    kinds = {c.__name__ for c in kinds if issubclass(c, optim.Optimizer)}
    assert {name.split()[0] for name in CASES} - {"clipped"} == kinds
    assert all(getattr(optim, name).__doc__ for name in kinds)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = ParamState(jnp.ones((3, 2)))
        self.b = ParamState(jnp.zeros(2))
        self.V = ShortTermState(jnp.zeros(2))

    def update(self, x):
        return x @ self.W.value + self.b.value


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [Layer(), Layer()]


def ones(net):
    return {key: jnp.ones_like(state.value) for key, state in net.states(ParamState).items()}


@pytest.mark.parametrize(
    "spell",
    [
        lambda g: g,
        lambda g: sx.StateDict(g),
        lambda g: {str(key): x for key, x in g.items()},
        lambda g: {
            "layers": [{"W": g["layers", k, "W"], "b": g["layers", k, "b"]} for k in (0, 1)]
        },
        lambda g: {key: np.asarray(x) for key, x in g.items()},
    ],
    ids=["tuples", "StateDict", "dotted", "nested", "numpy"],
)
def test_gradients_by_any_spelling_of_the_keys(spell):
    net = Net()
    optimizer = optim.SGD(0.5).register_trainable_weights(net.states(ParamState))
    optimizer.update(spell(ones(net)))
    np.testing.assert_array_equal(net.layers[0].W.value, 0.5 * np.ones((3, 2)))
    np.testing.assert_array_equal(net.layers[1].b.value, -0.5 * np.ones(2))


def test_registered_trees():
    a, b = ParamState(jnp.ones(2)), ParamState(jnp.ones(3))
    optim.SGD(1.0).register_trainable_weights(a).update(jnp.ones(2))
    optim.SGD(1.0).register_trainable_weights([a, {"x": b}]).update(
        [jnp.ones(2), {"x": jnp.ones(3)}]
    )
    np.testing.assert_array_equal(a.value, -np.ones(2))
    np.testing.assert_array_equal(b.value, np.zeros(3))


def test_the_guide():
    """Blocks 14 and 15 of the guide: any loss, a fresh transform at each step."""

    def loss_fn(params, net, X, y):
        return jnp.mean((net(X) - y) ** 2)

    net, X, y = Layer(), jnp.ones((4, 3)), jnp.zeros((4, 2))
    params = net.states(ParamState)
    optimizer = optim.Adam(learning_rate=1e-1)
    optimizer.register_trainable_weights(params)
    losses = []
    for _ in range(20):
        grads = grad(loss_fn, params, return_value=False)(net, X, y)
        optimizer.update(grads)
        losses.append(float(loss_fn(params, net, X, y)))
    assert losses[-1] < 0.1 * losses[0]
    (programs,) = optimizer.__dict__["_compiled"]._programs.values()
    assert len(programs) == 1


def test_a_training_step_in_jit_loops_and_lanes():
    def fresh():
        net = Layer()
        net.W.value = 0.1 * jnp.arange(6.0).reshape(3, 2)
        optimizer = optim.Adam(0.1).register_trainable_weights(net.states(ParamState))

        def step(x):
            grads = grad(lambda x: (net(x) ** 2).sum(), net.states(ParamState))(x)
            optimizer.update(grads)

        return net, optimizer, step

    xs = jnp.stack([jnp.arange(3.0) + k for k in range(4)])
    net, optimizer, step = fresh()
    for x in xs:
        step(x)
    expected = np.asarray(net.W.value)
    for run in (
        lambda step: [jit(step)(x) for x in xs],
        lambda step: sx.transform.for_loop(step, xs),
        lambda step: jit(lambda: sx.transform.for_loop(step, xs))(),
    ):
        net, optimizer, step = fresh()
        run(step)
        np.testing.assert_allclose(net.W.value, expected, rtol=1e-5, atol=1e-7)
        assert int(optimizer.step_count.value) == 4

    net, optimizer, step = fresh()
    everything = {**net.states(ParamState), **optimizer.states(optim.OptimState)}
    ensemble = [s for s in everything.values() if not isinstance(s.value, float)]
    for state in ensemble:
        state.value = jax.tree.map(lambda x: jnp.stack([x, x]), state.value)
    for x in xs:
        vmap(step, in_states=ensemble)(jnp.stack([x, x]))
    np.testing.assert_allclose(net.W.value, np.stack([expected] * 2), rtol=1e-5, atol=1e-7)


def test_a_learning_rate_may_change_without_compiling():
    w = ParamState(jnp.zeros(()))
    optimizer = optim.SGD(learning_rate=1.0).register_trainable_weights({"w": w})
    for k, rate in enumerate((1.0, 0.5, np.float32(0.25), jnp.asarray(0.125))):
        (setattr(optimizer, ("lr", "learning_rate", "current_lr")[k % 3], rate))
        optimizer.update({"w": jnp.ones(())})
        assert float(optimizer.lr) == float(optimizer.learning_rate) == float(rate)
    assert float(w.value) == -1.875
    (programs,) = optimizer.__dict__["_compiled"]._programs.values()
    assert [p.run._cache_size() for p in programs] == [1]

    @jit
    def train():
        optimizer.lr = optimizer.lr / 2
        optimizer.update({"w": jnp.ones(())})

    train()
    assert float(w.value) == -1.875 - 0.0625


def test_a_learning_rate_inside_of_a_transformation():
    w = ParamState(jnp.zeros(()))
    optimizer = optim.OptaxOptimizer(optax.sgd(0.5)).register_trainable_weights({"w": w})
    optimizer.update({"w": jnp.ones(())})
    assert (float(w.value), optimizer.lr) == (-0.5, None)
    with pytest.raises(ValueError, match=r"cannot be set to 0\.1"):
        optimizer.lr = 0.1


def test_parameter_groups():
    a, b = ParamState(jnp.ones(2)), ParamState(jnp.ones(2))
    optimizer = optim.SGD(0.1).register_trainable_weights({"a": a})
    group = optimizer.add_param_group({"b": b}, lr=0.5, weight_decay=0.1)
    assert optimizer.param_groups[1] is group
    optimizer.update({"a": jnp.ones(2), "b": jnp.zeros(2)})
    np.testing.assert_allclose(a.value, 0.9)
    np.testing.assert_allclose(b.value, 0.95)
    group["lr"], group.weight_decay = 1.0, 0.0
    optimizer.update({"b": jnp.ones(2)})  # the other group is left alone
    np.testing.assert_allclose(a.value, 0.9)
    np.testing.assert_allclose(b.value, -0.05, rtol=1e-5)
    assert group["lr"] == 1.0
    with pytest.raises(KeyError, match="'lr' and 'weight_decay' to set, not 'momentum'"):
        group["momentum"] = 1.0
    with pytest.raises(ValueError, match="in a parameter group already"):
        optimizer.add_param_group({"c": a})


def test_a_group_without_a_rate_follows_the_first():
    a, b = ParamState(jnp.zeros(())), ParamState(jnp.zeros(()))
    optimizer = optim.SGD(1.0).register_trainable_weights({"a": a})
    optimizer.add_param_group({"b": b})
    optimizer.lr = 0.5
    optimizer.update({"a": jnp.ones(()), "b": jnp.ones(())})
    assert float(a.value) == float(b.value) == -0.5


def test_quantities_keep_their_unit():
    import brainunit as u

    w = ParamState(jnp.ones(2) * 10 * u.mV)
    both = ParamState({"weight": jnp.ones((2, 2)), "bias": jnp.ones(2) * u.mA})
    params = {"w": w, "both": both}
    optimizer = optim.SGD(0.5).register_trainable_weights(params)
    grads = grad(lambda: (w.value.mantissa**2).sum() + both.value["bias"].mantissa.sum(), params)()
    optimizer.update(grads)
    assert w.value.unit == u.mV
    assert both.value["bias"].unit == u.mA
    np.testing.assert_allclose(w.value.mantissa, 0.0)
    np.testing.assert_allclose(both.value["bias"].mantissa, 0.5)
    for g, unit in (
        (jnp.ones(2), None), (jnp.ones(2) * 1e-3, u.volt), (jnp.ones(2) * 1e3, u.volt**-1),
    ):  # fmt: skip
        w.value = jnp.ones(2) * u.mV
        g = g if unit is None else u.Quantity(g, unit=unit)
        optim.SGD(0.5).register_trainable_weights({"w": w}).update({"w": g})
        np.testing.assert_allclose(w.value.mantissa, 0.5, rtol=1e-6)
    with pytest.raises(TypeError, match="the gradient of 'w' is in"):
        optim.SGD(0.5).register_trainable_weights({"w": w}).update({"w": jnp.ones(2) * u.second})


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float64, jnp.complex64])
def test_a_parameter_keeps_its_dtype(dtype):
    if dtype == jnp.float64:
        jax.config.update("jax_enable_x64", True)
    w = ParamState(jnp.ones(3, dtype))
    for rate in (0.5, optim.ExponentialLR(0.5, 1.0)):
        optimizer = optim.RMSprop(rate, momentum=0.9).register_trainable_weights({"w": w})
        before = jax.tree.map(jnp.result_type, optimizer.param_groups[0].memory.value)
        for _ in range(2):
            optimizer.update({"w": jnp.ones(3)})
        assert w.value.dtype == dtype
        assert jax.tree.map(jnp.result_type, optimizer.param_groups[0].memory.value) == before


@pytest.mark.parametrize("policy", ["apply", "skip", "raise"])
def test_gradients_that_are_not_finite(policy):
    a, b = ParamState(jnp.ones(2)), ParamState(jnp.ones(2))
    optimizer = optim.Adam(0.1, nonfinite=policy).register_trainable_weights({"a": a, "b": b})
    bad = {"a": jnp.asarray([jnp.nan, 1.0]), "b": jnp.ones(2)}
    if policy == "raise":
        with pytest.raises(FloatingPointError, match="the gradient of 'a' is not finite"):
            optimizer.update(bad)
        with pytest.raises(ValueError, match="cannot raise from compiled code"):
            jit(lambda: optimizer.update(bad))()
    else:
        optimizer.update(bad)
        jit(lambda: optimizer.update(bad))()
    if policy == "apply":
        assert jnp.isnan(a.value[0])
        assert int(optimizer.step_count.value) == 2
    else:
        np.testing.assert_array_equal(a.value, np.ones(2))
        assert int(optimizer.step_count.value) == 0
        assert int(optimizer.skipped.value) == (2 if policy == "skip" else 1)
        optimizer.update({"a": jnp.ones(2), "b": jnp.ones(2)})
        np.testing.assert_allclose(a.value, 0.9, rtol=1e-5)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_a_transform_of_jax_itself_is_refused_and_harms_nothing(transform):
    w = ParamState(jnp.zeros(()))
    optimizer = optim.Adam(0.1).register_trainable_weights({"w": w})
    optimizer.update({"w": jnp.ones(())})
    with pytest.raises(sx.TraceError, match="a transform of jax itself"):
        transform(lambda g: optimizer.update({"w": g.sum()}))(jnp.ones((2, 3)))
    optimizer.update({"w": jnp.ones(())})
    assert int(optimizer.step_count.value) == 2
    assert float(w.value) == pytest.approx(-0.2, rel=1e-4)


def test_old_values_survive_an_update():
    """The memory of states is given away, but not that of an array somebody still holds."""
    w = ParamState(jnp.ones(1000))
    optimizer = optim.Adam(0.1).register_trainable_weights({"w": w})
    before, saved = w.value, optimizer.state_dict()
    for _ in range(3):
        optimizer.update({"w": jnp.ones(1000)})
    np.testing.assert_array_equal(before, np.ones(1000))
    assert int(saved["step_count"]) == 0


def trained(make, steps):
    params = start()
    optimizer = make().register_trainable_weights(params)
    for k in range(steps):
        optimizer.update(drive(k))
    return params, optimizer


@pytest.mark.parametrize("name", CASES)
def test_training_goes_on_where_it_was_saved(name):
    make = CASES[name][0]
    params, optimizer = trained(make, 3)
    saved = pickle.dumps(
        (optimizer.state_dict(), {k: np.asarray(s.value) for k, s in params.items()})
    )
    for k in range(3, 5):
        optimizer.update(drive(k))
    memory, values = pickle.loads(saved)
    again = {k: ParamState(jnp.asarray(v)) for k, v in values.items()}
    resumed = make().register_trainable_weights(again)
    resumed.load_state_dict(memory)
    for k in range(3, 5):
        resumed.update(drive(k))
    for key, state in params.items():
        np.testing.assert_array_equal(state.value, again[key].value)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_an_optimiser_can_be_copied(clone):
    _, optimizer = trained(lambda: optim.Adam(optim.ExponentialLR(0.1, 0.5)), 2)
    twin = clone(optimizer)
    optimizer.update(drive(2))
    assert float(optimizer.params["w"].value[0, 0]) != float(twin.params["w"].value[0, 0])
    twin.update(drive(2))
    np.testing.assert_array_equal(optimizer.params["w"].value, twin.params["w"].value)


def test_what_it_remembers_are_states():
    net = Layer()
    net.optimizer = optim.Adam(0.1).register_trainable_weights(net.states(ParamState))
    kept = net.states(LongTermState)
    assert {"optimizer.step_count", "optimizer.param_groups.0.memory"} <= {*map(str, kept)}
    assert len(net.states(ParamState)) == 2
    nn.init_all_states(net, batch_size=3)
    assert net.W.value.shape == (3, 2)


def test_saved_states_that_do_not_fit():
    _, optimizer = trained(lambda: optim.Adam(0.1), 1)
    saved = optimizer.state_dict()
    smaller = optim.Adam(0.1).register_trainable_weights({"w": ParamState(jnp.ones(2))})
    other = optim.SGD(0.1).register_trainable_weights(start())
    scheduled = optim.Adam(optim.StepLR()).register_trainable_weights(start())
    shaped = {"w": ParamState(jnp.ones((2, 4))), "b": ParamState(jnp.ones(2))}
    wider = optim.Adam(0.1).register_trainable_weights(shaped)
    for target, what in (
        (smaller, r"trains \[\['w', 'b'\]\] and this one \[\['w'\]\]"),
        (other, r"'0.mu.w' is not known here"),
        (scheduled, "the present optimiser has a scheduler and the saved one has none"),
        (wider, r"'0.mu.w' has shape \(2, 3\) where \(2, 4\) is needed"),
    ):
        before = jax.tree.leaves(target.param_groups[0].memory.value)
        with pytest.raises(ValueError, match=what):
            target.load_state_dict(saved)
        assert int(target.step_count.value) == 0
        for x, y in zip(before, jax.tree.leaves(target.param_groups[0].memory.value), strict=True):
            np.testing.assert_array_equal(x, y)
    with pytest.raises(ValueError, match=r"not what optimizer.state_dict\(\) gives: \['lr'\]"):
        optimizer.load_state_dict({"lr": 1.0})


@pytest.mark.parametrize(
    ("act", "error", "what"),
    [
        (lambda o, g: o.update({"w": g["w"]}), KeyError, "no gradient for 'b'; give zeros"),
        (lambda o, g: o.update({}), KeyError, "no gradient for 'w', 'b'"),
        (lambda o, g: o.update({**g, "c": g["b"]}), KeyError, "'c', which is not registered"),
        (lambda o, g: o.update({**g, ("w",): g["w"]}), ValueError, "two gradients for 'w'"),
        (lambda o, g: o.update({**g, "w": g["b"]}), ValueError, r"shape \(2,\), but .*\(2, 3\)"),
        (lambda o, g: o.update({**g, "w": None}), ValueError, "gradient of 'w' is None"),
        (lambda o, g: o.update({**g, "w": {"x": g["w"]}}), ValueError, "structure of the value"),
        (lambda o, g: optim.SGD().update(g), ValueError, "call register_trainable_weights first"),
        (lambda o, g: setattr(o, "lr", -1.0), ValueError, "learning rate must be .* got -1.0"),
        (lambda o, g: o.register_trainable_weights({"x": ParamState(jnp.ones(1))}), ValueError,
         "already trains w, b; add more with add_param_group"),
    ],
)  # fmt: skip
def test_errors_of_a_step(act, error, what):
    optimizer = optim.SGD(0.1).register_trainable_weights(start())
    with pytest.raises(error, match=what):
        act(optimizer, drive(0))
    np.testing.assert_array_equal(optimizer.params["b"].value, np.ones(2))


@pytest.mark.parametrize(
    ("params", "error", "what"),
    [
        ({"v": ShortTermState(jnp.ones(1))}, TypeError, "'v' is not trained: only a ParamState"),
        ({"v": LongTermState(jnp.ones(1))}, TypeError, "is not trained"),
        ({"v": State(jnp.ones(1))}, TypeError, "is not trained"),
        ({"v": jnp.ones(1)}, TypeError, "parameters are States, .* at 'v'"),
        ({"v": ParamState(jnp.ones(1, jnp.int32))}, TypeError, "int32 and cannot be trained"),
        ({}, ValueError, "no parameters to train"),
    ],
)
def test_what_cannot_be_registered(params, error, what):
    with pytest.raises(error, match=what):
        optim.SGD().register_trainable_weights(params)


def test_shared_parameters_are_registered_once():
    w = ParamState(jnp.ones(1))
    with pytest.raises(ValueError, match="is registered as 'a' and as 'b'"):
        optim.SGD().register_trainable_weights({"a": w, "b": w})


def test_a_state_of_ones_own_may_be_trained():
    class Trained(State):
        pass

    w = Trained(jnp.ones(1))
    optim.SGD(1.0).register_trainable_weights({"w": w}).update({"w": jnp.ones(1)})
    assert float(w.value[0]) == 0.0


@pytest.mark.parametrize(
    ("make", "error", "what"),
    [
        (lambda: optim.Adam(-1.0), ValueError, "the learning rate must be a finite number"),
        (lambda: optim.Adam(lr=0.1, learning_rate=0.1), TypeError, "two names of one thing"),
        (lambda: optim.Adam(betas=(0.9, 1.0)), ValueError, "betas are two numbers from 0"),
        (lambda: optim.SGD(weight_decay=-1), ValueError, "weight_decay must be"),
        (lambda: optim.SGD(grad_clip_norm=0.0), ValueError, "grad_clip_norm must be"),
        (lambda: optim.SGD(nonfinite="ignore"), ValueError, "nonfinite must be one of 'apply'"),
        (lambda: optim.OptaxOptimizer(optax.sgd(1.0), lr=0.1), TypeError, "rate inside"),
        (lambda: optim.OptaxOptimizer("sgd"), TypeError, "tx must be a transformation of optax"),
        (lambda: optim.Optimizer(0.1, "sgd", {}), TypeError, "abstract"),
    ],
)
def test_bad_settings(make, error, what):
    with pytest.raises(error, match=what):
        make()
