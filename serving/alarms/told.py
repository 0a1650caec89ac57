"""Alarms as they are listed for a caller, merged from all processes that keep some."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from serving.alarms.book import Alarm, urgency


class AlarmsTold(NamedTuple):
    """Listed alarms with their rates.

    Attributes:
        alarms: the standing ones, in the order of `urgency`.
        rate: number raised in the last ten minutes.
        course: numbers raised in every ten minutes until now, the oldest first.
    """

    alarms: list[Alarm]
    rate: int
    course: list[int]

    @classmethod
    def joined(cls, parts: Sequence[AlarmsTold]) -> AlarmsTold:
        """Lists of several processes as one: alarms in order, counts added, aligned at the last."""
        now_s = time.time()
        alarms = sorted((alarm for part in parts for alarm in part.alarms), key=lambda alarm: urgency(alarm, now_s))
        columns = zip_longest(*(part.course[::-1] for part in parts), fillvalue=0)
        return cls(alarms, sum(part.rate for part in parts), [sum(column) for column in columns][::-1])
