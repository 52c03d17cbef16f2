"""What `update` calls is called once in every step, and never to find out that it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx
from jax.experimental import io_callback
from spikexla.network.capture import capture
from spikexla.network.not_a_plan import NotAPlan

NUMBER = jax.ShapeDtypeStruct((), np.float32)


class Counting(sx.nn.Module):
    """A population that the engine knows, driven by whatever a case calls."""

    def __init__(self, call):
        super().__init__()
        self.N, self.call, self.times = sx.LIF(20, tau=10.0), call, 0

    def count(self, *_):
        """2 mA for five calls, then nothing."""
        self.times += 1
        return np.float32(2.0 if self.times <= 5 else 0.0)

    def update(self):
        current = self.call(self.count)
        self.N(1.5 if current is None else current)


def each_of_a_scan(count):
    return jax.lax.scan(lambda c, _: (c + io_callback(count, NUMBER), None), 0.0, length=1)[0]


def in_a_branch(count):
    return jax.lax.cond(
        jnp.sin(1.0) > 0, lambda: io_callback(count, NUMBER, ordered=True), lambda: jnp.float32(0)
    )


CALLS = {  # what update() calls; the primitive that is named; whether it answers
    "io_callback": (lambda f: io_callback(f, NUMBER), "io_callback", True),
    "ordered": (lambda f: io_callback(f, NUMBER, ordered=True), "io_callback", True),
    "pure_callback": (lambda f: jax.pure_callback(f, NUMBER), "pure_callback", True),
    "in jit": (jax.jit(lambda f: io_callback(f, NUMBER), static_argnums=0), "io_callback", True),
    "in scan": (each_of_a_scan, "io_callback", True),
    "in cond": (in_a_branch, "io_callback", True),
    "debug.callback": (lambda f: jax.debug.callback(f), "debug_callback", False),
    "debug, ordered": (lambda f: jax.debug.callback(f, ordered=True), "debug_callback", False),
}
FREE = {"pure_callback"}  # JAX may call it any number of times


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_is_made_once_in_every_step_and_not_before(kind, dt):
    call, primitive, answers = CALLS[kind]
    net = Counting(call)
    with pytest.raises(NotAPlan) as raised:
        capture(net, ())
    assert (raised.value.reason, raised.value.about) == ("effect", {"call": primitive})
    assert net.times == 0
    result = sx.simulate(net, 1.2, chunk=0.8)
    assert result.path == "for_loop"
    assert primitive in result.why
    assert result.parts["update()"].why == result.why
    assert kind in FREE or net.times == 12
    if answers and kind not in FREE:  # five steps of 2 mA, then decay
        decay = np.exp(-0.01)
        V = 2.0 * (1 - decay**5) * decay**7
        np.testing.assert_allclose(net.N.V.value, V, rtol=1e-5)


def test_print_prints_every_step(dt, capfd):
    sx.simulate(Counting(lambda f: jax.debug.print("step {}", jnp.float32(1))), 0.5)
    assert capfd.readouterr().out.count("step 1.0") == 5


def test_an_answer_that_changes_is_not_frozen(dt):
    """A pure callback that reads what changes is not as pure as it says, but is asked again."""
    net = Counting(lambda f: jax.pure_callback(lambda _: f(), NUMBER, jnp.sin(1.0)))
    sx.simulate(net, 0.5)
    sx.simulate(net, 0.5)
    assert net.times >= 2


def test_a_call_that_fails_ends_the_run_with_the_states_of_the_last_chunk(dt):
    def failing(count):
        def fail():
            count()
            if net.times > 7:
                raise OSError("the device is gone")

        io_callback(fail, None, ordered=True)

    net = Counting(failing)
    with pytest.raises(Exception, match="the device is gone") as raised:
        sx.simulate(net, 2.0, chunk=0.5)
    assert raised.value.result.steps == 5
    np.testing.assert_allclose(net.N.V.value, 1.5 * (1 - np.exp(-0.05)), rtol=1e-5)


def test_what_is_computed_in_update_is_the_drive_of_the_engine(dt):
    """In any tree that a call is given: what is no array stays what it is."""

    class Net(sx.nn.Module):
        def __init__(self):
            super().__init__()
            self.A, self.B, self.C = sx.LIF(4), sx.LIF(4), sx.LIF(4)

        def update(self, x):
            self.A(jnp.sin(x) + jnp.arange(4.0))
            self.B(np.float64(1.5))
            self.C(jax.jit(jnp.sqrt)(4.0))

    nets = Net(), Net()
    paths = [
        sx.simulate(n, 2.0, inputs=(0.5,), backend=b).path
        for n, b in zip(nets, ("native", "xla"), strict=True)
    ]
    assert paths == ["network_run", "for_loop"]
    for name in "ABC":
        V = [getattr(n, name).V.value for n in nets]
        np.testing.assert_allclose(*V, rtol=1e-6)
