"""The layering law of ARCHITECTURE.md, and the size of files and functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import spikexla

PACKAGE = Path(spikexla.__file__).parent
CHECKOUT = Path(__file__).parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
UPPER = {"network", "cli", "interop", "bench", "train", "viz"}
MODELS = {"neuron", "synapse", "projection", "comm", "input"}
CORE = {
    "switches",
    "boxed",
    "state",
    "value",
    "check",
    "statedict",
    "filters",
    "tree",
    "describe",
    "module",
    "lifecycle",
}
STATEFUL = CORE | {"transform", "dynamics", "nn", "optim", "checkpoint"}
LAZY = ["brainunit", "saiunit", "optax", "orbax", "tensorstore", "h5py", "matplotlib", "rich"]
LAZY += ["elephant", "neo", "sklearn", "scipy.stats"]


def name_of(path):
    """`('ops', 'call')` for spikexla/ops/call.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path):
    """Dotted names, inside the package, that a file imports; not those for type checkers."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path)[:-1]
    tree = ast.parse(path.read_text())
    skipped = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.unparse(test.test)
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node in skipped:
            continue
        if node.level:
            base = package[: len(package) - node.level + 1] + tuple(
                node.module.split(".") if node.module else ()
            )
        elif node.module and node.module.split(".")[0] == "spikexla":
            base = tuple(node.module.split(".")[1:])
        else:
            continue
        for alias in node.names:
            yield (*base, alias.name)


def tops(path):
    return {target[0] for target in imports(path) if target}


def files_of(*layers):
    return [path for path in MODULES if name_of(path)[:1] and name_of(path)[0] in layers]


def ids(path):
    return ".".join(name_of(path)) or "spikexla"


@pytest.mark.parametrize("path", files_of("ops"), ids=ids)
def test_ops_never_import_upward(path):
    assert not tops(path) & (UPPER | MODELS | (STATEFUL - {"state"}))
    if name_of(path) != ("ops",):
        assert "state" not in tops(path), "ops take arrays, not States"


@pytest.mark.parametrize("path", files_of(*MODELS), ids=ids)
def test_models_know_no_network(path):
    assert not tops(path) & UPPER


@pytest.mark.parametrize("path", files_of("transform", "optim", "checkpoint", *CORE), ids=ids)
def test_the_state_core_knows_no_model(path):
    assert not tops(path) & (UPPER | MODELS | {"ops", "connect"})


def test_only_the_seam_names_jax_ffi():
    named = {
        ".".join(name_of(p)) for p in MODULES if re.search(r"jax\.ffi|ffi_call", p.read_text())
    }
    assert named == {"ops.call", "ops.library"}


def test_one_guarded_use_of_private_names_of_jax():
    """The tracer's hook has a fallback for a jax without it; nothing else may need one."""
    private = [
        ids(path)
        for path in MODULES
        if re.search(r"^\s*(?:from|import) jax\._", path.read_text(), re.M)
    ]
    assert private == ["transform.trace"]


def sources(*folders):
    """C++ files of a checkout; an installed package has none, and then nothing is looked at."""
    return [
        path
        for folder in folders
        for path in sorted((CHECKOUT / folder).rglob("*"))
        if path.suffix in (".h", ".cc", ".cu", ".cuh")
    ]


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.M)


def test_only_the_ffi_folders_include_xla():
    allowed = {CHECKOUT / "csrc/ffi", CHECKOUT / "cuda/ffi"}
    for path in sources("csrc", "cuda"):
        found = [i for i in includes(path) if i.startswith("xla/")]
        if path.name == "module.cc":  # it tells the version that it was built for
            assert set(found) <= {"xla/ffi/api/c_api.h"}
        elif path.parent not in allowed and CHECKOUT / "cuda/host" not in path.parents:
            assert not found, path


def test_models_include_no_framework():
    for path in sources("csrc/models"):
        for name in includes(path):
            assert name in ("math.h", "portable.h", "surrogate.h") or name.startswith("models/"), (
                path,
                name,
            )


def test_the_package_imports_light():
    code = f"import sys, spikexla; print([m for m in {LAZY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_files_and_functions_stay_small():
    large = [
        f"{ids(p)}: {n} lines" for p in MODULES if (n := len(p.read_text().splitlines())) > 400
    ]
    large += [
        f"{p}: {n} lines"
        for p in sources("csrc", "cuda")
        if (n := len(p.read_text().splitlines())) > 400
    ]
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                n = (node.end_lineno or 0) - node.lineno + 1
                if n > 60 + len((ast.get_docstring(node) or "").splitlines()):
                    large.append(f"{ids(path)}.{node.name}: {n} lines")
    assert not large
