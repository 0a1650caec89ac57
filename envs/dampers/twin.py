"""The same buildings in torch, for back-propagation: a window of decisions as one differentiable computation.

Nothing is modelled anew: frames, devices, observer and features are the functions that the world runs, on tensors. The
twin differs from the world in these parts:

* Faults are drawn for each episode of each building, delay included; stiffness for each group.
* Sensors have noise, but neither a range nor a resolution, and samples are not checked for plausibility.
* Of the guard, only the range is left.
* The time step may be longer than the world's (`SUBSTEP_S`), as long as it is stable.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.core.differentiable import Levels, Window
from envs.dampers.acquisition.observer import Estimate, Observer
from envs.dampers.assembly import is_stable, load_site
from envs.dampers.block import load_histories, wind_load_coefficients
from envs.dampers.features import DampersFeatures
from envs.dampers.mechanics.device import DamperState
from envs.dampers.mechanics.frame import drift_matrix
from envs.dampers.mechanics.kernel import Decision, fits, step_constants
from envs.dampers.mechanics.structure import Structure, StructureState
from envs.dampers.scenarios import DampersScenario
from envs.dampers.sensing import draw_faults

SUBSTEP_S = 0.002
"""Least time step of the differentiable simulation: half as many steps as the world's for about the same motion; the
world's own step where the dampers are too stiff for it."""

GROUPS = 8
"""Number of groups of buildings with a common stiffness."""

NORM = 20.0
"""Exponent p of the norm over time that stands for a peak: large enough to be dominated by peaks, small enough to be
smooth."""

LEAST_RATIO = 0.04
"""Least ratio of a peak to that without dampers, so that there is a gradient at rest."""

BEARS, SURELY = 0.8, 0.5
"""Shares of a motion's peak below which a response does not affect it: where the peak is known from the motion's first
pass, and where it is guessed from the motions before."""

HEARD = 3
"""Number of stored commands: the longest delay is one decision less."""

FIXED = (
    *("scenario", "site", "building", "_observer", "_features", "_plant", "_constants", "_drifts_of"),
    *("_wind_load", "_still", "_spread", "_samples"),
)
"""Attributes that are no part of a saved state: the same in all twins of a scenario, or made anew at every decision."""


