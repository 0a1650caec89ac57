"""Pictures of shaken buildings: profiles over the storeys, hysteresis loops of the dampers, spectra of the roof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.core.colours import COLOURS
from envs.dampers.kpis import BARE
from envs.dampers.site import DampersSite

TITLES = {
    "drift_mm": ("peak drift", "peak drift (mm)"),
    "accel_m_s2": ("peak acceleration", "peak acceleration (m/s²)"),
    "fatigue": ("fatigue from drift cycles", "share of the worst storey's without dampers"),
}
"""Indicator → its title, and the label of its axis."""

WIDTH = 5.5
"""Least width of a picture in inches: its title fits."""


def draw_map(site: DampersSite, found: Mapping[str, Mapping[str, float]], indicator: str) -> Any:
    """A profile over the height: one line a controller, and one for the building without dampers.

    Args:
        site: the building.
        found: controller → storey or floor → value.
        indicator: name of the values.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 1.6 + 0.45 * site.building.frame.floors), layout="constrained")
    axes = figure.add_subplot()
    first = next(iter(found.values()))
    places = [place for place in first if not place.endswith(BARE)]
    heights = np.arange(1, len(places) + 1)
    axes.plot([first[place + BARE] for place in places], heights, "k--", lw=1.2, label="no dampers")
    for k, (name, values) in enumerate(found.items()):
        axes.plot([values[place] for place in places], heights, "o-", ms=4, color=_colour(k), label=name)
    for k, storey in enumerate(site.building.storeys + 1):
        axes.axhspan(storey - 0.15, storey + 0.15, color="0.9", zorder=0, label=None if k else "storeys with dampers")
    axes.set_yticks(heights, places)
    axes.set_ylabel("floor" if indicator.startswith("accel") else "storey")
    axes.set_xlim(left=0)
    what, axis = TITLES.get(indicator, (indicator, indicator))
    axes.set_xlabel(axis)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(f"dampers/{site.name}: {what}, mean over seeds", size=11, weight="bold")
    return figure


def draw_episodes(site: DampersSite, found: Mapping[str, Mapping[str, np.ndarray]], step_s: float) -> dict[str, Any]:
    """Loops and spectra of one motion under several controllers: name of the picture → figure.

    Args:
        site: the building.
        found: controller → column of the readings → values at every decision, ``(T, …)``.
        step_s: between decisions.
    """
    return {"loops": _loops(site, found), "spectra": _spectra(site, found, step_s)}


def _loops(site: DampersSite, found: Mapping[str, Mapping[str, np.ndarray]]) -> Any:
    from matplotlib.figure import Figure

    rows, columns = len(found), len(site.agents)
    figure = Figure(figsize=(max(2.8 * columns + 1, WIDTH), 2.2 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex="col", sharey="col")
    for k, (line, (name, seen)) in enumerate(zip(panels, found.items(), strict=True)):
        for axes, stroke, force, agent in zip(line, seen["stroke_mm"].T, seen["force_n"].T, site.agents, strict=True):
            axes.plot(stroke, force, lw=0.6, color=_colour(k))
            axes.set_title(f"{name}: {agent}", size=9, loc="left")
            axes.grid(color="0.92")
    for axes in panels[-1]:
        axes.set_xlabel("stroke (mm)")
    for axes in panels[:, 0]:
        axes.set_ylabel("force (N)")
    figure.suptitle(f"dampers/{site.name}: force over stroke, one motion", size=11, weight="bold")
    return figure


def _spectra(site: DampersSite, found: Mapping[str, Mapping[str, np.ndarray]], step_s: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for k, (name, seen) in enumerate(found.items()):
        roof = np.nan_to_num(seen["accel_est_m_s2"][:, -1])
        frequencies = np.fft.rfftfreq(len(roof), step_s)
        axes.semilogy(frequencies[1:], abs(np.fft.rfft(roof))[1:] * step_s, lw=0.9, color=_colour(k), label=name)
    for k, frequency in enumerate(site.building.frame.frequencies_hz):
        label = None if k else "natural frequencies without dampers"
        axes.axvline(frequency, color="0.7", lw=0.8, ls="--", zorder=0, label=label)
    axes.set_xlim(0, min(0.5 / step_s, 1.5 * float(site.building.frame.frequencies_hz[-1])))
    axes.set_xlabel("frequency (Hz)")
    axes.set_ylabel("Fourier amplitude (m/s)")
    axes.legend(fontsize=8, frameon=False)
    figure.suptitle(f"dampers/{site.name}: acceleration of the roof, one motion", size=11, weight="bold")
    return figure


def _colour(k: int) -> str:
    """Colour of the k-th controller."""
    return COLOURS[k % len(COLOURS)]
