"""The contract that every system fulfils, and everything that needs no system to be known."""

from envs.core.cache import find_caches
from envs.core.privacy import turn_telemetry_off

find_caches()  # before anything brings numba or matplotlib
turn_telemetry_off()  # before anything brings onnxruntime or ray
