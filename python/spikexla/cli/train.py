"""`spikexla train`: trains a spiking network and prints its accuracy."""

from __future__ import annotations

import json
from typing import Any

from .options import add_common, choose_backend, limit_threads, positive, require
from .output import print_table, progress


def add_parser(commands: Any) -> None:
    """Adds `train` to the command line."""
    parser = commands.add_parser(
        "train",
        help="train a network with surrogate gradients",
        description="Trains a network of 64 inputs, one spiking layer and a leaky readout on the "
        "handwritten digits of scikit-learn, and prints its accuracy on digits it has not seen.",
    )
    parser.add_argument("task", choices=("digits",), help="what to learn")
    parser.add_argument("--epochs", type=positive, default=30, metavar="E", help="default 30")
    parser.add_argument("--batch", type=positive, default=64, metavar="B", help="default 64")
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: Any) -> int:
    """Trains and prints."""
    limit_threads(options.threads)
    require("sklearn.datasets", "optax")
    from ..train import digits

    with choose_backend(options.backend), progress("training", "epochs") as update:
        report = digits.train(
            epochs=options.epochs, seed=options.seed, batch_size=options.batch, progress=update
        )
    facts = report._asdict()
    if options.json:
        print(json.dumps(facts))
        return 0
    rows = [
        ("test accuracy", f"{report.accuracy:.2%}"),
        ("epochs", str(report.epochs)),
        ("time", f"{report.wall_s:.1f} s, of it compilation {report.compile_s:.1f} s"),
        ("a training step", f"{report.step_ms:.2f} ms"),
        ("backend", report.backend),
    ]
    print_table("Handwritten digits", rows)
    return 0
