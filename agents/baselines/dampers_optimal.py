"""Laws that are designed from the building's model with scipy: Lyapunov, clipped-optimal and continuous LQG.

States are the observer's (`envs.dampers.acquisition.observer`, the Kalman filter of the LQG); gains come from the
site's elastic frame alone (`envs.dampers.regulator`).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg import solve_continuous_lyapunov

from agents.baselines.dampers_shared import Law, Numbers, invert, states
from envs.core.readings import Readings
from envs.dampers.regulator import LqrWeights, actuated, regulator
from envs.dampers.site import DampersSite

LEAST_DAMPING = 1e-3
"""The least share of critical damping that a frame has for `Lyapunov`."""


class Lyapunov(Law):
    """Full while the force makes ½ zᵀ P z fall (Leitmann 1994; Jansen & Dyke 2000), with Aᵀ P + P A = −Q.

    Q weighs drifts, and velocities by ``velocity``, both in typical sizes.
    """

    name = "lyapunov"
    DEFAULTS: ClassVar[dict[str, float]] = {"full": 0.5, "velocity": 1.0}
    velocity: float

    def __init__(self, site: DampersSite, tuned: Numbers):
        super().__init__(site, tuned)
        a, b, drifts, _ = actuated(site)
        typical, n = site.building.typical, site.building.frame.floors
        shares = drifts / typical["drift_m"][:, None]
        rates = np.roll(drifts, n, axis=1) / typical["rate_m_s"][:, None]
        weights = shares.T @ shares + self.velocity * rates.T @ rates
        self._p = solve_continuous_lyapunov(_damped(a).T, -weights) @ b

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        return self.full * ((states(readings) @ self._p) * readings["force_est_n"] < 0)


def _damped(a: np.ndarray) -> np.ndarray:
    """The state matrix with `LEAST_DAMPING` at least: for an undamped frame there is no P."""
    values = np.linalg.eigvals(a)
    least = LEAST_DAMPING * float(np.abs(values).min())
    return a - max(0.0, least + float(values.real.max())) * np.eye(len(a))


class ClippedOptimal(Law):
    """Clipped-optimal control (Dyke et al. 1996): full while the force has the direction that LQG wants and is smaller.

    Its numbers are the regulator's (`envs.dampers.regulator.LqrWeights`).
    """

    name = "clipped-optimal"
    DEFAULTS: ClassVar[dict[str, float]] = {"full": 0.5, "accel": 1.0, "effort": 0.1, "lead_ms": 0.0}
    accel: float
    effort: float
    lead_ms: float

    def __init__(self, site: DampersSite, tuned: Numbers):
        super().__init__(site, tuned)
        self._gain = regulator(site, LqrWeights(self.accel, self.effort, self.lead_ms))

    def wanted(self, readings: Readings) -> np.ndarray:
        """The force that the regulator wants, ``lead_ms`` from now with the present forces until then, ``(…, d)``."""
        estimates = [readings[name] for name in ("drift_est_mm", "rate_est_mm_s", "force_est_n")]
        return np.asarray(np.concatenate(estimates, axis=-1) @ self._gain)

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        force = readings["force_est_n"]
        return self.full * ((self.wanted(readings) - force) * force > 0)


class ContinuousLqg(ClippedOptimal):
    """LQG with a continuous voltage: the one whose steady-state force is the wanted one, or none.

    ``lead_ms`` compensates the coil's lag and other delays: state and force are those expected then.
    """

    name = "lqg"
    DEFAULTS: ClassVar[dict[str, float]] = {"full": 1.0, "accel": 1.0, "effort": 0.1, "lead_ms": 15.0}

    def levels(self, readings: Readings) -> np.ndarray:
        """See `Law.levels`."""
        rate = 1e-3 * readings["rate_est_mm_s"][..., self.storeys]
        wanted = self.wanted(readings)
        level = invert(self.site, abs(wanted), rate).clip(0.0, self.full)
        return np.where(wanted * rate > 0, level, 0.0)
