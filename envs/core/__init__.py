"""The contract that every system fulfils, and all code that is independent of any one system."""

from envs.core.cache import find_caches
from envs.core.privacy import turn_telemetry_off

find_caches()  # before anything imports numba or matplotlib
turn_telemetry_off()  # before anything imports onnxruntime or ray
