"""Starting SUMO for a service: the network's own signal programs, default driving, one simulation per process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError, first_line
from envs.core.sumo.programs import load_libsumo

TELEPORT_S = 300
"""Seconds in a jam after which SUMO takes a vehicle off and puts it back further on; SUMO's default."""


def arguments(net: Path, files: Sequence[Path], seed: int, more: Sequence[str] = ()) -> list[str]:
    """The command line of a simulation.

    Args:
        net: the network.
        files: route files.
        seed: of driving.
        more: further options.
    """
    found = ["sumo", "--net-file", str(net), "--route-files", ",".join(map(str, files)), "--seed", str(seed)]
    found += ["--begin", "0", "--step-length", "1", "--time-to-teleport", str(TELEPORT_S)]
    found += ["--no-step-log", "--no-warnings", "--duration-log.disable", "--xml-validation", "never"]
    found += ["--ignore-route-errors"]
    return [*found, *more]


def start(command: Sequence[str]) -> Any:
    """Start libsumo in this process; returns the module."""
    libsumo = load_libsumo()
    libsumo.start(list(command))
    return libsumo


def apart(function: Callable[..., Any], *rows: Sequence[Any], processes: int = 1) -> list[Any]:
    """Run a function for each row of arguments, each in a process of its own, in order.

    Args:
        function: at the top of a module.
        *rows: the arguments of each call.
        processes: number of processes at a time.

    Raises:
        CityloopError: if SUMO cannot go on; with its own reason.
    """
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting = [pool.submit(_told, function, *row) for row in rows]
        return [each.result() for each in waiting]


def _told(function: Callable[..., Any], *row: Any) -> Any:
    """Call a function in a child process; errors of libsumo's own classes, which no process can send, as ours."""
    try:
        return function(*row)
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "libsumo":
            raise
        raise CityloopError(f"SUMO cannot go on: {first_line(error)}") from None
