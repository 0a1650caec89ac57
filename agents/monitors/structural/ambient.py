"""Ambient vibration of the benchmark building: records of sixteen accelerometers in one window.

Wind-like forces at all floors in both axes (white noise through the benchmark's sixth-order low-pass at 100 Hz), modal
superposition with an exact zero-order hold, sensor noise, and influences that vary from day to day on a healthy
building: temperature, the level of excitation, live load. Numbers that the benchmark does not give are choices, marked
as such at `Weather`. Faults of sensors are added here too.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg import eigh
from scipy.signal import butter, decimate, lfilter, sosfilt

from agents.monitors.structural.config import Channel
from agents.monitors.structural.iasc import AXES, BAY_M, FACES, HEALTHY, MASSES_KG, STOREYS, Damage, matrices
from envs.core.errors import CityloopError
from envs.core.frozen import Frozen

RATE_HZ = 200.0
"""What sensors deliver, after an anti-alias filter."""

OVERSAMPLING = 2
DAMPING = 0.01
CUTOFF_HZ = 100.0
FORCE_N = 40.0
"""Root mean square of one floor's force in one axis at level 1; the benchmark leaves the level open."""

CHANNELS = tuple(
    Channel(id=f"{axis}{floor}{side}", floor=floor, axis=axis)
    for floor in range(1, STOREYS + 1)
    for axis in AXES
    for side in ("a", "b")
)
"""Two accelerometers a floor and axis, at opposite faces: ``x1a``, ``x1b``, ``y1a`` …"""

FAULTS = ("stuck", "bias", "dropout", "clipping", "spikes", "gain")


class Weather(Frozen):
    """What varies between healthy windows: our choices, of the size that long-term campaigns report.

    Attributes:
        low_c, high_c: temperatures are drawn evenly in between.
        per_c: relative stiffness lost per degree, for each storey in x and in y; storeys warm differently.
        kink_c, kink: below this temperature stiffness changes this many times as fast (as bridge decks that freeze).
        measured_c: standard deviation of the structure's temperature around the measured one.
        load: standard deviation of each floor's mass, relative: people and furniture.
        level: standard deviation of the logarithm of the excitation.
        noise: sensors' noise, as a share of the largest channel's root mean square (the benchmark's 10 %).
    """

    low_c: float = -5.0
    high_c: float = 38.0
    per_c: tuple[tuple[float, float], ...] = ((0.0015, 0.0013), (0.0012, 0.0016), (0.0017, 0.0012), (0.0011, 0.0014))
    kink_c: float = 2.0
    kink: float = 2.5
    measured_c: float = 0.5
    load: float = 0.005
    level: float = 0.5
    noise: float = 0.1

    def factors(self, temperature_c: float) -> np.ndarray:
        """Multiples of the storeys' stiffness ``(storeys, 2)`` at a temperature of the structure, 1 at 20 °C."""
        warm = max(temperature_c, self.kink_c) - 20.0
        cold = min(temperature_c - self.kink_c, 0.0)
        return 1.0 - np.array(self.per_c) * (warm + self.kink * cold)


def simulate_window(
    rng: np.random.Generator,
    seconds: float = 60.0,
    damage: Damage = HEALTHY,
    weather: Weather | None = None,
    temperature_c: float | None = None,
    symmetric: bool = True,
) -> tuple[np.ndarray, float]:
    """One window of the sixteen accelerometers.

    Args:
        rng: everything random comes from here.
        seconds: length of the window.
        damage: of the building.
        weather: conditions that vary between windows; None: the default.
        temperature_c: the measured temperature; None: drawn.
        symmetric: see `iasc.matrices`.

    Returns:
        Accelerations ``(16, samples)`` in m/s² at `RATE_HZ`, in the order of `CHANNELS`, and the measured temperature.
    """
    weather = weather or Weather()
    measured = rng.uniform(weather.low_c, weather.high_c) if temperature_c is None else temperature_c
    factors = weather.factors(measured + weather.measured_c * rng.standard_normal())
    masses = np.array(MASSES_KG) * (1.0 + weather.load * rng.standard_normal(STOREYS))
    mass, stiffness = matrices(damage, factors, masses, symmetric)
    level = np.exp(weather.level * rng.standard_normal())
    clean = _respond(mass, stiffness, level * FORCE_N, seconds, rng)
    noise = weather.noise * clean.std(axis=1).max()
    return clean + noise * rng.standard_normal(clean.shape), measured


