"""The contract that every system fulfils, and everything that needs no system to be known."""

from envs.core.cache import find_caches

find_caches()  # before anything brings numba or matplotlib
