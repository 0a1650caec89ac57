"""Learning a healthy building: reference modes, temperature, scatter, shear frames, threshold and calibration.

Every second window is learned from; the others set the threshold and calibrate the probability, so that these are
independent of the learned windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from agents.monitors.detection import SIGMA_PER_MAD, calibrate, tolerance_limit, windows_needed
from agents.monitors.structural.config import MonitorConfig
from agents.monitors.structural.learned import Learned, LearnedAxis
from agents.monitors.structural.modes import Matched, features, learn_reference, match, over_floors
from agents.monitors.structural.observe import Observed, check_window, observe
from agents.monitors.structural.sensors import gains
from agents.monitors.structural.shear import fit_shear
from agents.monitors.structural.temperature import learn_compensation
from agents.monitors.structural.updating import Frame, standing, weigh
from agents.monitors.structural.vibration import levels
from envs.core.errors import CityloopError

FEWEST = 40
"""Healthy windows to learn from, at least."""

MOST_FOR_REFERENCE = 200
"""Windows that reference modes are gathered from; more would not change medians."""

OUTLIER = 6.0
"""Scaled median absolute deviations beyond which a value is no measure of scatter."""

LARGEST_LOSS = 0.4
"""The simulated damages take up to this share of one storey's stiffness in one axis."""

DAMAGES = 3
"""How many of them are simulated upon each window."""


def learn(config: MonitorConfig, windows: Iterable[np.ndarray], temperatures_c: Sequence[float]) -> Learned:
    """Learn from windows of a healthy period.

    Args:
        config: the building and how it is watched.
        windows: accelerations ``(channels, samples)`` each, in m/s².
        temperatures_c: one for each.

    Raises:
        CityloopError: if a window does not fit, there are too few, or no common modes are found in them.
    """
    healthy = _gather(config, windows, temperatures_c)
    seen, temperature = healthy.seen, np.array(healthy.temperature_c)
    fit, held = slice(0, None, 2), slice(1, None, 2)
    axes = [_learn_axis(config, axis, seen[fit]) for axis in config.axes]
    frames = [axis.frame(config.masses_kg) for axis in axes]
    table = np.array([_features(config, frames, window) for window in seen])
    compensation = learn_compensation(temperature[fit], table[fit], config.degree)
    residual = table - compensation.expected(temperature)
    covariance = robust_covariance(residual[fit])

    def statistic(row: np.ndarray, temperature_c: float) -> float:
        evidence = weigh(frames, row, covariance, compensation.doubt(temperature_c), config.gain_prior)
        return float(np.concatenate(standing(frames, evidence)).max())

    judged = list(zip(residual[held], temperature[held].tolist(), strict=True))
    usual = np.array([statistic(row, t) for row, t in judged])
    rng = np.random.default_rng(config.seed)
    damaged = np.array([statistic(row + _simulated(frames, rng), t) for row, t in judged for _ in range(DAMAGES)])
    curve = calibrate(usual, damaged)
    return Learned(
        config=config,
        axes=tuple(axes),
        centre_c=compensation.centre_c,
        half_c=compensation.half_c,
        coefficients=_table(compensation.coefficients),
        leverage=_table(compensation.leverage),
        covariance=_table(covariance),
        threshold=tolerance_limit(usual, config.false_alarms, config.confidence),
        offset=curve.offset,
        slope=curve.slope,
        channel_offset=tuple(np.median(healthy.means, axis=0).tolist()),
        level_mean=_table(np.mean(healthy.levels, axis=0)),
        level_sigma=_table(np.std(healthy.levels, axis=0) + 0.05),
        windows=(len(seen[fit]), len(seen[held])),
        samples=min(healthy.samples),
    )


class _Seen:
    """What is kept of a learning window: its modes."""

    def __init__(self, observed: Observed):
        self.modes, self.used = observed.modes, observed.used


@dataclass
class _Healthy:
    """What is kept of all learning windows without a faulty channel.

    Attributes:
        seen: their modes.
        temperature_c: of each.
        means: of the channels, m/s², ``(channels,)`` each.
        levels: of each, see `vibration.levels`.
        samples: number in each.
        faults: in how many of all windows a channel was at fault, and how.
    """

    seen: list[_Seen] = field(default_factory=list)
    temperature_c: list[float] = field(default_factory=list)
    means: list[np.ndarray] = field(default_factory=list)
    levels: list[np.ndarray] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)


def _gather(config: MonitorConfig, windows: Iterable[np.ndarray], temperatures_c: Sequence[float]) -> _Healthy:
    """Observe every window; one with faulty channels is no measure of health."""
    found = _Healthy()
    count = 0
    for window in windows:
        if count == len(temperatures_c):
            raise CityloopError(f"temperatures_c has {count} values, and there are more windows: give one for each")
        values = check_window(config, window, temperatures_c[count], f"windows[{count}]")
        known = np.isfinite(values)
        mean = np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        observed = observe(config, values, mean)
        found.faults.update((config.channels[row].id, kind) for row, kind in observed.faults.items())
        if not observed.faults:
            found.seen.append(_Seen(observed))
            found.temperature_c.append(float(temperatures_c[count]))
            found.means.append(mean)
            found.levels.append(levels(observed.filled))
            found.samples.append(values.shape[1])
        count += 1
    _enough(config, count, len(temperatures_c), found)
    return found


