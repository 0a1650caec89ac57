"""The contract that every system fulfils, and everything that needs no system to be known."""

from envs.core.compiled import find_cache

find_cache()  # before any system brings numba
