"""Rain over a network's gauges: that of an input file, variations of it, and random storms.

A table of rain has a row a decision and a column a gauge, in millimetres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil, gcd

import numpy as np

from envs.core.errors import CityloopError
from envs.drainage.scenarios import DEPTHS_MM, LENGTHS_H, Design, Storms, Varied
from envs.drainage.swmm.inp import INCH_MM, Inp, decoded, folded, lines_of, plain_words
from envs.drainage.swmm.times import day_of, is_date, seconds_of

BURSTS = (1, 4)
"""Range of the number of bursts of a storm, one to three; the end is excluded."""

SPEED_MPS = (3.0, 15.0)
"""Range of the speed at which a storm moves over the gauges."""

GAUGE_SPREAD = 0.25
"""Standard deviation of the logarithm of a gauge's own factor on rain."""

FORMATS = {"INTENSITY", "VOLUME", "CUMULATIVE"}

STEPS = {"WET_STEP": "0:05:00", "DRY_STEP": "1:00:00"}
"""Options for the intervals at which SWMM evaluates rain, and SWMM's defaults."""


def storm(storms: Storms, places_m: np.ndarray, decisions: int, decision_s: float, seed: int) -> np.ndarray:
    """A random storm, or several one after the other.

    Depth and duration are lognormal; one to three bursts, each with its share of the depth, its place in the storm and
    a beta-shaped course (early, middle or late peak); the whole moves over the gauges at a random speed and direction,
    and each gauge gets a little more or less.

    Args:
        storms: medians and spreads.
        places_m: of the gauges, ``(gauges, 2)``.
        decisions: rows.
        decision_s: seconds of a row.
        seed: decides everything.

    Returns:
        ``(decisions, gauges)`` in mm. What falls after the last row is lost.
    """
    rng = np.random.default_rng([seed, 11])
    table = np.zeros((decisions, len(places_m)))
    edges_s = decision_s * np.arange(decisions + 1)
    count, start_s = 1, 0.0
    if storms.count[1] > 1:
        count = int(np.random.default_rng([seed, 14]).integers(storms.count[0], storms.count[1] + 1))
    for k in range(count):
        depth_mm = float(np.clip(storms.depth_mm * np.exp(storms.depth_spread * rng.standard_normal()), *DEPTHS_MM))
        length_s = 3600 * float(np.clip(storms.hours * np.exp(storms.hours_spread * rng.standard_normal()), *LENGTHS_H))
        start_s += 3600 * rng.uniform(*(storms.gap_hours if k else storms.dry_hours))
        table += _passing(depth_mm, length_s, start_s, places_m, edges_s, rng)
        start_s += length_s
    return table


def _passing(
    depth_mm: float,
    length_s: float,
    start_s: float,
    places_m: np.ndarray,
    edges_s: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """One storm, ``(len(edges_s) - 1, gauges)`` in mm; see `storm`."""
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*SPEED_MPS)
    along = places_m @ np.array([np.cos(heading), np.sin(heading)])
    lag_s = (along - along.min()) / speed
    factor = np.exp(GAUGE_SPREAD * rng.standard_normal(len(places_m)))
    bursts = rng.integers(*BURSTS)
    shares = rng.dirichlet(np.full(bursts, 2.0))
    table = np.zeros((len(edges_s) - 1, len(places_m)))
    for share in shares:
        long_s = length_s * (1.0 if bursts == 1 else rng.uniform(0.25, 0.6))
        begin_s = start_s + rng.uniform(0.0, length_s - long_s)
        peak, sharpness = rng.uniform(0.15, 0.85), rng.uniform(2.0, 10.0)
        a, b = 1 + sharpness * peak, 1 + sharpness * (1 - peak)
        for gauge in range(len(places_m)):
            fallen = _beta(np.clip((edges_s - begin_s - lag_s[gauge]) / long_s, 0.0, 1.0), a, b)
            table[:, gauge] += depth_mm * share * factor[gauge] * _since(fallen)
    return table


