"""The structural health monitor: learn a healthy building once, then watch window after window.

It applies the other files of this folder, which make each judgement, and keeps the windows that persistence needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from scipy.stats import norm

from agents.monitors.detection import Alarm, Memory, alarm_of
from agents.monitors.structural.config import MonitorConfig
from agents.monitors.structural.learned import Learned
from agents.monitors.structural.learning import flat_features, learn
from agents.monitors.structural.modes import Matched, match
from agents.monitors.structural.observe import Observed, check_window, observe
from agents.monitors.structural.report import Report, SensorFault, StoreyLoss, TrackedMode, recommend
from agents.monitors.structural.sensors import gain_faults
from agents.monitors.structural.updating import Estimate, estimate_losses, standing, weigh
from agents.monitors.structural.vibration import Vibration, judge
from envs.core.errors import CityloopError

SHORTEST = 0.9
"""Share of the shortest learned window that a window must have to be judged: shorter ones may look like damage."""

IDENTIFIED = 0.5
"""Share of the reference modes that must be found before anything is said about the structure; and of an axis' modes
before that axis counts as heard."""


class StructuralMonitor:
    """Watches a building through its floor accelerations.

    Args:
        learned: the learned building, see `learn` and `load`.

    Attributes:
        learned: the same.
        config: the building and how it is watched.
    """

    def __init__(self, learned: Learned):
        self.learned, self.config = learned, learned.config
        self._frames = [axis.frame(self.config.masses_kg) for axis in learned.axes]
        self._compensation = learned.compensation
        self._covariance = np.array(learned.covariance)
        self._offset = np.array(learned.channel_offset)
        self._level = np.array(learned.level_mean), np.array(learned.level_sigma)
        self.reset()

    def reset(self) -> None:
        """Forget the last windows, as after an inspection; the learned building is kept."""
        self._structure = Memory(self.config.persistence)
        self._shaking = Memory(self.config.persistence)
        self._deaf = Memory(self.config.persistence)
        self._sensors = [Memory(self.config.persistence) for _ in self.config.channels]

    @classmethod
    def learn(cls, config: MonitorConfig, windows: Iterable[np.ndarray], temperatures_c: Sequence[float]) -> Self:
        """Learn from a period in which the building is known to be healthy.

        Windows may be a generator: one is held at a time. Every second one sets the threshold. Temperatures should
        cover the conditions that the building will see.

        Args:
            config: the building and how it is watched.
            windows: accelerations ``(channels, samples)`` each, in m/s².
            temperatures_c: one for each.

        Raises:
            CityloopError: if a window does not fit, there are too few, or they share no modes.
        """
        return cls(learn(config, windows, temperatures_c))

    def watch(self, window: np.ndarray, temperature_c: float) -> Report:
        """Judge the next window.

        Args:
            window: accelerations ``(channels, samples)`` in m/s², NaN where samples are missing.
            temperature_c: measured.

        Raises:
            CityloopError: if the window does not fit, or is shorter than those learned.
        """
        learned = self.learned
        values = check_window(self.config, window, temperature_c)
        if values.shape[1] < SHORTEST * learned.samples:
            raise CityloopError(
                f"window has {values.shape[1]} samples, too few beside those learned, and may look like damage: "
                f"give {learned.samples}, or learn from windows as short"
            )
        observed = observe(self.config, values, self._offset)
        matched, drifting = self._match(observed)
        faults = self._faults(observed.faults, drifting)
        vibration, vibration_alarm = self._shake(observed, drifting)
        residual = flat_features(self._frames, matched) - self._compensation.expected(temperature_c)
        doubt = self._compensation.doubt(temperature_c)
        found = [~np.isnan(each.frequency_hz) for each in matched]
        identified = bool(np.concatenate(found).mean() >= IDENTIFIED)
        unheard = tuple(axis for axis, one in zip(self.config.axes, found, strict=True) if one.mean() < IDENTIFIED)
        deaf = self._deaf.add(bool(unheard))
        estimate, statistic = None, None
        if identified:
            evidence = weigh(self._frames, residual, self._covariance, doubt, self.config.gain_prior)
            statistic = float(np.concatenate(standing(self._frames, evidence)).max())
            estimate = estimate_losses(self._frames, evidence)
        unusual = statistic is not None and statistic > learned.threshold
        # a window that cannot be judged neither confirms nor clears the judgement of earlier ones
        persists = self._structure.add(unusual) if identified else self._structure.alarm
        storeys = self._storeys(estimate)
        report = Report(
            temperature_c=float(temperature_c),
            learned_temperature=self._compensation.knows(temperature_c),
            identified=identified,
            probability=None if statistic is None else learned.calibration.probability(statistic, self.config.prior),
            statistic=statistic,
            threshold=learned.threshold,
            misfit=None if estimate is None else estimate.misfit,
            unusual=unusual,
            alarm=alarm_of(unusual, persists),
            deaf=alarm_of(bool(unheard), deaf),
            location=max(storeys, key=lambda storey: storey.standing) if unusual else None,
            storeys=storeys,
            modes=self._modes(matched, residual, doubt),
            faults=faults,
            vibration=vibration,
            vibration_alarm=vibration_alarm,
            unheard=unheard,
            recommendation="",
        )
        return report.model_copy(update={"recommendation": recommend(report)})

    def save(self, path: Path) -> None:
        """Write configuration and learned building as JSON; the last windows are not part of it."""
        self.learned.to_file(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """A monitor from its JSON.

        Raises:
            CityloopError: if the file is missing or is no such thing.
        """
        return cls(Learned.from_file(path, "monitor file"))

    def _match(self, observed: Observed) -> tuple[list[Matched], dict[int, float]]:
        """The window's modes, and rows whose sensitivity drifted, which no longer count in shapes."""
        matched: list[Matched] = []
        drifting: dict[int, float] = {}
        for axis, frame in zip(self.learned.axes, self._frames, strict=True):
            rows = self.config.rows(axis.axis)
            each = match(frame.reference, observed.modes[axis.axis], observed.used[axis.axis])
            mean, sigma = np.array(axis.gain_mean), np.array(axis.gain_sigma)
            found = gain_faults(frame.reference, each, mean, sigma, self.config.sensors)
            shape = each.shape.copy()
            shape[:, list(found)] = np.nan
            matched.append(Matched(each.frequency_hz, each.damping, shape))
            drifting |= {rows[channel]: change for channel, change in found.items()}
        return matched, drifting

    def _faults(self, alone: Mapping[int, str], drifting: Mapping[int, float]) -> tuple[SensorFault, ...]:
        kinds = {**dict.fromkeys(drifting, "gain"), **alone}
        persists = [memory.add(row in kinds) for row, memory in enumerate(self._sensors)]
        return tuple(
            SensorFault(
                channel=self.config.channels[row].id,
                kind=kind,
                change=drifting.get(row),
                persistent=persists[row],
            )
            for row, kind in sorted(kinds.items())
        )

    def _shake(self, observed: Observed, drifting: Mapping[int, float]) -> tuple[Vibration | None, Alarm]:
        # channels beyond their range say nothing of shapes, but that it shakes so much at least; one alone is broken
        beyond = [row for row, kind in observed.faults.items() if kind == "clipping"]
        unknown = (set(observed.faults) | set(drifting)) - (set(beyond) if self._many(beyond) else set())
        rows = [row for row in range(len(self.config.channels)) if row not in unknown]
        if not rows:
            return None, alarm_of(False, self._shaking.add(False))
        channels = [self.config.channels[row] for row in rows]
        mean, sigma = (part[:, rows] for part in self._level)
        clipped = np.array([row in observed.faults for row in rows])
        vibration = judge(
            observed.filled[rows], channels, self.config.rate_hz, mean, sigma, self.config.vibration, clipped
        )
        return vibration, alarm_of(vibration.unusual, self._shaking.add(vibration.unusual))

    def _many(self, rows: Sequence[int]) -> bool:
        """Whether these are half of the channels at least."""
        return 2 * len(rows) >= len(self.config.channels)

    def _storeys(self, estimate: Estimate | None) -> tuple[StoreyLoss, ...]:
        if estimate is None:
            return ()
        quantile = norm.ppf(0.5 + self.config.interval / 2)

        def within(loss: float, sigma: float) -> tuple[float, float]:
            width = quantile * np.hypot(sigma, self.config.model_error * loss)
            return float(np.clip(loss - width, 0.0, 1.0)), float(np.clip(loss + width, 0.0, 1.0))

        return tuple(
            StoreyLoss(
                axis=axis,
                storey=storey + 1,
                loss=float(loss),
                low=within(loss, sigma)[0],
                high=within(loss, sigma)[1],
                standing=float(loss / sigma),
            )
            for axis, losses, sigmas in zip(self.config.axes, estimate.loss, estimate.sigma, strict=True)
            for storey, (loss, sigma) in enumerate(zip(losses, sigmas, strict=True))
        )

    def _modes(self, matched: Sequence[Matched], residual: np.ndarray, doubt: float) -> tuple[TrackedMode, ...]:
        scatter = np.sqrt(doubt * np.diag(self._covariance))
        out, at = [], 0
        for axis, each, frame in zip(self.config.axes, matched, self._frames, strict=True):
            for k, number in enumerate(frame.reference.numbers):
                if not np.isnan(each.frequency_hz[k]):
                    out.append(
                        TrackedMode(
                            axis=axis,
                            number=number,
                            frequency_hz=float(each.frequency_hz[k]),
                            damping=float(each.damping[k]),
                            change=float(np.expm1(residual[at])),
                            sigma=float(scatter[at]),
                        )
                    )
                at += 1 + len(frame.reference.floors)
        return tuple(out)
