"""`shard_map`: runs a function on each shard of its inputs and States over a mesh of devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..random import RandomState
from ..state import State, TraceError
from .staged import staged
from .trace import Frame, commit, join, read, split
from .vmap import prefix


def shard_map(
    fun: Callable,
    mesh: Mesh,
    in_specs: Any,
    out_specs: Any,
    *,
    state_in_specs: Any = None,
    state_out_specs: Any = None,
    check_vma: bool = True,
) -> Callable:
    """`jax.shard_map` for a function that may read and write States.

    in_specs, out_specs: a `PartitionSpec` for each argument and result, or a tree prefix of them;
    keywords are replicated.
    state_in_specs: a spec for all States, or {State: spec}; States without one are replicated.
    state_out_specs: likewise for what is written; by default as it came in.
    A replicated State must be written with the same value on every shard (reduce it, for example
    with `jax.lax.psum`).  Each shard draws its own random numbers.

    >>> mesh = jax.make_mesh((1,), ("n",))
    >>> double = shard_map(lambda x: 2 * x, mesh, PartitionSpec("n"), PartitionSpec("n"))
    >>> double(jnp.arange(4.0))
    Array([0., 2., 4., 6.], dtype=float32)
    """
    entering = _specs(state_in_specs)
    leaving = entering if state_out_specs is None else _specs(state_out_specs)
    if isinstance(entering, dict) and isinstance(leaving, dict):
        leaving = {**entering, **leaving}
    subject = (fun, mesh, in_specs, out_specs, entering, leaving, check_vma)

    @functools.wraps(fun, updated=())
    def sharded(*args: Any, **kwargs: Any) -> Any:
        return staged(_shard_map, subject, args, kwargs)

    return sharded


def _specs(spec: Any) -> Any:
    """One spec for all States, or {State: spec}."""
    if spec is None or isinstance(spec, PartitionSpec):
        return spec or PartitionSpec()
    if not isinstance(spec, dict) or not all(isinstance(key, State) for key in spec):
        raise TypeError(
            f"the specs of states are one PartitionSpec or {{State: PartitionSpec}}, got {spec!r}"
        )
    return {state.root(): one for state, one in spec.items()}


def _spec_of(state: State, specs: Any) -> PartitionSpec:
    return specs.get(state, PartitionSpec()) if isinstance(specs, dict) else specs


def _shard_map(subject: tuple, *args: Any, **kwargs: Any) -> Any:
    fun, mesh, in_specs, out_specs, entering, leaving, check_vma = subject
    data, statics, tree = split((args, kwargs))
    in_specs = tuple(in_specs) if isinstance(in_specs, list) else in_specs
    specs = _entries((in_specs, None), (args, kwargs), statics, "in_specs")
    data = _place(mesh, data, specs)

    def run(leaves: list, lift: Callable) -> _Run:
        args, kwargs = join(tree, statics, leaves)
        with Frame(lift) as frame:
            return _Run(frame, frame.run(fun, args, kwargs))

    first = _without_values(mesh, entering, run, data, specs)
    of_states = [_spec_of(state, entering) for state in first.states]
    of_written = [_spec_of(state, leaving) for state in first.written]
    raws = _place(mesh, read(first.states), of_states)
    # A key for each shard: the stream outside goes on as if one shard more had drawn.
    lanes = PartitionSpec(mesh.axis_names)
    keys = _place(mesh, [s.split_raw(mesh.size) for s in first.random], [lanes] * len(first.random))

    def body(raws: list, keys: list, leaves: list) -> tuple[list, list]:
        given = dict(zip(map(id, first.states), raws, strict=True))
        given |= zip(map(id, first.random), (key[0] for key in keys), strict=True)
        again = run(leaves, lambda _, state: given[id(state)])
        return again.data, again.raws

    of_out = _entries(out_specs, first.out, first.statics, "out_specs")
    mapped = jax.shard_map(
        body,
        mesh=mesh,
        in_specs=(of_states, [lanes] * len(keys), specs),
        out_specs=(of_out, of_written),
        check_vma=check_vma,
    )
    out, written = _checked(mapped, (raws, keys, data), first.written)
    commit(first.written, written, first.trees)
    return join(first.tree, first.statics, out)


def _entries(specs: Any, tree: Any, statics: list, what: str) -> list[PartitionSpec]:
    """A spec for each leaf that is data; None says replicated."""
    found = prefix(specs, tree, statics, what)
    return [PartitionSpec() if spec is None else spec for spec in found]


class _Run:
    """What the function met and gave back on one shard."""

    def __init__(self, frame: Frame, out: Any) -> None:
        if frame.new:
            raise TraceError(
                f"{frame.new[0].label} was created inside shard_map, where it would have a value "
                "on each shard. Create it before, and name it in state_in_specs."
            )
        self.random = [s for s in frame.states if isinstance(s, RandomState)]
        self.states = [s for s in frame.states if not isinstance(s, RandomState)]
        self.written = [s for s in frame.writes() if not isinstance(s, RandomState)]
        self.raws = [s._raw for s in self.written]
        self.trees = [s._tree for s in self.written]
        self.data, self.statics, self.tree = split(out)
        self.out = self.tree.unflatten(self.statics)


def _without_values(
    mesh: Mesh, specs_of_states: Any, run: Callable, data: list, specs: list
) -> _Run:
    """The function run on shapes alone: jax has to be told before which States it meets."""
    runs = []

    def lift(_: Frame, state: State) -> Any:
        sharding = NamedSharding(mesh, _spec_of(state, specs_of_states))
        return jax.tree.map(
            lambda x: jnp.zeros(sharding.shard_shape(jnp.shape(x)), jnp.result_type(x)), state._raw
        )

    def probe(leaves: list) -> None:
        runs.append(run(leaves, lift))

    mapped = jax.shard_map(
        probe, mesh=mesh, in_specs=(specs,), out_specs=PartitionSpec(), check_vma=False
    )
    try:
        jax.eval_shape(mapped, data)
    except TypeError as error:
        error.add_note(
            "Inside shard_map a State without a spec is whole on every shard, while arguments are "
            "cut; give it a spec in state_in_specs to cut it likewise."
        )
        raise
    return runs[-1]


def _place(mesh: Mesh, values: list, specs: list) -> list:
    """The values laid out over the mesh; a mesh with explicit axes does not do this by itself."""
    return [
        jax.tree.map(lambda x, s=spec: jax.device_put(x, NamedSharding(mesh, s)), value)
        for value, spec in zip(values, specs, strict=True)
    ]


def _checked(mapped: Callable, inputs: tuple, written: list[State]) -> tuple[list, list]:
    try:
        return mapped(*inputs)
    except ValueError as error:
        if not written or "out_specs" not in str(error):
            raise
        raise ValueError(
            f"shard_map wrote {', '.join(s.label for s in written)}: a State without a spec is "
            "replicated and must get the same value on every shard. Reduce it (jax.lax.psum), or "
            f"give it a spec in state_out_specs. jax says: {error}"
        ) from error
