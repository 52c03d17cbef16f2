"""What an optimiser remembers as arrays by name, and back, checked."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

_KEYS = {"step_count", "skipped", "scheduler", "param_groups"}
_GROUP_KEYS = {"params", "lr", "weight_decay", "memory"}


def by_path(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by where they are: `{'0.mu.W': ...}`; ValueError for one name of two."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    found = dict(zip(names, (leaf for _, leaf in leaves), strict=True))
    if len(found) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise ValueError(f"two arrays are called {twice!r}; rename one of the keys")
    return found


def restored(tree: Any, saved: dict[str, Any], what: str) -> Any:
    """The tree with the arrays that `by_path` gave; ValueError names what does not fit."""
    names = by_path(tree)
    problems = [f"{name!r} is missing" for name in names if name not in saved]
    problems += [f"{name!r} is not known here" for name in saved if name not in names]
    for name, leaf in names.items():
        if name in saved and jnp.shape(saved[name]) != jnp.shape(leaf):
            shapes = jnp.shape(saved[name]), jnp.shape(leaf)
            problems.append(f"{name!r} has shape {shapes[0]} where {shapes[1]} is needed")
    if problems:
        raise ValueError(
            f"{what} does not fit: {'; '.join(problems)}. Load it into an optimiser of the same "
            "rule, options and parameters."
        )
    leaves = [jnp.asarray(saved[name], jnp.result_type(leaf)) for name, leaf in names.items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def check(saved: Any, groups: list[Any], scheduled: bool) -> None:
    """Raises when `saved` is not what `state_dict` makes of an optimiser with these groups."""
    if not isinstance(saved, dict) or not _KEYS <= saved.keys():
        found = sorted(map(str, saved)) if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f"this is not what optimizer.state_dict() gives: {found}")
    if bool(saved["scheduler"]) != scheduled:
        has, lacks = ("saved", "present") if saved["scheduler"] else ("present", "saved")
        raise ValueError(
            f"the {has} optimiser has a scheduler and the {lacks} one has none; "
            "make it with the `lr` it was saved with"
        )
    mine = [[str(key) for key in group.params] for group in groups]
    theirs = [
        entry["params"] if _GROUP_KEYS <= entry.keys() else None for entry in saved["param_groups"]
    ]
    if mine != theirs:
        raise ValueError(
            f"the saved optimiser trains {theirs} and this one {mine} (a list for each group); "
            "register the same parameters first"
        )
