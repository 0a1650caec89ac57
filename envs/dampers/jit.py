"""How numba compiles this system: cached beside the code, and compiled anew after any change of its sources.

Every module with compiled functions takes its decorator from here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from numba import njit

from envs.core.machine.numba_cache import forget_stale

forget_stale(Path(__file__).parent)

FAST = {"contract", "reassoc", "nsz"}
"""Sums may be reordered and contracted with products; NaN is preserved."""

compiled = partial(njit, cache=True, fastmath=FAST, no_cfunc_wrapper=True)
"""Decorator of functions that Python calls, too."""

within = partial(compiled, no_cpython_wrapper=True)
"""Decorator of functions that only compiled functions call."""
