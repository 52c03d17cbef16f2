"""Module: an object whose attributes are states, other modules and settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from .config import config, warn_once
from .state import EPOCH, State, is_kind, rely_on
from .statedict import PathKey, StateDict

Batch = int | tuple[int, ...] | None


class StateOverwriteWarning(UserWarning):
    """An attribute that held a State was replaced by something that is not one."""


class Module:
    """Base of everything that owns states: neurons, synapses, layers, networks.

    Assign states and modules to attributes (or to lists, tuples and dicts in attributes), define
    `update`, call the module.  To start a trial, `init_all_states` calls `reset_state`, which by
    default puts every ShortTermState back to its value at construction.

    >>> class Linear(Module):
    ...     def __init__(self, n_in, n_out):
    ...         super().__init__()
    ...         self.W = ParamState(jnp.ones((n_in, n_out)))
    ...     def update(self, x):
    ...         return x @ self.W.value
    >>> layer = Linear(3, 2)
    >>> layer(jnp.ones(3)).shape, list(layer.states(ParamState))
    ((2,), ['W'])
    """

    # numpy arrays would otherwise try `x >> module` element by element.
    __array_ufunc__ = None
    _version = 0  # how often a setting (an attribute that is no State) has changed

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            self.name = name

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module does: one step of it.  Every module defines its own."""
        raise TypeError(
            f"{type(self).__name__} was called but does not define `update`. "
            f"Add `def update(self, x): ...` to it."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        rely_on(self, "_version")
        return self.update(*args, **kwargs)

    def __rrshift__(self, x: Any) -> Any:
        """`x >> module` is `module(x)`."""
        return self(x)

    # -- attributes ---------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            return object.__setattr__(self, name, value)  # it sets what it stands for
        old = self.__dict__.get(name)
        if isinstance(old, State) and old is not value:
            if type(value) is type(old) and not value._held:
                # Optimisers, closures and compiled functions hold the State of this name, so a
                # second `self.V = ShortTermState(...)` gives it a new value, not a successor.
                # A State that is some module's already is meant itself: weights are being tied.
                old.adopt(value)
                return
            if not isinstance(value, State):
                self._warn_overwrite(name, old)
        if isinstance(value, State):
            value = value.root()
            value._held = True
            if value.name is None:
                value.name = f"{type(self).__name__}.{name}"
        elif old is value or _same_number(old, value):
            return object.__setattr__(self, name, value)
        object.__setattr__(self, name, value)
        self._changed()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._changed()

    def _changed(self) -> None:
        object.__setattr__(self, "_version", self._version + 1)
        EPOCH.bump()

    def _warn_overwrite(self, name: str, old: State) -> None:
        message = (
            f"{type(self).__name__}.{name} is a {type(old).__name__}; this assignment replaces the "
            f"State itself, and nobody who holds it will see. To change its value write "
            f"`.{name}.value = ...`."
        )
        if config.strict:
            raise TypeError(message + " (config.strict is on.)")
        site = _site(3)
        warn_once(f"overwrite {name} {site}", message, StateOverwriteWarning, stacklevel=4)

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        for _, member in self._members():
            if isinstance(member, State):
                member._held = True

    # -- walking ------------------------------------------------------------------------------

    def _members(self) -> Iterator[tuple[PathKey, State | Module]]:
        """States and modules held directly, containers included, in the order of their names."""
        for name in sorted(self.__dict__):
            value = self.__dict__[name]
            if isinstance(value, _TREE):
                yield from _members(value, PathKey((name,)), set())

    def _own_states(self) -> Iterator[State]:
        """States held directly; without the paths, which take most of the time of a walk."""
        for value in list(self.__dict__.values()):
            if isinstance(value, State):
                yield value.root()
            elif isinstance(value, list | tuple | dict):
                members = _members(value, PathKey(), set())
                yield from (member for _, member in members if isinstance(member, State))

    def children(self) -> dict[PathKey, Module]:
        """The modules that this one holds directly, by path."""
        return {path: m for path, m in self._members() if isinstance(m, Module)}

    def nodes(self) -> dict[PathKey, Module]:
        """This module and all below it, each once, children before parents, by path."""
        found: dict[PathKey, Module] = {}
        seen: set[int] = set()

        def visit(module: Module, path: PathKey) -> None:
            if id(module) in seen:
                return
            seen.add(id(module))
            for part, child in module._members():
                if isinstance(child, Module):
                    visit(child, PathKey(path + part))
            found[path] = module

        visit(self, PathKey())
        return found

    def states(self, *filters: Any, exact: bool = True) -> Any:
        """The states of this module and all below it, by path, each State once.

        A filter is a kind of State or a function of (path, state); several filters give a tuple
        of StateDicts, one each.  The kinds are disjoint: `states(LongTermState)` has no parameters;
        `exact=False` counts them in, as brainstate does.
        """
        everything = StateDict(_walk_states(self, PathKey(), set(), set()))
        picked = tuple(
            StateDict({k: s for k, s in everything.items() if _matches(filter_, k, s, exact)})
            for filter_ in filters
        )
        return everything if not filters else picked[0] if len(filters) == 1 else picked

    # -- trials -------------------------------------------------------------------------------

    def init_state(self, *args: Any, **kwargs: Any) -> None:
        """Prepares the states for a trial; by default the same as `reset_state`."""
        _call_with_batch(self, "reset_state", args, kwargs)

    def reset_state(self, batch_size: Batch = None) -> None:
        """Puts the states held directly back to their start, with leading batch dimensions.

        States that define `reset` are reset by it; ParamState and LongTermState are left alone.
        """
        for state in self._own_states():
            reset = getattr(state, "reset", None)
            if reset is not None:
                known, _ = _parameters(getattr(reset, "__func__", reset))
                reset(batch_size=batch_size) if "batch_size" in known else reset()

    # -- looking ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return "\n".join(_tree_lines(self, type(self).__name__, set()))


class Sequential(Module):
    """Modules and functions applied one after the other.

    >>> net = Sequential(Linear(3, 2), jnp.tanh)
    >>> net(jnp.ones(3)).shape, len(net)
    ((2,), 2)
    """

    def __init__(self, *layers: Callable[..., Any], name: str | None = None) -> None:
        super().__init__(name)
        for k, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(
                    f"layer {k} of Sequential is {layer!r}, which cannot be called; "
                    "pass modules or functions"
                )
        self.layers = list(layers)

    def update(self, *args: Any) -> Any:
        for layer in self.layers:
            args = (layer(*args),)
        return args[0]

    def __getitem__(self, index: Any) -> Any:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)


