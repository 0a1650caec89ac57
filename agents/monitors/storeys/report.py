"""What the storeys' monitor says about one window: typed, plain data, and a recommendation in words.

No sentence here calls a building safe: a monitor that hears nothing has not shown that there is nothing.
"""

from __future__ import annotations

from typing import Literal

from agents.monitors.structural.report import Alarm, percent
from envs.core.frozen import Frozen

Deaf = Literal["", "moved too little", "samples are missing", "its readings contradict each other"]
"""Why a storey is not judged."""


class StoreyHeard(Frozen):
    """One storey in one window.

    Attributes:
        storey: from 1 at the ground.
        deaf: why it is not judged; empty: it is.
        share: stiffness as a share of what was learned while healthy; None where it is not judged.
        low, high: interval of that at the configured probability.
        misfit: what its readings leave unexplained, as a multiple of their noise.
    """

    storey: int
    deaf: Deaf = ""
    share: float | None = None
    low: float | None = None
    high: float | None = None
    misfit: float


class StoreyReport(Frozen):
    """What one window says.

    Attributes:
        time_s: of the plant's clock when it began.
        seconds: how long it is.
        heard: whether at least half of the storeys can be judged.
        probability: of a loss of stiffness, with the configured prior; None where nothing is heard.
        statistic, threshold: by how many healthy standard deviations the storey that stands out most is softer, and
            beyond what that is unusual.
        unusual: whether this window alone exceeds the threshold.
        alarm: ``watch`` if this window is unusual, ``alarm`` if enough of the last ones were.
        deaf: as ``alarm``, for windows that could not be heard: nobody would hear damage.
        location: the storey that stands out; None unless this window is unusual.
        storeys: all of them, from the ground.
        recommendation: what to do, in words.
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
    recommendation: str = ""


def recommend(report: StoreyReport) -> str:
    """What to do about a report, in words."""
    silent = [each for each in report.storeys if each.deaf]
    words = [_structure(report)]
    if report.heard and silent:
        names = ", ".join(f"{each.storey} ({each.deaf})" for each in silent)
        words.append(f"Not heard in this window: storey {names}.")
    return " ".join(words)


def _structure(report: StoreyReport) -> str:
    if not report.heard or report.probability is None:
        return _unheard(report)
    chance = f"Probability of a loss of stiffness {percent(report.probability)}"
    if report.deaf == "alarm":
        chance = f"The building could not be heard in many of the last windows: have its sensors checked. {chance}"
    if report.alarm == "none":
        return f"{chance} from this window; no alarm. Keep to the usual inspections: small losses go unheard."
    where = ""
    if report.location is not None:
        lost = report.storeys[report.location - 1]
        assert lost.share is not None
        assert lost.low is not None
        assert lost.high is not None
        within = f"{_points(1 - lost.high)} to {_points(1 - lost.low)}"
        where = f" About {_points(1 - lost.share)} ({within}) of the stiffness of storey {lost.storey} seems lost."
    if report.alarm == "watch":
        return f"{chance}.{where} One window is no alarm: watch the next ones, and inspect if it goes on."
    persists = "it persists" if report.unusual else "the alarm of earlier windows stands"
    first = ", there first" if where else ""
    return f"{chance}; {persists}.{where} Have a structural engineer inspect the building{first}."


def _unheard(report: StoreyReport) -> str:
    reasons = " and ".join(dict.fromkeys(each.deaf for each in report.storeys if each.deaf))
    stands = " The alarm of earlier windows stands: have the building inspected." if report.alarm == "alarm" else ""
    goes_on = "If this goes on while it moves, have its sensors checked."
    if report.deaf == "alarm":
        goes_on = "This goes on: the monitor cannot hear the building. Have its sensors checked."
    return f"Nothing can be said about the structure from this window ({reasons}). {goes_on}{stands}"


def _points(loss: float) -> str:
    return f"{100 * max(loss, 0.0):.1f} %"
