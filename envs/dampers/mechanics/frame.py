"""Linear frames of several storeys: matrices, modes, and how they move in a time step, exactly.

Dampers, sensors and control are elsewhere and act on a frame from outside. Displacements are relative to the ground,
one a floor, in metres; forces on floors are in newtons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Vector = Sequence[float] | np.ndarray

CRITICAL = 1e-9
"""Distance from critical damping within which a damping ratio counts as critical."""


@dataclass(frozen=True)
class Frame:
    """M x'' + C x' + K x = F − M 1 a_g (F: forces on floors, a_g: ground acceleration).

    Attributes:
        mass_kg: of every floor, ``(n,)``; floor masses are lumped, so the mass matrix is their diagonal.
        damping: C in N·s/m, ``(n, n)``.
        stiffness: K in N/m, ``(n, n)``.
    """

    mass_kg: np.ndarray
    damping: np.ndarray
    stiffness: np.ndarray

    @property
    def floors(self) -> int:
        """Number of floors."""
        return len(self.mass_kg)

    @property
    def modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Circular frequencies in rad/s, rising, ``(n,)``, and mode shapes in columns with Φᵀ M Φ = 1, ``(n, n)``."""
        squares, shapes = _modes(self.stiffness, np.diag(self.mass_kg))
        return np.sqrt(squares), shapes

    @property
    def frequencies_hz(self) -> np.ndarray:
        """Natural frequencies, rising, ``(n,)``."""
        return self.modes[0] / (2 * np.pi)

    @property
    def damping_ratios(self) -> np.ndarray:
        """Damping ratio of every mode, ``(n,)``; exact for classical damping."""
        omega, shapes = self.modes
        return np.diag(shapes.T @ self.damping @ shapes) / (2 * omega)

    def softened(self, factor: Vector) -> Frame:
        """The frame with the stiffness of every storey times a factor ``(n,)``; damping is unchanged.

        A full stiffness matrix is scaled in terms of drifts, each entry by the geometric mean of its storeys' factors.
        """
        factor = np.asarray(factor, dtype=float)
        drifts = drift_matrix(self.floors)
        inverse = np.linalg.inv(drifts)
        storeys = inverse.T @ self.stiffness @ inverse  # K in terms of drifts: diagonal for a chain
        root = np.sqrt(factor)
        scaled = storeys * root[:, None] * root[None, :]
        return Frame(self.mass_kg, self.damping, drifts.T @ scaled @ drifts)

    @property
    def continuous(self) -> tuple[np.ndarray, np.ndarray]:
        """State matrix A ``(2n, 2n)`` and input matrix B ``(2n, n + 1)`` of d/dt (x, x') = A (x, x') + B (F, a_g)."""
        n = self.floors
        a, b = np.zeros((2 * n, 2 * n)), np.zeros((2 * n, n + 1))
        a[:n, n:] = np.eye(n)
        a[n:, :n] = -self.stiffness / self.mass_kg[:, None]
        a[n:, n:] = -self.damping / self.mass_kg[:, None]
        b[n:, :n] = np.diag(1.0 / self.mass_kg)
        b[n:, n] = -1.0
        return a, b

    @property
    def acceleration(self) -> tuple[np.ndarray, np.ndarray]:
        """Absolute floor accelerations as a linear function: ``(n, 2n)`` of the state, ``(n, n)`` of forces on floors.

        The ground's acceleration drops out: x'' + a_g = M⁻¹ (F − C x' − K x).
        """
        a, b = self.continuous
        return a[self.floors :], b[self.floors :, : self.floors]


def drift_matrix(floors: int) -> np.ndarray:
    """D with drifts = D x, ``(n, n)``: displacement of every floor relative to the one below or the ground."""
    return np.eye(floors) - np.eye(floors, k=-1)


def drift_sums(floors: int) -> np.ndarray:
    """D⁻ᵀ, ``(n, n)``: turns coefficients of displacements into those of drifts.

    A floor's displacement is the sum of the drifts below it, so Σ c x is Σ (D⁻ᵀ c) · drift.
    """
    return np.triu(np.ones((floors, floors)))


def chain(values: Vector) -> np.ndarray:
    """The matrix of a chain of storeys from one value a storey (stiffness in N/m or damping in N·s/m), ``(n, n)``."""
    drifts = drift_matrix(len(values))
    return drifts.T @ np.diag(np.asarray(values, dtype=float)) @ drifts


