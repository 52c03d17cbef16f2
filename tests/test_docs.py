"""Fenced Python blocks of the README and of docs/ run, docstrings' examples, and examples/."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spikexla as sx

CHECKOUT = Path(__file__).parents[1]
PAGES = [
    page
    for page in (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md")))
    if "```python" in page.read_text()
]
EXAMPLES = sorted((CHECKOUT / "examples").glob("*.py"))


def blocks(page):
    """(line, code) of each Python block."""
    text = page.read_text()
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
        yield text[: match.start(1)].count("\n"), match[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_the_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__page__"}
    for line, code in blocks(page):
        exec(compile("\n" * line + code, str(page), "exec"), names)


@pytest.mark.parametrize(
    "page",
    sorted(CHECKOUT.glob("*.md")) + sorted((CHECKOUT / "docs").rglob("*.md")),
    ids=lambda p: p.name,
)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_has_its_two_commands_on_one_line_each():
    text = (CHECKOUT / "README.md").read_text()
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
        for line in block.splitlines()
        if line.startswith("pip install ")
    ]
    assert len(lines) == 2
    assert "spikexla simulate coba" in lines[0]
    assert "-m pytest" in lines[1]
    assert lines[1].endswith(" tests")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_an_example_runs(example, tmp_path):
    package = str(Path(sx.__file__).parents[1])
    env = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": package}
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# Compiled ones, those that run when they are imported, and programs of other simulators.
NO_MODULES = ("_native", "__main__", "run_")


def modules():
    """The names of all modules that hold examples."""
    for found in pkgutil.walk_packages(sx.__path__, "spikexla."):
        if not found.name.rsplit(".", 1)[1].startswith(NO_MODULES):
            yield found.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_the_examples_in_docstrings_run(name, tmp_path, monkeypatch, dt):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    names = {"sx": sx, "jax": jax, "jnp": jnp, "np": np}  # what a reader is expected to have
    names |= {"ParamState": sx.ParamState, "Linear": sx.Linear, "net": sx.Linear(3, 2)}
    names = {k: v for k, v in names.items() if k not in vars(module)}
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(module, extraglobs=names, optionflags=flags)
    assert result.failed == 0
