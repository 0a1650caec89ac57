"""Ground motions from a seed: filtered noise, pulses, long-period basins, sines, records, matched spectra; and gusts.

They serve training and comparison: no seed represents the hazard of a place. The design motion of a site is its
engineer's input (`Motion.spectrum`, `Motion.record`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from envs.core.frozen import Frozen
from envs.dampers.motions.records import read_record
from envs.dampers.motions.spectrum import G, match

SOILS: dict[str, tuple[float, float, float, float]] = {
    "firm": (15.0, 0.6, 1.5, 0.6),
    "medium": (10.0, 0.4, 1.0, 0.6),
    "soft": (5.0, 0.2, 0.5, 0.6),
}
"""Soil → ω_g rad/s, ζ_g, ω_f rad/s, ζ_f of Clough and Penzien (1975), as commonly tabulated (recalled)."""

AIR_KG_M3 = 1.25
"""Density of air."""

SWELL_S = 5.0
"""Time over which gusts grow at the start: the building begins at rest."""

Kind = Literal["stochastic", "pulse", "basin", "harmonic", "wind", "record", "none"]


class Spectrum(Frozen):
    """A design spectrum that every motion is matched to; its values are inputs of the site.

    Attributes:
        sds_g, sd1_g: plateau, and value at one second.
        low_s, high_s: range of periods that is matched.
    """

    sds_g: float = Field(gt=0, le=5)
    sd1_g: float = Field(gt=0, le=5)
    low_s: float = Field(default=0.1, gt=0)
    high_s: float = Field(default=3.0, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Spectrum:
        if self.low_s >= self.high_s:
            raise ValueError(f"high_s is {self.high_s:g}: it must be above low_s, {self.low_s:g}")
        return self


class Wind(Frozen):
    """Gusts on the facade.

    Attributes:
        speed_m_s: mean over some ten minutes, ten metres above the ground.
        width_m: of the facade across the wind.
        drag: its force coefficient.
        profile: exponent with which the mean rises over the height: 0.16 in open country, 0.4 in a city.
        roughness: surface drag coefficient: 0.005 in open country, 0.05 in a city.
    """

    speed_m_s: float = Field(default=25.0, gt=0, le=100)
    width_m: float = Field(default=10.0, gt=0)
    drag: float = Field(default=1.3, gt=0)
    profile: float = Field(default=0.16, ge=0, le=1)
    roughness: float = Field(default=0.005, gt=0, le=0.1)


class Motion(Frozen):
    """Excitation of the building.

    Attributes:
        kind: ``stochastic`` (Clough-Penzien noise under an envelope), ``pulse`` (the same with a near-field velocity
            pulse), ``basin`` (far-field, long-period, long), ``harmonic`` (a sine that swells in three periods),
            ``wind`` (gusts that push the floors while the ground stands still), ``record`` (a file), or ``none``.
        soils: of stochastic motions, one drawn for each.
        pulse_share: of stochastic motions that get a pulse.
        pga_g: median peak acceleration.
        pga_spread: standard deviation of its logarithm.
        pga_range_g: smallest and largest peak.
        strong_s: end of the rise, and beginning of the decay.
        decay_1_s: rate of the decay, smallest and largest of a uniform draw.
        period_s: of harmonic motions, of pulses and of a basin; None: the building's first.
        record: AT2 or two-column file.
        unit: of a record's accelerations.
        factor: on a record's acceleration, before scaling to a peak or spectrum.
        speed: time scale: how many times faster than recorded it runs (Dyke 1996: 5).
        scaled: whether a record is scaled to ``pga_g``, too.
        spectrum: target of ground motions, instead of a peak.
        wind: of motions of kind ``wind``; ``pga_…`` do not apply to it.
    """

    kind: Kind = "stochastic"
    soils: tuple[Literal["firm", "medium", "soft"], ...] = Field(default=("firm", "medium", "soft"), min_length=1)
    pulse_share: float = Field(default=0.3, ge=0, le=1)
    pga_g: float = Field(default=0.2, gt=0, le=5)
    pga_spread: float = Field(default=0.5, ge=0, le=2)
    pga_range_g: tuple[float, float] = (0.001, 5.0)
    strong_s: tuple[float, float] = (2.5, 11.0)
    decay_1_s: tuple[float, float] = (0.2, 0.5)
    period_s: float | None = Field(default=None, gt=0)
    record: Path | None = None
    unit: Literal["g", "m/s2", "cm/s2"] = "g"
    factor: float = Field(default=1.0, gt=0)
    speed: float = Field(default=1.0, gt=0)
    scaled: bool = False
    spectrum: Spectrum | None = None
    wind: Wind = Wind()

    @model_validator(mode="after")
    def _whole(self) -> Motion:
        for name in ("pga_range_g", "strong_s", "decay_1_s"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two numbers with 0 < low <= high, not {[low, high]}")
        if (self.kind == "record") != (self.record is not None):
            raise ValueError("record is for motions of kind 'record', and they need it: give a file, or change kind")
        if self.kind == "wind" and self.spectrum is not None:
            raise ValueError("spectrum is of the ground's motion: leave it out where kind is 'wind'")
        if self.record is not None and not self.record.is_file():
            raise ValueError(f"record {self.record} is missing: give an existing AT2 or two-column file")
        return self


def draw(motion: Motion, duration_s: float, dt_s: float, first_s: float, seed: int) -> np.ndarray:
    """A ground motion in m/s², or gusts in m/s, ``(T,)``: sample k is at time k dt, linear in between, from zero.

    Args:
        motion: its kind and parameters.
        duration_s: duration, the last sample included.
        dt_s: between samples.
        first_s: period of the building's first mode.
        seed: of all random numbers.
    """
    rng = np.random.default_rng([seed, 11])
    times = np.arange(round(duration_s / dt_s) + 1) * dt_s
    if motion.kind == "none":
        return np.zeros(len(times))
    if motion.kind == "wind":
        return gusts(motion.wind, times, rng) * np.minimum(times / SWELL_S, 1.0)
    if motion.kind == "record":
        return _record(motion, times)
    makers: dict[str, Any] = {"stochastic": _noise, "pulse": _noise, "basin": _basin, "harmonic": _sine}
    shaken = makers[motion.kind](motion, times, motion.period_s or first_s, rng)
    if motion.spectrum is not None:
        target = motion.spectrum
        return match(shaken, dt_s, target.sds_g, target.sd1_g, target.low_s, target.high_s)
    peak = G * float(np.clip(motion.pga_g * np.exp(motion.pga_spread * rng.standard_normal()), *motion.pga_range_g))
    return np.asarray(shaken * peak / max(float(np.abs(shaken).max()), 1e-12))


def recorded_s(motion: Motion) -> float:
    """Duration of a record in seconds.

    Raises:
        CityloopError: if it cannot be read.
    """
    assert motion.record is not None
    recorded, dt_s = read_record(motion.record, motion.unit)
    return round((len(recorded) - 1) * dt_s / motion.speed, 6)


def _record(motion: Motion, times: np.ndarray) -> np.ndarray:
    assert motion.record is not None
    recorded, dt_s = read_record(motion.record, motion.unit)
    own = np.arange(len(recorded)) * dt_s / motion.speed
    shaken = motion.factor * np.interp(times, own, recorded, right=0.0)
    if motion.spectrum is not None:
        target = motion.spectrum
        return match(shaken, float(times[1]), target.sds_g, target.sd1_g, target.low_s, target.high_s)
    if motion.scaled:
        shaken *= G * motion.pga_g / max(float(np.abs(shaken).max()), 1e-12)
    return np.asarray(shaken)


def clough_penzien(noise: np.ndarray, soil: tuple[float, float, float, float], dt_s: float) -> np.ndarray:
    """White noise filtered by the soil: Kanai-Tajimi's filter (1957, 1960), Clough and Penzien's low-cut (1975).

    (2 ζ_g ω_g s + ω_g²) / (s² + 2 ζ_g ω_g s + ω_g²) times s² / (s² + 2 ζ_f ω_f s + ω_f²), discretised by Tustin's rule.

    Args:
        noise: ``(T,)``.
        soil: ω_g, ζ_g, ω_f, ζ_f.
        dt_s: between samples.
    """
    from scipy.signal import bilinear, lfilter  # takes as long to import as all of ours together

    wg, zg, wf, zf = soil
    passed = lfilter(*bilinear([2 * zg * wg, wg**2], [1.0, 2 * zg * wg, wg**2], 1 / dt_s), noise)
    return np.asarray(lfilter(*bilinear([1.0, 0.0, 0.0], [1.0, 2 * zf * wf, wf**2], 1 / dt_s), passed))


def envelope(times: np.ndarray, rise_s: float, fall_s: float, decay_1_s: float) -> np.ndarray:
    """Amin and Ang (1968): (t / t1)² up, then one, then exp(−c (t − t2)); from 0 to 1, ``(T,)``."""
    return np.minimum(times / rise_s, 1.0) ** 2 * np.exp(-decay_1_s * np.maximum(times - fall_s, 0.0))


def near_field(times: np.ndarray, at_s: float, period_s: float, cycles: float, phase: float) -> np.ndarray:
    """Acceleration of a velocity pulse of Mavroeidis and Papageorgiou (2003), peak about one, ``(T,)``.

    v = ½ (1 + cos(2π f (t − t0) / γ)) cos(2π f (t − t0) + ν) for |t − t0| ≤ γ / 2f, differentiated.
    """
    omega, since = 2 * np.pi / period_s, times - at_s
    bell, bell_rate = 0.5 * (1 + np.cos(omega * since / cycles)), -0.5 * omega / cycles * np.sin(omega * since / cycles)
    wave, wave_rate = np.cos(omega * since + phase), -omega * np.sin(omega * since + phase)
    inside = np.abs(since) <= cycles * period_s / 2
    return np.where(inside, (bell_rate * wave + bell * wave_rate) / omega, 0.0)


def _noise(motion: Motion, times: np.ndarray, period_s: float, rng: np.random.Generator) -> np.ndarray:
    """Clough-Penzien noise under an envelope; every ``pulse`` and some others with a near-field pulse."""
    dt_s = float(times[1])
    soil = SOILS[motion.soils[int(rng.integers(len(motion.soils)))]]
    # In episodes shorter than a usual motion the envelope is compressed, so that it still decays.
    short = min(1.0, float(times[-1]) / (1.5 * motion.strong_s[1]))
    rise, fall = (short * t for t in motion.strong_s)
    shape = envelope(times, rise, fall, float(rng.uniform(*motion.decay_1_s)) / short)
    shaken = clough_penzien(rng.standard_normal(len(times)), soil, dt_s) * shape
    shaken /= max(float(np.abs(shaken).max()), 1e-12)
    if motion.kind == "pulse" or rng.random() < motion.pulse_share:
        pulse_s, cycles = period_s * float(rng.uniform(0.5, 2.0)), float(rng.uniform(1.0, 2.5))
        at = float(rng.uniform(rise, fall))
        shaken = 0.5 * shaken + near_field(times, at, pulse_s, cycles, float(rng.uniform(0, 2 * np.pi)))
    shaken[0] = 0.0
    return shaken


def _basin(motion: Motion, times: np.ndarray, period_s: float, rng: np.random.Generator) -> np.ndarray:
    """A far earthquake on deep soft soil: narrow-banded about a long period, and long; as in Bangkok, say."""
    centre = 2 * np.pi / (period_s * float(rng.uniform(0.8, 1.25)))
    soil = (centre, 0.1, 0.3 * centre, 0.6)
    end = float(times[-1])
    shaken = clough_penzien(rng.standard_normal(len(times)), soil, float(times[1]))
    return shaken * envelope(times, 0.3 * end, 0.7 * end, 3.0 / end)


def _sine(motion: Motion, times: np.ndarray, period_s: float, rng: np.random.Generator) -> np.ndarray:
    """A sine at the given period that swells over its first three."""
    return np.asarray(np.minimum(times / (3 * period_s), 1.0) * np.sin(2 * np.pi * times / period_s))


def davenport(wind: Wind, frequencies_hz: np.ndarray) -> np.ndarray:
    """One-sided power of gusts in (m/s)²/Hz; their variance is 6 κ U².

    n S / (κ U²) = 4 x² / (1 + x²)^(4/3) with x = n · 1200 m / U (Davenport 1961, as commonly given; recalled).
    """
    x = 1200.0 * frequencies_hz / wind.speed_m_s
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 4 * wind.roughness * wind.speed_m_s**2 * x**2 / ((1 + x**2) ** (4 / 3) * frequencies_hz)
    return np.where(frequencies_hz > 0, power, 0.0)


def gusts(wind: Wind, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gusts, the wind speed's deviation from its mean in m/s, ``(T,)``: noise of Davenport's spectrum.

    Periods beyond the episode's duration are left out, as is the mean, whose static load no damper changes.
    """
    dt_s = float(times[1])
    power = davenport(wind, np.fft.rfftfreq(len(times), dt_s))
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(len(times))) * np.sqrt(power / (2 * dt_s)), len(times))


def facade_n_s_m(wind: Wind, storey_m: float, floors: int) -> np.ndarray:
    """Force on every floor per m/s of a gust, in N·s/m, ``(n,)``: ρ c A U(z) with U(z) = U (z / 10 m)^α.

    Quasi-steady and linear in gusts, as Davenport (1961) has it; they are fully correlated over the height, the
    most severe case.
    """
    heights = storey_m * np.arange(1, floors + 1)
    mean = wind.speed_m_s * (heights / 10.0) ** wind.profile
    return np.asarray(AIR_KG_M3 * wind.drag * wind.width_m * storey_m * mean)
