"""The functions of the compiled module refuse what would leave their memory."""

import gc

import numpy as np
import pytest
from spikexla.connect import FixedFanOut
from spikexla.ops import library, wiring

BIG = 2**62


def rule(**changes):
    given = {"kind": "fan", "seed": 0, "n_pre": 2, "n_post": 5, "fan": 3} | changes
    return library.native().row_rule(**given)


def longs(*x):
    return np.array(x, np.int64)


def ints(n):
    return np.zeros(n, np.int32)


def feed(r, weights=None, delays=None, dt=1.0, post=0, port=0):
    weights = np.ones(1, np.float32) if weights is None else weights
    return (
        r,
        weights,
        np.zeros(1, np.uint16) if delays is None else delays,
        False,
        dt,
        post,
        port,
        0,
    )


def layout(**changes):
    """What lays out two sources of 3 synapses each onto one population of 5."""
    given = {"slices": 1, "sizes": [5], "ports": [1], "bundles": [(2, [feed(rule())])]}
    return given | {"first_delay": 0, "delays": 1} | changes


def pack(starts=(0, 3, 6), runs=4, targets=6, index=np.uint16, **changes):
    arrays = longs(*starts), np.zeros(runs, np.uint32), np.zeros(targets, index)
    return library.native().pack_wiring(
        *layout(**changes).values(), *arrays, np.zeros(0, np.float32)
    )


def lend(**changes):
    return library.native().lend_rows_float32(*layout(**changes).values())


def drawn(law, low, high):
    return rule(delay=(law, low, high, 0.0, 1.0, low, high))


