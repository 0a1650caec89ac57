"""Ground motions from files: PEER's AT2 and two-column text, made into m/s² at even steps. None ships with us."""

from __future__ import annotations

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.dampers.motions.spectrum import G

GAP = 3.0
"""Time steps longer than this multiple of the usual one are a gap in the record."""

PEAK_G = 10.0
"""Largest plausible peak: no recorded ground acceleration reaches half of it, so a larger one is in another unit."""

MISSING = -999.0
"""What files hold where a value is missing; in cm/s2 its size is that of a plausible peak."""

STEP_S = 1.0
"""Longest plausible time step: longer ones are not in seconds, as no building responds to the periods they resolve."""

ROUNDED = 0.15
"""Largest deviation from even steps, as a share of a step, that counts as rounding of times (256 a second, in ms)."""

FINE = 10
"""Samples per usual step to which uneven steps are resampled: peaks in between are hardly lower."""

SECONDS = r"([\d.Ee+-]++)(?![Dd])"
"""A number of seconds in the head of an AT2 file. FORTRAN's 1.0D-02 does not match, rather than as 1."""

UNITS = {"g": G, "m/s2": 1.0, "cm/s2": 0.01}
"""Unit of acceleration → m/s²."""

PER_S2 = r" ?/ ?\(?s(?:ec(?:ond)?)?(?:\^?\(?2|\*\*2|²|/s(?:ec)?)"
"""How a header writes "per second squared" after a length."""

SAID = {
    "cm/s2": rf"(?<![a-z])cm{PER_S2}|\bcm[ ·.*]?s(?:\^?-2|⁻²)|\bgals?\b|(?<![a-z])cm_?s_?2\b|_gals?\b",
    "m/s2": rf"(?<![a-zµμ])m(?:et(?:er|re)s?)?{PER_S2}|\bm[ ·.*]?s(?:\^?-2|⁻²)|(?<![a-z])m_?s_?2\b"
    r"|(?<![a-z])mps(?:\^?2|²)",
    "g": r"\bin (units of )?g\b|[(\[]g[)\]]|\bacc[a-z]*_g\b",
}
"""Unit → how a file's header names it."""

UNREAD = (
    r"(?<![a-z])([mnµμ]m/s|milli[- ]?g\b|(?<=[(\[_])[mµμ]g\b|(?<=[(\[])c?m/s(?=[)\]])|in(?:ch(?:es)?)?/s"
    r"|f(?:oo|ee)?t/s|% ?g\b)"
)
"""Units that are not supported, as a file's header names them where it names no supported one."""

OTHER = r"\b(velocity|displacement) time"
"""Header of a PEER file that holds no accelerations."""

OTHER_COLUMN = r"(?<![a-z])(vel|disp)(?:ocity|ocities|lacements?)?(?![a-z])"
"""Name of a column that holds no accelerations, where a header's last line names none that does."""

FOREIGN = {
    "a K-NET or KiK-net": r"^scale factor .*\(gal\)",
    "a CSMIP": r"accelerogram\b.*\bprocessed:",
    "a COSMOS": r"\(format v[\d.]+ with",
    "an SMC": r"^\d (un)?corrected accelerogram",
}
"""Unsupported format → pattern of its header: such files have more than two columns, or counts of a digitiser."""

HEAD = 50
"""Largest number of lines of such a header."""

RISING = 10
"""Number of values from which a column that only rises holds times, not accelerations."""

DRIFT = 2.0
"""Velocity at a record's end, as a multiple of the peak of what it does beside rising evenly, that tells of an offset.

It is at most 1.6 in 4200 motions from seeds, and 0.002 in El Centro, where an offset of 0.8 % of its peak makes it 2.
"""

FILE_END = "\x1a\r\n"
"""What may stand behind the last value: ends of lines, and the sign with which DOS ends a file."""