def varied(rain_mm: np.ndarray, around: Varied, seed: int) -> np.ndarray:
    """Given rain as it might have been: all depths times a factor, all times since it began times another.

    Both factors are lognormal, the same for all gauges. Slower rain is as deep, and so less intense.

    Args:
        rain_mm: ``(decisions, gauges)``.
        around: how much they spread.
        seed: decides both.

    Returns:
        ``(decisions, gauges)`` in mm. What falls after the last row is lost.
    """
    rng = np.random.default_rng([seed, 13])
    depth = np.exp(around.depth_spread * rng.standard_normal())
    slower = np.exp(around.hours_spread * rng.standard_normal())
    wet = np.flatnonzero(rain_mm.any(axis=1))
    if not len(wet):
        return rain_mm.copy()
    edges = np.arange(len(rain_mm) + 1.0)
    was = wet[0] + (edges - wet[0]) / slower  # time in the given rain with the same cumulative share
    fallen = np.vstack([np.zeros(rain_mm.shape[1]), rain_mm.cumsum(axis=0)])
    columns = [np.interp(was, edges, column) for column in fallen.T]
    return np.asarray(depth * _since(np.array(columns)).T)


def chicago(design: Design, gauges: int, decisions: int, decision_s: float, seed: int) -> np.ndarray:
    """A Chicago storm (Keifer and Chu 1957): every part around its peak is as hard as the curve says for its length.

    Within a time t before the peak t i(t / r) falls, after it t i(t / (1 - r)), with i the mean intensity over a
    duration and r the share of the storm before its peak: together i(d) d over the whole duration d.

    Args:
        design: return period, duration and place of the peak are drawn from its ranges.
        gauges: how many; all get the same.
        decisions: rows.
        decision_s: seconds of a row.
        seed: decides everything.

    Returns:
        ``(decisions, gauges)`` in mm. What falls after the last row is lost.
    """
    rng = np.random.default_rng([seed, 12])
    years, hours = (float(np.exp(rng.uniform(*np.log(bounds)))) for bounds in (design.years, design.hours))
    share, start_h = rng.uniform(*design.peak), rng.uniform(0.5, 6.0)
    edges_h = decision_s / 3600 * np.arange(decisions + 1)
    away = edges_h - start_h - share * hours  # hours from the peak
    before, after = np.clip(-away, 0.0, share * hours), np.clip(away, 0.0, (1 - share) * hours)
    fallen = after * design.idf.intensity_mmh(years, after / (1 - share))
    fallen -= before * design.idf.intensity_mmh(years, before / share)
    return np.repeat(_since(fallen)[:, None], gauges, axis=1)


def _since(fallen: np.ndarray) -> np.ndarray:
    """Rain of each interval from cumulative rain; clipped at zero against rounding."""
    return np.maximum(np.diff(fallen), 0.0)


def _beta(x: np.ndarray, a: float, b: float) -> np.ndarray:
    """The beta distribution function."""
    from scipy.special import betainc

    return np.asarray(betainc(a, b, x))


def gauge_places_m(inp: Inp, gauges: tuple[str, ...]) -> np.ndarray:
    """Coordinates of the gauges, ``(gauges, 2)``; the mean of the others where the input has none."""
    places = {row[0]: (float(row[1]), float(row[2])) for row in inp.rows("SYMBOLS") if len(row) > 2}
    known = [places[gauge] for gauge in gauges if gauge in places] or [(0.0, 0.0)]
    middle = tuple(np.mean(known, axis=0))
    return np.array([places.get(gauge, middle) for gauge in gauges]).reshape(-1, 2) * inp.metre