N = library.native()
BEGINS = {  # of 3 rows and 6 synapses, each wrong at one place
    "starts later": (1, 2, 4, 6),
    "falls": (0, 5, 4, 6),
    "far out in the middle": (0, 9 * 10**9, 4, 6),
    "negative in the middle": (0, -(10**7), 4, 6),
    "ends elsewhere": (0, 2, 4, 7),
}
WRONG = {
    **{
        f"draw_rows, indptr {how}": lambda at=at: N.draw_rows(
            0, 9, False, False, longs(*at), ints(6)
        )
        for how, at in BEGINS.items()
    },
    **{
        f"fixed_prob_fill, indptr {how}": lambda at=at: N.fixed_prob_fill(
            0, 9, 0.2, False, longs(*at), ints(6)
        )
        for how, at in BEGINS.items()
    },
    **{
        f"read_rows, indptr {how}": lambda at=at: N.read_rows(
            rule(n_pre=3, fan=2), longs(*at), ints(6)
        )
        for how, at in BEGINS.items()
    },
    **{
        f"row_rule, indptr {how}": lambda at=at: rule(
            kind="given", n_pre=3, fan=0, indptr=longs(*at), targets=ints(6)
        )
        for how, at in BEGINS.items()
    },
    **{
        f"pack_wiring, starts {how}": lambda at=at: pack(
            at, 6, bundles=[(3, [feed(rule(n_pre=3, fan=2))])]
        )
        for how, at in BEGINS.items()
    },
    "draw_rows, n_post": lambda: N.draw_rows(0, 2**32, False, False, longs(0, 1), ints(1)),
    "draw_rows, no indptr": lambda: N.draw_rows(0, 9, False, False, longs(), ints(0)),
    "draw_rows, shift": lambda: N.draw_rows(0, 9, True, False, longs(0, 1), ints(1), 2**31),
    "draw_rows, itself alone": lambda: N.draw_rows(0, 1, True, False, longs(0, 0, 1), ints(1), -1),
    "fill, shift": lambda: N.fixed_prob_fill(1, 9, 1.0, True, longs(0, 9), ints(9), -BIG),
    "row_rule, shift": lambda: rule(skip_self=True, shift=-BIG),
    "row_rule, one target less": lambda: rule(
        fan=5, n_pre=9, skip_self=True, distinct=True, shift=-8
    ),
    "row_rule, one target less in a row": lambda: rule(
        kind="sizes", indptr=longs(0, 0, 5), skip_self=True, distinct=True, shift=3
    ),
    "fill, more than drawn": lambda: N.fixed_prob_fill(1, 100, 0.5, False, longs(0, 0), ints(0)),
    "fill, rows exchanged": lambda: N.fixed_prob_fill(1, 9, 1.0, False, longs(0, 8, 18), ints(18)),
    "read_rows of another length": lambda: N.read_rows(rule(), longs(0, 2, 6), ints(6)),
    "read_rows of drawn lengths": lambda: N.read_rows(
        rule(kind="prob", p=0.9, fan=0, n_post=900), longs(0, 3, 6), ints(6)
    ),
    "from_arrays, a source": lambda: N.from_arrays(
        ints(1) - 1, ints(1), longs(0, 0), ints(1), longs(0)
    ),
    **{
        f"row_rule, {key}={value}": lambda key=key, value=value: rule(**{key: value})
        for key in ("n_pre", "n_post", "fan")
        for value in (-1, 2**31, 2**32, BIG)
    },
    "row_rule, product wraps": lambda: rule(kind="given", n_pre=2**32, fan=2**32, targets=ints(0)),
    **{
        f"{name}, {key}={value}": lambda f=f, key=key, value=value: f(**{key: value})
        for name, f in (("pack", pack), ("lend", lend))
        for key, values in {
            "slices": (0, -1, 2**40, BIG),
            "delays": (0, -1, 2**40, BIG),
            "first_delay": (-1, 2**40, BIG),
            "ports": ([], [-1], [2**40], [1, 1]),
            "sizes": ([], [-1], [2**40], [5, 5]),
        }.items()
        for value in values
    },
    **{
        f"{name}, a bundle of {rows} rows": lambda f=f, rows=rows: f(bundles=[(rows, [])])
        for name, f in (("pack", pack), ("lend", lend))
        for rows in (-1, -(10**7), 2**32, BIG)
    },
    **{
        f"{name}, to {place}": lambda f=f, place=place: f(bundles=[(2, [feed(rule(), **place)])])
        for name, f in (("pack", pack), ("lend", lend))
        for place in ({"post": -1}, {"post": 1}, {"port": -1}, {"port": 1})
    },
    "pack, more inputs than 16 bits": lambda: pack(
        sizes=[70_000], bundles=[(2, [feed(rule(n_post=70_000))])]
    ),
    "pack, runs of another size": lambda: pack(runs=5),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_refused(what):
    with pytest.raises(ValueError, match=r"must|not what|more targets|no target"):
        WRONG[what]()


@pytest.mark.parametrize("law", ["uniform", "normal"])
@pytest.mark.parametrize(("low", "high"), [(1e12, 2e12), (-1e12, -1.0), (65535.0, 1e6)])
def test_drawn_delays_out_of_range_are_refused(law, low, high):
    delays = np.zeros(1, np.uint16)[:0]
    r = drawn(law, low, high)
    bundle = (r, np.ones(1, np.float32), None, False, 1e-6, 0, 0, 0)
    assert delays.size == 0
    assert not pack(bundles=[(2, [bundle])], delays=65535, runs=2 * 65536, index=np.uint32)


def test_what_is_not_wrong_is_taken():
    assert pack()
    assert N.fixed_prob_count(1, 9, 1.0, False, longs(0, 0, 0)) is None
    N.fixed_prob_fill(1, 9, 1.0, False, longs(0, 9, 18), ints(18))
    N.read_rows(rule(), longs(0, 3, 6), ints(6))
    # Beside a row that could draw nothing but itself.
    N.draw_rows(0, 1, True, False, longs(0, 0, 1), ints(1), 0)
    assert rule(fan=5, n_pre=9, skip_self=True, distinct=True, shift=-9)
    assert rule(kind="sizes", indptr=longs(0, 4, 9), skip_self=True, distinct=True, shift=4)


def test_a_rule_keeps_its_own_rows():
    """A caller that writes into the array it gave changes no rule."""
    begins, targets = longs(0, 2, 4), np.array([0, 1, 2, 3], np.int32)
    r = rule(kind="given", fan=0, indptr=begins, targets=targets)
    begins[:] = 10**9
    counted = longs(0, 0, 0)
    N.count_rows(r, counted)
    assert counted.tolist() == [0, 2, 4]


def test_lent_rows_keep_their_own_list():
    """The arrays live as long as the rows are lent, whatever becomes of the caller's list."""
    alive = []

    class Counted(np.ndarray):
        def __del__(self):
            alive.append(0)

    weights = np.ones(1, np.float32).view(Counted)
    bundles = [(2, [feed(rule(), weights=weights)])]
    lent = lend(bundles=bundles)
    bundles[0][1].clear()
    bundles.clear()
    del weights
    gc.collect()
    assert not alive
    del lent
    gc.collect()
    assert alive


def ring_of(n):
    ring = FixedFanOut(((np.arange(n) + 1) % n).astype(np.int32)[:, None], n)
    return wiring.pack([n], [1], [wiring.Projection(0, 0, n, 0, 0, ring, 0.5, 1)], np.float32)


@pytest.mark.parametrize(
    ("which", "change"),
    {
        "starts that fall": (0, lambda x: x.at[2, 0].set(0)),
        "starts from elsewhere": (0, lambda x: x.at[0, 0].set(1)),
        "runs out of the row": (1, lambda x: x.at[3, -1].set(9)),
        "targets out of the slice": (2, lambda x: x.at[4].set(60_000)),
    }.values(),
)
def test_a_wiring_that_pack_did_not_make_is_looked_into(which, change):
    """Its arrays are followed without a look at each step: so once, when they are first given."""
    made = ring_of(8)
    arrays = [made.starts, made.runs, made.targets, made.weights]
    made.with_arrays(*(x + 0 for x in arrays)).check()
    arrays[which] = change(arrays[which])
    with pytest.raises(ValueError, match="must"):
        made.with_arrays(*arrays).check()
