"""How numba compiles: once, kept beside the code, and for Python only where Python calls.

A wrapper for Python unpacks every column of the fleet; where only compiled functions call a function, it would be most
of what there is to compile. Each type of a number is compiled for on its own, and so is a number that is written out:
whole numbers that are passed on are int64, ``np.int64(…)`` of those that plans keep in half the room.
"""

from __future__ import annotations

from pathlib import Path

from numba import njit

from envs.core.compiled import forget_stale

forget_stale(Path(__file__).parent.parent)  # all of transit: constants come from outside of this folder, too

compiled = njit(cache=True, no_cfunc_wrapper=True)
"""Of functions that Python calls, too."""

within = njit(cache=True, no_cfunc_wrapper=True, no_cpython_wrapper=True)
"""Of functions that compiled ones alone call."""
