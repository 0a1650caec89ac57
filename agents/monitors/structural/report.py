"""What the monitor says about one window: typed, plain data, and a recommendation in words.

No sentence here calls a building safe: a monitor that hears nothing has not shown that there is nothing.
"""

from __future__ import annotations

from agents.monitors.detection import Alarm
from agents.monitors.structural.vibration import Vibration
from agents.monitors.words import judged, unheard
from envs.core.frozen import Frozen


class TrackedMode(Frozen):
    """A mode in this window.

    Attributes:
        axis, number: which mode.
        frequency_hz, damping: as identified.
        change: of the frequency against healthy at this temperature, relative.
        sigma: standard deviation of that change while healthy.
    """

    axis: str
    number: int
    frequency_hz: float
    damping: float
    change: float
    sigma: float


class StoreyLoss(Frozen):
    """Stiffness that a storey seems to have lost in one axis.

    Attributes:
        axis, storey: which, storeys from 1 at the ground.
        loss: best estimate, a share of the healthy stiffness.
        low, high: interval at the configured probability.
        standing: estimate over its standard deviation.
    """

    axis: str
    storey: int
    loss: float
    low: float
    high: float
    standing: float


class SensorFault(Frozen):
    """A channel that is out of use in this window.

    Attributes:
        channel: its id.
        kind: of the fault: dropout, stuck, silent, clipping, spikes, bias or gain.
        change: of sensitivity, relative, for gain; else None.
        persistent: whether it was seen in enough of the last windows to be an alarm.
    """

    channel: str
    kind: str
    change: float | None = None
    persistent: bool = False


class Report(Frozen):
    """What one window says.

    Attributes:
        temperature_c: as given.
        learned_temperature: whether the healthy period covers it.
        identified: whether enough modes were found to judge the structure at all.
        probability: of damage, with the configured prior; None if not identified.
        statistic, threshold: healthy standard deviations by which the window stands out in the direction of a storey's
            loss of stiffness, and beyond what it is unusual.
        misfit: residual that no loss of stiffness explains, per feature; about one or less while healthy.
        unusual: whether this window alone exceeds the threshold.
        alarm: ``watch`` if this window is unusual, ``alarm`` if enough of the last ones were.
        deaf: as ``alarm``, for windows in which the modes of an axis could not be identified: damage would go
            undetected. It says nothing of damage itself.
        location: the storey that lost most, measured by its uncertainty; None unless this window is unusual.
        storeys: estimates for all of them.
        modes: frequencies and dampings of this window.
        faults: of sensors.
        vibration: how strongly it shook; None if no channel is in use.
        vibration_alarm: as ``alarm``, for vibration.
        unheard: axes whose modes could not be identified in this window.
        recommendation: advice, in words.
    """

    temperature_c: float
    learned_temperature: bool
    identified: bool
    probability: float | None
    statistic: float | None
    threshold: float
    misfit: float | None
    unusual: bool
    alarm: Alarm
    deaf: Alarm
    location: StoreyLoss | None
    storeys: tuple[StoreyLoss, ...]
    modes: tuple[TrackedMode, ...]
    faults: tuple[SensorFault, ...]
    vibration: Vibration | None
    vibration_alarm: Alarm
    unheard: tuple[str, ...] = ()
    recommendation: str


def recommend(report: Report) -> str:
    """What to do about a report, in words."""
    words = [_structure(report), *_vibration(report), *_sensors(report)]
    if not report.learned_temperature:
        words.append(
            f"{report.temperature_c:g} °C lies outside the learned temperatures: trust the estimate of damage less."
        )
    return " ".join(words)


def _structure(report: Report) -> str:
    if report.probability is None:
        nothing = "The building's modes could not be identified in this window: nothing can be said about damage."
        return unheard(nothing, "sensors and structure inspected", report)
    where = None if report.location is None else _place(report.location)
    words = judged("damage", report.probability, where, report)
    if report.unheard:
        axes = " and ".join(report.unheard)
        words += f" The modes in {axes} could not be identified in this window: losses there go undetected."
    return words


def _place(lost: StoreyLoss) -> str:
    within = f"{lost.low:.0%} to {lost.high:.0%}"
    return f"About {lost.loss:.0%} ({within}) of the stiffness of storey {lost.storey} in {lost.axis} seems lost."


def _vibration(report: Report) -> list[str]:
    if report.vibration is None:
        return []
    if report.vibration.exceeded:
        listed = "; ".join(report.vibration.exceeded)
        return [f"Vibration limits exceeded: {listed}. Inspect before relying on the building as before."]
    if report.vibration_alarm == "alarm":
        return ["Vibration is persistently stronger than ever while healthy: find and inspect its source."]
    return []


def _sensors(report: Report) -> list[str]:
    if not report.faults:
        return []
    listed = ", ".join(f"{fault.channel} ({fault.kind})" for fault in report.faults)
    return [f"Sensors left out as faulty: {listed}. Have them checked; this says nothing of the building itself."]
