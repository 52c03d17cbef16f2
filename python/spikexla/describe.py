"""How a module prints: the tree of what it holds, with shapes, and what it comes to in all."""

from __future__ import annotations

from collections.abc import Iterator

from . import tree
from .state import LOST, State
from .value import size, spelled_bytes


def describe(module: tree.Node) -> str:
    """The tree of states below `module`; under it, for each kind, how many numbers and bytes.

    >>> print(describe(net))
    Linear
    └─ weight: ParamState({'bias': float32[2], 'weight': float32[3,2]}, 32 B)
    8 numbers, 32 B
    └─ 1 ParamState: 8 numbers, 32 B
    """
    lines = list(_branches(module, type(module).__name__, set()))
    totals: dict[str, list[int]] = {}
    for _, state in tree.states(module, 0, tree.DEEPEST):
        numbers, nbytes = (0, 0) if state._frame is LOST else size(state.value)
        total = totals.setdefault(type(state).__name__, [0, 0, 0])
        total[:] = total[0] + 1, total[1] + numbers, total[2] + nbytes
    if totals:
        _, *amounts = zip(*totals.values(), strict=True)
        lines.append(_amount(*map(sum, amounts)))
    for k, (kind, (count, *amount)) in enumerate(sorted(totals.items())):
        branch = "└─" if k == len(totals) - 1 else "├─"
        lines.append(f"{branch} {count} {kind}: {_amount(*amount)}")
    return "\n".join(lines)


def _amount(numbers: int, nbytes: int) -> str:
    return f"{numbers:,} number{'s' * (numbers != 1)}, {spelled_bytes(nbytes)}"


def _branches(module: tree.Node, title: str, seen: set[int]) -> Iterator[str]:
    if id(module) in seen:
        yield f"{title} (shown above)"
        return
    seen.add(id(module))
    yield title
    found = list(tree.members(module))
    for k, (path, member) in enumerate(found):
        branch, trunk = ("└─ ", "   ") if k == len(found) - 1 else ("├─ ", "│  ")
        if isinstance(member, State):
            again = " (shown above)" if id(member) in seen else ""
            seen.add(id(member))
            yield f"{branch}{path}: {member!r}{again}"
        else:
            lines = _branches(member, f"{path}: {type(member).__name__}", seen)
            yield branch + next(lines)
            yield from (trunk + line for line in lines)
