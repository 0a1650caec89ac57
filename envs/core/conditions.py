"""Alarm conditions: states of a plant that its operator should know of, derived from readings.

A system derives conditions from readings alone. The service decides which of them become alarms, after what delay, and
records who has acknowledged them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Priority = Literal["high", "medium", "low"]
"""Urgency of a response: at once, soon, within the day (the three priorities of EEMUA 191)."""


@dataclass(frozen=True)
class Condition:
    """One condition that holds now.

    Attributes:
        key: kind and place, e.g. ``full:T1``; constant while the condition lasts.
        priority: urgency of a response.
        text: description for people, with the value.
        place: identifier of the scene's mark that it concerns; empty: the whole site.
        beneath: key of a more severe condition of the same object. While an alarm for that one is active, this one
            adds no information.
    """

    key: str
    priority: Priority
    text: str
    place: str = ""
    beneath: str = ""
