"""Automatic rollback: conditions under which a policy is taken out of charge, and under which it returns.

Four things are counted over the last ticks: failures of the controller, missed deadlines, readings outside of its
training, and requests that the guard changed. If any exceeds its rate, the fallback decides. Meanwhile the policy is
asked after every answer, as in a shadow. It returns once it has been well for a while by a stricter measure, so that it
does not flap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen

CAUSES = {
    "errors": "the controller fails",
    "late": "the controller misses its deadline",
    "outside": "readings lie outside what the policy was trained on",
    "guarded": "the guard changes its requests",
}
"""Counted causes, with their descriptions."""


class RollbackSettings(Frozen):
    """Thresholds at which the fallback takes over from a policy, and at which the policy returns.

    Attributes:
        window: number of past ticks that count.
        errors, late, outside: share of the window's ticks, 0 to 1, above which the fallback takes over.
        guarded: the same for the share of requests that the guard changed, over the window's ticks and agents.
        everyday: the guard's reasons that do not count for that; those of the system (`System.everyday`) if not given.
        return_after: ticks for which the policy must do well before it decides again.
        return_below: share of each rate below which it does well.
    """

    window: int = Field(default=60, ge=1, le=100_000)
    errors: float = Field(default=0.1, ge=0, le=1)
    late: float = Field(default=0.1, ge=0, le=1)
    outside: float = Field(default=0.5, ge=0, le=1)
    guarded: float = Field(default=0.2, ge=0, le=1)
    everyday: tuple[str, ...] | None = None
    return_after: int = Field(default=120, ge=1, le=100_000)
    return_below: float = Field(default=0.5, ge=0, le=1)

    def check_reasons(self, known: Sequence[str]) -> None:
        """Refuse everyday reasons that no guard gives: a typing error would take the policy out of charge.

        Args:
            known: all reasons of the guards that are served.

        Raises:
            CityloopError: naming the reason, and those that exist.
        """
        for reason in self.everyday or ():
            if reason not in known:
                raise CityloopError(f"rollback.everyday has unknown reason {reason!r}: choose {', '.join(known)}")


@dataclass(frozen=True)
class Conduct:
    """Conduct of a controller at one tick: the counted causes, each from 0 to 1."""

    errors: float = 0.0
    late: float = 0.0
    outside: float = 0.0
    guarded: float = 0.0


@dataclass
class _Window:
    """Sums over the last ticks."""

    length: int
    ticks: deque[Conduct] = field(default_factory=deque)
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0.0))

    def add(self, conduct: Conduct) -> None:
        self.ticks.append(conduct)
        old = self.ticks.popleft() if len(self.ticks) > self.length else None
        for cause in CAUSES:
            self.sums[cause] += getattr(conduct, cause) - (getattr(old, cause) if old is not None else 0.0)

    def exceeds(self, settings: RollbackSettings, share: float) -> str | None:
        """The first cause whose sum exceeds this share of its rate, in words."""
        for cause, words in CAUSES.items():
            rate, most = getattr(settings, cause), share * getattr(settings, cause) * self.length
            if self.sums[cause] > most + 1e-9:
                seen = self.sums[cause] / self.length
                return f"{words}: {seen:.3g} over {self.length} ticks, {share * rate:.3g} is allowed"
        return None


class ConductWatch:
    """Counts the conduct of the controller in charge.

    Args:
        settings: the rates.
        tripped: reason why it is out of charge already, if it is.

    Attributes:
        tripped: reason why the fallback decides; None while the policy does.
    """

    def __init__(self, settings: RollbackSettings, tripped: str | None = None):
        self.settings, self.tripped = settings, tripped
        self._acting, self._resting = _Window(settings.window), _Window(settings.return_after)

    def note(self, conduct: Conduct) -> str | None:
        """Count a tick; returns the resulting change, if any: ``rollback`` or ``return``."""
        if self.tripped is None:
            self._acting.add(conduct)
            self.tripped = self._acting.exceeds(self.settings, 1.0)
            if self.tripped is None:
                return None
            self._resting = _Window(self.settings.return_after)
            return "rollback"
        self._resting.add(conduct)
        enough = len(self._resting.ticks) == self.settings.return_after
        if not enough or self._resting.exceeds(self.settings, self.settings.return_below) is not None:
            return None
        self.tripped, self._acting = None, _Window(self.settings.window)
        return "return"

    def rates(self) -> dict[str, float]:
        """The counted causes, as shares of the window."""
        window = self._acting if self.tripped is None else self._resting
        return {cause: round(total / window.length, 6) + 0.0 for cause, total in window.sums.items()}
