"""Sentences of reports, the same for all monitors of buildings. None calls a building safe: a monitor that detects
nothing has not shown that there is no damage.
"""

from __future__ import annotations

from typing import Protocol

from agents.monitors.detection import Alarm


class Said(Protocol):
    """The part of a report that decides its words.

    Attributes:
        unusual: whether this window alone exceeds the threshold.
        alarm: whether that persists.
        deaf: as ``alarm``, for windows that could not be judged.
    """

    unusual: bool
    alarm: Alarm
    deaf: Alarm


def judged(what: str, probability: float, where: str | None, report: Said) -> str:
    """Sentences on a window that could be judged.

    Args:
        what: possible event, e.g. ``damage``.
        probability: of the event.
        where: a sentence on the conspicuous place; None: there is none.
        report: of the window.
    """
    chance = f"Probability of {what} {percent(probability)}"
    if report.deaf == "alarm":
        chance = f"The building could not be heard in many of the last windows: have its sensors checked. {chance}"
    if report.alarm == "none":
        return f"{chance} from this window; no alarm. Keep to the usual inspections: small losses go unheard."
    place = f" {where}" if where else ""
    if report.alarm == "watch":
        return f"{chance}.{place} One window is no alarm: watch the next ones, and inspect if it goes on."
    persists = "it persists" if report.unusual else "the alarm of earlier windows stands"
    first = ", there first" if where else ""
    return f"{chance}; {persists}.{place} Have a structural engineer inspect the building{first}."


def unheard(nothing: str, mend: str, report: Said) -> str:
    """Sentences on a window that could not be judged.

    Args:
        nothing: a sentence with the reason.
        mend: advice, e.g. ``its sensors checked``.
        report: of the window.
    """
    goes_on = f"If this goes on while it moves, have {mend}."
    if report.deaf == "alarm":
        goes_on = f"This goes on: the monitor cannot hear the building. Have {mend}."
    stands = " The alarm of earlier windows stands: have the building inspected." if report.alarm == "alarm" else ""
    return f"{nothing} {goes_on}{stands}"


def percent(probability: float) -> str:
    """A probability in words, bounded at 1 and 99 %."""
    if probability > 0.99:
        return "above 99 %"
    return "below 1 %" if probability < 0.01 else f"{probability:.0%}".replace("%", " %")
