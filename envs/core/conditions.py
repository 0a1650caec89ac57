"""What an operator of a plant is to be told of: states of the plant itself, as its readings show them.

A system names them from readings alone; whether one becomes an alarm, after how long, and who has seen it, is up to the
service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Priority = Literal["high", "medium", "low"]
"""How soon a person should act: at once, soon, within the day (the three priorities of EEMUA 191)."""


@dataclass(frozen=True)
class Condition:
    """One thing that holds now.

    Attributes:
        key: what and where, e.g. ``full:T1``; the same while it lasts.
        priority: how soon a person should act.
        text: in words, with the value.
        place: identifier of the mark in the scene that it is about; empty: the whole site.
        beneath: key of a worse condition of the same thing: while an alarm of that stands, this one says nothing new.
    """

    key: str
    priority: Priority
    text: str
    place: str = ""
    beneath: str = ""
