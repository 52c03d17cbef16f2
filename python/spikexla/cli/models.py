"""The networks that `spikexla simulate` knows: one row each."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from .options import UserError

LEAST_NEURONS, LEAST_ORDER = 10, 10


class Model(abc.ABC):
    """A published network: its options, its size, and how it is made of them."""

    title: str
    options: ClassVar[dict[str, Any]]  # its own, and their defaults

    @abc.abstractmethod
    def check(self, options: Any) -> None:
        """UserError for options that make no network."""

    @abc.abstractmethod
    def sizes(self, options: Any) -> dict[str, int]:
        """The neurons of each part, in the order of their ids where a population has several."""

    @abc.abstractmethod
    def synapse_bytes(self, options: Any) -> tuple[str, float]:
        """The option that says how large it is, and what its synapses take at least."""

    @abc.abstractmethod
    def make(self, options: Any) -> Any:
        """The network."""

    def expected_hz(self, net: Any) -> tuple[str, dict[str, float]] | None:
        """Where the rates that it should have come from, and these; None if nobody says."""
        return None


class Balanced(Model):
    """A network of Vogels and Abbott (2005)."""

    options: ClassVar = {"neurons": 40_000, "warmup": 0.0}

    def __init__(self, kind: str, title: str) -> None:
        self.kind, self.title = kind, title

    def check(self, options: Any) -> None:
        if options.neurons < LEAST_NEURONS:
            raise UserError(
                f"--neurons {options.neurons} is too few: a network needs {LEAST_NEURONS} or more."
            )

    def sizes(self, options: Any) -> dict[str, int]:
        excitatory = options.neurons * 4 // 5
        return {"E": excitatory, "I": options.neurons - excitatory}

    def synapse_bytes(self, options: Any) -> tuple[str, float]:
        from ..network.coba import TARGETS

        return f"--neurons {options.neurons}", 4.0 * TARGETS * options.neurons  # int32 targets

    def make(self, options: Any) -> Any:
        from .. import network

        return getattr(network, self.kind)(options.neurons, seed=options.seed)


class BrunelModel(Model):
    """The network of Brunel (2000)."""

    title = "Brunel's network"
    options: ClassVar = {"order": 2500, "g": 5.0, "eta": 2.0, "warmup": 100.0}

    def check(self, options: Any) -> None:
        if options.order < LEAST_ORDER:
            raise UserError(
                f"--order {options.order} is too small: a network needs {LEAST_ORDER} or more."
            )

    def sizes(self, options: Any) -> dict[str, int]:
        return {"E": 4 * options.order, "I": options.order}

    def synapse_bytes(self, options: Any) -> tuple[str, float]:
        from ..network.brunel import CONNECTED

        synapses = CONNECTED * (5.0 * options.order) ** 2
        return f"--order {options.order}", 8 * synapses  # a target as drawn, and packed

    def make(self, options: Any) -> Any:
        from ..network import Brunel

        return Brunel(options.order, g=options.g, eta=options.eta, seed=options.seed)

    def expected_hz(self, net: Any) -> tuple[str, dict[str, float]] | None:
        return "mean field", {"E": net.mean_field_hz(), "I": net.mean_field_hz()}


class MicrocircuitModel(Model):
    """The cortical microcircuit of Potjans and Diesmann (2014)."""

    title = "cortical microcircuit"
    options: ClassVar = {"scale": 1.0, "drive": "poisson", "warmup": 500.0}

    def check(self, options: Any) -> None:
        if not 1e-3 <= options.scale <= 1:
            raise UserError(f"--scale {options.scale} must be a number from 0.001 to 1.")

    def sizes(self, options: Any) -> dict[str, int]:
        from ..network.microcircuit import NAMES, SIZES

        return {name: round(n * options.scale) for name, n in zip(NAMES, SIZES, strict=True)}

    def synapse_bytes(self, options: Any) -> tuple[str, float]:
        from ..network.microcircuit import synapse_numbers

        synapses = float(synapse_numbers().sum()) * options.scale**2
        return f"--scale {options.scale:g}", 6 * synapses  # target and weight, packed

    def make(self, options: Any) -> Any:
        from ..network import Microcircuit

        return Microcircuit(options.scale, drive=options.drive, seed=options.seed)

    def expected_hz(self, net: Any) -> tuple[str, dict[str, float]] | None:
        from ..network.microcircuit import NAMES, RATES

        return "published", dict(zip(NAMES, RATES, strict=True))


MODELS: dict[str, Model] = {
    "coba": Balanced("COBANet", "COBA network"),
    "cuba": Balanced("CUBANet", "CUBA network"),
    "brunel": BrunelModel(),
    "microcircuit": MicrocircuitModel(),
}


def complete(options: Any) -> Model:
    """Gives what was left out its value; refuses options of other models."""
    model = MODELS[options.model]
    for name in dict.fromkeys(name for each in MODELS.values() for name in each.options):
        given = getattr(options, name)
        if given is not None and name not in model.options:
            others = [title for title, each in MODELS.items() if name in each.options]
            shown = f"{given:g}" if isinstance(given, float) else given
            raise UserError(f"--{name} {shown} is an option of {' and '.join(others)}.")
        if given is None and name in model.options:
            setattr(options, name, model.options[name])
    return model
