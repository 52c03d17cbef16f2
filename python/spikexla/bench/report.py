"""Rows of a benchmark: what they hold, how they print, and the JSON they leave."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import machine
from .timing import Sample

NATIVE = "native"
UNITS = ((1e9, "ns"), (1e6, "us"), (1e3, "ms"), (1.0, "s"))
LEGEND = (
    "Times are medians (min-max) of interleaved runs. ratio: fastest pure JAX / native. GB/s: the "
    "least traffic\nover the native time; (copy): what copying as many bytes reaches on all cores."
)


@dataclass(frozen=True)
class Row:
    """One case: the native kernels and their pure JAX competitors on the same inputs.

    `moved` is the least number of bytes that one call must read and write, `counts` what each
    competitor counted (spikes, as a rule). The case is held to the ratio `goal`, to the fastest
    competitor or the one named `against`, to `extra` seconds more than `against`, or to `limit`
    seconds. `floor` names a sample that is no competitor: what the hardware allows. `error` says
    how the competitors' work differed.
    """

    case: str
    samples: Mapping[str, Sample]
    moved: float | None = None
    counts: Mapping[str, float] = field(default_factory=dict)
    goal: float | None = None
    limit: float | None = None
    extra: float | None = None
    against: str | None = None
    floor: str | None = None
    error: str | None = None
    note: str = ""

    @property
    def rival(self) -> str | None:
        """The fastest competitor, which the ratio is against."""
        apart = (NATIVE, self.floor)
        others = {name: s.median for name, s in self.samples.items() if name not in apart}
        return min(others, key=others.__getitem__) if others else None

    @property
    def ratio(self) -> float | None:
        """Median time of the fastest competitor over that of the native kernels."""
        return self.ratio_to(self.rival)

    def ratio_to(self, name: str | None) -> float | None:
        """Median time of this competitor over that of the native kernels."""
        if name is None or name not in self.samples or NATIVE not in self.samples:
            return None
        return self.samples[name].median / self.samples[NATIVE].median

    @property
    def bandwidth(self) -> tuple[float, float | None] | None:
        """Bytes per second that the native call achieved, and those of a copy of that size."""
        if self.moved is None or NATIVE not in self.samples:
            return None
        return self.moved / self.samples[NATIVE].median, machine.copy_bandwidth(self.moved)

    def as_json(self) -> dict[str, Any]:
        speed = self.bandwidth
        return {
            "case": self.case,
            "seconds": {name: asdict(sample) for name, sample in self.samples.items()},
            "ratio": self.ratio,
            "rival": self.rival,
            "ratios": {name: self.ratio_to(name) for name in self.samples if name != NATIVE},
            "goal": self.goal,
            "goal_against": self.against or self.rival,
            "limit_s": self.limit,
            "extra_s": self.extra,
            "floor": self.floor,
            "bytes_moved": self.moved,
            "bytes_per_s": speed and speed[0],
            "copy_bytes_per_s": speed and speed[1],
            "counts": dict(self.counts),
            "error": self.error,
            "note": self.note,
        }


def disagreement(what: str, counts: Mapping[str, float], *, within: float = 0.0) -> str | None:
    """For `Row.error`: None if all counts lie within this relative distance of the first.

    Zero counts are a disagreement too: a benchmark in which nothing happens measures nothing.
    """
    values = list(counts.values())
    if values[0] and all(abs(v - values[0]) <= within * abs(values[0]) for v in values):
        return None
    listed = ", ".join(f"{name} {value:,.10g}" for name, value in counts.items())
    return f"{what} differ: {listed}" if values[0] else f"no {what}: {listed}"


def write_json(path: str | Path, suite: str, rows: Sequence[Row], *, plan: Any) -> None:
    """Writes machine, suite and rows to a file."""
    document = {
        "suite": suite,
        "machine": machine.describe(),
        "plan": {"rounds": plan.rounds, "target_s": plan.target, "quick": plan.quick},
        "rows": [row.as_json() for row in rows],
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """All rows as one table of plain text; errors and notes stand below it."""
    names = list(dict.fromkeys(name for row in rows for name in row.samples))
    titles = ["case", *names, "ratio", "goal", "GB/s (copy)", "runs"]
    body = [_cells(row, names) for row in rows]
    widths = [max(len(line[k]) for line in [titles, *body]) for k in range(len(titles))]
    lines = [_line(titles, widths), _line(["-" * w for w in widths], widths)]
    lines += [_line(cells, widths) for cells in body]
    lines += [f"ERROR {row.case}: {row.error}" for row in rows if row.error]
    lines += [f"{row.case}: {row.note}" for row in rows if row.note]
    return "\n".join(lines)


def _cells(row: Row, names: Iterable[str]) -> list[str]:
    speed, ratio = row.bandwidth, row.ratio
    copy = f" ({speed[1] / 1e9:.0f})" if speed and speed[1] else ""
    runs = {s.runs for s in row.samples.values()}
    return [
        row.case + (" ERROR" if row.error else ""),
        *(_duration(row.samples.get(name)) + _ratio(row, name) for name in names),
        f"{ratio:.2f}x" if ratio is not None else "-",
        _goal(row),
        f"{speed[0] / 1e9:.3g}{copy}" if speed else "-",
        "/".join(str(n) for n in sorted(runs)),
    ]


def _ratio(row: Row, name: str) -> str:
    ratio = row.ratio_to(name)
    return "" if name in (NATIVE, row.floor) or ratio is None else f" {ratio:.2f}x"


def _goal(row: Row) -> str:
    if row.limit is not None:
        missed = NATIVE in row.samples and row.samples[NATIVE].median > row.limit
        return f"{row.limit * 1e3:g} ms{' MISSED' if missed else ''}"
    if row.extra is not None and row.against is not None:
        missed = row.samples[NATIVE].median > row.samples[row.against].median + row.extra
        return f"+{row.extra * 1e6:g} us{' MISSED' if missed else ''}"
    if row.goal is None:
        return "-"
    ratio = row.ratio_to(row.against or row.rival)
    missed = ratio is not None and ratio < row.goal
    return f"{row.goal:g}x{' MISSED' if missed else ''}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])


def _duration(sample: Sample | None) -> str:
    if sample is None:
        return "-"
    fits = ((s, u) for s, u in UNITS if sample.median * s < 1e3)
    scale, unit = next(fits, UNITS[-1])
    low, mid, high = (x * scale for x in (sample.min, sample.median, sample.max))
    return f"{mid:.3g} {unit} ({low:.3g}-{high:.3g})"
