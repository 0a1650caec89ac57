"""Scenario → site: the building with its dampers, if the time step of its simulation is short enough."""

from __future__ import annotations

import logging

from envs.core.errors import CityloopError
from envs.core.machine.warn_once import warn_once
from envs.dampers.mechanics.building import Building
from envs.dampers.mechanics.structure import spectral_radius
from envs.dampers.motions.records import offset_of, read_record
from envs.dampers.scenarios import DampersScenario
from envs.dampers.site import DampersSite

LOGGER = logging.getLogger(__name__)

STABLE = 1.001
"""Largest `spectral_radius` of a stable time step: one, with room for rounding."""


def is_stable(building: Building, substep_ms: float) -> bool:
    """Whether a simulation with this time step stays bounded; taken for granted for dampers of the modified model."""
    return building.device.model != "simple" or spectral_radius(building, substep_ms / 1e3) <= STABLE


def load_site(scenario: DampersScenario) -> DampersSite:
    """The site of a scenario; a record with an offset is warned of.

    Raises:
        CityloopError: if dampers, or storeys that yield, are too stiff beside the masses for the simulation's step, or
            a record cannot be read.
    """
    building, substep_ms = scenario.mounted, scenario.timing.substep_ms
    if not is_stable(building, substep_ms):
        stiff = "dampers" if building.hysteresis is None else "dampers or yielding storeys"
        raise CityloopError(
            f"scenario {scenario.ref}: timing.substep_ms is {substep_ms:g}, too long for {stiff} so stiff beside "
            f"floors of {min(building.mass_kg):g} kg: correct mass_kg, the device or how many there are, or shorten it"
        )
    _warn_of_offset(scenario)
    return DampersSite(name=scenario.name, timing=scenario.timing, building=building)


def _warn_of_offset(scenario: DampersScenario) -> None:
    record = scenario.motion.record
    offset = record and offset_of(*read_record(record, scenario.motion.unit))
    if offset:
        sentence = f"record {record}: {offset}: correct its baseline if that is an offset"
        warn_once(LOGGER, record, sentence)