def init_all_states(
    target: Module, *args: Any, batch_size: Batch = None, exclude: Any = None, **kwargs: Any
) -> Module:
    """Calls `init_state` on every module of `target`, children first; returns `target`.

    A class that defines only `reset_state` has that called.  States keep their identity, so this
    may be repeated at every trial, with another `batch_size`, inside `jit` too.  `exclude` is a
    module class, or a tuple of them, to leave out.

    >>> _ = init_all_states(net, batch_size=32)
    """
    return _call_all(target, "init_state", args, {"batch_size": batch_size, **kwargs}, exclude)


def reset_all_states(
    target: Module, *args: Any, batch_size: Batch = None, exclude: Any = None, **kwargs: Any
) -> Module:
    """Calls `reset_state` on every module of `target`, children first; returns `target`."""
    return _call_all(target, "reset_state", args, {"batch_size": batch_size, **kwargs}, exclude)


def call_order(level: int) -> Callable[[Callable], Callable]:
    """Marks an `init_state` or `reset_state` to run after all unmarked ones, by rising level."""

    def mark(method: Callable) -> Callable:
        method.call_order = level  # type: ignore[attr-defined]
        return method

    return mark


def _call_all(target: Module, method: str, args: tuple, kwargs: dict, exclude: Any) -> Module:
    if not isinstance(target, Module):
        raise TypeError(f"expected a Module, got {type(target).__name__}: {target!r}")
    modules = [m for m in target.nodes().values() if not (exclude and isinstance(m, exclude))]
    for module in sorted(modules, key=lambda m: getattr(getattr(m, method), "call_order", -1)):
        _call_with_batch(module, method, args, kwargs)
    return target


