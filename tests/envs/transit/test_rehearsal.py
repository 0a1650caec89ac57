"""After a rehearsal nothing is left to be compiled, whatever vehicles are told and tell."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import sys
import pytest
from numba.core.dispatcher import Dispatcher
from envs.transit.rehearsal import rehearse
from tests.envs.transit import test_live

def compiled():
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("envs.transit")]
    found = {f for module in modules for f in vars(module).values() if isinstance(f, Dispatcher)}
    return {f"{f.py_func.__module__}.{f.py_func.__name__}{signature}" for f in found for signature in f.signatures}

before = compiled()
rehearse()
rehearsed = compiled()
assert rehearsed > before
assert pytest.main(["-p", "no:cacheprovider", "-k", "whatever_happens", test_live.__file__]) == 0
assert compiled() == rehearsed, compiled() - rehearsed
"""


def test_nothing_is_compiled_for_the_first_rider() -> None:
    """In a process of its own, as this one has compiled this and that already."""
    done = subprocess.run([sys.executable, "-c", CHILD], check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
