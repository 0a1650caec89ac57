"""The storeys' monitor: learn a healthy building once, then judge window after window.

`estimate.py` estimates each storey's stiffness in a window; `agents.monitors.detection` decides whether it is unusual
and how probable a loss is, with the same functions as for ambient vibration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from scipy.special import ndtri

from agents.monitors.detection import Alarm, Calibration, Memory, alarm_of
from agents.monitors.storeys.config import StoreyConfig
from agents.monitors.storeys.estimate import Estimate, estimate
from agents.monitors.storeys.learning import HEARD, Learned, deaf_storeys, learned_from, losses
from agents.monitors.storeys.report import CONSTANT, TOO_LITTLE, Deaf, StoreyHeard, StoreyReport, recommend
from agents.monitors.storeys.windows import Window, check_window


class StoreyMonitor:
    """Judges a building's windows.

    Args:
        learned: of the building while it was healthy, see `learn` and `load`.
    """

    def __init__(self, learned: Learned):
        self.learned, self.config = learned, learned.config
        self._mean, self._inflation = np.array(learned.mean), np.array(learned.inflation)
        self._misfit = np.array(learned.misfit)
        self._calibration = Calibration(learned.offset, learned.slope)
        self.reset()

    def reset(self) -> None:
        """Forget the last windows, as after an inspection."""
        self._structure, self._deaf = (Memory(self.config.persistence) for _ in range(2))
        self._silent = [Memory(self.config.persistence) for _ in self.config.masses_kg]

    def remember(self, report: StoreyReport) -> None:
        """Take an earlier report into account, as if its window had just been judged."""
        why = [each.deaf for each in report.storeys]
        self._listen(report.heard, why)
        if report.heard:
            self._structure.add(report.unusual)
        self._silence(why)

    def _listen(self, heard: bool, why: Sequence[Deaf]) -> Alarm:
        """Whether the building goes unheard; rest says nothing of that, as sound sensors do not hear it either."""
        if not heard and set(why) <= {"", TOO_LITTLE}:
            return alarm_of(False, self._deaf.alarm)
        return alarm_of(not heard, self._deaf.add(not heard))

    def _silence(self, why: Sequence[Deaf]) -> tuple[int, ...]:
        """Storeys that go unheard for their sensors' sake; rest says nothing of those."""
        for memory, reason in zip(self._silent, why, strict=False):  # a kept report may be of another building
            if reason != TOO_LITTLE:
                memory.add(bool(reason))
        return tuple(k + 1 for k, memory in enumerate(self._silent) if memory.alarm)

    @classmethod
    def learn(cls, config: StoreyConfig, windows: Iterable[Window]) -> Self:
        """Learn from windows of a building that is known to be healthy; every second one sets the threshold.

        Raises:
            CityloopError: if a window does not fit, or too few of them can be heard.
        """
        found = []
        for window in windows:
            found.append(estimate(config, check_window(config, window)))
        return cls(learned_from(config, found))

    def watch(self, window: Window) -> StoreyReport:
        """Judge the next window.

        Raises:
            CityloopError: if it does not fit.
        """
        window = check_window(self.config, window)
        seen = estimate(self.config, window)
        why = deaf_storeys(self.config, seen, self._mean, self._inflation, self._misfit)
        if window.constant:
            why = [CONSTANT] * len(why)
        judged = np.array([not each for each in why])
        heard = bool(judged.mean() >= HEARD)
        lost = np.where(judged, losses(seen, self._mean, self._inflation), -np.inf)
        statistic = float(lost.max()) if heard else None
        unusual = statistic is not None and statistic > self.learned.threshold
        # A window that cannot be judged neither confirms nor clears the judgement of earlier ones.
        persists = self._structure.add(unusual) if heard else self._structure.alarm
        report = StoreyReport(
            time_s=window.time_s,
            seconds=window.accel_m_s2.shape[1] / self.config.rate_hz,
            heard=heard,
            probability=None if statistic is None else self._calibration.probability(statistic, self.config.prior),
            statistic=statistic,
            threshold=self.learned.threshold,
            unusual=unusual,
            alarm=alarm_of(unusual, persists),
            deaf=self._listen(heard, why),
            location=int(lost.argmax()) + 1 if unusual else None,
            storeys=self._storeys(seen, why),
            unheard=self._silence(why),
        )
        return report.model_copy(update={"recommendation": recommend(report)})

    def _storeys(self, seen: Estimate, why: list[Deaf]) -> tuple[StoreyHeard, ...]:
        change = np.log(seen.stiffness_n_m) - self._mean
        width = ndtri(0.5 + self.config.interval / 2) * self._inflation * seen.sigma
        return tuple(
            StoreyHeard(
                storey=k + 1,
                deaf=why[k],
                share=None if why[k] else float(np.exp(change[k])),
                low=None if why[k] else float(np.exp(change[k] - width[k])),
                high=None if why[k] else float(np.exp(change[k] + width[k])),
                misfit=float(seen.misfit[k]),
            )
            for k in range(len(why))
        )

    def save(self, path: Path) -> None:
        """Write the learned monitor as JSON; the last windows are not part of it."""
        self.learned.to_file(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """A monitor from its JSON.

        Raises:
            CityloopError: if the file is missing or is no such thing.
        """
        return cls(Learned.from_file(path, "monitor file"))
