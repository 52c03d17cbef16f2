"""`spikexla.compat.install`: names come, go, nest, and never hide a package that is in use."""

from __future__ import annotations

import importlib.util
import sys
import threading
import types

import pytest
import spikexla as sx
from spikexla.compat import ALIASES, install

TOPS = sorted({name.partition(".")[0] for name in ALIASES})


def present():
    return {n: m for n, m in sys.modules.items() if n.partition(".")[0] in TOPS}


@pytest.fixture(autouse=True)
def without_the_real_packages(monkeypatch):
    for name in present():
        monkeypatch.delitem(sys.modules, name)


IMPORTS = {
    "import brainstate": ("brainstate.ParamState", sx.ParamState),
    "import brainstate.nn": ("brainstate.nn.Module", sx.nn.Module),
    "from brainstate import nn, random": ("nn.init_all_states", sx.nn.init_all_states),
    "from brainstate.transform import jit": ("jit", sx.transform.jit),
    "import brainstate as bst": ("bst.environ.get_dt", sx.environ.get_dt),
    "import brainstate.util.filter as f": ("f.OfType", sx.filters.OfType),
    "from brainstate.util import FlattedDict": ("FlattedDict", sx.StateDict),
    "from brainstate import HiddenState": ("HiddenState", sx.ShortTermState),
    "import brainpy as bp": ("bp.LIF", sx.LIF),
    "import brainpy": ("brainpy.state.LIF", sx.LIF),
    "from brainpy.state import Expon": ("Expon", sx.Expon),
    "import braintools": ("braintools.init.Normal", sx.init.Normal),
    "import braintools.init as init": ("init.XavierNormal", sx.init.XavierNormal),
    "from braintools import init, surrogate": ("surrogate.ReluGrad", sx.surrogate.ReluGrad),
}


@pytest.mark.parametrize(("statement", "found"), IMPORTS.items(), ids=IMPORTS)
def test_every_way_to_import(statement, found):
    with install():
        names: dict = {}
        exec(statement, names)
        assert eval(found[0], names) is found[1]
    assert present() == {}


@pytest.mark.parametrize("name", [name for name in ALIASES if name != "braintools.file"])
def test_an_alias_lists_what_it_has(name):
    with install():
        module = sys.modules.get(name)
        if module is None:  # the part of spikexla that it stands for does not exist
            return
        assert isinstance(module, types.ModuleType)
        assert all(hasattr(module, n) for n in dir(module) if not n.startswith("_"))
        assert importlib.util.find_spec(name) is not None


def test_a_missing_name_says_what_was_asked():
    with install():
        import brainstate

        with pytest.raises(AttributeError, match=r"brainstate\.nn stands for spikexla\.nn.*'Nope'"):
            _ = brainstate.nn.Nope
        with pytest.raises(ImportError):
            exec("import brainstate.nope")


def test_a_package_in_use_is_not_hidden_but_by_force(monkeypatch):
    real, part = types.ModuleType("brainstate"), types.ModuleType("brainstate.nn")
    monkeypatch.setitem(sys.modules, "brainstate", real)
    monkeypatch.setitem(sys.modules, "brainstate.nn", part)
    with pytest.raises(ImportError, match=r"brainstate is imported already.*force=True"):
        install()
    assert sys.modules["brainstate"] is real
    assert "brainpy" not in sys.modules
    with install(force=True):
        assert sys.modules["brainstate"] is not real
        with install():  # ours is no real package
            pass
        import brainstate

        assert brainstate.State is sx.State
    assert sys.modules["brainstate"] is real
    assert sys.modules["brainstate.nn"] is part
    assert "brainstate.random" not in sys.modules


def test_nested_in_any_order_the_last_takes_the_names_away():
    first, second = install(), install()
    module = sys.modules["brainstate"]
    first.uninstall()
    first.uninstall()  # counts once
    assert sys.modules["brainstate"] is module
    second.uninstall()
    assert present() == {}


def test_the_names_go_when_the_block_fails():
    with pytest.raises(ZeroDivisionError), install():
        _ = 1 / 0
    assert present() == {}


def test_a_module_that_was_put_there_meanwhile_stays():
    own = types.ModuleType("brainpy")
    with install():
        sys.modules["brainpy"] = own
    assert sys.modules.pop("brainpy") is own


def test_many_threads():
    failed = []

    def work():
        try:
            for _ in range(50):
                with install():
                    names: dict = {}
                    exec("import brainstate.nn\nimport braintools.init as init", names)
                    assert names["brainstate"].nn.Module is sx.nn.Module
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert present() == {}
