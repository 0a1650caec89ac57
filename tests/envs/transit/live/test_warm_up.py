"""After the warm-up nothing is left to be compiled, whatever vehicles are told and tell."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import sys
import pytest
from numba.core.dispatcher import Dispatcher
from envs.transit.live.warm_up import warm_up
from tests.envs.transit.live import test_fleet

def compiled():
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("envs.transit")]
    found = {f for module in modules for f in vars(module).values() if isinstance(f, Dispatcher)}
    return {f"{f.py_func.__module__}.{f.py_func.__name__}{signature}" for f in found for signature in f.signatures}

before = compiled()
warm_up()
warm = compiled()
assert warm > before
assert pytest.main(["-p", "no:cacheprovider", "-k", "whatever_happens", test_fleet.__file__]) == 0
assert compiled() == warm, compiled() - warm
"""


def test_nothing_is_compiled_for_the_first_rider() -> None:
    """In a process of its own, as this one has compiled this and that already."""
    done = subprocess.run([sys.executable, "-c", CHILD], check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
