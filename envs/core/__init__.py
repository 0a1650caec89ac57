"""The contract that every system fulfils, and all code that is independent of any one system.

The contract lies in this folder; `testing` checks it, `sumo` and `machine` are what systems stand on.
"""

from envs.core.machine.cache import find_caches
from envs.core.machine.privacy import turn_telemetry_off

find_caches()  # before anything imports numba or matplotlib
turn_telemetry_off()  # before anything imports onnxruntime or ray
