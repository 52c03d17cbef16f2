"""Every loop at every SIMD level of this machine, on one thread: does AVX2 pay where it must?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..ops import library
from .report import NATIVE, Row, disagreement
from .timing import Plan, interleave

SIZES = (16_384,)
QUICK_SIZES = (1_024,)
LOWEST, WIDE = "baseline", "avx2"
GOAL = 1.3  # a loop bound by arithmetic on AVX2, over the baseline of half its width
CALLS = 2  # after which results are compared
LEGEND = (
    "Times are medians (min-max) of one element on one thread. native: the level in use; "
    "ratio: the\nfastest other level / native. GB/s: the least traffic over the native time; "
    "(copy): what a copy\non all cores reaches. Loops bound by arithmetic are held to "
    f"{GOAL:g}x the {LOWEST}."
)


def rows(sizes: Sequence[int], plan: Plan) -> Iterator[Row]:
    """Rows for each size (of arrays of neurons or synapses), one a loop and type."""
    native = library.native()
    used = native.simd_level()
    for n in sizes:
        cases = {level: native.level_cases(level, n) for level in native.machine_levels()}
        for k, case in enumerate(cases[used]):
            its = {NATIVE: case} | {level: c[k] for level, c in cases.items() if level != used}
            yield _row(case, its, used, plan)


def _row(case: Any, its: dict[str, Any], used: str, plan: Plan) -> Row:
    for one in its.values():
        one.run(CALLS)
    # As many bits as a float holds, which the report compares.
    counts = {name: one.digest() >> 12 for name, one in its.items()}
    samples = interleave({name: one.run for name, one in its.items()}, plan)
    per = {name: sample.times(1 / case.elements) for name, sample in samples.items()}
    held = case.arithmetic and LOWEST in per
    at = {(used if name == NATIVE else name): sample.median for name, sample in per.items()}
    gain = at[LOWEST] / at[WIDE] if WIDE in at else None
    short = case.arithmetic and gain is not None and gain < GOAL
    return Row(
        case=case.name,
        samples=per,
        moved=case.bytes / case.elements,
        counts=counts,
        goal=GOAL if held else None,
        against=LOWEST if held else None,
        error=disagreement("results", counts),
        note=f"{WIDE} is {gain:.2f}x the {LOWEST}, not {GOAL:g}x" if short else "",
    )
