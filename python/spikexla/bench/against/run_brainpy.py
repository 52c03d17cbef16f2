"""brainpy.state on brainevent, float32, one compiled loop."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import json
import sys
import time

import brainpy
import brainstate
import braintools
import brainunit as u
import jax

WEIGHTS = {"COBA": (600.0, 6700.0), "CUBA": (1.62, -9.0)}  # mS; a leak is 1 S where R is 1 Ohm


class Network(brainstate.nn.Module):
    """The COBA or CUBA network, counting its spikes."""

    def __init__(self, model, n, targets):
        super().__init__()
        self.n, self.ne, coba = n, n * 4 // 5, model == "COBA"
        self.drive = (20.0 if coba else 0.0) * u.mA
        self.N = brainpy.state.LIFRef(
            n, V_rest=(-60.0 if coba else -49.0) * u.mV, V_th=-50.0 * u.mV, V_reset=-60.0 * u.mV,
            tau=20.0 * u.ms, tau_ref=5.0 * u.ms, spk_reset="hard",
            V_initializer=braintools.init.Normal(-55.0, 2.0, unit=u.mV),
        )  # fmt: skip
        kinds = ((self.ne, 5.0, 0.0), (n - self.ne, 10.0, -80.0))
        self.E, self.I = (
            brainpy.state.AlignPostProj(
                comm=brainstate.nn.EventFixedProb(
                    size, n, conn_num=targets / n + 1e-9, conn_weight=weight * u.mS
                ),
                syn=brainpy.state.Expon.desc(n, tau=tau * u.ms),
                out=brainpy.state.COBA.desc(E=reversal * u.mV)
                if coba
                else brainpy.state.CUBA.desc(scale=u.volt),
                post=self.N,
            )
            for weight, (size, tau, reversal) in zip(WEIGHTS[model], kinds, strict=True)
        )

    def init_state(self, *_, **__):
        self.fired = brainstate.ShortTermState(u.math.zeros(self.n))

    def reset_state(self, *_, **__):
        self.fired.value = u.math.zeros(self.n)

    def update(self, t):
        with brainstate.environ.context(t=t):
            spikes = self.N.get_spike()
            self.E(spikes[: self.ne])
            self.I(spikes[self.ne :])
            self.N(self.drive)
            self.fired.value += self.N.get_spike()


def network(ask):
    """As many runs of one network as the rounds and the budget allow, after one that compiles."""
    brainstate.random.seed(ask["seed"])
    net = Network(ask["model"], ask["n"], ask["targets"])
    brainstate.nn.init_all_states(net)

    @brainstate.transform.jit
    def run():
        with brainstate.environ.context(dt=ask["dt"] * u.ms):
            times = u.math.arange(round(ask["ms"] / ask["dt"])) * ask["dt"] * u.ms
            brainstate.transform.for_loop(net.update, times)
        return net.fired.value.sum()

    jax.block_until_ready(run())
    walls, spikes, begin = [], [], time.perf_counter()
    while not walls or (
        len(walls) < ask["rounds"] and time.perf_counter() - begin < ask["budget_s"]
    ):
        brainstate.nn.reset_all_states(net)
        jax.block_until_ready(net.N.V.value)
        start = time.perf_counter()
        fired = jax.block_until_ready(run())
        walls.append(time.perf_counter() - start)
        spikes.append(int(fired))
    return {"walls": walls, "spikes": spikes}


if __name__ == "__main__":
    answer = network(json.load(sys.stdin))
    print(json.dumps({**answer, "version": brainpy.__version__}))