def file_rain(inp: Inp, gauges: tuple[str, ...], start: datetime, decisions: int, decision_s: float) -> np.ndarray:
    """Table of an input's own rain; see the module. It is zero where the input ignores rain.

    Raises:
        CityloopError: if a gauge's series or file, or a month's factor on all rain, is missing or cannot be understood.
    """
    rows = {row[0]: row for row in inp.rows("RAINGAGES")}
    series: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    table = np.zeros((decisions, len(gauges)))
    if inp.ignores_rain:
        return table
    edges_s = decision_s * np.arange(decisions + 1)
    for g, gauge in enumerate(gauges):
        row = rows[gauge]
        source = row[4].upper() if len(row) > 5 and row[1].upper() in FORMATS else ""
        if source == "TIMESERIES":
            if row[5] not in series:
                series[row[5]] = _series(inp, row[5], start)
            table[:, g] = _since(_fallen(inp, row, start, *series[row[5]], edges_s)) * inp.millimetre
        elif source == "FILE" and len(row) > 7:
            scale = INCH_MM if row[7].upper() == "IN" else 1.0
            station = _station(inp, row[5], row[6], start)
            table[:, g] = _since(_fallen(inp, row, start, *station, edges_s)) * scale
        else:
            raise CityloopError(
                f"{inp.path.name}: [RAINGAGES] has a row {' '.join(row)!r}: give name, INTENSITY, VOLUME or "
                "CUMULATIVE, interval, factor for snow, and TIMESERIES name or FILE name station MM; or rain: storms"
            )
    return table


