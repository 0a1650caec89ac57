"""Dampers driven in the building itself: samples in, safe voltages out, in this process, without Ray or torch.

A loop of a few milliseconds must not cross a network. The service (`serving`) supervises and answers batches; this loop
runs beside the drivers: the same acquisition, features, policy and guard, once a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from agents import make_controller
from envs.core.errors import CityloopError
from envs.core.world import Controller, Intervention
from envs.dampers.acquisition.unit import Acquisition
from envs.dampers.features import DampersFeatures
from envs.dampers.guard import DampersGuard
from envs.dampers.site import DampersSite


class EdgeLoop:
    """One building's loop. Its state is that of the acquisition, and the last command; `reset` clears both.

    Args:
        site: the building.
        controller: decides; where it raises, or its request is NaN, the guard's safe level is commanded.

    Attributes:
        failures: decisions in which the controller raised.
        acquisition: state estimate, and the sensors that are believed (`Acquisition.trust`).
    """

    def __init__(self, site: DampersSite, controller: Controller):
        self.site, self.controller = site, controller
        self.acquisition = Acquisition(site)
        self._features, self._guard = DampersFeatures(site), DampersGuard(site)
        self._n, self._d = site.building.frame.floors, len(site.agents)
        self._told = f"give {self._n} accelerations, {self._d} strokes, {self._d} forces, and the ground's acceleration"
        self._mask = self._guard.mask({})
        self.reset()

    @classmethod
    def open(cls, site: Path | str, controller: str) -> Self:
        """A loop from a site's JSON (``cityloop site``) and a controller's name or a bundle's path."""
        loaded = DampersSite.load(Path(site))
        return cls(loaded, make_controller(controller, loaded))

    def reset(self) -> None:
        """Begin at rest, without a command."""
        self.acquisition.rest(1)
        self._level = np.zeros((self._d, 1))
        self.controller.reset()
        self.failures = 0

    def decide(self, samples: ArrayLike) -> tuple[np.ndarray, Sequence[Intervention]]:
        """Levels for the drivers as shares of full voltage ``(N,)``, and the guard's interventions.

        Args:
            samples: floor accelerations in m/s², strokes in m, forces in N (all of a storey's devices together), the
                ground's acceleration, ``(floors + 2 N + 1,)``; NaN: lost.

        Raises:
            CityloopError: if they are no numbers, or there are more or fewer of them.
        """
        try:
            row = np.asarray(samples, dtype=float)
        except (TypeError, ValueError) as error:
            raise CityloopError(f"samples are {samples!r:.60}, not a row of numbers ({error}): {self._told}") from None
        if row.shape != (self._n + 2 * self._d + 1,):
            raise CityloopError(f"samples have shape {row.shape}: {self._told}")
        seen = self.acquisition.take(row[:, None], self._level)
        readings = {name: column[0] for name, column in seen.items()}
        try:
            requests = self.controller.act(readings, self._features.encode(readings, self._mask))
        except Exception:  # the drivers get an answer in time in any case: the guard's
            self.failures += 1
            requests = np.full((self._d, 1), np.nan)
        commands, changes = self._guard.check(readings, requests)
        self._level = commands
        return commands[:, 0], changes