def modal_damping(mass_kg: Vector, stiffness: np.ndarray, ratios: float | Vector) -> np.ndarray:
    """C that gives every mode its share of critical damping (Chopra, Dynamics of Structures, 11.4.3), ``(n, n)``."""
    mass = np.diag(np.asarray(mass_kg, dtype=float))
    squares, shapes = _modes(stiffness, mass)
    middle = np.diag(2 * np.broadcast_to(ratios, len(squares)) * np.sqrt(squares))
    return mass @ shapes @ middle @ shapes.T @ mass


def _modes(stiffness: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import eigh  # a quarter of what importing all of ours takes

    return eigh(stiffness, mass)


def _exponential(matrix: np.ndarray) -> np.ndarray:
    from scipy.linalg import expm

    return expm(matrix)


def zero_order_hold(a: np.ndarray, b: np.ndarray, dt_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Zero-order hold: x ← A_d x + B_d u is exact for an input that is constant over the step.

    Both matrices come from one exponential, expm([[A, B], [0, 0]] dt) (Van Loan 1978).
    """
    n, m = b.shape
    both = np.zeros((n + m, n + m))
    both[:n, :n], both[:n, n:] = a * dt_s, b * dt_s
    moved = _exponential(both)
    return moved[:n, :n], moved[:n, n:]


def first_order_hold(a: np.ndarray, b: np.ndarray, dt_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First-order hold: x ← A_d x + B_0 u_k + B_1 u_{k+1} is exact for an input that is linear over the step."""
    n, m = b.shape
    both = np.zeros((n + 2 * m, n + 2 * m))
    both[:n, :n], both[:n, n : n + m] = a * dt_s, b * dt_s
    both[n : n + m, n + m :] = np.eye(m)
    moved = _exponential(both)
    held, slope = moved[:n, n : n + m], moved[:n, n + m :]
    return moved[:n, :n], held - slope, slope


def modal_response(
    frame: Frame, loads: np.ndarray, dt_s: float, wind_load: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Response of the bare frame by modal superposition; exact at the samples for loads linear between them.

    Args:
        frame: with classical damping (terms that couple modes are ignored).
        loads: ground acceleration in m/s², or gust speed in m/s, ``(…, T)``.
        dt_s: between samples.
        wind_load: forces on floors in N per m/s of gust, ``(n,)``; None: the load is ground acceleration.

    Returns:
        Displacements and velocities of every floor, both ``(…, n, T)``, from rest.
    """
    from scipy.signal import lfilter

    omega, shapes = frame.modes
    gains = shapes.T @ (-frame.mass_kg if wind_load is None else wind_load)
    ratios = frame.damping_ratios
    # a critically damped mode has a single eigenvector: its ratio is taken a little smaller
    ratios = np.where(np.abs(ratios - 1.0) < CRITICAL, 1.0 - CRITICAL, ratios)
    x = np.zeros((*loads.shape[:-1], frame.floors, loads.shape[-1]))
    v = np.zeros_like(x)
    for w, zeta, gain, shape in zip(omega, ratios, gains, shapes.T, strict=True):
        a = np.array([[0.0, 1.0], [-w * w, -2 * zeta * w]])
        moved, now, then = first_order_hold(a, np.array([[0.0], [gain]]), dt_s)
        # Two first-order recursions in the mode's eigenvectors, each a filter: q_{k+1} = λ q_k + p u_k + r u_{k+1}.
        values, vectors = np.linalg.eig(moved)
        inverse = np.linalg.inv(vectors)
        q = [
            lfilter([r, p], [1.0, -value], loads, axis=-1) - r * _decay(value, loads)
            for value, p, r in zip(values, (inverse @ now)[:, 0], (inverse @ then)[:, 0], strict=True)
        ]
        displacement = np.real(vectors[0, 0] * q[0] + vectors[0, 1] * q[1])
        velocity = np.real(vectors[1, 0] * q[0] + vectors[1, 1] * q[1])
        x += shape[:, None] * displacement[..., None, :]
        v += shape[:, None] * velocity[..., None, :]
    return x, v


def _decay(value: complex, loads: np.ndarray) -> np.ndarray:
    """Response of the filter to the first sample as an impulse, to be removed: the frame starts at rest."""
    return loads[..., :1] * value ** np.arange(loads.shape[-1])
