"""The linear quadratic regulator of a building: wanted damper forces, and the voltage level for a force.

Gains come from the site's elastic frame alone; the state is the observer's estimate. Damper forces resist motion: they
act on the frame through −Dᵀ. The optimal laws (`agents.baselines.dampers_optimal`) and features use it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.dampers.mechanics.device import Array, Device
from envs.dampers.mechanics.frame import drift_matrix, drift_sums, zero_order_hold
from envs.dampers.site import DampersSite


@dataclass(frozen=True)
class LqrWeights:
    """Weights of a linear quadratic regulator relative to that of drifts; all quantities are scaled by typical values.

    Attributes:
        accel: of absolute accelerations.
        effort: of forces, scaled by full force.
        lead_ms: prediction horizon: the state expected then, at constant forces, is regulated.
    """

    accel: float
    effort: float
    lead_ms: float


def actuated(site: DampersSite) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A, B of the dampers' forces ``(2n, d)``, and drifts ``(n, 2n)`` and accelerations ``(n, 2n)`` of the state."""
    frame = site.building.frame
    n = frame.floors
    a, b = frame.continuous
    drifts = drift_matrix(n)
    return a, -b[:, :n] @ drifts.T[:, site.building.storeys], np.hstack([drifts, np.zeros((n, n))]), a[n:]


def regulator(site: DampersSite, weights: LqrWeights) -> np.ndarray:
    """Gains from readings to the wanted total force of each storey's dampers in N, ``(2n + d, d)``.

    Rows: drifts in mm, their rates in mm/s, and present forces in N, in the readings' units. The gain is that of the
    continuous regulator, from its algebraic Riccati equation.
    """
    from scipy.linalg import solve_continuous_are  # a quarter of what importing all of ours takes

    building = site.building
    a, b, drifts, accels = actuated(site)
    typical, n = building.typical, building.frame.floors
    shares = drifts / typical["drift_m"][:, None]
    root = np.sqrt(weights.accel) / float(typical["accel_m_s2"])
    felt, direct = root * accels, root * b[n:]
    q = shares.T @ shares + felt.T @ felt
    r = direct.T @ direct + weights.effort * np.diag(1.0 / building.full_force_n**2)
    s = felt.T @ direct
    p = solve_continuous_are(a, b, q, r, s=s)
    gain = np.linalg.solve(r, b.T @ p + s.T)
    a_d, b_d = zero_order_hold(a, b, max(weights.lead_ms, 1e-6) / 1e3)
    of_state, of_force = -(gain @ a_d).T, -(gain @ b_d).T
    of_drifts = 1e-3 * drift_sums(n)
    return np.vstack([of_drifts @ of_state[:n], of_drifts @ of_state[n:], of_force])


def level_for_force(device: Device, force_n: Array, rate_m_s: Array) -> Array:
    """The level at which a device's steady-state force is the given one (simple model), in the arguments' shape.

    It is not bounded to 0 to 1.

    Args:
        device: model of the damper.
        force_n: of one device, not negative.
        rate_m_s: rate of its stroke.
    """
    none = device.steady_force_n(rate_m_s, 0.0)
    return (force_n - none) / (device.steady_force_n(rate_m_s, 1.0) - none)
