"""Gate plans for known events by gradient descent on the surrogate; starting points for the search of the oracle."""

from __future__ import annotations

import numpy as np
import torch

from envs.drainage.scenarios import DrainageScenario
from envs.drainage.site import DrainageSite
from envs.drainage.surrogate.calibration import calibrate
from envs.drainage.surrogate.model import Basin
from envs.drainage.surrogate.recording import Recorder

RATE = 0.1
"""Learning rate of Adam, on the logit of each setting."""

EDGE = 0.01
"""Least distance of initial settings from shut and from open, where the logit has no gradient."""


def descend(
    scenario: DrainageScenario, site: DrainageSite, seed: int, settings: np.ndarray, steps: int = 60
) -> np.ndarray:
    """Minimise the controllable overflow on the surrogate.

    Args:
        scenario: the scenario.
        site: its site.
        seed: seed of the episode, whose rain is known in full.
        settings: initial settings, ``(T, N)``.
        steps: number of gradient steps.

    Returns:
        The best settings met, ``(T, N)``.

    Raises:
        CityloopError: if there is no surrogate of the network.
    """
    fit = calibrate(scenario, site)
    inflow = torch.from_numpy(Recorder(scenario, site, fit.parts).inflow_cms(seed).astype(np.float32))
    counts = torch.tensor(fit.parts.controllable, dtype=torch.float32)
    basin = Basin(fit, scenario.decision_s)
    start = torch.from_numpy(np.clip(settings, EDGE, 1.0 - EDGE).astype(np.float32))
    logits = torch.logit(start).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=RATE)
    best, least = settings, np.inf
    for _ in range(steps):
        plan = torch.sigmoid(logits)
        basin.begin(1)
        spilled = torch.stack([basin.advance(plan[None, k], inflow[None, k]) for k in range(len(plan))]).sum(dim=0)[0]
        overflow = spilled @ counts
        if float(overflow.detach()) < least:
            best, least = plan.detach().numpy().astype(np.float64), float(overflow.detach())
        optimizer.zero_grad()
        overflow.backward()
        optimizer.step()
    return best
