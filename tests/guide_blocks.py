"""What the guide's blocks take for granted: the names they use and do not define, block by block.

`tests/guide.rst` is the guide word for word. Its blocks are run as they are printed; a prelude
gives the surrounding names, `checks` says what must hold afterwards, `wrong` what is wrong with the
block itself. Nothing in the library is patched.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).with_name("guide.rst").read_text()
BLOCKS = [
    (kind, textwrap.dedent(body).strip() + "\n")
    for kind, body in re.findall(
        r"^\.\. code-block:: (\w+)\n\n((?:(?:   .*)?\n)+)", GUIDE + "\n", re.M
    )
]


@dataclass(frozen=True)
class Block:
    """How block `number` is run: the blocks `after` which it comes, its names, what it warns of."""

    after: tuple[int, ...] = ()
    prelude: str = ""
    checks: str = ""
    warns: tuple[str, ...] = ()
    wrong: str = ""


# What the guide imports, wherever it does.
IMPORTS = """
import brainpy as bp
import brainstate
import braintools
import braintools.init as init
import brainunit as u
import jax
import jax.numpy as jnp
import pytest
"""

NET = """
class MyNetwork(brainstate.nn.Module):
    def __init__(self):
        super().__init__()
        self.W = brainstate.ParamState(brainstate.random.randn(100, 3) * 0.1)
        self.b = brainstate.ParamState(jnp.zeros(3))
        self.V = brainstate.ShortTermState(jnp.zeros(3))
        self.seen = brainstate.LongTermState(0)
    def update(self, x):
        self.seen.value += 1
        out = x @ self.W.value + self.b.value
        self.V.value = 0.5 * self.V.value + jnp.mean(out, axis=0) if out.ndim > 1 else out
        return out
net = MyNetwork()
"""

TRAINING = (
    NET
    + """
X, y = brainstate.random.rand(4, 100), jnp.ones((4, 3))
data_loader, num_epochs = [(X, y)] * 3, 2
params = net.states(brainstate.ParamState)
def loss_fn(params, net, X, y):
    return jnp.mean((net(X) - y) ** 2)
before = float(loss_fn(params, net, X, y))
"""
)

OPTIMIZER = (
    TRAINING
    + """
optimizer = braintools.optim.Adam(learning_rate=1e-2)
optimizer.register_trainable_weights(params)
"""
)

ELIDED = "`...` stands for arguments that are not printed"

# `bp.LIF(100, ...)`: the arguments that B9 gives.
ELIDED_LIF = """
import types
real = bp.LIF
def LIF(size, *elided, **given):
    assert elided == (...,)
    return real(size, V_rest=-65 * u.mV, V_th=-50 * u.mV, tau=10 * u.ms, **given)
bp = types.SimpleNamespace(LIF=LIF)
"""

ELIDED_GRADS = """
def compute_grads(elided):
    assert elided is ...
    return brainstate.transform.grad(loss_fn, params)(net, X, y)
"""

NO_DT = ("dt is not set",)

ADD_SPIKE = """
class Spiking({0}):
    def __init__(self, size):
        super().__init__(size)
        self.spike = brainstate.ShortTermState(jnp.ones(size))
"""

NO_SPIKE = "`self.spike` is used but never created"

TABLE: dict[int, Block] = {
    1: Block(),
    2: Block(
        checks="""
assert repr(params).startswith("{'W': ParamState(") and "'b': ParamState(" in repr(params)
assert layer(jnp.ones(100)).shape == (50,)
"""
    ),
    3: Block(
        prelude="new_V, new_spike = jnp.full(5, -64.0), jnp.ones(5)",
        checks="""
n = LIFNeuron(5)
n(0.0)
assert n.V.value[0] == -64 and n.spike.value[0] == 1
brainstate.nn.init_all_states(n, batch_size=2)
assert n.V.value.shape == n.spike.value.shape == (2, 5) and n.V.value[0, 0] == -65
brainstate.nn.init_all_states(n)
assert n.V.value.shape == (5,)
""",
    ),
    4: Block(
        wrong=NO_SPIKE,
        checks="""
with pytest.raises(AttributeError, match="spike"):
    NeuronWithStatistics(3)(0.0)
"""
        + ADD_SPIKE.format("NeuronWithStatistics")
        + """
n = Spiking(3)
n(0.0)
brainstate.nn.init_all_states(n)
n(0.0)
assert n.total_spikes.value.tolist() == [2, 2, 2] and n.total_spikes.value.dtype == jnp.int32
""",
    ),
    5: Block(
        prelude="""
