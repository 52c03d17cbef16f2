"""`spikexla simulate`: runs a published network, and writes its spikes, a figure and a report."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from .options import (
    MOST,
    Parser,
    UserError,
    add_common,
    choose_backend,
    duration,
    file_name,
    limit_threads,
    peak_memory_mb,
    positive,
    require,
    threads_in_use,
)
from .output import print_table, progress, staged_folder, writing

LEAST_NEURONS = 10
FILES = ("spikes.h5", "raster.png", "report.json")
MODELS = {  # name: (class in spikexla.network, title)
    "coba": ("COBANet", "COBA network"),
    "cuba": ("CUBANet", "CUBA network"),
    "microcircuit": ("Microcircuit", "cortical microcircuit"),
}
CIRCUIT = {"scale": 1.0, "drive": "poisson", "warmup": 500.0}  # options of the microcircuit
BALANCED = {"neurons": 40_000, "warmup": 0.0}  # of the others
CIRCUIT_BYTES = 6  # a synapse: target and weight, packed


def add_parser(commands: Any) -> None:
    """Adds `simulate` to the command line."""
    parser: Parser = commands.add_parser(
        "simulate",
        help="simulate a large network",
        description="Simulates a balanced network of Vogels and Abbott (2005), with synapses as "
        "conductances (coba) or currents (cuba), or the cortical microcircuit of Potjans and "
        "Diesmann (2014). With --out it writes spikes.h5 (SONATA), raster.png and report.json.",
    )
    parser.add_argument("model", choices=MODELS, help="the network")
    parser.add_argument(
        "--neurons", type=positive, metavar="N", help="of coba and cuba (default 40000)"
    )
    parser.add_argument(
        "--scale", type=float, metavar="S", help="of the microcircuit, 0 to 1 (default 1.0)"
    )
    parser.add_argument(
        "--drive", choices=("poisson", "dc"), help="of the microcircuit (default poisson)"
    )
    parser.add_argument(
        "--warmup", type=duration, metavar="TIME",
        help="simulated before, not recorded (default: 500ms for the microcircuit, else nothing)",
    )  # fmt: skip
    parser.add_argument(
        "--duration", type=duration, default=1e3, metavar="TIME", help="1s, 500ms (default 1s)"
    )
    parser.add_argument(
        "--dt", type=duration, default=0.1, metavar="TIME", help="time step (default 0.1ms)"
    )
    parser.add_argument(
        "--out", type=file_name, metavar="DIR", help="folder to write to; without it nothing is"
    )
    add_common(parser)
    parser.set_defaults(run=run)


class _Run(NamedTuple):
    """A finished simulation: the figures for the user, and the spikes of each population."""

    report: dict[str, Any]
    populations: dict[str, tuple[Any, Any, int]]  # name: (times in ms, ids, number of neurons)
    path: str  # how `network.simulate` ran it


def run(options: Any) -> int:
    """Checks the request, simulates, writes the files and prints the figures."""
    _complete(options)
    _check(options)
    limit_threads(options.threads)
    with _stage(options.out) as stage:
        if stage is not None:
            require("h5py", "matplotlib")
        with choose_backend(options.backend):
            done = _simulate(options)
        if stage is not None:
            with writing(f"--out {options.out}"):
                _write(stage, done, MODELS[options.model][1])
    if options.json:
        print(json.dumps(done.report))
    else:
        _show(done, options.out)
    return 0


def _stage(out: str | None) -> Any:
    return contextlib.nullcontext() if out is None else staged_folder("--out", out, FILES)


def _complete(options: Any) -> None:
    """Gives what was left out its value; refuses options of other models."""
    own = CIRCUIT if options.model == "microcircuit" else BALANCED
    for name in {*CIRCUIT, *BALANCED}:
        given = getattr(options, name)
        if given is not None and name not in own:
            others = [model for model in MODELS if (model == "microcircuit") == (name in CIRCUIT)]
            raise UserError(f"--{name} {given} is an option of {' and '.join(others)}.")
        if given is None and name in own:
            setattr(options, name, own[name])


def _synapse_bytes(options: Any) -> tuple[str, float]:
    """The option that says how large the network is, and what its synapses take at least."""
    from ..network.coba import TARGETS
    from ..network.microcircuit import synapse_numbers

    if options.model == "microcircuit":
        synapses = float(synapse_numbers().sum()) * options.scale**2
        return f"--scale {options.scale:g}", CIRCUIT_BYTES * synapses
    return f"--neurons {options.neurons}", 4.0 * TARGETS * options.neurons  # int32 targets


def _check(options: Any) -> None:
    """Refuses what cannot be simulated, before anything is made."""
    from ..connect.base import available_memory

    steps = options.duration / options.dt
    if round(min(steps, MOST)) < 1:
        raise UserError(
            f"--duration {options.duration:g}ms is shorter than one step of {options.dt:g}ms; "
            "there is nothing to simulate."
        )
    if steps > MOST:
        raise UserError(
            f"--duration {options.duration:g}ms is {steps:.3g} steps of {options.dt:g}ms; at most "
            f"{MOST} can be made. Simulate less time, or take a longer step."
        )
    if options.model == "microcircuit" and not 1e-3 <= options.scale <= 1:
        raise UserError(f"--scale {options.scale} must be a number from 0.001 to 1.")
    if options.model != "microcircuit" and options.neurons < LEAST_NEURONS:
        raise UserError(
            f"--neurons {options.neurons} is too few: a network needs {LEAST_NEURONS} or more."
        )
    size, need = _synapse_bytes(options)
    free = available_memory()
    if free is not None and need > free:
        raise UserError(
            f"{size} needs {need / 1e9:.3g} GB or more for its synapses, and {free / 1e9:.3g} GB "
            "are free. Take a smaller network."
        )


def _made(options: Any) -> Any:
    from .. import network

    kind = getattr(network, MODELS[options.model][0])
    if options.model == "microcircuit":
        return kind(options.scale, drive=options.drive, seed=options.seed)
    return kind(options.neurons, seed=options.seed)


def _simulate(options: Any) -> _Run:
    import jax

    from .. import backend, environ, network, random

    random.seed(options.seed)
    with environ.context(dt=options.dt), contextlib.ExitStack() as stack:
        start = time.perf_counter()
        net = _made(options)
        jax.block_until_ready([state.value for state in net.states().values()])
        build_s = time.perf_counter() - start
        if options.warmup:
            network.simulate(net, options.warmup, record=False)
        update = stack.enter_context(progress(MODELS[options.model][1], "steps"))
        result = network.simulate(net, options.duration, progress=update)
    seconds = result.duration_ms / 1e3
    populations = _populations(result, net)
    report = {
        "model": options.model,
        "neurons": sum(n for _, _, n in populations.values()),
        "synapses": count_synapses(net),
        "duration_s": seconds,
        "wall_s": result.wall_s,
        "rtf": result.wall_s / seconds,
        "rates_hz": {
            name: len(ids) / max(n, 1) / seconds for name, (_, ids, n) in populations.items()
        },
        "build_s": build_s,
        "compile_s": result.compile_s,
        "backend": backend.current(),
        "threads": threads_in_use(),
        "peak_rss_mb": round(peak_memory_mb(), 1),  # before anything is drawn
    }
    return _Run(report, populations, result.path)


def _populations(result: Any, net: Any) -> dict[str, tuple[Any, Any, int]]:
    """The spikes of each population; of one group, told apart into excitatory and inhibitory."""
    from ..network.microcircuit import NAMES

    if len(result.spikes) == len(NAMES):
        named = zip(NAMES, result.spikes.values(), strict=True)
        return {name: (spikes.times_ms, spikes.ids, spikes.n) for name, spikes in named}
    (spikes,) = result.spikes.values()
    excitatory = spikes.ids < net.ne
    times, ids = spikes.times_ms, spikes.ids
    return {
        "E": (times[excitatory], ids[excitatory], net.ne),
        "I": (times[~excitatory], ids[~excitatory] - net.ne, spikes.n - net.ne),
    }


def count_synapses(net: Any) -> int:
    """The synapses of every sparse connection below `net`, shared ones once."""
    found = (getattr(node, "conn", None) for node in net.nodes().values())
    return sum({id(conn): int(conn.nnz) for conn in found if conn is not None}.values())


def _write(stage: Path, done: _Run, title: str) -> None:
    from ..network.sonata import write_spikes
    from ..viz.raster import save_raster

    write_spikes(stage / "spikes.h5", {name: data[:2] for name, data in done.populations.items()})
    report = done.report
    save_raster(
        stage / "raster.png",
        done.populations,
        duration_ms=report["duration_s"] * 1e3,
        title=f"{title}: {report['neurons']:,} neurons, {report['synapses']:,} synapses",
    )
    (stage / "report.json").write_text(json.dumps(report, indent=2) + "\n")


def _show(done: _Run, out: str | None) -> None:
    from ..network.microcircuit import NAMES, RATES

    report = done.report
    rates = ", ".join(f"{name} {rate:.2f} Hz" for name, rate in report["rates_hz"].items())
    published = ", ".join(f"{n} {rate:.2f} Hz" for n, rate in zip(NAMES, RATES, strict=True))
    rows = [
        ("neurons", f"{report['neurons']:,}"),
        ("synapses", f"{report['synapses']:,}"),
        ("simulated", f"{report['duration_s']:g} s in {report['wall_s']:.3f} s"),
        ("real-time factor", f"{report['rtf']:.3f}"),
        ("mean rates", rates),
        *([("published", published)] if report["model"] == "microcircuit" else []),
        ("build", f"{report['build_s']:.2f} s"),
        ("compile", f"{report['compile_s']:.2f} s"),
        ("peak memory", f"{report['peak_rss_mb']:,.0f} MB"),
        ("backend", f"{report['backend']} ({done.path}), threads: {report['threads']}"),
    ]
    if out is not None:
        rows.append(("written", f"{out}: {', '.join(FILES)}"))
    print_table(MODELS[report["model"]][1], rows)