def _respond(
    mass: np.ndarray, stiffness: np.ndarray, force_n: float, seconds: float, rng: np.random.Generator
) -> np.ndarray:
    """Absolute accelerations at the sensors ``(16, samples)``; one per cent of critical damping in each mode."""
    rate = RATE_HZ * OVERSAMPLING
    settle = int(10 * rate)  # from rest: several time constants of the slowest mode are cut off
    count = round(seconds * rate) + settle
    eigenvalues, shapes = eigh(stiffness, mass)
    omega = np.sqrt(eigenvalues)
    white = rng.standard_normal((2 * STOREYS, count))
    forces = sosfilt(_low_pass(), white, axis=1)
    forces *= force_n / forces[:, settle:].std()
    loaded = np.array([[3 * floor, 3 * floor + 1] for floor in range(STOREYS)]).ravel()
    modal = shapes[loaded].T @ forces
    accelerations = np.stack(
        [lfilter(*oscillator(w, DAMPING, 1.0 / rate), row) for w, row in zip(omega, modal, strict=True)]
    )
    records = (sensor_rows() @ shapes) @ accelerations[:, settle:]
    return decimate(records, OVERSAMPLING, axis=1)


def oscillator(omega: float, damping: float, step_s: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact zero-order-hold filter from a force per mass to an oscillator's acceleration.

    q'' + 2 ζ ω q' + ω² q = p, with p held over a step: the closed form of the matrix exponential.

    Returns:
        Numerator and denominator in powers of the delay, as `scipy.signal.lfilter` takes them.
    """
    damped = omega * np.sqrt(1.0 - damping**2)
    decay = np.exp(-damping * omega * step_s)
    cosine, sine = np.cos(damped * step_s), np.sin(damped * step_s)
    slope = damping * omega / damped
    denominator = np.array([1.0, -2.0 * decay * cosine, decay**2])
    # the step response of q'' is exp(-ζωt) (cos ω_d t - (ζω/ω_d) sin ω_d t); differencing it gives the numerator
    ahead = decay * (cosine - slope * sine)
    numerator = np.array([1.0, ahead - 2.0 * decay * cosine - 1.0, 2.0 * decay * cosine - ahead])
    return numerator, denominator


def sensor_rows() -> np.ndarray:
    """What each channel reads of the floors' (x, y, rotation): ``(16, 12)``."""
    rows = np.zeros((len(CHANNELS), 3 * STOREYS))
    for k, channel in enumerate(CHANNELS):
        face = FACES[0] if channel.id.endswith("a") else FACES[1]
        at = 3 * (channel.floor - 1)
        rows[k, at + AXES.index(channel.axis)] = 1.0
        rows[k, at + 2] = face * BAY_M * (-1.0 if channel.axis == "x" else 1.0)
    return rows


@lru_cache
def _low_pass() -> np.ndarray:
    return butter(6, CUTOFF_HZ, fs=RATE_HZ * OVERSAMPLING, output="sos")


def spoil(window: np.ndarray, channel: int, fault: str, rng: np.random.Generator, size: float = 1.0) -> np.ndarray:
    """A window with one faulty channel.

    Args:
        window: accelerations ``(channels, samples)``.
        channel: which is faulty.
        fault: one of `FAULTS`.
        rng: when it happens.
        size: of the fault, 1 for a plain one: a bias of five, clipping at one and spikes of twenty standard deviations,
            a gain that is a fifth too small, a fifth of the samples missing, stuck from a random moment on.

    Raises:
        CityloopError: for a fault of another name.
    """
    out = window.copy()
    row = out[channel]
    count, sigma = row.size, row.std()
    if fault == "stuck":
        start = rng.integers(0, count // 2)
        row[start:] = row[start]
    elif fault == "bias":
        row += 5.0 * size * sigma
    elif fault == "dropout":
        row[rng.choice(count, int(0.2 * size * count), replace=False)] = np.nan
    elif fault == "clipping":
        np.clip(row, -sigma / size, sigma / size, out=row)
    elif fault == "spikes":
        at = rng.choice(count, max(int(0.002 * count), 1), replace=False)
        row[at] += 20.0 * size * sigma * rng.choice([-1.0, 1.0], at.size)
    elif fault == "gain":
        row *= 1.0 - 0.2 * size
    else:
        raise CityloopError(f"fault is {fault!r}: choose {', '.join(FAULTS)}")
    return out
