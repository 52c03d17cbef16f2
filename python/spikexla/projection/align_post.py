"""AlignPostProj: synapses with one state for each target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dynamics import Deferred, Dynamics
from ..synapse.base import Describer, Synapse, SynOut
from ..synapse.coba import COBA
from ..synapse.cuba import CUBA
from .base import Projection


class AlignPostProj(Projection):
    """Spikes, weighed by `comm`, jump into the synapse `syn`; `out` turns its g into a current.

    syn and out are either both describers (`Expon.desc(...)`, `COBA.desc(...)`) or both modules.
    With describers, projections onto the same `post` with equal (syn, out, label) share one
    synapse, which is advanced at the beginning of `post`'s step: g decays, then spikes add to it,
    those of shorter delays first, and of equal delays in the order of the projections' calls. With
    modules, the synapse is advanced when the projection is called.

    delay, in ms, and the State `history`: see `Projection`. Onto a `Delta` synapse it is the time
    until V jumps, dt or longer.

    Errors: TypeError for what is no synapse, output or population, or a unit that does not fit;
    ValueError for sizes that differ, and for a delay that is negative, NaN or too long.

    >>> import spikexla as sx
    >>> neurons = sx.LIF(50)
    >>> comm = sx.EventFixedProb(100, 50, 0.1, 0.6, seed=1)
    >>> to = dict(syn=sx.Expon.desc(50, tau=5.0), out=sx.COBA.desc(E=0.0), post=neurons)
    >>> projection = sx.AlignPostProj(comm=comm, **to)
    """

    def __init__(
        self,
        *modules: Callable[..., Any],
        comm: Any,
        syn: Any,
        out: Any,
        post: Dynamics,
        label: str | None = None,
        delay: Any = None,
        differentiable_delay: bool = False,
    ) -> None:
        ahead = getattr(getattr(syn, "kind", syn), "ahead", 0)  # of a describer, its synapse's
        super().__init__(modules, comm, post, delay, differentiable_delay, ahead)
        _check_kinds(syn, out)
        self.merging = isinstance(syn, Describer)
        self.label = label
        if self.merging:
            self.syn, self.out = _shared(syn, out, post, label)
        else:
            self.syn, self.out = syn, out
            post.add_current_input(str(self.name), out, label)
        self.out.driven_by(self.syn)
        if self.syn.in_size != post.in_size:
            raise ValueError(
                f"AlignPostProj: syn has {self.syn.in_size} elements, but post has {post.in_size} "
                "neurons. Give syn the size of post."
            )
        g_unit = getattr(self.syn, "g_unit", None)
        takes = getattr(self.syn, "weight_units", Synapse.weight_units)
        self._require_unit(*(takes if g_unit is None else (g_unit,)))
        if isinstance(self.out, COBA):
            self._require_unit("S", "1")
        if isinstance(self.out, CUBA):
            self.out.expect_unit(g_unit or self._unit)

    def update(self, *args: Any) -> None:
        """Takes the spikes `(*batch, *comm.in_size)`, bool or float, of the last step."""
        for k, weighed in enumerate(self._arrivals(args)):
            if not isinstance(self.syn, Synapse) and isinstance(weighed, Deferred):
                weighed = weighed.comm(weighed.spikes)
            self.syn.add_delta_input(self._key(k), weighed)
        if not self.merging:
            self.out.bind_cond(self.syn())


class _AlignPost:
    """Advances a shared synapse and hands its g to its output; called before the step of post."""

    def __init__(self, syn: Any, out: Any) -> None:
        self.syn, self.out = syn, out

    def __call__(self) -> None:
        self.out.bind_cond(self.syn())


def shares(before_update: Any) -> bool:
    """Whether a function before the step of a population is that of a synapse it shares."""
    return type(before_update) is _AlignPost


def _shared(syn: Describer, out: Describer, post: Dynamics, label: str | None) -> tuple[Any, Any]:
    key = f"{syn.key} // {out.key}"
    full = key if label is None else f"{label} // {key}"
    if not post.has_before_update(full):
        made = _AlignPost(syn(), out())
        post.add_before_update(full, made)
        post.add_current_input(key, made.out, label)
    made = post.get_before_update(full)
    return made.syn, made.out


def _check_kinds(syn: Any, out: Any) -> None:
    for what, given, kind in (("syn", syn, Dynamics), ("out", out, SynOut)):
        made = given.kind if isinstance(given, Describer) else type(given)
        if not issubclass(made, kind):
            example = "Expon.desc(100, tau=5.0)" if what == "syn" else "COBA.desc(E=0.0)"
            raise TypeError(f"AlignPostProj: {what} is {given!r}; give for example {example}")
    if isinstance(syn, Describer) is not isinstance(out, Describer):
        raise TypeError(
            "AlignPostProj: syn and out must be both describers (`.desc(...)`) or both modules, "
            f"got {syn!r} and {out!r}"
        )
