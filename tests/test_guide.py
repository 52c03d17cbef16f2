"""Every code block of the guide runs as it is printed, under the names that the guide imports."""

from __future__ import annotations

import ast
import re
import sys
import warnings

import pytest
import spikexla as sx
from guide_blocks import BLOCKS, IMPORTS, TABLE


@pytest.fixture
def names(tmp_path, monkeypatch):
    """The globals of a page, with the guide's imports; peers that are installed are hidden."""
    monkeypatch.chdir(tmp_path)
    page = type(sys)("guide_page")
    monkeypatch.setitem(sys.modules, page.__name__, page)  # pickle looks classes up there
    with sx.compat.install(force=True):
        exec(IMPORTS, page.__dict__)
        yield page.__dict__


def run(number, names):
    block = TABLE[number]
    for earlier in block.after:
        run(earlier, names)
    exec(compile(block.prelude, f"prelude of B{number}", "exec"), names)
    exec(compile(BLOCKS[number - 1][1], f"B{number}", "exec"), names)
    exec(compile(block.checks, f"checks of B{number}", "exec"), names)


def test_there_are_38_blocks_and_an_entry_for_each():
    assert len(BLOCKS) == 38
    assert sorted(TABLE) == list(range(1, 39))


def test_block_1_names_three_disjoint_kinds_of_state():
    kinds = [getattr(sx, name) for name in re.findall(r"── (\w+State)", BLOCKS[0][1])]
    assert [kind.__name__ for kind in kinds] == ["ParamState", "ShortTermState", "LongTermState"]
    for kind in kinds:
        assert kind.__bases__ == (sx.State,)
        assert [list(holder(k).states(kind)) for k in kinds] == [
            ["x"] if k is kind else [] for k in kinds
        ]


def holder(kind):
    module = sx.nn.Module()
    module.x = kind(1.0)
    return module


@pytest.mark.parametrize("number", range(2, 39), ids=lambda n: f"B{n}")
def test_a_block_runs_unchanged(number, names):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(number, names)
    said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    expected = {part for n in (*TABLE[number].after, number) for part in TABLE[n].warns}
    for part in expected:
        assert any(part in message for message in said), (part, said)
    unexpected = [m for m in said if not any(part in m for part in expected)]
    assert not unexpected


@pytest.mark.parametrize("number", range(2, 39), ids=lambda n: f"B{n}")
def test_a_prelude_gives_no_name_that_its_block_makes(number):
    """A prelude adds what is missing; it must not stand in for what the block itself defines."""
    made = {
        node.id
        for node in ast.walk(ast.parse(BLOCKS[number - 1][1]))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    given = {
        target.id
        for node in ast.parse(TABLE[number].prelude).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert not made & given - {"params", "best_val_loss", "net"}
