"""Teaches a monitor a healthy simulated building: ``python -m agents.monitors.storeys.learn REF [-o FILE]``

Training motions of a scenario, undamaged and with sensors in order, under each of its shipped policies and its fallback
in turn, as the monitor must not mistake a change of controller for a change of structure. A real building is taught
by `StoreyMonitor.learn` with windows of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from agents import CHECKPOINTS, POLICY, fallback_name, make_controller, shipped_policies
from agents.baselines.dampers_play import drive
from agents.monitors.storeys.config import StoreyConfig
from agents.monitors.storeys.find import FILE
from agents.monitors.storeys.monitor import StoreyMonitor
from agents.monitors.storeys.windows import Window, Windows
from envs.core.errors import CityloopError
from envs.core.registry import load_scenario
from envs.core.world import Controller
from envs.dampers.assembly import load_site
from envs.dampers.block import Block
from envs.dampers.scenarios import Conditions, DampersScenario

MOTIONS, TOGETHER = 1200, 100
"""Windows to learn from and to set the threshold with; motions that are simulated at once."""

COLUMNS = ("ground_m_s2", "accel_m_s2", "stroke_mm", "force_n")


def play_windows(
    scenario: DampersScenario,
    config: StoreyConfig,
    controller: Controller,
    seeds: Sequence[int],
    conditions: Conditions | None = None,
    factor: Sequence[float] = (1.0,),
) -> Iterator[Window]:
    """Windows of simulated motions, all of them at once.

    Args:
        scenario: where.
        config: of the monitor.
        controller: drives the dampers.
        seeds: a motion each.
        conditions: faults of sensors and dampers; none if not given.
        factor: on the stiffness of every storey, ``(n,)``.
    """
    block = Block(scenario, load_site(scenario), np.float32, conditions or Conditions(), factor)
    gathered = [Windows(config) for _ in seeds]
    for seen in drive(block, [controller], seeds):
        for k, windows in enumerate(gathered):
            window = windows.add(block.time_s, {name: seen[name][k] for name in COLUMNS})
            if window is not None:
                yield window


def learn(ref: str, motions: int = MOTIONS) -> StoreyMonitor:
    """A monitor of a scenario's building, learned from its training motions.

    Raises:
        CityloopError: if it is no scenario of dampers, or too few windows can be judged.
    """
    scenario = _building(ref)
    site = load_site(scenario)
    config = StoreyConfig.of_site(site)
    names = [POLICY, fallback_name("dampers")] if shipped_policies("dampers") else [fallback_name("dampers")]
    spans = np.array_split(scenario.seeds.train.take(motions), -(-motions // TOGETHER))

    def windows() -> Iterator[Window]:
        for k, seeds in enumerate(spans):
            controller = make_controller(names[k % len(names)], site)
            yield from play_windows(scenario, config, controller, seeds.tolist())

    return StoreyMonitor.learn(config, windows())


def _building(ref: str) -> DampersScenario:
    scenario = load_scenario(ref)
    if not isinstance(scenario, DampersScenario):
        raise CityloopError(f"{ref} is no building with dampers: give one, such as dampers/jansen")
    return scenario


def _place(ref: str, out: Path | None) -> Path:
    """Where it is written: said to be wrong before an hour of motions, not after."""
    found = out or CHECKPOINTS / "dampers" / _building(ref).name / FILE
    if not found.parent.is_dir():
        raise CityloopError(f"{found} cannot be written, as {found.parent} is no folder: name another file with -o")
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Learn, and write the monitor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scenario")
    parser.add_argument("-o", "--out", type=Path, help=f"a file; beside the site's policy, as {FILE}, if not given")
    parser.add_argument("--motions", type=int, default=MOTIONS)
    given = parser.parse_args(words)
    try:
        out = _place(given.scenario, given.out)
        monitor = learn(given.scenario, given.motions)
        monitor.save(out)
    except CityloopError as error:
        parser.exit(2, f"Error: {error}\n")
    except OSError as error:
        parser.exit(2, f"Error: {out} cannot be written ({error.strerror}): name another file with -o\n")
    print(f"{out}: learned from {monitor.learned.windows[0]} windows, threshold from {monitor.learned.windows[1]}")


if __name__ == "__main__":
    main()
