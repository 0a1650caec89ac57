"""What the storeys' monitor says about one window: typed, plain data, and a recommendation in words.

No sentence here calls a building safe: a monitor that hears nothing has not shown that there is nothing.
"""

from __future__ import annotations

from typing import Literal

from agents.monitors.detection import Alarm
from agents.monitors.words import judged, unheard
from envs.core.frozen import Frozen

Deaf = Literal[
    "", "moved too little", "samples are missing", "its readings contradict each other", "no reading ever changes"
]
"""Why a storey is not judged."""

TOO_LITTLE: Deaf = "moved too little"
"""The reason that no sensor is to blame for."""

CONSTANT: Deaf = "no reading ever changes"
"""The reason where all sensors are dead, or what reads them."""


class StoreyHeard(Frozen):
    """One storey in one window.

    Attributes:
        storey: from 1 at the ground.
        deaf: why it is not judged; empty: it is.
        share: stiffness as a share of the learned healthy one; None where it is not judged.
        low, high: interval of that at the configured probability.
        misfit: residual of its readings, as a multiple of their noise.
    """

    storey: int
    deaf: Deaf = ""
    share: float | None = None
    low: float | None = None
    high: float | None = None
    misfit: float


class StoreyReport(Frozen):
    """Judgement of one window.

    Attributes:
        time_s: of the plant's clock when it began.
        seconds: how long it is.
        heard: whether at least half of the storeys can be judged.
        probability: of a loss of stiffness, with the configured prior; None where the window cannot be judged.
        statistic, threshold: loss of the most conspicuous storey in healthy standard deviations, and the limit beyond
            which it is unusual.
        unusual: whether this window alone exceeds the threshold.
        alarm: ``watch`` if this window is unusual, ``alarm`` if enough of the last ones were.
        deaf: as ``alarm``, for windows that could not be judged, in which damage would go undetected; those in which
            the building moved too little do not count.
        location: the storey that stands out; None unless this window is unusual.
        storeys: all of them, from the ground.
        unheard: those that moved but could not be judged in enough of the last windows; damage would go undetected.
        recommendation: advice, in words.
    """

    time_s: float
    seconds: float
    heard: bool
    probability: float | None
    statistic: float | None
    threshold: float
    unusual: bool
    alarm: Alarm
    deaf: Alarm
    location: int | None
    storeys: tuple[StoreyHeard, ...]
    unheard: tuple[int, ...] = ()
    recommendation: str = ""


def recommend(report: StoreyReport) -> str:
    """What to do about a report, in words."""
    silent = [each for each in report.storeys if each.deaf]
    words = [_structure(report)]
    if report.heard and silent:
        names = ", ".join(f"{each.storey} ({each.deaf})" for each in silent)
        words.append(f"Not heard in this window: storey {names}.")
    if report.heard and report.unheard:
        names = ", ".join(map(str, report.unheard))
        words.append(f"Storey {names} goes unheard, losses there too: have its sensors checked.")
    return " ".join(words)


def _structure(report: StoreyReport) -> str:
    if report.probability is None:
        reasons = " and ".join(dict.fromkeys(each.deaf for each in report.storeys if each.deaf))
        nothing = f"Nothing can be said about the structure from this window ({reasons})."
        return unheard(nothing, "its sensors checked", report)
    where = None if report.location is None else _place(report.storeys[report.location - 1])
    return judged("a loss of stiffness", report.probability, where, report)


def _place(lost: StoreyHeard) -> str:
    assert lost.share is not None
    assert lost.low is not None
    assert lost.high is not None
    within = f"{_points(1 - lost.high)} to {_points(1 - lost.low)}"
    return f"About {_points(1 - lost.share)} ({within}) of the stiffness of storey {lost.storey} seems lost."


def _points(loss: float) -> str:
    return f"{100 * max(loss, 0.0):.1f} %"
