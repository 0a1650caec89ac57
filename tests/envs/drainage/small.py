"""A drainage site by hand: two tanks in a row with a gate each, and a pump to the sea."""

from envs.drainage.scenarios import Timing
from envs.drainage.site import DrainageSite, Gate, Tank

UPPER, LOWER, PUMP = 0, 1, 2
"""Indices of the gates."""

READ = {
    "depth_m": [1.0, 2.0],
    "setting": [0.5, 0.5, 1.0],
    "flow_cms": [0.1, 0.2, 0.3],
    "still_s": [3600.0, 3600.0, 3600.0],
    "moves": [0.0, 0.0, 0.0],
    "rain_mmh": [10.0, 30.0],
    "forecast_mm": [1.0, 2.0, 4.0, 8.0, 3.0, 6.0, 12.0, 24.0],
    "tide_m": [-5.0],
}


def row(**timing):
    """The site: gate ``upper`` from the first tank to the second, ``lower`` and ``pump`` from there to the sea."""
    return DrainageSite(
        name="row",
        timing=Timing(**timing),
        tanks=(
            Tank(id="high", invert_m=10.0, full_m=4.0, rain=(1.0, 0.0), catchment_ha=5.0),
            Tank(id="low", invert_m=2.0, full_m=4.0, rain=(0.25, 0.75), catchment_ha=10.0),
        ),
        gates=(
            Gate(id="upper", kind="orifice", tank=0, below=1, static=0.5, fail_safe=0.5, reduced=0.2),
            Gate(id="lower", kind="orifice", tank=1, tide=0, static=0.4, fail_safe=0.4, reduced=0.1),
            Gate(id="pump", kind="pump", tank=1, tide=0),
        ),
        gauges=("west", "east"),
        outfalls=("sea",),
        tides=("sea",),
    )
