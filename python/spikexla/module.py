"""Module: an object whose attributes are states, other modules and settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

from . import tree
from .atomic import Transaction
from .config import config, warn_once
from .describe import describe
from .filters import to_predicate
from .state import EPOCH, State, rely_on
from .statedict import StateDict

# What a module remembers to be quicker; it is found again.
NOT_SAVED = frozenset({"_holds", "_started"})

Batch = int | tuple[int, ...] | None


class StateOverwriteWarning(UserWarning):
    """An attribute that held a State was replaced by something that is not one."""


class Module(tree.Node):
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
    # Attributes whose content moves EPOCH when it changes, so that nobody need look at each call.
    SETTLED: ClassVar[frozenset[str]] = frozenset()
    _version = 0  # how often a setting (an attribute that is no State) has changed
    _clock: Any = None  # of its simulations, see `clock.py`

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
        with Transaction():
            return self.update(*args, **kwargs)

    def __rrshift__(self, x: Any) -> Any:
        """`x >> module` is `module(x)`."""
        return self(x)

    # -- attributes ---------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            return object.__setattr__(self, name, value)  # it sets what it stands for
        old = self.__dict__.get(name)
        if isinstance(value, State):
            value = value.root()  # the State that this one became another name of, perhaps
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
            value._held = True
            if value.name is None:
                value.name = f"{type(self).__name__}.{name}"
        elif old is value or _same_number(old, value):
            return object.__setattr__(self, name, value)
        elif isinstance(value, dict):  # lists number what they hold; the rest is seen by `states`
            tree.refuse_one_name(tree.within(value, name), self)
        object.__setattr__(self, name, value)
        self._changed()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._changed()

    def _changed(self) -> None:
        object.__setattr__(self, "_version", self._version + 1)
        object.__setattr__(self, "_holds", None)
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

    def __getstate__(self) -> dict[str, Any]:
        return {name: x for name, x in self.__dict__.items() if name not in NOT_SAVED}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        for _, member in tree.members(self):
            if isinstance(member, State):
                member._held = True

    @property
    def _contents(self) -> tuple[Any, ...]:
        return tree.contents(self)

    # -- walking ------------------------------------------------------------------------------

    def states(
        self,
        *filters: Any,
        allowed_hierarchy: tuple[int, int] = (0, tree.DEEPEST),
        exact: bool = True,
    ) -> Any:
        """The states of this module and all below it, by path, each State once.

        filters: see `filters`; a kind of State, a tag, a function of (path, state). Several give
        one StateDict each: a State goes to the first filter that it passes.
        allowed_hierarchy: (lowest, deepest) level; the states held here are on level 1, those of
        the modules held here on level 2.
        exact: the kinds are disjoint, and `states(LongTermState)` has no parameters;
        `exact=False` counts them in, as brainstate does.
        Raises ValueError for two States whose paths read alike, such as ('a', 1) and ('a', '1').

        >>> params, rest = net.states(ParamState, ...)
        >>> len(params), len(rest)
        (1, 0)
        """
        found = StateDict(tree.states(self, *allowed_hierarchy))
        tree.refuse_one_name(found, self)
        return _split(found, filters, exact)

    def nodes(self, *filters: Any, allowed_hierarchy: tuple[int, int] = (0, tree.DEEPEST)) -> Any:
        """This module and all below it, by path, each once, children before parents.

        filters: as in `states`. allowed_hierarchy: this module is on level 0, those it holds on 1.

        >>> [type(node).__name__ for node in net.nodes().values()]
        ['Linear']
        """
        return _split(StateDict(tree.nodes(self, *allowed_hierarchy)), filters, True)

    def children(self) -> Iterator[Module]:
        """The modules that this one holds directly, each once."""
        return (child for _, child in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that this one holds directly, with their dotted names."""
        for path, child in tree.nodes(self, 1, 1):
            yield str(path), child

    # -- trials -------------------------------------------------------------------------------

    def init_state(self, *args: Any, **kwargs: Any) -> None:
        """Prepares the states for a trial; by default the same as `reset_state`."""
        call_with_batch(self, "reset_state", args, kwargs)

    def reset_state(self, batch_size: Batch = None) -> None:
        """Puts the states held directly back to their start, with leading batch dimensions.

        States that define `reset` are reset by it; ParamState and LongTermState are left alone.
        """
        for state in tree.own_states(self):
            reset = getattr(state, "reset", None)
            if reset is not None:
                takes_batch = traits(getattr(reset, "__func__", reset)).takes_batch
                reset(batch_size=batch_size) if takes_batch else reset()

    # -- looking ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return describe(self)


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


def call_with_batch(module: Module, method: str, args: tuple, kwargs: dict) -> None:
    """Calls the method, leaving `batch_size=None` away where the method does not know it."""
    bound = getattr(module, method)
    if "batch_size" in kwargs and not traits(getattr(bound, "__func__", bound)).takes_batch:
        kwargs = dict(kwargs)
        if kwargs.pop("batch_size") is not None:
            raise TypeError(
                f"{type(module).__name__}.{method} does not take batch_size, so its states would "
                f"have no batch dimension. Declare `def {method}(self, batch_size=None)`."
            )
    bound(*args, **kwargs)


class Traits(NamedTuple):
    """What there is to know of an `init_state` or `reset_state` before it is called."""

    takes_batch: bool
    call_order: int | None


@functools.lru_cache(maxsize=1024)
def traits(function: Callable) -> Traits:
    """Kept, because looking at a signature takes longer than the call."""
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    takes_batch = takes_any or "batch_size" in parameters
    return Traits(takes_batch, getattr(function, "call_order", None))


def _split(found: StateDict, filters: tuple, exact: bool) -> Any:
    """One StateDict for each filter; without filters, all."""
    if not filters:
        return found
    tests = [to_predicate(filter_, exact=exact) for filter_ in filters]
    parts = tuple(StateDict() for _ in tests)
    for path, x in found.items():
        part = next((p for p, test in zip(parts, tests, strict=True) if test(path, x)), None)
        if part is not None:
            part[path] = x
    return parts[0] if len(parts) == 1 else parts


def _same_number(old: Any, new: Any) -> bool:
    if type(old) is not type(new) or not isinstance(new, int | float | str | bool):
        return False
    return old == new and (new != 0 or repr(old) == repr(new))  # 0.0 and -0.0 are two settings


def _site(depth: int) -> str:
    frame = inspect.currentframe()
    for _ in range(depth):
        frame = frame.f_back if frame is not None else None
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"
