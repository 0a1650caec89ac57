"""Volume of each tank by depth, and travel times between tanks, fitted to SWMM.

Pipes that back up behind a tank store water, too, so its volume exceeds that within its walls. Each band of depths has
an area, by non-negative least squares on the water balance over half hours. A full tank goes on to fill the pipes
behind it; their volume is the excess overflow of the surrogate without them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from envs.core.errors import CityloopError
from envs.drainage.scenarios import DrainageScenario, Storms
from envs.drainage.site import DrainageSite
from envs.drainage.surrogate.recording import Recorder, Trace
from envs.drainage.surrogate.reservoirs import BANDS, Calibration, Reservoirs, reservoirs
from envs.drainage.swmm.inp import Inp

WINDOW_S = 1800
"""Interval of water balances: long relative to filling times of pipes, short relative to those of tanks."""

LAGS_S = (0.0, 150.0, 300.0, 450.0, 600.0, 900.0, 1200.0)
"""Candidate travel times from a gate to the next tank."""

LEAST_SHARE = 0.2
"""Least area of a band, as a share of its tank's mean area."""

STORMS = Storms(depth_mm=9.0, depth_spread=0.8, hours=2.5)
RUNS, HOURS, MORE = 10, 36, 10
"""Number of runs for the fit, their duration, and the number of spare runs for those that lose water."""

CHANGE_S = 5400
"""Time between two changes of the gates' settings in these runs."""

PASSES = 2
"""Corrections of the volume behind full tanks; the first changes the inflow of tanks below."""

Run = tuple[np.ndarray, np.ndarray, Trace]
"""Settings ``(T, N)``, inflows ``(T, K)``, and SWMM's response to them."""


def calibrate(scenario: DrainageScenario, site: DrainageSite) -> Calibration:
    """Fit the surrogate of a scenario's network to SWMM, on storms of training seeds, gates moving at random.

    Raises:
        CityloopError: if there is no surrogate of it, or SWMM's runs are of no use.
    """
    # Rain, faults and weights change nothing about tanks: scenarios of one network share a fit.
    plain = scenario.model_copy(
        update={"rain": "storms", "series": "", "storms": STORMS, "duration_s": HOURS * 3600.0, "name": "fit"}
    )
    return _fit(plain.model_dump_json(exclude={"weights", "varied", "forecast", "sensors", "description"}), site)


@lru_cache(maxsize=8)
def _fit(plain: str, site: DrainageSite) -> Calibration:
    scenario = DrainageScenario.model_validate_json(plain)
    parts = reservoirs(Inp(scenario.inp), site, scenario.sensitive)
    recorder, first = Recorder(scenario, site, parts), scenario.seeds.train.first
    runs: list[Run] = []
    for seed in range(first, first + RUNS + MORE):
        settings = _wander(scenario, site, seed)
        trace = recorder.trace(seed, settings)
        if trace.valid:
            runs.append((settings, recorder.inflow_cms(seed), trace))
        if len(runs) == RUNS:
            break
    else:
        raise CityloopError(f"{scenario.inp.name}: SWMM loses too much water to fit a surrogate to it")
    areas, lags = zip(*(_tank(k, parts, runs, scenario.decision_s) for k in range(len(parts.names))), strict=True)
    fit = Calibration(parts, np.array(areas), np.zeros(len(lags)), np.array(lags))
    for _ in range(PASSES):
        fit = replace(fit, brim_m3=np.maximum(fit.brim_m3 + _excess(fit, scenario.decision_s, runs), 0.0))
    return fit


def _excess(fit: Calibration, step_s: float, runs: list[Run]) -> np.ndarray:
    """Excess overflow of the surrogate's reservoirs over SWMM's, median of the runs with overflow, ``(K,)``."""
    from envs.drainage.surrogate.model import Basin, play

    settings, inflows, traces = zip(*runs, strict=True)
    found = play(Basin(fit, step_s), np.array(settings), np.array(inflows))
    true = np.array([trace.overflow_m3[-1] for trace in traces])
    columns = zip((found - true).T, true.T, strict=True)
    return np.array([np.median(more[over > 0]) if (over > 0).any() else 0.0 for more, over in columns])


def _wander(scenario: DrainageScenario, site: DrainageSite, seed: int) -> np.ndarray:
    """Settings that change every hour and a half, around the static ones, ``(T, N)``."""
    rng = np.random.default_rng([seed, 17])
    static = np.array([gate.static for gate in site.gates])
    kept = round(CHANGE_S / scenario.decision_s)
    knots = np.clip(static * rng.uniform(0.2, 2.5, (scenario.decisions // kept + 2, len(static))), 0.0, 1.0)
    return np.repeat(knots, kept, axis=0)[: scenario.decisions]


def _tank(k: int, parts: Reservoirs, runs: list[Run], step_s: float) -> tuple[np.ndarray, float]:
    """Areas and lag of one reservoir."""
    from scipy.optimize import nnls

    above = [o for o, outlet in enumerate(parts.outlets) if outlet.to == k]
    best: tuple[float, float, np.ndarray] | None = None
    for lag_s in LAGS_S if above else (0.0,):
        found, residual = nnls(*_balances(k, parts, runs, step_s, lag_s, above))
        if best is None or residual < best[0]:
            best = (residual, lag_s, found)
    assert best is not None
    return _bands(best[2], _balances(k, parts, runs, step_s, best[1], above)[0]), best[1]


def _bands(found: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Areas of all bands; those that no run reached have the mean of the others."""
    reached = depths.any(axis=0)
    mean = found[reached].mean() if reached.any() else 0.0
    return np.where(reached, np.maximum(found, LEAST_SHARE * mean), mean)


def _balances(
    k: int,
    parts: Reservoirs,
    runs: list[Run],
    step_s: float,
    lag_s: float,
    above: list[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Changes of the depth within each band, and of the volume, a row a window."""
    every = max(1, round(WINDOW_S / step_s))
    edges = np.linspace(0.0, parts.full_m[k], BANDS + 1)
    below = [o for o, outlet in enumerate(parts.outlets) if outlet.source == k]
    rows, volumes = [], []
    for _, inflow, trace in runs:
        times = step_s * np.arange(len(trace.flow_cms))
        lagged = [np.interp(times - lag_s, times, trace.flow_cms[:, o]) for o in above]
        net = np.sum(lagged, axis=0) - trace.flow_cms[:, below].sum(axis=1)
        steps = step_s * (inflow[:, k] + (net[1:] + net[:-1]) / 2) - np.diff(trace.overflow_m3[:, k])
        held = np.concatenate([[0.0], np.cumsum(steps)])[::every]
        depth = trace.depth_m[::every, k, None]
        rows.append(np.diff(np.clip(depth - edges[:-1], 0.0, np.diff(edges)), axis=0))
        volumes.append(np.diff(held))
    return np.concatenate(rows), np.concatenate(volumes)
