"""Travel times that were measured in a SUMO network: the delay of each turn, and speeds over a service.

Plain numbers in the order of the network's turns (`streets.Net`), with their origin. Using them needs no SUMO;
`referee.measure` makes them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import Field

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen


class Measured(Frozen):
    """Travel times by turn and time of day, as a product of the two.

    Attributes:
        net, routes: SHA-256 of the files that were driven on.
        sumo: version of SUMO.
        stretch, flow: hours that an hour of the files became; vehicles per hour, relative to the files.
        seeds: of the runs.
        driven: number of turns that were observed, over all runs.
        unexplained: root mean square relative deviation of a turn's mean time in a slot (of those driven ten times or
            more) from this file's: the error of the product form, and chance.
        delay_s: seconds lost at every turn, beyond driving the streets' lengths at their speed limits.
        stop_s: seconds that stopping costs on every street with a stop, beyond the dwell time: braking, and waiting
            for a gap to pull out into.
        speed: speed of streets in every slot, relative to the mean.
        slot_s: length of a slot.
    """

    net: str
    routes: tuple[str, ...]
    sumo: str
    stretch: float
    flow: float
    seeds: tuple[int, ...]
    driven: int
    unexplained: float
    delay_s: tuple[float, ...]
    stop_s: tuple[float, ...]
    speed: tuple[float, ...] = Field(min_length=1)
    slot_s: float = Field(gt=0)

    @classmethod
    def load(cls, path: Path, net: Path) -> Measured:
        """Read a file that belongs to a network.

        Raises:
            CityloopError: if it cannot be read, or belongs to another network.
        """
        found = cls.from_file(path, "times", f"make it with {MAKE}")
        if found.net != digest(net):
            raise CityloopError(f"times {path} were measured on another network than {net}: make them with {MAKE}")
        return found


MAKE = "`cityloop travel-times`"


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