def _factors(inp: Inp, start: datetime, times_s: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """SWMM's monthly factor on each value of a gauge, where the input has them; rain set at run time has none.

    SWMM takes the factor of the month in which it reads a value: ahead, when the previous wet one begins. It reads the
    first before it knows the month; also the next wet one, unless the first is still to come.
    """
    factors = np.ones(len(times_s))
    for row in inp.rows("ADJUSTMENTS"):
        if row[0].upper().startswith("RAIN"):
            try:
                by_month = [_amount(row[month]) for month in range(1, 13)]
            except (ValueError, IndexError):
                raise CityloopError(
                    f"{inp.path.name}: [ADJUSTMENTS] has a row {' '.join(row)!r}: give twelve numbers from 0 on"
                ) from None
            read = [k for k in range(len(depths)) if depths[k] or not k]
            for before, k in pairwise(read if times_s[0] > 0 else read[1:]):
                factors[k] = by_month[(start + timedelta(seconds=max(float(times_s[before]), 0.0))).month - 1]
    return factors


def _station(inp: Inp, name: str, station: str, start: datetime) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds from the start, and values, of a station in a file of rain as SWMM's manual has it.

    Each row is a station, year, month, day, hour, minute and a value; dry intervals are left out.
    """
    path = inp.path.parent / name
    try:
        lines = lines_of(decoded(path.read_bytes()))
    except OSError as error:
        raise CityloopError(
            f"{inp.path.name}: file {path} of rain cannot be read ({error.strerror}): correct it"
        ) from None
    times, values = [], []
    for number, line in enumerate(lines, start=1):
        words = plain_words(line.partition(";")[0])
        if not words or folded(words[0]) != folded(station):
            continue
        try:
            times.append((datetime(*map(int, words[1:6])) - start).total_seconds())  # type: ignore[arg-type]
            values.append(_amount(words[6]))
        except (ValueError, TypeError, IndexError):
            raise CityloopError(
                f"{path}, line {number} is {line[:60]!r}: give station, year, month, day, hour, minute and a value"
            ) from None
    if not times:
        raise CityloopError(
            f"{path} has no row of station {station!r} (station, year, month, day, hour, minute, value): correct the "
            "rain gauge, or write the file so: formats of weather services, which SWMM knows, too, are not read"
        )
    return np.array(times), np.array(values)


def _fallen(
    inp: Inp, row: list[str], start: datetime, times_s: np.ndarray, values: np.ndarray, at_s: np.ndarray
) -> np.ndarray:
    """Cumulative rain of a gauge at given times, in its series' unit.

    A value holds for the gauge's interval, or until the next value; then it is dry.
    """
    kind, interval_s = row[1].upper(), _interval_s(row)
    until_s = np.minimum(times_s + interval_s, np.append(times_s[1:], np.inf))
    if kind == "CUMULATIVE":
        falls = np.diff(values, prepend=0.0)
        depths = np.where(falls < 0, values, falls)  # a sum that starts anew
    else:
        depths = values * (interval_s / 3600 if kind == "INTENSITY" else 1.0) * (until_s - times_s) / interval_s
    depths = depths * _factors(inp, start, times_s, depths)
    total = np.cumsum(depths)
    knots = np.stack([times_s, until_s], axis=1).ravel()
    sums = np.stack([total - depths, total], axis=1).ravel()
    return np.interp(at_s, knots, sums)


def _interval_s(row: list[str]) -> float:
    try:
        interval_s = seconds_of(row[2])
    except ValueError:
        interval_s = 0.0
    if not interval_s > 0:
        raise CityloopError(f"rain gauge {row[0]} has the interval {row[2]!r}: give H:MM or hours, above zero")
    return interval_s


def _amount(word: str) -> float:
    """A number from 0 on, else a `ValueError`: SWMM would take others, and lose water or make some."""
    value = float(word)
    if not 0 <= value < np.inf:
        raise ValueError(word)
    return value


def _series(
    inp: Inp, name: str, start: datetime, number: Callable[[str], float] = _amount
) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds from the start, and values. A row without a date goes on with the last one's."""
    times: list[float] = []
    values: list[float] = []
    since_s = 0.0  # without any date, times count from the start
    for row in inp.series(name):
        words = list(row)
        try:
            while words:
                if is_date(words[0]):
                    since_s = (day_of(words.pop(0)) - start).total_seconds()
                time, value, *words = words
                times.append(since_s + seconds_of(time))
                values.append(number(value))
        except ValueError:
            raise CityloopError(
                f"{inp.path.name}: time series {name} has a row {' '.join([name, *row])!r}: correct it"
            ) from None
    if not times:
        raise CityloopError(f"{inp.path.name}: time series {name} is empty or missing: give it values")
    return np.array(times), np.array(values)


def look_often(inp: Inp, start: datetime, seconds: int) -> None:
    """Let SWMM evaluate rain at least once in each interval for which it is set: rain in between would be lost.

    A step that does not divide the interval becomes the longest shorter one that does. SWMM ends a step where
    evaporation changes, and rain would fall for longer or shorter than it is set if a step did not end there anyway.

    Args:
        inp: the input; its steps are changed.
        start: when episodes begin.
        seconds: interval for which rain is set at run time.

    Raises:
        CityloopError: if a step cannot be understood.
    """
    seconds = gcd(seconds, *_evaporation_changes_s(inp, start))
    for option, default in STEPS.items():
        word = inp.options.get(option, default)
        try:
            step_s = seconds_of(word)
        except ValueError:
            step_s = 0.0
        if not step_s > 0:
            raise CityloopError(f"{inp.path.name}: {option} is {word!r}: give H:MM:SS, above zero")
        least = ceil(seconds / max(step_s, 1.0))
        parts = next(parts for parts in range(max(least, 1), seconds + 1) if not seconds % parts)
        if seconds / parts != step_s:
            inp.set_options(**{option: timedelta(seconds=seconds // parts)})


def _evaporation_changes_s(inp: Inp, start: datetime) -> Iterator[int]:
    """Moments at which evaporation changes, in whole seconds from the start; one midnight stands for all."""
    for row in inp.rows("EVAPORATION"):
        kind = row[0].upper()
        if kind.startswith("TIMESERIES") and len(row) > 1:
            yield from np.rint(_series(inp, row[1], start, float)[0]).astype(int).tolist()
        elif kind.startswith(("MONTHLY", "TEMPERATURE", "FILE")):
            yield round((datetime(start.year, start.month, start.day) - start).total_seconds())
