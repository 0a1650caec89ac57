"""A service dispatched by SUMO's ``drtOnline``: trips of several riders, searched and chosen every half minute.

It is a program of its own that comes with SUMO (``tools/drt/drtOnline.py``), talks to it over TraCI and stops its
searches by the clock: two runs need not be alike. It solves its integer program with PuLP, which does not come with
SUMO. Its promises are those of the scenario: the longest wait, and the longest ride as a factor, or as an allowance
where that is more. It refuses riders whom it cannot serve within them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.transit.referee.driving import arguments
from envs.transit.referee.play import TAIL_S, Played, write_files
from envs.transit.referee.script import Script
from envs.transit.referee.traffic import WARM_S
from envs.transit.scenarios import TransitScenario

NAME = "drtOnline"

LIMIT_S = 2 * 3600.0
"""Time limit of a run."""


def play(scenario: TransitScenario, script: Script, seed: int, flow: float) -> Played:
    """Have ``drtOnline`` serve the riders of a script.

    Args:
        scenario: town and promise.
        script: vehicles and riders.
        seed: of the traffic and of driving.
        flow: vehicles an hour around, relative to the route files.

    Raises:
        CityloopError: if PuLP is not installed, or the tool fails.
    """
    import sumo

    if find_spec("pulp") is None:
        raise CityloopError(f'{NAME} needs PuLP: pip install "cityloop[drt]", or leave it out')
    promise, home = scenario.promise, Path(sumo.SUMO_HOME)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_files(scenario, script, seed, flow, folder, guided=False)
        assert scenario.net is not None
        more = ["--device.taxi.dispatch-algorithm", "traci", "--tripinfo-output", str(folder / "trips.xml")]
        command = [str(home / "bin" / "sumo"), *arguments(scenario.net, files, seed, more)[1:]]
        subprocess.run([*command, "--save-configuration", str(folder / "a.sumocfg")], check=True, capture_output=True)
        tool = [sys.executable, str(home / "tools" / "drt" / f"{NAME}.py"), "--sumocfg", str(folder / "a.sumocfg")]
        tool += ["--max-wait", f"{promise.wait_s:g}", "--drf", f"{promise.ride_factor:g}"]
        tool += ["--drf-min", f"{promise.ride_allowance_s:g}"]
        tool += ["--end-time", f"{WARM_S + scenario.duration_s + TAIL_S:g}", "--seed", str(1 + seed)]
        _run(tool, folder, os.environ | {"SUMO_HOME": str(home)})
        return _outcome(folder / "trips.xml", len(script.known_s))


def _run(tool: list[str], folder: Path, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            tool, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise CityloopError(
            f"{NAME} was not done within {LIMIT_S:g} s: play a shorter service, or leave it out"
        ) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CityloopError(f"{NAME} failed ({said[-1] if said else 'it does not say why'}): leave it out")


def _outcome(path: Path, riders: int) -> Played:
    picked_s, dropped_s = np.full((2, riders), np.nan)
    metres = loaded_m = 0.0
    for _, element in ET.iterparse(path):
        ride, taxi = element.find("ride"), element.find("taxi")
        if element.tag == "personinfo" and ride is not None:
            r = int(element.attrib["id"][1:])
            for column, name in ((picked_s, "depart"), (dropped_s, "arrival")):
                if float(ride.attrib[name]) >= 0:
                    column[r] = float(ride.attrib[name]) - WARM_S
        elif element.tag == "tripinfo" and taxi is not None:
            metres += float(element.attrib["routeLength"])
            loaded_m += float(taxi.attrib["occupiedDistance"])
    return Played(picked_s, dropped_s, metres, loaded_m)
