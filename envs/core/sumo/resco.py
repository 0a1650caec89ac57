"""The RESCO maps: SUMO networks with an hour's traffic, on which signal control is compared.

They are not ours to ship (their licences forbid commercial use); they are read from the installed sumo-rl package,
which bundles them. Its code is not imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from envs.core.errors import CityloopError

RESCO_BEGIN_S = {
    **dict.fromkeys(("cologne1", "cologne3", "cologne8"), 25_200.0),
    **dict.fromkeys(("ingolstadt1", "ingolstadt7", "ingolstadt21"), 57_600.0),
    **dict.fromkeys(("grid4x4", "arterial4x4"), 0.0),
}
"""Map → begin of its hour, in the time of its route file."""


def resco_files(name: str) -> tuple[Path, Path]:
    """Network and route file of a map.

    Raises:
        CityloopError: if sumo-rl is not installed.
    """
    spec = find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        raise CityloopError("package sumo-rl is not installed, and it brings the RESCO maps: pip install sumo-rl")
    folder = Path(spec.submodule_search_locations[0]) / "nets" / "RESCO" / name
    routes = folder / f"{name}.rou.xml"
    return folder / f"{name}.net.xml", routes if routes.is_file() else folder / f"{name}_1.rou.xml"
