"""The bar of a loop: it moves in compiled programs, ends with them, and leaves nothing behind."""

from __future__ import annotations

import io
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spikexla.transform import (
    ProgressBar,
    checkpointed_for_loop,
    checkpointed_scan,
    for_loop,
    grad,
    jit,
    jit_error_if,
    progress,
    scan,
    vmap,
)
from transform_cases import Cell

rich_console = pytest.importorskip("rich.console", reason="the bar is drawn with rich")
XS = jnp.arange(20.0)


@pytest.fixture
def screen(monkeypatch):
    """What a terminal would get."""
    screen = io.StringIO()
    console = lambda: rich_console.Console(file=screen, force_terminal=True, width=80)  # noqa: E731
    monkeypatch.setattr(progress, "_console", console)
    yield screen
    assert progress.DISPLAY._bars is None
    assert not progress.DISPLAY._tasks


def seen(screen):
    """The numbers of steps that were shown, in order."""
    jax.effects_barrier()
    shown = [int(n) for n in re.findall(r"(\d+)/\d+", screen.getvalue())]
    return list(dict.fromkeys(shown))


def power_sum(w, bar):
    return checkpointed_scan(lambda c, x: (c * w + x, c), 0.0, XS, base=3, pbar=bar)[0]


def without_jit(bar):
    with jax.disable_jit():
        return for_loop(lambda x: x, XS, pbar=bar)


STEPS, CUTS = [0, 1, 5, 10, 15, 20], [0, 9, 18, 19, 20]
LOOPS = {
    "for_loop": (lambda b: for_loop(lambda x: x**2, XS, pbar=b), STEPS),
    "reverse": (lambda b: for_loop(lambda x: x**2, XS, reverse=True, pbar=b), STEPS),
    "jit": (lambda b: jit(lambda: for_loop(lambda x: x, XS, pbar=b))(), STEPS),
    "vmap": (lambda b: vmap(lambda s: for_loop(lambda x: s * x, XS, pbar=b))(jnp.ones(3)), STEPS),
    "grad": (lambda b: grad(lambda s: for_loop(lambda x: s * x, XS, pbar=b).sum())(1.0), STEPS),
    "checkpointed": (lambda b: checkpointed_for_loop(lambda x: x, XS, base=3, pbar=b), CUTS),
    "grad of checkpointed": (lambda b: jit(grad(lambda w: power_sum(w, b)))(1.0), CUTS),
    "disable_jit": (without_jit, STEPS),
}


@pytest.mark.parametrize("way", LOOPS)
def test_a_bar_moves_and_ends(way, screen):
    run, expected = LOOPS[way]
    for bar in (5, ProgressBar(freq=5), ProgressBar(count=4)):
        screen.seek(0), screen.truncate()
        run(bar)
        assert seen(screen) == expected


def test_a_bar_changes_no_result(screen):
    plain, cell = Cell(), Cell()
    xs = jnp.ones((7, 3))
    bar = ProgressBar(desc=("{i} {v:.1f}", lambda step: {"i": step["i"], "v": step["y"][0]}))
    np.testing.assert_array_equal(for_loop(cell, xs, pbar=bar), for_loop(plain, xs))
    np.testing.assert_array_equal(cell.V.value, plain.V.value)
    carry, ys = scan(lambda c, x: (c + x, c), 0.0, XS, pbar=ProgressBar(desc="adding"))
    assert (float(carry), float(ys[-1])) == (190.0, 171.0)
    jax.effects_barrier()
    assert "6 2.6" in screen.getvalue()
    assert "adding" in screen.getvalue()


def test_a_program_is_kept_and_shows_its_bar_each_time(screen):
    f = jit(lambda: for_loop(lambda x: x, XS, pbar=ProgressBar(freq=10)))
    for _ in range(2):
        screen.seek(0), screen.truncate()
        f()
        assert seen(screen) == [0, 1, 10, 20]
    before = Body.runs
    for _ in range(3):  # equal bars and formats, though made anew each time
        bar = ProgressBar(freq=10, desc=("{i}", lambda step: {"i": step["i"]}))
        for_loop(Body.run, XS, pbar=bar)
    assert Body.runs == before + 1


class Body:
    """Counts in its class: a list in a closure would be part of what is compared."""

    runs = 0

    @staticmethod
    def run(x):
        Body.runs += 1
        return x


def test_nested_bars_share_the_screen(screen):
    for_loop(lambda x: for_loop(lambda y: x * y, XS, pbar=10).sum(), XS[:3], pbar=1)
    assert "3/3" in screen.getvalue()
    assert "20/20" in screen.getvalue()


@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_an_error_ends_the_bar(wrap, screen):
    def body(x):
        jit_error_if(x > 11, "too large")
        return x

    with pytest.raises(jax.errors.JaxRuntimeError, match="too large"):
        jax.block_until_ready(wrap(lambda: for_loop(body, XS, pbar=2))())
    assert max(seen(screen)) == 12
    with pytest.raises(AttributeError):
        wrap(lambda: for_loop(lambda x: x.nothing, XS, pbar=2))()
    assert "\x1b[?25h" in screen.getvalue()  # the cursor is visible


def test_nothing_is_drawn_where_nobody_looks(capfd):
    for_loop(lambda x: x, XS, pbar=1)
    jax.effects_barrier()
    assert capfd.readouterr() == ("", "")
    for_loop(lambda x: x, XS[:0], pbar=ProgressBar())


@pytest.mark.parametrize(
    ("make", "error", "what"),
    [
        (lambda: ProgressBar(freq=1, count=1), ValueError, "not both"),
        (lambda: ProgressBar(freq=0), ValueError, "positive integer, got 0"),
        (lambda: ProgressBar(count=1.5), ValueError, r"positive integer, got 1\.5"),
        (lambda: ProgressBar(freq=True), ValueError, "positive integer, got True"),
        (lambda: ProgressBar(desc=3), TypeError, "a text or a tuple"),
        (lambda: ProgressBar(desc=("a", "b")), TypeError, "a text or a tuple"),
        (lambda: for_loop(lambda x: x, XS, pbar=21), ValueError, "is 21, but the loop has 20"),
        (lambda: for_loop(lambda x: x, XS, pbar=True), TypeError, "pbar is a ProgressBar or"),
        (lambda: for_loop(lambda x: x, XS, pbar="yes"), TypeError, "pbar is a ProgressBar or"),
        (
            lambda: for_loop(lambda x: x, XS, pbar=ProgressBar(desc=("{i}", lambda step: 3))),
            TypeError,
            "must return a dict, got int",
        ),
    ],
)
def test_a_bar_says_what_is_wrong(make, error, what):
    with pytest.raises(error, match=what):
        make()


def test_rich_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match="pip install rich"):
        ProgressBar()
    for_loop(lambda x: x, XS)  # needs no rich
