"""Pictures as matplotlib figures: what all of them share, and the picture of one episode.

They are independent of any system: indicators and traces come by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from envs.core.colours import COLOURS
from training.episodes import Episode

UNITS = {
    "s": "s",
    "min": "min",
    "pct": "%",
    "veh": "vehicles",
    "m": "m",
    "mm": "mm",
    "mps": "m/s",
    "m3": "m³",
    "m3ps": "m³/s",
    "cms": "m³/s",
    "mmh": "mm/h",
    "km": "km",
    "n": "N",
    "s2": "m/s²",
}
"""Last part of a name → unit."""

WORDS = {"accel": "acceleration", "est": "estimate"}
"""Abbreviation in names → its meaning."""

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
}

DPI = 130

CLOCKS, LONG = (("s", 1.0), ("min", 60.0), ("h", 3600.0)), 180.0
"""Units of time in seconds; an axis takes the first in which it is not longer than that."""

PLAN_S = 900.0
"""Part of the episode that the picture of each agent's choices shows."""


def save(figure: Figure, path: Path) -> None:
    """Write a picture. Names are not parsed as formulas, even with two `$`, and long titles are wrapped."""
    logarithmic = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if axis.get_scale() == "log"]
    powers = {text for axis in logarithmic for text in axis.findobj(Text)}
    for text in set(figure.findobj(Text)) - powers:
        text.set_parse_math(False)
    titles = {axes.get_title(where) for axes in figure.axes for where in ("left", "center")} | {figure.get_suptitle()}
    for text in figure.findobj(Text):  # matplotlib breaks lines as if `$` began a formula all the same
        text.set_wrap(text.get_text() in titles and "$" not in text.get_text())
    figure.savefig(path, dpi=DPI)


def label(name: str) -> str:
    """A name with its unit as an axis label: ``standing_veh`` → ``standing (vehicles)``."""
    words, _, unit = name.replace("_m_s2", "_s2").rpartition("_")
    if not words or unit not in UNITS:
        return _plain(name)
    return f"{_plain(words)} ({UNITS[unit]})"


def _plain(name: str) -> str:
    return " ".join(WORDS.get(word, word) for word in name.split("_"))


def since_start(time_s: np.ndarray) -> tuple[np.ndarray, str]:
    """Time since the start in a unit that suits its length, and that unit."""
    since_s = time_s - time_s[0]
    unit, seconds = next((pair for pair in CLOCKS if since_s[-1] <= pair[1] * LONG), CLOCKS[-1])
    return since_s / seconds, unit


def episode(played: Episode, name: str) -> Figure | None:
    """One whole episode: the world's totals over time, and every agent's choices in the first quarter of an hour.

    Args:
        played: the episode.
        name: name of the scenario.

    Returns:
        The picture; None if the system draws nothing.
    """
    if not (played.trace or played.drawn):
        return None
    whole = {name: values for name, values in played.drawn.items() if np.issubdtype(values.dtype, np.integer)}
    lines = [(label(name), values) for name, values in played.trace.items()]
    lines += [(f"{label(name)},\neach", values) for name, values in played.drawn.items() if name not in whole]
    with mpl.rc_context(STYLE):
        agents = max((states.shape[1] for states in whole.values()), default=0)
        heights = [1.6] * len(lines) + [0.6 + 0.18 * agents] * len(whole)
        figure = Figure(figsize=(9, sum(heights) + 0.8), layout="constrained")
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        since, unit = ((played.time_s - played.time_s[0]) / 60, "min") if whole else since_start(played.time_s)
        for axes, (what, values) in zip(panels, lines, strict=False):
            axes.set_prop_cycle(color=COLOURS)
            axes.plot(since, values, lw=1.4 if values.ndim == 1 else 0.9)
            axes.set_ylabel(what, size=9)
            from_zero(axes)
            axes.margins(x=0)
            axes.grid(color="0.92")
        for axes, (column, states) in zip(panels[len(lines) :], whole.items(), strict=True):
            paint_choices(axes, played.time_s, states)
            # Above, as the bars of a few agents are less high than this is long.
            axes.set_title(f"{column} of every agent", size=9, weight="normal")
            axes.set_yticks([])
        panels[-1].set_xlabel(f"time since the start ({unit})")
        panels[0].set_title(f"{name}: one episode, seed {played.seed}")
    return figure


def from_zero(axes: Any) -> None:
    """Let the axis begin at zero, unless a curve lies below."""
    if not any((line.get_ydata() < 0).any() for line in axes.lines):
        axes.set_ylim(bottom=0)


def paint_choices(axes: Any, time_s: np.ndarray, states: np.ndarray) -> None:
    """Coloured bars of each agent's choice, from change to change."""
    since = time_s - time_s[0]
    kept = since < PLAN_S
    since, states = since[kept], states[kept]
    end = since[-1] + (since[1] - since[0] if len(since) > 1 else 1.0)
    for agent in range(states.shape[1]):
        mine = states[:, agent]
        starts = np.flatnonzero(np.r_[True, mine[1:] != mine[:-1]])
        edges = np.r_[since[starts], end] / 60
        spans = list(zip(edges[:-1], np.diff(edges), strict=True))
        axes.broken_barh(spans, (agent - 0.4, 0.8), facecolors=[colour_of_choice(int(k)) for k in mine[starts]])
    axes.set_ylim(states.shape[1] - 0.4, -0.6)
    axes.set_xlim(0, end / 60)
    axes.tick_params(axis="y", length=0)


def colour_of_choice(k: int) -> tuple[float, float, float]:
    """Colour of a choice; when the palette is used up it repeats, paler each time."""
    red, green, blue = to_rgb(COLOURS[k % len(COLOURS)])
    left = 0.45 ** (k // len(COLOURS))
    return 1 - left * (1 - red), 1 - left * (1 - green), 1 - left * (1 - blue)
