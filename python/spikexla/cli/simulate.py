"""`spikexla simulate`: runs a published network, and writes its spikes, figures and a report."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .models import MODELS, Model, complete
from .options import (
    Parser,
    UserError,
    add_common,
    at_least_zero,
    check_time,
    choose_backend,
    duration,
    file_name,
    limit_threads,
    peak_memory_mb,
    positive,
    require,
    threads_in_use,
    warm_up,
)
from .output import print_table, progress, staged_folder, writing

SPIKES = "spikes.h5"
FIGURES = ("raster.png", "distributions.png", "report.json")


def add_parser(commands: Any) -> None:
    """Adds `simulate` to the command line."""
    parser: Parser = commands.add_parser(
        "simulate",
        help="simulate a large network",
        description="Simulates a balanced network of Vogels and Abbott (2005), with synapses as "
        "conductances (coba) or currents (cuba), that of Brunel (2000), or the cortical "
        "microcircuit of Potjans and Diesmann (2014). With --out it writes spikes.h5 (SONATA), "
        "raster.png, distributions.png and report.json. Spikes are written as they come, so their "
        "number is not bounded by memory; figures show the first of them.",
    )
    parser.add_argument("model", choices=MODELS, help="the network")
    parser.add_argument(
        "--neurons", type=positive, metavar="N", help="of coba and cuba (default 40000)"
    )
    parser.add_argument(
        "--order", type=positive, metavar="N", help="of brunel, 5 N neurons (default 2500)"
    )
    parser.add_argument(
        "--g", type=at_least_zero, metavar="G", help="of brunel, inhibition over excitation (5)"
    )
    parser.add_argument(
        "--eta", type=at_least_zero, metavar="E", help="of brunel, drive over threshold (2)"
    )
    parser.add_argument(
        "--scale", type=float, metavar="S", help="of the microcircuit, 0 to 1 (default 1.0)"
    )
    parser.add_argument(
        "--drive", choices=("poisson", "dc"), help="of the microcircuit (default poisson)"
    )
    parser.add_argument(
        "--warmup", type=warm_up, metavar="TIME",
        help="simulated before, not recorded (default: 500ms for the microcircuit, 100ms for "
        "brunel, else nothing)",
    )  # fmt: skip
    parser.add_argument(
        "--duration", type=duration, default=1e3, metavar="TIME", help="1s, 500ms (default 1s)"
    )
    parser.add_argument(
        "--dt", type=duration, default=0.1, metavar="TIME", help="time step (default 0.1ms)"
    )
    parser.add_argument(
        "--out", type=file_name, metavar="DIR",
        help="folder to write to when all is done; without it nothing is",
    )  # fmt: skip
    parser.add_argument(
        "--to", type=file_name, metavar="FILE",
        help="write the spikes to this new file instead; it keeps what there is if the run stops",
    )  # fmt: skip
    add_common(parser)
    parser.set_defaults(run=run)


class _Run(NamedTuple):
    """A finished simulation: the figures for the user, and what there is to draw."""

    model: Model
    report: dict[str, Any]
    expected: tuple[str, dict[str, float]] | None
    collected: Any
    path: str  # how `network.simulate` ran it


def run(options: Any) -> int:
    """Checks the request, simulates, writes the files and prints the figures."""
    from ..memory import keep_memory

    model = complete(options)
    _check(model, options)
    limit_threads(options.threads)
    with contextlib.suppress(OSError):  # where malloc cannot, each chunk's spikes take new pages
        keep_memory()
    files = _files(options)
    with _stage(options.out, files) as stage:
        if stage is not None:
            require("h5py", "matplotlib", "elephant")
        if options.to is not None:
            require("h5py")
        with choose_backend(options.backend):
            done = _simulate(model, options, stage)
        if stage is not None:
            with writing(f"--out {options.out}"):
                _write(stage, done)
    if options.json:
        print(json.dumps(done.report))
    else:
        _show(done, options, files)
    return 0


def _files(options: Any) -> tuple[str, ...]:
    """What --out will hold."""
    return FIGURES if options.to is not None else (SPIKES, *FIGURES)


def _stage(out: str | None, files: tuple[str, ...]) -> Any:
    return contextlib.nullcontext() if out is None else staged_folder("--out", out, files)


def _check(model: Model, options: Any) -> None:
    """Refuses what cannot be simulated, before anything is made."""
    from ..connect.base import available_memory

    check_time("--duration", options.duration, options.dt)
    if options.warmup:
        check_time("--warmup", options.warmup, options.dt)
    model.check(options)
    if options.to is not None and os.path.lexists(os.path.expanduser(options.to)):
        raise UserError(f"--to {options.to}: there is a file already. Choose another name.")
    if options.to is not None and options.to == options.out:
        raise UserError(f"--to {options.to} is a file, and --out is a folder. Name them apart.")
    size, need = model.synapse_bytes(options)
    free = available_memory()
    if free is not None and need > free:
        raise UserError(
            f"{size} needs {need / 1e9:.3g} GB or more for its synapses, and {free / 1e9:.3g} GB "
            "are free. Take a smaller network."
        )


def _simulate(model: Model, options: Any, stage: Path | None) -> _Run:
    import jax

    from .. import backend, environ, network, random
    from ..clock import clock_of
    from .collect import Collector

    random.seed(options.seed)
    sizes = model.sizes(options)
    with environ.context(dt=options.dt), contextlib.ExitStack() as stack:
        file = stack.enter_context(_spike_file(options, stage, sizes))
        start = time.perf_counter()
        try:
            net = model.make(options)
        except ValueError as error:  # a rule that the network keeps itself
            raise UserError(str(error)) from error
        jax.block_until_ready([state.value for state in net.states().values()])
        build_s = time.perf_counter() - start
        if options.warmup:
            with progress("warm-up", "steps") as update:
                network.simulate(net, options.warmup, record=False, progress=update)
            clock_of(net).call_it_zero()  # what is recorded begins at 0
        collected = Collector(sizes, options.dt, file, excerpt=stage is not None)
        collected.begin(_populations(net))
        update = stack.enter_context(progress(model.title, "steps"))
        stack.enter_context(_kept(options, collected))
        result = network.simulate(net, options.duration, to=collected, progress=update)
    rates = {name: float(rates.mean()) for name, rates in collected.rates_hz().items()}
    report = {
        "model": options.model,
        "neurons": sum(sizes.values()),
        "synapses": count_synapses(net),
        "duration_s": result.duration_ms / 1e3,
        "wall_s": result.wall_s,
        "rtf": result.wall_s / (result.duration_ms / 1e3),
        "rates_hz": rates,
        "build_s": build_s,
        "compile_s": result.compile_s,
        "backend": backend.current(),
        "threads": threads_in_use(),
        "peak_rss_mb": round(peak_memory_mb(), 1),  # before anything is drawn
    }
    return _Run(model, report, model.expected_hz(net), collected, result.path)


def _spike_file(options: Any, stage: Path | None, sizes: dict[str, int]) -> Any:
    """The file that spikes go to while they come: that of --to, or one of --out; or none."""
    from ..network.spikefile import SpikeFile

    if options.to is not None:
        with writing(f"--to {options.to}"):
            return SpikeFile(os.path.expanduser(options.to), sizes)
    if stage is None:
        return contextlib.nullcontext()
    with writing(f"--out {options.out}"):
        return SpikeFile(stage / SPIKES, sizes)


@contextlib.contextmanager
def _kept(options: Any, collected: Any) -> Iterator[None]:
    """Says, of a run that ends early, what is in the file of --to and what became of --out."""
    try:
        yield
    except (OSError, KeyboardInterrupt) as error:
        seconds = collected.done_ms / 1e3
        has = f"{options.to} has the first {seconds:g} s" if options.to and seconds else ""
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(has) from error
        where = f"--to {options.to}" if options.to else f"--out {options.out}"
        reason = os.strerror(error.errno) if error.errno else str(error)
        advice = has + ". Free some space" if has else "Choose another place"
        raise UserError(f"{where} cannot be written ({reason}). {advice}.") from error


def _populations(net: Any) -> dict[str, int]:
    """The populations of a network under the names that a recording has."""
    from ..neuron.base import Neuron

    return {str(name): n.size for name, n in net.nodes().items() if isinstance(n, Neuron)}


def count_synapses(net: Any) -> int:
    """The synapses of every sparse connection below `net`."""
    from ..comm.base import EventComm

    return sum(n.count_synapses() for n in net.nodes().values() if isinstance(n, EventComm))


def _write(stage: Path, done: _Run) -> None:
    from ..viz.distributions import save_distributions
    from ..viz.raster import save_raster

    report, collected = done.report, done.collected
    excerpt, until_ms = collected.excerpt(), collected.until_ms
    title = f"{done.model.title}: {report['neurons']:,} neurons, {report['synapses']:,} synapses"
    if until_ms < collected.done_ms:
        title += f"; the first {until_ms / 1e3:.3g} of {report['duration_s']:g} s"
    save_raster(
        stage / "raster.png",
        {name: (spikes.times_ms, spikes.ids, spikes.n) for name, spikes in excerpt.items()},
        duration_ms=until_ms,
        title=title,
    )
    values = _distributions(collected.rates_hz(), excerpt, until_ms)
    save_distributions(stage / "distributions.png", values, title=title)
    for key, quantity in (("cv_isi", "cv"), ("correlation", "cc")):
        report[key] = {name: _mean(of[quantity]) for name, of in values.items()}
    (stage / "report.json").write_text(json.dumps(report, indent=2) + "\n")


def _distributions(rates: dict, excerpt: dict, until_ms: float) -> dict[str, dict[str, Any]]:
    """Rates of all neurons in the whole run; CV and correlations of a sample in the excerpt."""
    from ..network.statistics import BIN_MS, correlations, cv_isi

    return {
        name: {
            "rate": rates[name],
            "cv": cv_isi(spikes),
            "cc": correlations(spikes, until_ms) if until_ms >= 2 * BIN_MS else [],
        }
        for name, spikes in excerpt.items()
    }


def _mean(values: Any) -> float | None:
    """The mean, for JSON, which knows no NaN."""
    return float(sum(values) / len(values)) if len(values) else None


def _show(done: _Run, options: Any, files: tuple[str, ...]) -> None:
    report = done.report
    source, expected = done.expected or ("", {})
    rows = [
        ("neurons", f"{report['neurons']:,}"),
        ("synapses", f"{report['synapses']:,}"),
        ("simulated", f"{report['duration_s']:g} s in {report['wall_s']:.3f} s"),
        ("real-time factor", f"{report['rtf']:.3f}"),
        ("population", "".join(f"{name:>8}" for name in report["rates_hz"])),
        ("mean rate (Hz)", _columns(report["rates_hz"], ".2f")),
        *([(f"{source} (Hz)", _columns(expected, ".2f"))] if expected else []),
    ]
    if options.out is not None:
        rows.append(("CV of intervals", _columns(report["cv_isi"], ".2f")))
        rows.append(("correlation", _columns(report["correlation"], ".4f")))
    rows += [
        ("build", f"{report['build_s']:.2f} s"),
        ("compile", f"{report['compile_s']:.2f} s"),
        ("peak memory", f"{report['peak_rss_mb']:,.0f} MB"),
        ("backend", f"{report['backend']} ({done.path}), threads: {report['threads']}"),
    ]
    if options.to is not None:
        rows.append(("spikes", options.to))
    if options.out is not None:
        rows.append(("written", f"{options.out}: {', '.join(files)}"))
    print_table(done.model.title, rows)


def _columns(values: Mapping[str, float | None], digits: str) -> str:
    """A row of the table with a column for each population."""
    shown = ("-" if x is None or math.isnan(x) else f"{x:{digits}}" for x in values.values())
    return "".join(f"{x:>8}" for x in shown)
