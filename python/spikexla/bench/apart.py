"""A measurement in a process of its own, whose malloc keeps the memory of freed arrays.

The switch cannot be taken back, and the rows after it would be measured under it too.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from .timing import Plan, Sample

NOTE = "malloc keeps memory"


def measure_apart(suite: str, n: int, plan: Plan) -> dict[str, Any]:
    """What `measure(n, plan)` of a suite returns (samples, and what JSON can say), measured there.

    Errors: RuntimeError with what the other process printed if it fails.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    program = f"import sys; from {__name__} import child; child(*sys.argv[1:])"
    request = json.dumps({"n": n, "plan": asdict(plan)})
    done = subprocess.run(
        [sys.executable, "-c", program, suite, request],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the process with another malloc failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"samples": {name: Sample(**s) for name, s in found["samples"].items()}}


def child(suite: str, request: str) -> None:
    """The other side of `measure_apart`: prints what it measured as one line of JSON."""
    from ..memory import keep_memory

    keep_memory()
    wish = json.loads(request)
    found = importlib.import_module(f"{__package__}.{suite}").measure(
        wish["n"], Plan(**wish["plan"])
    )
    samples = {name: asdict(s) for name, s in found["samples"].items()}
    print(json.dumps(found | {"samples": samples}))
