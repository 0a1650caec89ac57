"""Many copies of a building at once: frame, dampers and yielding storeys, stepped together.

Arrays run along copies last, ``(k, copies)``, so that every operation is over long rows; a leading axis of groups, each
with a matrix of its own, may precede. Sensors, motions and control are elsewhere. Works in numpy and torch alike, so
that gradients pass through the simulated model itself.

A step is exact for the linear frame (zero-order hold of all forces), linearly implicit for hysteresis, and staggered:
forces are those at its beginning, so the whole is of first order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.dampers.mechanics.building import Building
from envs.dampers.mechanics.device import Array, DamperState, bouc_wen_step, damper_step
from envs.dampers.mechanics.frame import Frame, drift_matrix, modal_response, zero_order_hold


class StructureState(NamedTuple):
    """Complete dynamic state of ``E`` copies of a building.

    Attributes:
        x: displacements in m and velocities in m/s of floors relative to the ground, ``(2n, E)``.
        stroke, rate: drift of the storeys with dampers in m, and its rate in m/s, ``(d, E)``.
        dampers: internal state of the dampers, each ``(d, E)``.
        force: total damper force of a storey in the previous step in N, ``(d, E)``.
        h: hysteretic drift of yielding storeys in m, ``(n, E)``, or ``(0, E)`` where no storey yields.
        drift_rate: rate of all drifts in m/s, ``(n, E)``, or ``(0, E)`` where no storey yields.
    """

    x: Array
    stroke: Array
    rate: Array
    dampers: DamperState
    force: Array
    h: Array
    drift_rate: Array


class Structure:
    """Copies of a building that step together.

    Args:
        building: its data.
        dt_s: time step.
        frame: instead of the building's own, e.g. a softened one; its storeys yield in proportion.
        dampers: whether they are mounted.
        dtype: of all arrays.
        exerting: whether mounted dampers exert any force.
        wind_load: forces on floors in N per m/s of gust, ``(n,)``, with the ground at rest; None: the load is the
            ground's acceleration in m/s².

    Attributes:
        matrix: ``(rows, columns)``: next state and response from state, forces and load in one product.
    """

    def __init__(
        self,
        building: Building,
        dt_s: float,
        frame: Frame | None = None,
        dampers: bool = True,
        dtype: Any = np.float64,
        exerting: bool = True,
        wind_load: np.ndarray | None = None,
    ):
        self.building, self.dt_s, self.dtype = building, dt_s, dtype
        self.frame = building.frame if frame is None else frame
        n = self.n = self.frame.floors
        self.storeys = building.storeys if dampers else np.zeros(0, dtype=int)
        self.d = len(self.storeys)
        self._counts = (float(exerting) * building.counts[:, None]).astype(dtype)
        self.yields = building.hysteresis is not None
        drifts = drift_matrix(n)
        elastic, hysteretic = self.frame, np.zeros((n, 0))
        if self.yields:
            inverse = np.linalg.inv(drifts)
            storey = inverse.T @ self.frame.stiffness @ inverse
            share = building.after_yield
            elastic = Frame(self.frame.mass_kg, self.frame.damping, share * self.frame.stiffness)
            hysteretic = -drifts.T @ storey * (1 - share)  # forces on floors from each storey's hysteretic drift
        load = np.append(np.zeros(n), 1.0) if wind_load is None else np.append(wind_load, 0.0)
        forces = np.hstack([-drifts.T[:, self.storeys], hysteretic])  # on floors, of dampers and of hysteresis
        self.matrix = self._matrix(elastic, drifts, forces, load).astype(dtype)

    def _matrix(self, frame: Frame, drifts: np.ndarray, forces: np.ndarray, load: np.ndarray) -> np.ndarray:
        """Rows: next state, next strokes and rates, next drift rates where storeys yield; and the response of `now`.

        Columns: state, damper forces, hysteretic drifts, the load. Absolute accelerations do not depend directly
        on the ground's acceleration: its column is zero there.
        """
        n = self.n
        a, b = frame.continuous
        inputs = np.hstack([np.vstack([forces, np.zeros(forces.shape[1])]), load[:, None]])
        ahead = np.hstack(zero_order_hold(a, b @ inputs, self.dt_s))
        stroke, rate = drifts[self.storeys] @ ahead[:n], drifts[self.storeys] @ ahead[n:]
        rates = drifts @ ahead[n:] if self.yields else np.zeros((0, ahead.shape[1]))
        of_state, of_force = frame.acceleration
        accel = np.hstack([of_state, of_force @ forces, of_force @ load[:n, None]])
        drift = np.hstack([drifts, np.zeros((n, ahead.shape[1] - n))])
        held = frame.mass_kg @ accel  # base shear: inertia forces less the wind load
        held[-1] -= load[:n].sum()
        return np.vstack([ahead, stroke, rate, rates, drift, accel, held])

    def rest(self, copies: int, xp: Any = np) -> StructureState:
        """State at rest, with coils at 0 V."""
        kind = {} if xp is not np else {"dtype": self.dtype}

        def zeros(rows: int) -> Array:
            return xp.zeros((rows, copies), **kind)

        dampers = DamperState(zeros(self.d), zeros(self.d), zeros(self.d))
        rates = self.n if self.yields else 0
        return StructureState(
            zeros(2 * self.n), zeros(self.d), zeros(self.d), dampers, zeros(self.d), zeros(rates), zeros(rates)
        )

    def step(
        self, state: StructureState, volts: Array, load: Array, matrix: Array, xp: Any = np
    ) -> tuple[StructureState, Array]:
        """One time step.

        Args:
            state: at the beginning.
            volts: command voltages of each storey's dampers, ``(d, E)``.
            load: ground acceleration in m/s² or gust speed in m/s at the beginning, ``(1, E)``.
            matrix: `matrix`, as an array of ``xp``.
            xp: numpy or torch.

        Returns:
            The next state; and drifts in m, absolute accelerations in m/s² and base shear in N at the beginning,
            ``(2n + 1, E)``.
        """
        d, a = self.d, 2 * self.n
        dampers, force, h = state.dampers, state.force, state.h
        parts = [state.x]
        if d:
            dampers, one = damper_step(self.building.device, dampers, volts, state.stroke, state.rate, self.dt_s, xp)
            force = one * (self._counts if xp is np else xp.as_tensor(self._counts, dtype=one.dtype))
            parts.append(force)
        if self.yields:
            assert self.building.hysteresis is not None
            h = bouc_wen_step(self.building.hysteresis, h, state.drift_rate, self.dt_s, xp)
            parts.append(h)
        found = matrix @ xp.concatenate([*parts, load], -2)
        end = found.shape[-2] - a - 1
        stroke, rate = found[..., a : a + d, :], found[..., a + d : a + 2 * d, :]
        after = StructureState(found[..., :a, :], stroke, rate, dampers, force, h, found[..., a + 2 * d : end, :])
        return after, found[..., end:, :]

    def now(self, state: StructureState, load: np.ndarray) -> np.ndarray:
        """Drifts, absolute accelerations and base shear of a state, ``(2n + 1, E)``, with its damper forces."""
        parts = [state.x, state.force, state.h] if self.yields else [state.x, state.force]
        return self.matrix[-2 * self.n - 1 :] @ np.concatenate([*parts, load])


def spectral_radius(building: Building, dt_s: float) -> float:
    """Spectral radius of one time step at full voltage, while all hysteresis is elastic.

    Of the step of state and hysteretic variables: above one, the step is too long for the stiffness of the dampers, or
    of storeys that yield, relative to the masses. Dampers of the modified model are treated as simple ones with the
    same coefficients. End stops, where there are some, are taken as free or in contact, whichever is worse.
    """
    whole, device = Structure(building, dt_s), building.device
    a = 2 * whole.n
    a_d, b_d, b_h = whole.matrix[:a, :a], whole.matrix[:a, a : a + whole.d], whole.matrix[:a, a + whole.d : -1]
    bent = dt_s * np.hstack([np.zeros((whole.n, whole.n)), drift_matrix(whole.n)])[: b_h.shape[1]]
    rates = np.hstack([np.zeros((whole.d, whole.n)), drift_matrix(whole.n)[whole.storeys]])
    viscous = building.counts * (device.c0a_n_s_m + device.c0b_n_s_mv * device.full_v)
    hysteretic = building.counts * (device.alpha_a_n_m + device.alpha_b_n_mv * device.full_v)
    remembered = dt_s * device.z.a * rates
    strokes = np.hstack([drift_matrix(whole.n)[whole.storeys], np.zeros((whole.d, whole.n))])
    stopped = (building.counts * device.stop_n_m)[:, None] * (strokes + dt_s * rates)
    largest = 0.0
    for held in (np.zeros_like(stopped), stopped):
        force = viscous[:, None] * rates + hysteretic[:, None] * remembered + held
        moved = np.hstack([a_d + b_d @ force + b_h @ bent, b_d * hysteretic, b_h])
        kept = np.hstack([np.vstack([remembered, bent]), np.eye(whole.d + len(bent))])
        step = np.vstack([moved, kept])
        largest = max(largest, float(np.abs(np.linalg.eigvals(step)).max()))
    return largest


def uncontrolled_response(
    building: Building, frame: Frame, loads: np.ndarray, dt_s: float, wind_load: np.ndarray | None = None
) -> np.ndarray:
    """Drifts, absolute accelerations and base shear of the building without dampers, ``(E, 2n + 1, T)``.

    Args:
        building: its data.
        frame: its frame, e.g. a softened one.
        loads: ground acceleration in m/s², or gust speed in m/s, ``(E, T)``.
        dt_s: between samples.
        wind_load: see `Structure`.
    """
    bare = Structure(building, dt_s, frame, dampers=False, wind_load=wind_load)
    if not bare.yields and _classical(frame):
        x, v = modal_response(frame, loads, dt_s, wind_load)
        return bare.matrix[-2 * bare.n - 1 :] @ np.concatenate([x, v, loads[:, None]], axis=1)
    state, found = bare.rest(len(loads)), np.empty((len(loads), 2 * bare.n + 1, loads.shape[1]))
    volts = np.zeros((0, len(loads)))
    for k, row in enumerate(loads.T):
        state, found[:, :, k].T[...] = bare.step(state, volts, row[None], bare.matrix)
    return found


def _classical(frame: Frame) -> bool:
    """Whether damping is classical: it does not couple modes."""
    _, shapes = frame.modes
    modal = shapes.T @ frame.damping @ shapes
    return bool(np.abs(modal - np.diag(np.diag(modal))).max() <= 1e-9 * np.abs(modal).max())
