"""Dates and times of day as SWMM's input files have them."""

from __future__ import annotations

from datetime import datetime, timedelta

from envs.core.errors import CityloopError
from envs.drainage.swmm.inp import Inp


def is_date(word: str) -> bool:
    """Whether a word is a date, and not a time or a number."""
    return "/" in word or "-" in word.lstrip("-")


def day_of(word: str) -> datetime:
    """``month/day/year``, the month a number or its first three letters."""
    text = word.replace("-", "/")
    return datetime.strptime(text, "%b/%d/%Y" if text[:3].isalpha() else "%m/%d/%Y")


def seconds_of(word: str) -> float:
    """``H:MM``, ``H:MM:SS`` or hours as a number, in seconds."""
    if ":" in word:
        return sum(float(part) * scale for part, scale in zip(word.split(":"), (3600, 60, 1), strict=False))
    return 3600 * float(word)


def moment(inp: Inp, date: str, time: str) -> datetime:
    """A moment that two options give; SWMM's defaults where they do not.

    Raises:
        CityloopError: if they cannot be understood.
    """
    day, clock = inp.options.get(date, "01/01/2004"), inp.options.get(time, "0:00")
    try:
        return day_of(day) + timedelta(seconds=seconds_of(clock))
    except (ValueError, OverflowError):
        raise CityloopError(f"{inp.path.name}: {date} {day} {time} {clock} is no moment: correct the options") from None


def series_start(inp: Inp, gauge_series: str) -> datetime:
    """Beginning of a dated time series."""
    row = next(iter(inp.series(gauge_series)), [])
    if len(row) < 2 or not is_date(row[0]):
        raise CityloopError(f"{inp.path.name} has no dated time series {gauge_series!r}: correct key 'series'")
    try:
        return day_of(row[0]) + timedelta(seconds=seconds_of(row[1]))
    except (ValueError, OverflowError):
        raise CityloopError(
            f"{inp.path.name}: time series {gauge_series} begins at {' '.join(row[:2])!r}: give month/day/year and H:MM"
        ) from None
