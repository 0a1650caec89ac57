"""Many copies of a building at once: frame, dampers and yielding storeys, stepped together.

Arrays run along copies last, ``(k, copies)``, so that every operation is over long rows; a leading axis of groups, each
with a matrix of its own, may stand before. Nothing here knows sensors, motions or control. Reads alike for numpy and
torch: what is learned through is what is simulated.

A step is exact for the linear frame (zero-order hold of all forces), linearly implicit for hysteresis, and staggered:
forces are those of the motion at its beginning, so the whole is of first order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.dampers.building import Building
from envs.dampers.device import Array, Inside, resist, yielded
from envs.dampers.frame import Frame, drift_matrix, hold, respond


class Moment(NamedTuple):
    """Everything that decides how copies move on.

    Attributes:
        x: displacements and velocities of floors relative to the ground, ``(2n, E)``.
        stroke, rate: drift of the storeys with dampers in m, and its rate in m/s, ``(d, E)``.
        inside: what devices remember, each ``(d, E)``.
        force: that the devices of a storey have exerted in the step before, together, in N, ``(d, E)``.
        h: hysteretic drift of yielding storeys in m, ``(n, E)``, or ``(0, E)``.
        drift_rate: rate of all drifts in m/s, ``(n, E)``, or ``(0, E)`` where no storey yields.
    """

    x: Array
    stroke: Array
    rate: Array
    inside: Inside
    force: Array
    h: Array
    drift_rate: Array


class Structure:
    """Copies of a building that step together.

    Args:
        building: which.
        dt_s: the step.
        frame: another frame than the building's own, e.g. a softened one; its storeys yield in proportion.
        dampers: whether they are mounted.
        dtype: of all arrays.
        devices: how many stand for each, as a multiple of the building's own; 0: they hang loose.
        pushed: what the load pushes: floors in N per unit of it, ``(n,)``, while the ground stands still; None: it is
            the ground's acceleration in m/s².

    Attributes:
        matrix: ``(rows, columns)``: what follows from motion, forces and ground in one product.
    """

    def __init__(
        self,
        building: Building,
        dt_s: float,
        frame: Frame | None = None,
        dampers: bool = True,
        dtype: Any = np.float64,
        devices: float = 1.0,
        pushed: np.ndarray | None = None,
    ):
        self.building, self.dt_s, self.dtype = building, dt_s, dtype
        self.frame = building.frame if frame is None else frame
        n = self.n = self.frame.floors
        self.storeys = building.storeys if dampers else np.zeros(0, dtype=int)
        self.d = len(self.storeys)
        self._counts = (devices * building.counts[:, None]).astype(dtype)
        self.yields = building.hysteresis is not None
        drifts = drift_matrix(n)
        elastic, hysteretic = self.frame, np.zeros((n, 0))
        if self.yields:
            inverse = np.linalg.inv(drifts)
            storey = inverse.T @ self.frame.stiffness @ inverse
            share = building.after_yield
            elastic = Frame(self.frame.mass_kg, self.frame.damping, share * self.frame.stiffness)
            hysteretic = -drifts.T @ storey * (1 - share)  # forces on floors from what each storey holds back
        load = np.append(np.zeros(n), 1.0) if pushed is None else np.append(pushed, 0.0)
        forces = np.hstack([-drifts.T[:, self.storeys], hysteretic])  # on floors, of everything that is no frame
        self.matrix = self._matrix(elastic, drifts, forces, load).astype(dtype)

    def _matrix(self, frame: Frame, drifts: np.ndarray, forces: np.ndarray, load: np.ndarray) -> np.ndarray:
        """Rows: next state, next strokes and rates, next drift rates where storeys yield; and what `now` gives.

        Columns: state, damper forces, hysteretic drifts, the load. The ground's acceleration is none of the absolute
        accelerations that it leads to: there its column is zero.
        """
        n = self.n
        a, b = frame.continuous
        moved, pushed = hold(
            a, b @ np.hstack([np.vstack([forces, np.zeros(forces.shape[1])]), load[:, None]]), self.dt_s
        )
        ahead = np.hstack([moved, pushed])
        stroke, rate = drifts[self.storeys] @ ahead[:n], drifts[self.storeys] @ ahead[n:]
        rates = drifts @ ahead[n:] if self.yields else np.zeros((0, ahead.shape[1]))
        of_state, of_force = frame.acceleration
        accel = np.hstack([of_state, of_force @ forces, of_force @ load[:n, None]])
        drift = np.hstack([drifts, np.zeros((n, ahead.shape[1] - n))])
        held = frame.mass_kg @ accel  # what the ground must hold, but for what pushes the floors
        held[-1] -= load[:n].sum()
        return np.vstack([ahead, stroke, rate, rates, drift, accel, held])

    def rest(self, copies: int, xp: Any = np) -> Moment:
        """Nothing moves, coils are cold."""
        kind = {} if xp is not np else {"dtype": self.dtype}

        def zeros(rows: int) -> Array:
            return xp.zeros((rows, copies), **kind)

        inside = Inside(zeros(self.d), zeros(self.d), zeros(self.d))
        rates = self.n if self.yields else 0
        return Moment(
            zeros(2 * self.n), zeros(self.d), zeros(self.d), inside, zeros(self.d), zeros(rates), zeros(rates)
        )

    def step(self, moment: Moment, volts: Array, load: Array, matrix: Array, xp: Any = np) -> tuple[Moment, Array]:
        """One step on.

        Args:
            moment: where copies are.
            volts: at the drivers of each storey's dampers, ``(d, E)``.
            load: the ground's acceleration in m/s², or what pushes the floors, at the beginning, ``(1, E)``.
            matrix: `matrix`, as an array of ``xp``.
            xp: numpy or torch.

        Returns:
            The moment after; and drifts in m, absolute accelerations in m/s² and base shear in N at the beginning,
            ``(2n + 1, E)``.
        """
        d, a = self.d, 2 * self.n
        inside, force, h = moment.inside, moment.force, moment.h
        parts = [moment.x]
        if d:
            inside, one = resist(self.building.device, inside, volts, moment.stroke, moment.rate, self.dt_s, xp)
            force = one * (self._counts if xp is np else xp.as_tensor(self._counts, dtype=one.dtype))
            parts.append(force)
        if self.yields:
            assert self.building.hysteresis is not None
            h = yielded(self.building.hysteresis, h, moment.drift_rate, self.dt_s, xp)
            parts.append(h)
        found = matrix @ xp.concatenate([*parts, load], -2)
        end = found.shape[-2] - a - 1
        stroke, rate = found[..., a : a + d, :], found[..., a + d : a + 2 * d, :]
        after = Moment(found[..., :a, :], stroke, rate, inside, force, h, found[..., a + 2 * d : end, :])
        return after, found[..., end:, :]

    def now(self, moment: Moment, load: np.ndarray) -> np.ndarray:
        """Drifts, absolute accelerations and base shear at a moment, ``(2n + 1, E)``, with the forces just exerted."""
        parts = [moment.x, moment.force, moment.h] if self.yields else [moment.x, moment.force]
        return self.matrix[-2 * self.n - 1 :] @ np.concatenate([*parts, load])


def growth(building: Building, dt_s: float) -> float:
    """By what a step multiplies motion at most, at full voltage and while devices' hysteresis is elastic.

    The spectral radius of the step of state and hysteretic variable: beyond one, the step is too long for how stiff
    the dampers are beside the masses. Of simple devices; others count as their like of the simple model. Between their
    end stops, or, where they have some, at them if that is worse.
    """
    whole, device = Structure(building, dt_s), building.device
    a = 2 * whole.n
    moved, pushed = whole.matrix[:a, :a], whole.matrix[:a, a : a + whole.d]
    rates = np.hstack([np.zeros((whole.d, whole.n)), drift_matrix(whole.n)[whole.storeys]])
    viscous = building.counts * (device.c0a_n_s_m + device.c0b_n_s_mv * device.full_v)
    hysteretic = building.counts * (device.alpha_a_n_m + device.alpha_b_n_mv * device.full_v)
    remembered = dt_s * device.z.a * rates
    strokes = np.hstack([drift_matrix(whole.n)[whole.storeys], np.zeros((whole.d, whole.n))])
    stopped = (building.counts * device.stop_n_m)[:, None] * (strokes + dt_s * rates)
    largest = 0.0
    for held in (np.zeros_like(stopped), stopped):
        force = viscous[:, None] * rates + hysteretic[:, None] * remembered + held
        step = np.block([[moved + pushed @ force, pushed * hysteretic], [remembered, np.eye(whole.d)]])
        largest = max(largest, float(np.abs(np.linalg.eigvals(step)).max()))
    return largest


def uncontrolled(
    building: Building, frame: Frame, loads: np.ndarray, dt_s: float, pushed: np.ndarray | None = None
) -> np.ndarray:
    """Drifts, absolute accelerations and base shear of the building without dampers, ``(E, 2n + 1, T)``.

    Args:
        building: which.
        frame: its frame, e.g. a softened one.
        loads: the ground's acceleration in m/s², or what pushes the floors, ``(E, T)``.
        dt_s: between samples.
        pushed: see `Structure`.
    """
    bare = Structure(building, dt_s, frame, dampers=False, pushed=pushed)
    if not bare.yields and _classical(frame):
        x, v = respond(frame, loads, dt_s, pushed)
        return bare.matrix[-2 * bare.n - 1 :] @ np.concatenate([x, v, loads[:, None]], axis=1)
    moment, found = bare.rest(len(loads)), np.empty((len(loads), 2 * bare.n + 1, loads.shape[1]))
    volts = np.zeros((0, len(loads)))
    for k, row in enumerate(loads.T):
        moment, found[:, :, k].T[...] = bare.step(moment, volts, row[None], bare.matrix)
    return found


def _classical(frame: Frame) -> bool:
    """Whether damping leaves modes alone."""
    _, shapes = frame.modes
    modal = shapes.T @ frame.damping @ shapes
    return bool(np.abs(modal - np.diag(np.diag(modal))).max() <= 1e-9 * np.abs(modal).max())
