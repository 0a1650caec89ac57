"""How numba compiles this system: cached beside the code, and compiled anew after any change of its sources.

Every module with compiled functions takes its decorator from here. Functions that the loop calls have their signature
declared and are compiled on import, so that the first decision does not wait for it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from numba import njit

from envs.core.machine.numba_cache import forget_stale

forget_stale(Path(__file__).parent)

compiled = partial(njit, cache=True, boundscheck=True)
"""Decorator of compiled functions, with a signature or without."""
