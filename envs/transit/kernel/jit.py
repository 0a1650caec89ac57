"""How numba compiles the core: once, cached beside the code, with a Python wrapper only where Python calls.

A Python wrapper unpacks every column of the fleet. On a function that only compiled functions call, it would be most of
what there is to compile. Functions are compiled anew for each type of number and for each literal: pass whole numbers
as int64, which means ``np.int64(…)`` of those that plans store as int32.
"""

from __future__ import annotations

from pathlib import Path

from numba import njit

from envs.core.machine.numba_cache import forget_stale

forget_stale(Path(__file__).parent.parent)  # all of transit: `standby` and `static` are compiled, too

compiled = njit(cache=True, no_cfunc_wrapper=True)
"""Decorator of functions that Python calls, too."""

within = njit(cache=True, no_cfunc_wrapper=True, no_cpython_wrapper=True)
"""Decorator of functions that only compiled functions call."""

inlined = njit(cache=True, no_cfunc_wrapper=True, no_cpython_wrapper=True, inline="always")
"""Decorator of functions that are put into the code of the compiled functions that call them."""
