"""Learning of a monitor from a healthy simulated building, behind ``cityloop teach``.

Training motions of a scenario, undamaged and with sensors in order, under the policy that ships for it (``policy``) and
its fallback in turn, as the monitor must not mistake a change of controller for a change of structure. A real building
is taught by `StoreyMonitor.learn` with windows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from agents import CHECKPOINTS, POLICY, fallback_name, make_controller, shipped_policies
from agents.dampers_play import drive
from agents.monitors.storeys.config import StoreyConfig
from agents.monitors.storeys.find import FILE
from agents.monitors.storeys.learning import least_windows
from agents.monitors.storeys.monitor import StoreyMonitor
from agents.monitors.storeys.windows import Window, Windows
from envs.core.errors import CityloopError
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


def destination(scenario: DampersScenario, out: Path | None) -> Path:
    """The file to write a monitor to, checked before hours of motions rather than after them.

    Args:
        scenario: the building.
        out: the file; None: beside the site's shipped policy.

    Raises:
        CityloopError: if its folder does not exist, or it is a folder itself.
    """
    found = out or CHECKPOINTS / "dampers" / scenario.name / FILE
    if found.is_dir():
        raise CityloopError(f"{found} cannot be written, as it is a folder: name a file with -o")
    if not found.parent.is_dir():
        raise CityloopError(f"{found} cannot be written, as {found.parent} is no folder: name another file with -o")
    return found


def learn(
    scenario: DampersScenario,
    motions: int = MOTIONS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> StoreyMonitor:
    """A monitor of a scenario's building, learned from its training motions.

    Its windows are as long as the motions where these are shorter than usual windows.

    Args:
        scenario: the building.
        motions: number of motions, half of them to set the threshold.
        on_progress: called with the numbers of simulated motions and of all.

    Raises:
        CityloopError: if the motions have too few windows, or too few of them can be judged.
    """
    site = load_site(scenario)
    config = StoreyConfig.of_site(site)
    motion_s = scenario.decisions * scenario.decision_s
    if motion_s < config.window_s:
        config = StoreyConfig.of_site(site, window_s=motion_s)
    each = max(1, int(motion_s // config.window_s))
    if motions * each < least_windows(config):
        raise CityloopError(f"motions is {motions}: give {-(-least_windows(config) // each)} at least")
    names = [POLICY, fallback_name("dampers")] if shipped_policies("dampers") else [fallback_name("dampers")]
    spans = np.array_split(scenario.seeds.train.take(motions), -(-motions // TOGETHER))

    def windows() -> Iterator[Window]:
        done = 0
        on_progress(done, motions)
        for k, seeds in enumerate(spans):
            controller = make_controller(names[k % len(names)], site)
            yield from play_windows(scenario, config, controller, seeds.tolist())
            done += len(seeds)
            on_progress(done, motions)

    return StoreyMonitor.learn(config, windows())