def _call_with_batch(module: Module, method: str, args: tuple, kwargs: dict) -> None:
    """Calls the method, leaving `batch_size=None` away where the method does not know it."""
    bound = getattr(module, method)
    parameters, takes_any = _parameters(getattr(bound, "__func__", bound))
    if "batch_size" in kwargs and "batch_size" not in parameters and not takes_any:
        kwargs = dict(kwargs)
        if kwargs.pop("batch_size") is not None:
            raise TypeError(
                f"{type(module).__name__}.{method} does not take batch_size, so its states would "
                f"have no batch dimension. Declare `def {method}(self, batch_size=None)`."
            )
    bound(*args, **kwargs)


_TREE = (State, Module, list, tuple, dict)  # what a state can lie in


@functools.lru_cache(maxsize=1024)
def _parameters(function: Callable) -> tuple[frozenset[str], bool]:
    """The names that a function takes, and whether it takes any keyword; slow to find out."""
    parameters = inspect.signature(function).parameters
    return frozenset(parameters), any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _members(value: Any, path: PathKey, seen: set[int]) -> Iterator[tuple[PathKey, Any]]:
    if isinstance(value, State):
        yield path, value.root()
    elif isinstance(value, Module):
        yield path, value
    elif isinstance(value, list | tuple | dict) and id(value) not in seen:
        seen.add(id(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for part, item in pairs:
            if not isinstance(item, _TREE):
                continue
            tail = tuple(part) if isinstance(part, PathKey) else (part,)
            yield from _members(item, PathKey((*path, *tail)), seen)


def _walk_states(
    module: Module, path: PathKey, modules: set[int], states: set[int]
) -> Iterator[tuple[PathKey, State]]:
    """States of the module, then of its children; the first path to a shared State wins."""
    if id(module) in modules:
        return
    modules.add(id(module))
    members = list(module._members())
    for part, state in members:
        if isinstance(state, State) and id(state) not in states:
            states.add(id(state))
            yield PathKey(path + part), state
    for part, child in members:
        if isinstance(child, Module):
            yield from _walk_states(child, PathKey(path + part), modules, states)


def _matches(filter_: Any, path: PathKey, state: State, exact: bool) -> bool:
    if isinstance(filter_, type):
        return is_kind(state, filter_, exact=exact)
    if callable(filter_):
        return bool(filter_(path, state))
    raise TypeError(
        f"states() filters by a State class or a function of (path, state), got {filter_!r}"
    )


def _tree_lines(module: Module, title: str, seen: set[int]) -> Iterator[str]:
    if id(module) in seen:
        yield f"{title} (shown above)"
        return
    seen.add(id(module))
    yield title
    members = list(module._members())
    for k, (path, member) in enumerate(members):
        branch, trunk = ("└─ ", "   ") if k == len(members) - 1 else ("├─ ", "│  ")
        if isinstance(member, State):
            yield f"{branch}{path}: {member!r}"
        else:
            lines = _tree_lines(member, f"{path}: {type(member).__name__}", seen)
            yield branch + next(lines)
            yield from (trunk + line for line in lines)


def _same_number(old: Any, new: Any) -> bool:
    return type(old) is type(new) and isinstance(new, int | float | str | bool) and old == new


def _site(depth: int) -> str:
    frame = inspect.currentframe()
    for _ in range(depth):
        frame = frame.f_back if frame is not None else None
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"
