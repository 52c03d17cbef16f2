"""`NotAPlan`: what keeps a network out of the engine, and the table of all that can."""

from __future__ import annotations

from typing import Any

from ..module import Module

REASONS = {  # what a part is or does, or update() itself; what would change that
    "backend": ("runs on the backend {backend!r}", "take backend='native' for network_run"),
    "platform": ("runs on {platform}, for which no kernels were built", "run it on the CPU"),
    "traces": ("is traced on {platform}", "network_run writes traces on the CPU"),
    "spread": ("has States that are spread over {count} devices", "put them on one"),
    # what update() does
    "state": ("uses the state {state} itself", "record a Trace of a State that is only to be seen"),
    "effect": (
        "calls out of the program in every step ({call})",
        "network_run cannot: leave it out, or record what is to be seen",
    ),
    "more": ("does more than step its parts ({error})", "leave all else to other modules"),
    "no step": ("steps no population of neurons", "call one to have it stepped"),
    "steps": ("is stepped {times} times by update()", "call it once"),
    # what update() does with spikes
    "index": (
        "gives its spikes by the index {index!r}, which is not a plain slice",
        "take neighbours, such as spikes[:80], and connect those that count",
    ),
    "computed": (
        "gives spikes that update() computes with ({how})",
        "hand them to projections as they are, and compute with what is recorded",
    ),
    "other spikes": ("is asked for the spikes of another potential", "call its get_spike()"),
    "new spikes": (
        "takes spikes of this step",
        "take get_spike() before the population is stepped",
    ),
    "no spikes": (
        "is called with something else than spikes of a population",
        "give it get_spike() of one, or a slice of that",
    ),
    # populations
    "kernel": ("has a model {name!r} without a compiled kernel", "add one in C++"),
    "batch": ("has states with a batch axis", "start it without, by init_all_states(net)"),
    "spk_fun": ("has a spk_fun of its own", "take one of sx.surrogate"),
    "before": ("has a before update {key!r}", "let update() do that, or remove it"),
    "input": ("has an input {key!r} that is no Expon or Delta with COBA or CUBA", "use these"),
    "delta": ("has delta inputs", "bring them in by a projection onto a synapse"),
    "spikes in": ("gets spikes as its current", "send them by a projection"),
    # projections
    "kind": (
        "is a {kind}, not a sparse projection onto a synapse",
        "use an AlignPostProj with an EventFixedProb or the like",
    ),
    "modules": ("has modules before its weights", "apply them to what is recorded, or drop them"),
    "comm": ("is weighed by a {kind}, which is no sparse connection", "use EventFixedProb"),
    "late": ("is called after its population was stepped", "call it before"),
    "floats": (
        "keeps delayed floats or a batch of spikes, not bits",
        "leave differentiable_delay and the batch axis out",
    ),
    "shape": ("comes from a population of the shape {shape}", "give that one axis"),
    "history": (
        "remembers other spikes than another projection of the same neurons",
        "start them together, by init_all_states(net)",
    ),
    "elsewhere": ("sends to neurons that are no part of the network", "make them an attribute"),
    "undriven": ("feeds a synapse that does not drive its population", "make both anew"),
    "twice": ("is a PoissonInput that is called twice a step", "make two of them"),
    # synapses
    "calls": (
        "is advanced {times} times a step",
        "call one projection onto it once, or share it: Expon.desc(...)",
    ),
    "synapse in": ("has inputs beside its projections", "bring them in by a projection"),
    # any part
    "own": ("has {name}() of its own ({kind})", "take a class of spikexla as it is"),
    "trace": (
        "has its State {state!r} traced",
        "network_run traces the States of neurons and the g of synapses",
    ),
}


def names_of(net: Module) -> dict[int, str]:
    """The path of each module by its `id`."""
    return {id(node): str(path) for path, node in net.nodes().items()}


class NotAPlan(Exception):
    """Why a module is stepped in a loop: one of REASONS, for its `part`.

    `part` is a module, or None where `update` itself stands in the way.
    """

    def __init__(self, part: Any, reason: str, **about: Any) -> None:
        super().__init__(part, reason, about)
        self.part, self.reason, self.about = part, reason, about

    def named(self, names: dict[int, str]) -> tuple[str, str]:
        """The name of the part, '' for `update`, and the sentence about it; `names` by `id`."""
        name = names.get(id(self.part), "")
        what, move = REASONS[self.reason]
        return name, f"{name or 'update()'} {what.format(**self.about)}; {move}"
