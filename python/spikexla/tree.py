"""The tree of modules: what a module holds, walked with paths or, for speed, without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .state import State
from .statedict import PathKey

if TYPE_CHECKING:
    from .module import Module

DEEPEST = 2**31 - 1

_CONTAINERS = (list, tuple, dict)


class Node:
    """Base of `Module`: remembers which of its attributes may hold states or modules."""

    _holds: Held | None = None  # until an attribute changes

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        refuse_slots(cls)


class Held:
    """The attributes of a node that a walk has to look at; all others are settings."""

    __slots__ = ("containers", "count", "named", "nodes", "states")

    def __init__(self, node: Node) -> None:
        self.named: list[tuple[str, Any]] = []  # by name, sorted
        self.states: list[State] = []
        self.nodes: list[Node] = []
        self.containers: list[Any] = []
        attributes = node.__dict__
        self.count = len(attributes)
        for name in sorted(attributes):
            value = attributes[name]
            if isinstance(value, State):
                self.states.append(value)
            elif isinstance(value, Node):
                self.nodes.append(value)
            elif isinstance(value, _CONTAINERS) and _may_hold(value):
                self.containers.append(value)
            else:
                continue
            self.named.append((name, value))


def held_by(node: Node) -> Held:
    """What `node` holds, looked up again only after an attribute was set or `__dict__` grew."""
    held = node._holds
    if held is None or held.count != len(node.__dict__):
        object.__setattr__(node, "_holds", None)  # is counted too
        held = Held(node)
        object.__setattr__(node, "_holds", held)
    return held


def _may_hold(value: Any) -> bool:
    """Whether a container has states or modules, or may be given some later."""
    return not isinstance(value, tuple) or any(
        isinstance(x, State | Node) or (isinstance(x, _CONTAINERS) and _may_hold(x)) for x in value
    )


# -- with paths -----------------------------------------------------------------------------------


def members(node: Node) -> Iterator[tuple[PathKey, Any]]:
    """States and modules held directly, containers included, in the order of their names."""
    for name, value in held_by(node).named:
        yield from _members(value, PathKey((name,)), set())


def within(container: dict, name: str) -> dict[PathKey, Any]:
    """The states and modules in a dict that is to be the attribute `name`."""
    return dict(_members(container, PathKey((name,)), set()))


def _members(value: Any, path: PathKey, seen: set[int]) -> Iterator[tuple[PathKey, Any]]:
    if isinstance(value, State):
        yield path, value.root()
    elif isinstance(value, Node):
        yield path, value
    elif id(value) not in seen:
        seen.add(id(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for part, item in pairs:
            if isinstance(item, _LOOKED_AT):
                tail = tuple(part) if isinstance(part, PathKey) else (part,)
                yield from _members(item, PathKey((*path, *tail)), seen)


_LOOKED_AT = (State, Node, *_CONTAINERS)


def nodes(root: Node, lowest: int, deepest: int) -> Iterator[tuple[PathKey, Any]]:
    """`root` (of depth 0) and the modules below it, each once, children before parents."""
    seen: set[int] = set()

    def visit(node: Node, path: PathKey, depth: int) -> Iterator[tuple[PathKey, Any]]:
        if id(node) in seen or depth > deepest:
            return
        seen.add(id(node))
        for part, child in members(node):
            if isinstance(child, Node):
                yield from visit(child, PathKey(path + part), depth + 1)
        if depth >= lowest:
            yield path, node

    return visit(root, PathKey(), 0)


def states(root: Node, lowest: int, deepest: int) -> Iterator[tuple[PathKey, State]]:
    """The states of `root` (of depth 1), then of its children; a shared State's first path wins."""
    seen: set[int] = set()

    def visit(node: Node, path: PathKey, depth: int) -> Iterator[tuple[PathKey, State]]:
        if id(node) in seen or depth > deepest:
            return
        seen.add(id(node))
        found = list(members(node))
        for part, state in found:
            if isinstance(state, State) and id(state) not in seen and depth >= lowest:
                seen.add(id(state))
                yield PathKey(path + part), state
        for part, child in found:
            if isinstance(child, Node):
                yield from visit(child, PathKey(path + part), depth + 1)

    return visit(root, PathKey(), 1)


def refuse_one_name(found: dict[PathKey, Any], owner: object) -> None:
    """Raises ValueError where two paths read alike.

    Checkpoints and optimisers know a State by its name, and would take one for the other.
    """
    names = {str(path): path for path in found}
    if len(names) < len(found):
        path = next(path for path in found if names[str(path)] is not path)
        raise ValueError(
            f"{type(owner).__name__} holds two things that are both called {str(path)!r}, at "
            f"{tuple(path)} and {tuple(names[str(path)])}. Rename one of these keys."
        )


def refuse_slots(kind: type) -> None:
    """Raises TypeError for a class with slots: what is in them is in no `__dict__`, so not seen."""
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        hidden = set([slots] if isinstance(slots, str) else slots) - {"__dict__", "__weakref__"}
        if hidden:
            raise TypeError(
                f"{kind.__name__} has slots ({', '.join(sorted(hidden))}, of {base.__name__}), and "
                "States in slots are found by nobody: not by states(), jit or a checkpoint. Leave "
                "`__slots__`, or slots=True of a dataclass, away."
            )


# -- without paths, which take most of the time of a walk ------------------------------------------


def own_states(node: Node) -> list[State]:
    """The states held directly, each once."""
    held = held_by(node)
    found = list(held.states)
    for container in held.containers:
        found += (item for item in _inside(container, set()) if isinstance(item, State))
    return found if len(found) == 1 else list({id(s): s for s in map(State.root, found)}.values())


def contents(node: Node) -> tuple[Any, ...]:
    """The states and modules in its lists and dicts, which change without the node's knowing."""
    return tuple(x for box in held_by(node).containers for x in _inside(box, set()))


def all_nodes(root: Module) -> list[Module]:
    """`root` and all modules below it, each once, children before parents."""
    found: list[Module] = []
    seen: set[int] = set()

    def visit(node: Any) -> None:
        seen.add(id(node))
        held = held_by(node)
        if held.nodes or held.containers:
            for _, value in held.named:
                if isinstance(value, Node):
                    if id(value) not in seen:
                        visit(value)
                elif not isinstance(value, State):
                    for item in _inside(value, set()):
                        if isinstance(item, Node) and id(item) not in seen:
                            visit(item)
        found.append(node)

    visit(root)
    return found


def _inside(container: Any, seen: set[int]) -> Iterator[Any]:
    """The states and modules in a container and in the containers in it."""
    seen.add(id(container))
    for item in container.values() if isinstance(container, dict) else container:
        if isinstance(item, _LOOKED_AT):
            if isinstance(item, State | Node):
                yield item
            elif id(item) not in seen:
                yield from _inside(item, seen)