def read_record(path: Path, unit: str = "g") -> tuple[np.ndarray, float]:
    """Acceleration in m/s² ``(T,)`` and seconds between samples, from an AT2 or a two-column file.

    Args:
        path: ``*.AT2``, or a file with the fourth line of one; or time in s and acceleration, separated by comma,
            semicolon or blanks, in quotation marks or not. A header is skipped.
        unit: of the accelerations, a key of `UNITS`.

    Raises:
        CityloopError: if the file cannot be read, does not hold what it should, is of another format, or names another
            unit itself.
    """
    text = _text(path)
    lines = text.rstrip(FILE_END).splitlines()
    _refuse_foreign(path, lines[:HEAD])
    at2 = path.suffix.lower() == ".at2" or "NPTS" in "".join(lines[3:4]).upper()
    _check_head(path, lines[:4] if at2 else _head(lines), unit)
    values, dt_s = _at2(path, lines) if at2 else _columns(path, lines)
    accel = UNITS[unit] * values
    peak_g = float(np.abs(accel).max()) / G
    if not 0 < peak_g <= PEAK_G:
        told = f"peaks at {peak_g:.4g} g" if peak_g else "never moves"
        raise CityloopError(f"record {path} {told}: correct motion.unit ({', '.join(UNITS)}), or give another record")
    return accel, dt_s


def offset_of(accel: np.ndarray, dt_s: float) -> str | None:
    """What tells that a record's acceleration has an offset; None: nothing does.

    The integral of an offset rises evenly, to far more than the velocity of the motion itself.

    Args:
        accel: in m/s², ``(T,)``.
        dt_s: between samples.
    """
    velocity = np.append(0.0, (accel[1:] + accel[:-1]).cumsum() * dt_s / 2)
    end, lasts_s = float(velocity[-1]), (len(accel) - 1) * dt_s
    rest = float(np.abs(velocity - np.linspace(0.0, end, len(velocity))).max())
    if abs(end) <= DRIFT * rest:
        return None
    return (
        f"integrated, the ground ends at {abs(end):.3g} m/s, and without an even acceleration of "
        f"{end / lasts_s:.2g} m/s2 its velocity peaks at {rest:.3g} m/s"
    )


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CityloopError(
            f"record {path} cannot be read ({error.strerror}): give an AT2 or two-column file"
        ) from None
    wide = content.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace")  # a header may be in any language
    if "\0" in text:
        raise CityloopError(f"record {path} is no text, or text without a mark of its encoding: save it as UTF-8")
    return text


def _head(lines: list[str]) -> list[str]:
    """Lines before a file's first numbers."""
    first = next((k for k, line in enumerate(lines) if _numbers(line) is not None), len(lines))
    return lines[:first]


def _refuse_foreign(path: Path, head: list[str]) -> None:
    """Refuse unsupported formats by name: numbers of their headers would be taken for samples."""
    for line in head:
        for name, words in FOREIGN.items():
            if re.search(words, line, re.I):
                raise CityloopError(f"record {path} is {name} file: give an AT2 or two-column file")


def _check_head(path: Path, head: list[str], unit: str) -> None:
    """Refuse a file whose head names another unit, or no acceleration at all."""
    text = "\n".join(head).lower()
    columns = "".join(head[-1:]).lower()
    other = re.search(OTHER, text) or ("acc" not in columns and re.search(OTHER_COLUMN, columns))
    if other:
        kind = "velocity" if other[1].startswith("vel") else "displacement"
        raise CityloopError(f"record {path} holds a {kind}: give the file of accelerations")
    said = next((name for name, words in SAID.items() if re.search(words, text)), None)
    unread = re.search(UNREAD, text)
    if said is None and unread:
        raise CityloopError(f"record {path} says that it is in {unread[0]}…: give accelerations in {', '.join(UNITS)}")
    said = said or unit
    if said != unit:
        raise CityloopError(f"record {path} says that it is in {said}, and motion.unit is {unit}: set it to {said}")


def _numbers(line: str, at: int = 0) -> tuple[float, float] | None:
    """Two numbers of a line from an index on, the first two by default; None if there are none."""
    words = re.split(r"[,;\s]+", line.replace('"', "").strip())
    try:
        return float(words[at]), float(words[at + 1])
    except (ValueError, IndexError):
        return None


