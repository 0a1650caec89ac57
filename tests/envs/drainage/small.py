"""A drainage site by hand: two tanks in a row with a gate each, and a pump to the sea; and a small SWMM input."""

from envs.drainage.settings import Timing
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

NETWORK = """
[OPTIONS]
FLOW_UNITS CMS
INFILTRATION HORTON
FLOW_ROUTING DYNWAVE
START_DATE 01/01/2020
END_DATE 01/01/2020
END_TIME 06:00:00
WET_STEP 0:05:00
DRY_STEP 0:05:00
ROUTING_STEP 15
[RAINGAGES]
R INTENSITY 0:05 1.0 TIMESERIES rain
[SUBCATCHMENTS]
S R T 30 80 500 0.5 0
[SUBAREAS]
S 0.01 0.1 0.05 0.05 25 OUTLET
[INFILTRATION]
S 3.0 0.5 4 7 0
[JUNCTIONS]
J 7 3 0 0 0
[OUTFALLS]
O 5 FREE NO
SPARE 5 FREE NO
[STORAGE]
T 8 3 0 FUNCTIONAL 0 0 500 0 0
[CONDUITS]
C J O 200 0.013 0 0 0 0
[ORIFICES]
G T J SIDE 0 0.65 NO 0
H T SPARE SIDE 0 0.65 NO 0
[XSECTIONS]
C CIRCULAR 1 0 0 0 1
G RECT_CLOSED 0.3 0.3 0 0
H RECT_CLOSED 0.5 0.5 0 0
[TIMESERIES]
rain 0:00 0
rain 0:35 40
rain 0:40 20
rain 0:45 0
rain 2:05 60
rain 2:10 30
rain 2:15 0
"""
"""A tank under rain whose gates `G` and `H` lead to two outfalls."""


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