class Twin:
    """``num_envs`` buildings of a scenario for back-propagation.

    Args:
        scenario: its training seeds are drawn from, its variety applies.
        num_envs: number of buildings; rounded up to a multiple of `GROUPS`.
        seed: of all random numbers.
    """

    def __init__(self, scenario: DampersScenario, num_envs: int, seed: int):
        self.scenario = scenario
        site = self.site = load_site(scenario)
        self.agents = len(site.agents)
        self.building = building = site.building
        self._groups = min(GROUPS, num_envs)
        self._each = -(-num_envs // self._groups)
        num_envs = self.num_envs = self._groups * self._each
        self._rng = np.random.default_rng([seed, 19])
        self._noise = torch.Generator().manual_seed(seed)
        decision_s = scenario.decision_s
        self._substeps = max(1, round(decision_s / max(SUBSTEP_S, 1e-3 * scenario.timing.substep_ms) - 1e-9))
        if not is_stable(building, 1e3 * decision_s / self._substeps):
            self._substeps = scenario.timing.substeps
        self._dt_s = decision_s / self._substeps
        self._observer, self._features = Observer(site, np.float32), DampersFeatures(site)
        d = self.agents
        self._spread = torch.from_numpy(site.sample_noise[:, None].astype(np.float32))
        self._wind_load = wind_load_coefficients(scenario, building)
        self._still = self._wind_load is not None  # the ground is, in the wind
        self._plant = Structure(building, self._dt_s, dtype=np.float32, wind_load=self._wind_load)
        self._constants = step_constants(building, self._dt_s, NORM) if fits(building) else None
        drifts = drift_matrix(building.frame.floors)[building.storeys].astype(np.float32)
        self._drifts_of = torch.from_numpy(np.kron(np.eye(2, dtype=np.float32), drifts))
        self._matrices = torch.empty(self._groups, *self._plant.matrix.shape)
        shape = (self._groups, self._each)
        self._loads = torch.zeros(*shape, scenario.decisions * self._substeps + 1)
        self._unit = torch.ones(*shape, 2)
        self._dropout, self._multiple = torch.zeros(shape), torch.ones(shape)
        self._alive = torch.ones(self._groups, d, self._each)
        self._whole, self._rest = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        self._step = torch.zeros(self._groups, dtype=torch.long)
        self._state = self._grouped(self._plant.rest(self._each, torch))
        self._estimate = Estimate(*(part for part in self._observer.rest(num_envs, torch)))
        self._levels = [torch.zeros(self._groups, d, self._each)] * HEARD
        self._powers, self._bears = torch.zeros(*shape, 2), torch.zeros(*shape, 2)
        self._second = [True] * self._groups
        for group in range(self._groups):
            self._begin(group)
            # Groups start at different points of their first motion, so that a window holds all phases of one.
            self._step[group] = group * scenario.decisions // (2 * self._groups)

    def _grouped(self, state: StructureState) -> StructureState:
        def wide(part: Tensor) -> Tensor:
            return part.expand(self._groups, *part.shape).clone()

        x, stroke, rate, dampers, force, h, rates = state
        return StructureState(
            wide(x), wide(stroke), wide(rate), DamperState(*map(wide, dampers)), wide(force), wide(h), wide(rates)
        )

    def _begin(self, group: int) -> None:
        """Start a group at rest, with the same motions a second time or with new ones."""
        peaks = self._peaks(self._powers[group])
        self._second[group] = not self._second[group]
        if self._second[group]:
            self._bears[group] = BEARS * peaks
        else:
            self._bears[group] = SURELY * peaks.mean(dim=0)
            self._draw(group)
        self._step[group] = 0
        self._powers[group] = 0.0
        for part in (*self._state[:3], *self._state.dampers, *self._state[4:], *self._levels):
            part[group] = 0.0
        here = slice(group * self._each, (group + 1) * self._each)
        for part in self._estimate:
            part[:, here] = 0.0

    @staticmethod
    def _peaks(powers: Tensor) -> Tensor:
        """Norms that stand for peaks, as shares of the peaks without dampers."""
        return (powers + LEAST_RATIO**NORM).pow(1.0 / NORM)

    def _draw(self, group: int) -> None:
        """Draw motions, faults and stiffness of a group."""
        scenario, building = self.scenario, self.building
        train = scenario.seeds.train
        seeds = self._rng.integers(train.first, train.last + 1, self._each).tolist()
        faults = [draw_faults(scenario, self.site, [seed]) for seed in seeds]
        frame = building.frame.softened(faults[0].factor)
        plant = Structure(building, self._dt_s, frame, dtype=np.float32, wind_load=self._wind_load)
        self._matrices[group] = torch.from_numpy(plant.matrix)
        loads, uncontrolled = load_histories(scenario, building, frame, seeds, self._dt_s)
        n = building.frame.floors
        drift, accel = uncontrolled[:, :n], uncontrolled[:, n : 2 * n]
        unit = np.stack([abs(drift).max(axis=(1, 2)), abs(accel).max(axis=(1, 2))], axis=1)
        self._loads[group] = torch.from_numpy(loads.astype(np.float32))
        self._unit[group] = torch.from_numpy(np.maximum(unit, 1e-9).astype(np.float32))
        self._dropout[group] = torch.tensor([float(one.dropout[0]) for one in faults])
        self._multiple[group] = torch.tensor([float(one.noise[0]) for one in faults])
        self._alive[group] = torch.from_numpy(np.concatenate([one.alive for one in faults], axis=1).astype(np.float32))
        late = np.array([round(one.delay_ms / 1e3 / self._dt_s) for one in faults])
        late = np.minimum(late, (HEARD - 1) * self._substeps - 1)
        self._whole[group], self._rest[group] = (torch.from_numpy(part) for part in np.divmod(late, self._substeps))

    def window(self, policy: Levels, decisions: int) -> Window:
        """Take decisions in all buildings, from where the last window ended; their cost.

        A building's cost is the logarithm of ½ Σ over drift and acceleration of (Σ over time and places of (|y| / peak
        without dampers)^p)^(1/p). The inner sum runs from the episode's start; earlier windows count in it without a
        gradient. A lower bound of the motion's peak is added to it: without it the gradient of each window would be
        that of a whole motion, though all windows but the strongest leave the peak unchanged. So motions are played
        twice, the first time to find the peak.

        Args:
            policy: observation parts ``(E, N, …)`` → levels from 0 to 1, ``(E, N)``.
            decisions: their number; at most those of an episode are taken.
        """
        decisions = min(decisions, self.scenario.decisions)
        self._detach()
        for group in self._ending(decisions):  # not earlier: the last window's gradient had to be taken first
            self._begin(group)
        powers = self._powers
        for _ in range(decisions):
            self._read()
            levels = policy(self._features.columns(self._readings(), torch))
            self._levels = [*self._levels[1:], levels.reshape(self._groups, self._each, -1).transpose(1, 2)]
            powers = powers + self._advance()
        cost = (powers + self._bears.clamp(min=LEAST_RATIO) ** NORM).pow(1.0 / NORM).mean(dim=-1).log().mean()
        self._powers = powers.detach()
        over = self._ending(decisions)
        reached = float(self._peaks(self._powers[over]).mean()) if over else float("nan")
        return Window(cost, reached, decisions * self.num_envs * self.agents)

    def _ending(self, decisions: int) -> list[int]:
        """Groups whose episode ends within this number of decisions."""
        return [group for group in range(self._groups) if self._step[group] + decisions > self.scenario.decisions]

    def _detach(self) -> None:
        x, stroke, rate, dampers, force, h, rates = self._state
        dampers = DamperState(*(part.detach() for part in dampers))
        self._state = StructureState(
            x.detach(), stroke.detach(), rate.detach(), dampers, force.detach(), h.detach(), rates.detach()
        )
        self._estimate = Estimate(*(part.detach() for part in self._estimate))
        self._levels = [level.detach().clone() for level in self._levels]  # a policy may give one number, expanded

    def _advance(self) -> Tensor:
        """One decision of all buildings; its terms of the sums of powers, ``(groups, each, 2)``."""
        at = self._step * self._substeps
        index = at[:, None, None] + torch.arange(self._substeps)[None, None, :]
        loads = self._loads.gather(2, index.expand(-1, self._each, -1)).transpose(1, 2).contiguous()
        late = self._whole[:, None, :]
        before = torch.where(late == 0, self._levels[-2], self._levels[-3])
        after = torch.where(late == 0, self._levels[-1], self._levels[-2])
        full = self._alive * self.building.device.full_v
        unit = self._unit.transpose(1, 2).contiguous()
        self._step = self._step + 1
        powers = self._steps(before * full, after * full, loads, unit)
        return powers.transpose(1, 2) * (self._dt_s / 0.01)

    def _steps(self, before: Tensor, after: Tensor, loads: Tensor, unit: Tensor) -> Tensor:
        """All substeps of a decision; Σ over them and places of (|y| / peak undamped)^p, ``(groups, 2, each)``."""
        n, state, dampers = self.building.frame.floors, self._state, self._state.dampers
        if self._constants is not None:
            x, u, z, force, powers = Decision.apply(
                state.x, dampers.u, dampers.z, before, after, self._rest, loads, self._matrices, unit, self._constants
            )
            stroke, rate = (self._drifts_of @ x).chunk(2, dim=1)
            self._state = state._replace(
                x=x, stroke=stroke, rate=rate, dampers=DamperState(u, z, dampers.y), force=force
            )
            return powers
        found = []
        for k in range(self._substeps):
            volts = torch.where(k < self._rest[:, None, :], before, after)
            self._state, seen = self._plant.step(self._state, volts, loads[:, k, None], self._matrices, torch)
            found.append(seen[:, : 2 * n])
        return (torch.stack(found).unflatten(2, (2, n)) / unit[None, :, :, None]).pow(NORM).sum(dim=(0, 3))

    def _read(self) -> None:
        """Sample all sensors, and update the observer."""
        state, n, d = self._state, self.building.frame.floors, self.agents
        at = (self._step * self._substeps)[:, None, None].expand(-1, self._each, 1)
        load = self._loads.gather(2, at).transpose(1, 2)
        parts = [state.x, state.force, state.h] if self._plant.yields else [state.x, state.force]
        accel = self._matrices[:, -n - 1 : -1] @ torch.cat([*parts, load], dim=1)
        ground = torch.zeros_like(load) if self._still else load
        true = torch.cat([accel, state.stroke, state.force, ground], dim=1).transpose(0, 1).flatten(1)
        multiple, dropout = self._multiple.flatten(), self._dropout.flatten()
        noise = torch.randn(true.shape, generator=self._noise) * self._spread * multiple
        lost = torch.rand(true.shape, generator=self._noise) < dropout
        samples = torch.where(lost, float("nan"), true + noise)
        self._samples = samples
        self._estimate = self._observer.update(self._estimate, samples[: n + d], samples[n + d :], torch)

    def _readings(self) -> dict[str, Any]:
        """The columns that features read, ``(E, k)``."""
        n, d, estimate = self.building.frame.floors, self.agents, self._estimate
        seen, peaks = estimate.seen.T, estimate.peaks.T
        return {
            "drift_est_mm": 1e3 * seen[:, :n],
            "rate_est_mm_s": 1e3 * seen[:, n : 2 * n],
            "accel_est_m_s2": seen[:, 2 * n :],
            "drift_peak_mm": 1e3 * peaks[:, :n],
            "accel_peak_m_s2": peaks[:, n:],
            "force_est_n": estimate.inputs[:d].T,
            "ground_m_s2": self._samples[n + 2 * d :].T,
            "level": self._levels[-1].transpose(1, 2).flatten(0, 1),
            "silent_s": estimate.silent_s.T,
        }

    def get_state(self) -> Any:
        """State from which the computation can be continued."""
        self._detach()
        kept = {name: value for name, value in vars(self).items() if name not in FIXED}
        noise = kept.pop("_noise").get_state()
        return copy.deepcopy(kept), noise

    def set_state(self, state: Any) -> None:
        """Continue from a state, as `get_state` gave it."""
        kept, noise = state
        vars(self).update(copy.deepcopy(kept))
        self._noise.set_state(noise)
