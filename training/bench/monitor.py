"""``cityloop bench monitor``: what the structural monitor hears on the IASC–ASCE phase I building, and what not.

Simulated windows of sixteen accelerometers with a tenth of noise, at temperatures from -5 to 38 °C. Seeds for learning
and threshold setting, for healthy tests and for each damage are disjoint. A loss of stiffness hits one storey in one
axis, x and y in turn. A second, harsher run has an unsymmetric roof, four times the scatter of load and temperature and
twice the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.monitors.structural import MonitorConfig, Report, StructuralMonitor
from agents.monitors.structural.ambient import CHANNELS, FAULTS, RATE_HZ, Weather, simulate_window, spoil
from agents.monitors.structural.iasc import AXES, HEALTHY, MASSES_KG, PATTERNS, STOREYS, Damage, storey_loss

SEED = 20040101
LEARNING, TEST, HARSH_LEARNING, HARSH_TEST, FAULTY, MIXED, DAMAGED = range(7)
"""Groups of seeds; every damage has one of its own from the last on."""

HARSH = Weather(load=0.02, measured_c=2.0, noise=0.2)
LOSSES = (0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Sizes:
    """How many windows, and how long.

    Attributes:
        learning: half to learn from, half to set the threshold.
        healthy: to test false alarms on.
        damaged: for each damage.
        faulty: for each fault of sensors.
        mixed: of damages drawn at random, to test the probability on.
        seconds: of a window.
    """

    learning: int = 1200
    healthy: int = 1000
    damaged: int = 48
    faulty: int = 32
    mixed: int = 200
    seconds: float = 60.0


@dataclass(frozen=True)
class _Building:
    """The benchmark building in some weather."""

    weather: Weather
    sizes: Sizes
    symmetric: bool = True

    def simulate(
        self, rng: np.random.Generator, damage: Damage = HEALTHY, temperature_c: float | None = None
    ) -> tuple[np.ndarray, float]:
        """A window and its temperature."""
        return simulate_window(rng, self.sizes.seconds, damage, self.weather, temperature_c, self.symmetric)

    def learn(self, group: int, false_alarms: float) -> _Run:
        """A monitor that learned from healthy windows."""
        low, high = self.weather.low_c, self.weather.high_c
        temperatures = np.random.default_rng([SEED, group]).uniform(low, high, self.sizes.learning).tolist()
        windows = (self.simulate(_rng(group, k), temperature_c=t)[0] for k, t in enumerate(temperatures))
        return _Run(self, StructuralMonitor.learn(_config(false_alarms), windows, temperatures))


@dataclass(frozen=True)
class _Run:
    """A building, and the monitor that learned it."""

    building: _Building
    monitor: StructuralMonitor

    def watch(self, group: int, damages: Sequence[Damage]) -> list[Report]:
        """Reports on so many windows, from a clean slate."""
        self.monitor.reset()
        return [self.monitor.watch(*self.building.simulate(_rng(group, k), damage)) for k, damage in enumerate(damages)]


def bench_monitor(sizes: Sizes | None = None, false_alarms: float = 0.01) -> dict[str, Any]:
    """Measure detection, false alarms, location and estimates.

    Args:
        sizes: of the run; None: the default.
        false_alarms: that the thresholds are set for, a window.

    Returns:
        ``{"bench", "ratios", "figures"}``: what the bars are about, and everything else.
    """
    sizes = sizes or Sizes()
    figures: dict[str, float] = {}
    run = _Building(Weather(), sizes).learn(LEARNING, false_alarms)
    healthy = run.watch(TEST, [HEALTHY] * sizes.healthy)
    ratios = {"false alarms a window, healthy": _share(r.unusual for r in healthy)}
    figures["alarms (3 of 5) a window, healthy"] = _share(r.alarm == "alarm" for r in healthy)
    figures["windows not identified, healthy"] = _share(not r.identified for r in healthy)
    figures["sensors called faulty a window, healthy"] = float(np.mean([len(r.faults) for r in healthy]))
    figures["abnormal vibration a window, healthy"] = _share(
        r.vibration is not None and r.vibration.unusual for r in healthy
    )
    base = _statistics(healthy)
    group = DAMAGED
    for loss in LOSSES:
        for storey in range(1, STOREYS + 1):
            damages = [Damage(losses={(storey, AXES[k % 2]): loss}) for k in range(sizes.damaged)]
            found = _score(run.watch(group, damages), damages, base)
            label = f"{loss:.0%} of storey {storey}".replace("%", " %")
            figures |= {f"{label}: {name}": value for name, value in found.items()}
            if storey == 1 and loss in {0.1, 0.2}:
                ratios |= {f"{label}: {name}": found[name] for name in ("AUC", "detected", "right storey")}
            group += 1
    for name, braces in PATTERNS.items():
        damages = [Damage(braces=braces)] * sizes.damaged
        found = _score(run.watch(group, damages), damages, base)
        figures |= {f"{name}: {what}": value for what, value in found.items()}
        group += 1
    figures |= _calibration(run, healthy)
    figures |= _faults(run)
    figures |= _harsh(sizes, false_alarms)
    return {"bench": "monitor", "ratios": ratios, "figures": figures}


def _rng(group: int, k: int) -> np.random.Generator:
    return np.random.default_rng([SEED, group, k])


def _config(false_alarms: float) -> MonitorConfig:
    return MonitorConfig(
        name="iasc-asce phase I",
        rate_hz=RATE_HZ,
        masses_kg=MASSES_KG,
        channels=CHANNELS,
        false_alarms=false_alarms,
    )


def _share(seen: Any) -> float:
    return float(np.mean(list(seen)))


def _statistics(reports: Sequence[Report]) -> np.ndarray:
    """Statistics of windows; one in which nothing could be identified shows no damage."""
    return np.array([-np.inf if report.statistic is None else report.statistic for report in reports])


def _score(reports: Sequence[Report], damages: Sequence[Damage], healthy: np.ndarray) -> dict[str, float]:
    """How one damage was met: all shares are of all its windows; where it sits is asked of those detected."""
    statistics = _statistics(reports)
    above = (statistics[:, None] > healthy).mean() + 0.5 * (statistics[:, None] == healthy).mean()
    lost = [storey_loss(damage) for damage in damages]
    located = [(report.location, truth) for report, truth in zip(reports, lost, strict=True) if report.location]
    right = [truth.get((where.storey, where.axis), 0.0) > 0 for where, truth in located]
    error, covered, largest = [], [], []
    for report, truth in zip(reports, lost, strict=True):
        for storey in report.storeys:
            if (storey.storey, storey.axis) in truth:
                true = truth[storey.storey, storey.axis]
                error.append(storey.loss - true)
                covered.append(storey.low <= true <= storey.high)
            else:
                largest.append(storey.loss)
    return {
        "AUC": float(above),
        "detected": _share(report.unusual for report in reports),
        "right storey": sum(right) / len(reports),
        "error of the loss, median": float(np.median(error)),
        "error of the loss, 90th percentile": float(np.quantile(np.abs(error), 0.9)),
        "interval covers (of 90 %)": _share(covered),
        "loss given to whole storeys, 95th percentile": float(np.quantile(largest, 0.95)),
    }


def _calibration(run: _Run, healthy: Sequence[Report]) -> dict[str, float]:
    """Damages of any storey, axis and size up to 40 %: how far probabilities are from what happens."""
    rng = np.random.default_rng([SEED, MIXED])
    places = [(int(rng.integers(1, STOREYS + 1)), AXES[rng.integers(2)]) for _ in range(run.building.sizes.mixed)]
    damages = [Damage(losses={place: rng.uniform(0.0, 0.4)}) for place in places]
    damaged = run.watch(MIXED, damages)
    p = np.array([report.probability or 0.0 for report in [*healthy, *damaged]])
    truth = np.repeat([0.0, 1.0], [len(healthy), len(damaged)])
    weight = np.repeat([0.5 / len(healthy), 0.5 / len(damaged)], [len(healthy), len(damaged)])
    bins = np.minimum((p * 5).astype(int), 4)
    error = sum(abs((weight * (truth - p))[bins == k].sum()) for k in range(5))
    return {
        "probability: expected calibration error": float(error),
        "probability: Brier score": float((weight * (p - truth) ** 2).sum()),
    }


def _faults(run: _Run) -> dict[str, float]:
    figures = {}
    for place, fault in enumerate(FAULTS):
        named = turned = 0
        run.monitor.reset()
        for k in range(run.building.sizes.faulty):
            rng = _rng(FAULTY, place * 10_000 + k)
            window, temperature = run.building.simulate(rng)
            row = k % len(CHANNELS)
            clean = run.monitor.watch(window, temperature)
            report = run.monitor.watch(spoil(window, row, fault, rng), temperature)
            named += [(each.channel, each.kind) for each in report.faults] == [(CHANNELS[row].id, fault)]
            turned += report.unusual and not clean.unusual
        figures[f"sensor {fault}: named, and no other"] = named / run.building.sizes.faulty
        figures[f"sensor {fault}: called damage, and not without it"] = turned / run.building.sizes.faulty
    return figures


def _harsh(sizes: Sizes, false_alarms: float) -> dict[str, float]:
    run = _Building(HARSH, sizes, symmetric=False).learn(HARSH_LEARNING, false_alarms)
    healthy = run.watch(HARSH_TEST, [HEALTHY] * (sizes.healthy // 2))
    figures = {"harsh: false alarms a window, healthy": _share(r.unusual for r in healthy)}
    for k, (storey, loss) in enumerate(((1, 0.05), (1, 0.1), (1, 0.2), (STOREYS, 0.1))):
        damages = [Damage(losses={(storey, AXES[k % 2]): loss}) for k in range(sizes.damaged)]
        found = _score(run.watch(DAMAGED + 100 + k, damages), damages, _statistics(healthy))
        label = f"harsh: {loss:.0%} of storey {storey}".replace("%", " %")
        figures |= {f"{label}: {name}": found[name] for name in ("AUC", "detected", "right storey")}
    return figures