def _at2(path: Path, lines: list[str]) -> tuple[np.ndarray, float]:
    """PEER: three lines of text, ``NPTS= n, DT= s``, then values in rows; or the older form ``n s NPTS, DT``."""
    head = lines[3] if len(lines) > 3 else ""
    count, dt = re.search(r"NPTS\s*=\s*(\d+)", head, re.I), re.search(rf"DT\s*=\s*{SECONDS}", head, re.I)
    old = re.match(rf"\s*(\d+)\s+{SECONDS}", head)
    said = (count[1], dt[1]) if count and dt else old.groups() if old else ("", "")
    try:
        n, dt_s = int(said[0]), float(said[1])
    except ValueError:
        raise CityloopError(
            f"record {path}, line 4 is {head[:60]!r}: an AT2 file says there 'NPTS= n, DT= seconds'"
        ) from None
    try:
        values = np.array(" ".join(lines[4:]).split(), dtype=float)
    except ValueError as error:
        raise CityloopError(f"record {path} holds something that is no number ({error}): correct it") from None
    finite = int(np.isfinite(values).sum())
    if not finite == len(values) == n or n < 2 or not dt_s > 0:
        raise CityloopError(f"record {path} has {finite} finite values, its head says {n} of {dt_s:g} s: mend it")
    _check_step(path, dt_s)
    _refuse_missing(path, values)
    return values, dt_s


def _refuse_missing(path: Path, values: np.ndarray) -> None:
    missing = int((values == MISSING).sum())
    if missing:
        raise CityloopError(
            f"record {path} holds {MISSING:g} {missing} times, which stands for missing values: fill the gap, or cut "
            "it off"
        )


def _check_step(path: Path, dt_s: float) -> None:
    if dt_s > STEP_S:
        raise CityloopError(f"record {path} has steps of {dt_s:.4g} s: give times in seconds")


def _columns(path: Path, lines: list[str]) -> tuple[np.ndarray, float]:
    rows: list[tuple[float, float]] = []
    wide = 0  # a line with more columns, of which any may hold the accelerations
    for number, line in enumerate(lines, start=1):
        row, where = _numbers(line), f"record {path}, line {number} is {line.strip()[:60]!r}"
        if row is None:
            if rows and line.strip():
                raise CityloopError(f"{where}: give time and acceleration")
            continue
        if not np.isfinite(row).all():
            raise CityloopError(f"{where}: give numbers, or leave the line out and fill the gap")
        if rows and row[0] <= rows[-1][0]:
            raise CityloopError(f"{where}, after a time of {rows[-1][0]:g}: give times that rise, and decimal points")
        rows.append(row)
        wide = wide or (number if _numbers(line, 1) is not None else 0)
    if len(rows) < 2:
        raise CityloopError(f"record {path} has {len(rows)} rows of numbers: give time and acceleration in each")
    times, values = np.array(rows).T
    if len(rows) >= RISING and (np.diff(values) > 0).all():
        raise CityloopError(f"record {path} has a second column that only rises, as times do: leave out the first")
    if wide:
        raise CityloopError(f"record {path}, line {wide} has a third number: give time and acceleration alone")
    steps = np.diff(times)
    dt_s = float(np.median(steps))
    if steps.max() > GAP * dt_s:
        after_s, gap_s = times[steps.argmax()], steps.max()
        raise CityloopError(f"record {path} has a gap of {gap_s:.4g} s after {after_s:.4g} s: fill it, or cut it off")
    _check_step(path, dt_s)
    _refuse_missing(path, values)
    return _even(times, values, dt_s)


def _even(times: np.ndarray, values: np.ndarray, usual_s: float) -> tuple[np.ndarray, float]:
    """Samples at even steps, and the step: those of the file, where its times are only rounded or some are left out."""
    places = np.append(0.0, np.round(np.diff(times) / usual_s).cumsum())
    since = times - times[0]
    if (np.diff(places) > 0).all():
        off = since - np.polyval(np.polyfit(places, since, 1), places)
        dt_s = float(since[-1] / places[-1])
        if abs(off).max() <= ROUNDED * dt_s:
            return np.interp(np.arange(places[-1] + 1), places, values), dt_s
    dt_s = usual_s / FINE
    return np.interp(np.arange(0.0, since[-1] + dt_s / 2, dt_s), since, values), dt_s