def _enough(config: MonitorConfig, windows: int, temperatures: int, found: _Healthy) -> None:
    if windows != temperatures:
        raise CityloopError(f"temperatures_c has {temperatures} values for {windows} windows: give one for each")
    needed, usable = 2 * max(FEWEST, windows_needed(config.false_alarms, config.confidence)), len(found.seen)
    if usable >= needed:
        return
    mend = "give more"
    for (channel, kind), times in found.faults.most_common(1):
        mend += f", or mend the sensors first, of which {channel} is the worst ({kind} in {times})"
    raise CityloopError(
        f"windows: {usable} of {windows} are without sensor faults, {needed} are needed for false_alarms "
        f"{config.false_alarms:g} at confidence {config.confidence:g}: {mend}"
    )


def _learn_axis(config: MonitorConfig, axis: str, seen: Sequence[_Seen]) -> LearnedAxis:
    rows = config.rows(axis)
    floors = tuple(sorted({config.channels[row].floor for row in rows}))
    floor_of = np.array([floors.index(config.channels[row].floor) for row in rows])
    step = max(len(seen) // MOST_FOR_REFERENCE, 1)
    modes = [window.modes[axis] for window in seen[::step]]
    reference = learn_reference(modes, floor_of, floors, len(config.masses_kg))
    stiffness = fit_shear(
        np.array(config.masses_kg),
        np.array(reference.numbers),
        reference.frequency_hz,
        np.array(floors),
        reference.floor_shape,
    )
    matched = [match(reference, window.modes[axis], window.used[axis]) for window in seen]
    change = np.array([gains(reference, each)[0] for each in matched])
    change[:, np.isnan(change).all(axis=0)] = 0.0  # a channel that hardly takes part in any mode has no information
    mean = np.nanmedian(change, axis=0)
    sigma = SIGMA_PER_MAD * np.nanmedian(np.abs(change - mean), axis=0) + 1e-3
    return LearnedAxis(
        axis=axis,
        numbers=reference.numbers,
        frequency_hz=tuple(reference.frequency_hz.tolist()),
        damping=tuple(reference.damping.tolist()),
        floors=floors,
        shape=_table(reference.shape),
        floor_of=tuple(floor_of.tolist()),
        storeys_n_m=tuple(stiffness.tolist()),
        gain_mean=tuple(mean.tolist()),
        gain_sigma=tuple(sigma.tolist()),
    )


def _features(config: MonitorConfig, frames: Sequence[Frame], window: _Seen) -> np.ndarray:
    pairs = zip(config.axes, frames, strict=True)
    matched = [match(frame.reference, window.modes[axis], window.used[axis]) for axis, frame in pairs]
    return flat_features(frames, matched)


def flat_features(frames: Sequence[Frame], matched: Sequence[Matched]) -> np.ndarray:
    """Features of all axes in one row, see `modes.features`."""
    rows = [
        features(
            each.frequency_hz, over_floors(each.shape, frame.reference.floor_of), frame.reference.floor_shape
        ).ravel()
        for frame, each in zip(frames, matched, strict=True)
    ]
    return np.concatenate(rows)


def _simulated(frames: Sequence[Frame], rng: np.random.Generator) -> np.ndarray:
    """Departures that one storey's loss in one axis would bring: any storey, axis and loss as likely as another."""
    hit = rng.integers(len(frames))
    out = []
    for k, frame in enumerate(frames):
        factors = np.ones(len(frame.storeys_n_m))
        if k == hit:
            factors[rng.integers(len(factors))] -= rng.uniform(0.0, LARGEST_LOSS)
        out.append(frame.departures(factors, np.ones(frame.reference.floor_shape.shape, bool)).ravel())
    return np.concatenate(out)


def robust_covariance(residual: np.ndarray) -> np.ndarray:
    """Covariance of healthy residuals, correlations shrunk towards none as far as their own scatter suggests.

    Schäfer and Strimmer 2005, Stat. Appl. Genet. Mol. Biol. 4:32, target D. Windows in which a mode is missing or far
    off are left out.

    Args:
        residual: ``(windows, features)``, NaN where unknown.
    """
    whole = ~np.isnan(residual).any(axis=1)
    spread = (
        SIGMA_PER_MAD * np.median(np.abs(residual[whole]), axis=0) + 1e-9
        if whole.any()
        else np.zeros(residual.shape[1])
    )
    complete = whole & (np.nan_to_num(np.abs(residual)) < OUTLIER * spread).all(axis=1)
    if complete.sum() < 20:
        raise CityloopError(
            f"windows: all modes are clear in {complete.sum()} of {len(residual)} only, 20 are needed: give longer ones"
        )
    rows = residual[complete]
    scale = rows.std(axis=0) + 1e-9
    unit = (rows - rows.mean(axis=0)) / scale
    count = len(unit)
    products = unit[:, :, None] * unit[:, None, :]
    correlation = products.mean(axis=0)
    variance = products.var(axis=0) / (count - 1)
    off = ~np.eye(len(scale), dtype=bool)
    strength = float((correlation[off] ** 2).sum())  # none where a feature never moves, as the shape of a single floor
    share = float(np.clip(variance[off].sum() / strength, 0.0, 1.0)) if strength > 0 else 1.0
    shrunk = np.where(off, (1.0 - share) * correlation, 1.0)
    return shrunk * np.outer(scale, scale)


def _table(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.asarray(values, float).tolist())