class MyNetwork(brainstate.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = [bp.LIF(7), bp.Expon(3)]
""",
        checks="assert [s.value.shape for s in net.states().values()] == [(32, 7), (32, 3)]",
    ),
    6: Block(
        checks="""
assert net.E.V.value.shape == (10, 800) and net.I.V.value.shape == (10, 200)
assert (net.E.V.value == -65 * u.mV).all()
"""
    ),
    7: Block(
        checks="""
n = CustomNeuron(6)
assert (n.V.value == 0).all()
for shape, options in (((6,), {}), ((4, 6), {"batch_size": 4})):
    V = brainstate.nn.init_all_states(n, **options).V.value
    assert V.shape == shape and (-70 <= V).all() and (V <= -60).all() and V.std() > 0.1
"""
    ),
    8: Block(
        checks="""
net = Network(20, 10)
shapes = {str(k): s.value.shape for k, s in net.states(brainstate.ParamState).items()}
assert shapes == {"W1": (20, 100), "W2": (100, 10), "W_rec": (100, 100), "b": (10,)}
gram = net.W_rec.value @ net.W_rec.value.T
assert jnp.allclose(gram, jnp.eye(100), atol=1e-4) and (net.b.value == 0).all()
"""
    ),
    9: Block(checks="assert current_V.shape == (100,) and V_neuron_0 == -65 * u.mV"),
    10: Block(
        after=(9,),
        warns=(*NO_DT, "LIF.V' (created at B9:1) carries the unit mV"),
        checks="""
assert jnp.allclose(neuron.V.value[:10], -54.9) and jnp.allclose(neuron.V.value[10:], -59.9)
assert neuron().shape == (100,)  # plain numbers are mV
""",
    ),
    11: Block(
        after=(9,),
        prelude="new_V, held = jnp.full(100, -60.0), neuron.V",
        warns=("LIF.V is a ShortTermState", "LIF.V' (created at B9:1) carries the unit mV"),
        wrong="it shows a mistake, which is reported",
        checks="assert neuron.V is new_V and held.value is new_V",
    ),
    12: Block(
        prelude=NET,
        checks="""
assert list(params) == ["W", "b"] and list(short_term) == ["V"]
assert list(all_states) == ["V", "W", "b", "seen"]
""",
    ),
    13: Block(
        checks="""
assert list(params) == ["W"] and list(states) == ["V"]
assert params["W"] is net.W and "V" not in params
"""
    ),
    14: Block(
        after=(2,),
        prelude="net, X, y = LinearLayer(5, 2), jnp.ones((3, 5)), jnp.zeros((3, 2))",
        checks="""
assert list(grads) == list(params) == ["W", "b"]
error = 2 * (X @ net.W.value + net.b.value - y) / y.size
assert jnp.allclose(grads["W"], X.T @ error, atol=1e-6)
assert jnp.allclose(grads["b"], error.sum(0), atol=1e-6)
""",
    ),
    15: Block(prelude=TRAINING, checks="assert loss_fn(params, net, X, y) < before"),
    16: Block(
        prelude=OPTIMIZER + ELIDED_GRADS,
        wrong=ELIDED + ", and compute_grads is not printed either",
        checks="assert loss_fn(params, net, X, y) < before",
    ),
    17: Block(prelude=ELIDED_LIF, wrong=ELIDED, checks="assert neuron.V.value.shape == (100,)"),
    18: Block(prelude=ELIDED_LIF, wrong=ELIDED, checks="assert neuron.V.value.shape == (32, 100)"),
    19: Block(after=(18,), warns=NO_DT, checks="assert spikes.shape == (32, 100)"),
    20: Block(
        prelude=ELIDED_LIF
        + """
jnp = types.SimpleNamespace(
    linspace=jnp.linspace, sum=jnp.sum, broadcast_to=u.math.broadcast_to
)
""",
        warns=NO_DT,
        wrong="jax.numpy takes no Quantity: `jnp.broadcast_to` must be `u.math.broadcast_to`; "
        + ELIDED,
        checks="assert spike_counts.shape == (10,)",
    ),
    21: Block(
        prelude=OPTIMIZER + "current_epoch = 3",
        checks="""
kept = pickle.load(open("checkpoint.pkl", "rb"))
assert list(kept["params"]) == ["W", "b"] and list(kept["long_term"]) == ["seen"]
""",
    ),
    22: Block(
        after=(21,),
        prelude="saved = net",
        checks="""
assert net is not saved and (net.W.value == saved.W.value).all()
""",
    ),
    23: Block(
        prelude=OPTIMIZER + "epoch, save_interval, path = 10, 5, 'latest'\n"
        "from spikexla import save_checkpoint",
        checks="import os; assert os.path.exists(path)",
    ),
    24: Block(prelude="epoch = 10", checks="assert save_path == 'checkpoint_epoch_10.pkl'"),
    25: Block(
        prelude=OPTIMIZER + "epoch, val_loss, best_val_loss = 10, 0.1, 0.2\n"
        "from spikexla import save_checkpoint",
        checks="import os; assert os.path.exists('best_model.pkl') and best_val_loss == 0.1",
    ),
    26: Block(
        prelude="""
from datetime import datetime
epoch, best_val_loss, model_config = 10, 0.2, {"size": 100}
""",
        wrong=ELIDED,
        checks="import pickle; assert pickle.loads(pickle.dumps(state_dict)) == state_dict",
    ),
    27: Block(
        prelude=NET
        + """
num_trials, trial_length, records = 2, 3, []
get_input, record = (lambda trial, t: jnp.full(100, trial + t * 0.1)), records.append
""",
        checks="assert len(records) == 6 and net.seen.value == 6",
    ),
    28: Block(
        wrong=NO_SPIKE,
        warns=NO_DT,
        checks="""
with pytest.raises(AttributeError, match="spike"):
    NeuronWithStats(3)(0.0)
"""
        + ADD_SPIKE.format("NeuronWithStats")
        + """
n = Spiking(3)
for _ in range(10):
    n(0.0)
assert n.n_steps.value == 10
assert jnp.allclose(n.get_firing_rate(), 10 / (10 * 0.1e-3))  # Hz: a spike in each step of 0.1 ms
""",
    ),
    29: Block(
        prelude="compute_spike_rate = lambda spike: 10.0 * spike",
        wrong=NO_SPIKE,
        checks="""
with pytest.raises(AttributeError, match="spike"):
    AdaptiveNeuron(3)(0.0)
"""
        + ADD_SPIKE.format("AdaptiveNeuron")
        + """
n = Spiking(3)
n(0.0)
assert jnp.allclose(n.threshold.value, -50.05)
""",
    ),
    30: Block(
        after=(2,),
        prelude="MyLayer = LinearLayer",
        checks="""
assert list(all_params) == ["layer1.W", "layer1.b", "layer2.W", "layer2.b"]
assert net(jnp.ones(100)).shape == (10,)
""",
    ),
    31: Block(
        checks="""
class Holder(brainstate.nn.Module):
    def __init__(self):
        super().__init__()
        self.noise = RandomState((3,), 1.0, 2.0)
holder = Holder()
assert (holder.noise.value == 0).all()
first = brainstate.nn.init_all_states(holder).noise.value
second = brainstate.nn.init_all_states(holder).noise.value
assert ((first >= 1) & (first < 2)).all() and (first != second).all()
"""
    ),
    32: Block(
        prelude="""
class ModuleA(brainstate.nn.Module):
    def __init__(self, W):
        super().__init__()
        self.W = W
    def update(self, x):
        return x @ self.W.value
class ModuleB(ModuleA):
    pass
""",
        checks="""
net = SharedState()
net.module1.W.value = 2 * net.module1.W.value
assert (net.module2.W.value == 2).all()
assert list(net.states()) == ["module1.W"]
loss = lambda x: (net.module1(x) + net.module2(x)).sum()
grads = brainstate.transform.grad(loss, net.states(brainstate.ParamState))(jnp.ones(100))
assert (grads["module1.W"] == 2).all()
""",
    ),
    33: Block(after=(9,), prelude=NET),
    34: Block(
        prelude=NET + "self, new_V, held = net, jnp.ones(3), net.V",
        warns=("MyNetwork.V is a ShortTermState",),
        wrong="it shows a mistake, which is reported; after it `self.V` is no State but an array, "
        "so that `self.V.value = ...` changes no State either",
        checks="assert self.V is new_V and (held.value == 0).all() and 'V' not in net.states()",
    ),
    35: Block(
        prelude="net = bp.LIF(100, V_rest=-65*u.mV, V_th=-50*u.mV, tau=10*u.ms)",
        warns=(*NO_DT, "has no unit"),
        checks="assert net(inp).shape == (32, 100)",
    ),
    36: Block(
        prelude=NET
        + """
self, init_W = net, jnp.ones((100, 3))
def loss_fn(elided):
    return (net.W.value ** 2).sum() + net.b.value.sum()
""",
        wrong=ELIDED,
        checks="assert (net.W.value == 1).all() and (grads['W'] == 2).all() and 'V' not in grads",
    ),
    37: Block(
        prelude=NET + "inp = jnp.ones(100)\ncompiled = brainstate.transform.jit(net)\n"
        "net = lambda x: compiled(x)",
        checks="assert len(history) == 10_000",
    ),
    38: Block(
        prelude=OPTIMIZER
        + """
init_W, init_V, init_c, new_V = jnp.ones((2, 2)), jnp.zeros(2), 0, jnp.ones((32, 3))
module = net
def loss(elided):
    return jnp.mean((net(X) - y) ** 2)
""",
        wrong="MyModule.reset_state uses `self.size`, which is never set, so `module` is not one; "
        + ELIDED,
        checks="""
assert {str(k) for k in MyModule().states()} == {"W", "V", "count"}
with pytest.raises(AttributeError, match="size"):
    brainstate.nn.init_all_states(MyModule())
assert loss(...) < before
""",
    ),
}
