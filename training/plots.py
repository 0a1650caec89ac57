"""Plots of an evaluation as matplotlib figures, independent of any system: indicators and traces come by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from envs.core.colours import COLOURS
from training.episodes import Episode
from training.evaluation import Evaluation, short_names

ALIKE = "0.35"
"""Colour of a curve that is equal under all controllers and drawn once, such as rain or ground motion."""

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

PLAN_AGENTS = 60
"""How many agents it shows at most, and `courses` panels: a picture of hundreds is too high to be drawn."""


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


def _brief(value: float) -> str:
    """A number with three significant digits, without an exponent: 10,700 and not 1.07e+04."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def colours(evaluation: Evaluation) -> dict[str, str]:
    """Controller → its colour in every picture."""
    return {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(evaluation.controllers)}


def headline(evaluation: Evaluation, meaning: str) -> Figure:
    """Box plot of the headline indicator of every controller, with a dot for each episode."""
    with mpl.rc_context(STYLE):
        names = list(evaluation.controllers)
        figure = Figure(figsize=(7.5, 1.4 + 0.55 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        rng = np.random.default_rng(0)
        for k, (name, colour) in enumerate(colours(evaluation).items()):
            values = np.array(evaluation.values(name))
            box = axes.boxplot(
                values, positions=[k], orientation="horizontal", widths=0.5, showfliers=False, patch_artist=True
            )
            _paint(box, colour)
            axes.scatter(
                values,
                k + rng.uniform(-0.14, 0.14, len(values)),
                s=14,
                color=colour,
                edgecolor="white",
                lw=0.4,
                zorder=3,
            )
            median = float(np.median(values))
            axes.annotate(_brief(median), (median, k - 0.3), ha="center", va="bottom", size=9)
        axes.set_yticks(range(len(names)), list(short_names(names).values()))
        axes.set_ylim(len(names) - 0.4, -0.7)
        largest = max(max(evaluation.values(name)) for name in names)
        axes.set_xlim(0, 1.05 * largest or None)  # alike and far from zero, dots would lie half beyond the edge
        axes.grid(axis="x", color="0.9")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{label(evaluation.kpi)} an episode; lower is better")
        where = _seeds(evaluation, evaluation.counting)
        axes.set_title(f"{evaluation.scenario}: {label(evaluation.kpi).split(' (')[0]} on {where}")
        figure.supxlabel(f"{evaluation.kpi}: {meaning}", size=7.5, color="0.4")
    return figure


def trade(evaluations: Sequence[Evaluation], settings: Sequence[str], pair: tuple[str, str]) -> Figure:
    """One indicator against another: one line per controller over the settings of a scenario.

    Args:
        evaluations: evaluations of the same controllers and seeds, one per setting.
        settings: label of each setting.
        pair: indicators on the x and the y axis, as means over episodes.
    """
    across, up = pair
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 5.0), layout="constrained")
        axes = figure.add_subplot()
        called = short_names(evaluations[0].controllers)
        for name, colour in colours(evaluations[0]).items():
            rows = [evaluation.controllers[name].rows for evaluation in evaluations]
            x, y = (np.array([np.mean([row[kpi] for row in each]) for each in rows]) for kpi in pair)
            axes.plot(x, y, "o-", color=colour, ms=4, lw=1.2, label=called[name])
            for setting, a, b in zip(settings, x, y, strict=True):
                axes.annotate(setting, (a, b), xytext=(4, 4), textcoords="offset points", size=7, color=colour)
        axes.margins(x=0.12, y=0.1)
        axes.set_ylim(bottom=0)
        axes.grid(color="0.9")
        axes.legend(frameon=False)
        axes.set_xlabel(label(across))
        axes.set_ylabel(label(up))
        place, _, name = evaluations[0].scenario.rpartition("-")
        axes.set_title(f"{place or name}: {label(up).split(' (')[0]} against {label(across).split(' (')[0]}")
        figure.supxlabel(
            f"means of {_seeds(evaluations[0])}; beside the points: what is changed", size=7.5, color="0.4"
        )
    return figure


def periods(evaluation: Evaluation) -> Figure:
    """The headline indicator in every period of the service, with one bar per controller: means over episodes."""
    with mpl.rc_context(STYLE):
        found, called = evaluation.periods(), short_names(evaluation.controllers)
        figure = Figure(figsize=(7.5, 3.2), layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / len(evaluation.controllers)
        for k, (name, colour) in enumerate(colours(evaluation).items()):
            values = [means.get(name, {}).get(evaluation.kpi, np.nan) for means in found.values()]
            bars = axes.bar(np.arange(len(found)) - 0.4 + (k + 0.5) * width, values, width, color=colour)
            axes.bar_label(bars, fmt=_brief, size=8)
            bars.set_label(called[name])
        axes.set_xticks(range(len(found)), list(found))
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel(f"{label(evaluation.kpi)}, mean")
        axes.set_title(f"{evaluation.scenario}: by period, on {_seeds(evaluation)}")
        axes.legend(frameon=False, ncols=3, loc="upper left", bbox_to_anchor=(0, -0.1))
    return figure


def _paint(box: dict[str, Any], colour: str) -> None:
    for patch in box["boxes"]:
        patch.set(facecolor=colour, alpha=0.25, edgecolor=colour)
    for line in [*box["whiskers"], *box["caps"], *box["medians"]]:
        line.set(color=colour, lw=1.2)
    for line in box["medians"]:
        line.set(lw=2.5)


def _seeds(evaluation: Evaluation, count: int | None = None) -> str:
    n = len(evaluation.seeds) if count is None else count
    return f"{n} {evaluation.split} seed{'s' if n > 1 else ''}"


def over_time(evaluation: Evaluation) -> Figure | None:
    """The world's totals over time: mean over seeds, with a band from the 10th to the 90th percentile."""
    traces = list(evaluation.episodes[0].trace)
    if not traces:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 2.3 * len(traces) + 0.6), layout="constrained")
        panels = figure.subplots(len(traces), 1, sharex=True, squeeze=False)[:, 0]
        for axes, trace in zip(panels, traces, strict=True):
            stacks = {name: _stack(evaluation, name, trace) for name in evaluation.controllers}
            for name, colour in _distinct_curves({name: values for name, (*_, values) in stacks.items()}, evaluation):
                since, unit, values = stacks[name]
                low, high = np.percentile(values, [10, 90], axis=0)
                axes.fill_between(since, low, high, color=colour, alpha=0.15, lw=0)
                axes.plot(since, values.mean(axis=0), color=colour, lw=1.6)
            axes.set_ylabel(label(trace))
            axes.set_ylim(bottom=0)
            axes.margins(x=0)
            axes.grid(color="0.92")
        panels[-1].set_xlabel(f"time since the start ({unit})")
        panels[0].set_title(f"{evaluation.scenario}: mean and 10th to 90th percentile of {_seeds(evaluation)}")
        _legend(figure, evaluation, panels)
    return figure


def _distinct_curves(found: dict[str, np.ndarray], evaluation: Evaluation) -> list[tuple[str, str]]:
    """Controllers to draw, with their colours; only the first, in grey, if the values of all are equal."""
    first, *others = found.values()
    if others and all(np.array_equal(first, other, equal_nan=True) for other in others):
        return [(next(iter(found)), ALIKE)]
    return list(colours(evaluation).items())


def _legend(figure: Figure, evaluation: Evaluation, panels: Iterable[Any]) -> None:
    """A legend below the panels: one entry per controller, and one for curves that are the same under all."""
    called = short_names(evaluation.controllers)
    handles = [Line2D([], [], color=colour, lw=1.6, label=called[name]) for name, colour in colours(evaluation).items()]
    if any(line.get_color() == ALIKE for axes in panels for line in axes.lines):
        handles.append(Line2D([], [], color=ALIKE, lw=1.6, label="the same under all"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)


def _since(time_s: np.ndarray) -> tuple[np.ndarray, str]:
    """Time since the start in a unit that suits its length, and that unit."""
    since_s = time_s - time_s[0]
    unit, seconds = next((pair for pair in CLOCKS if since_s[-1] <= pair[1] * LONG), CLOCKS[-1])
    return since_s / seconds, unit


def _stack(evaluation: Evaluation, controller: str, trace: str) -> tuple[np.ndarray, str, np.ndarray]:
    """Time since the start ``(T,)``, its unit, and a trace of all seeds ``(seeds, T)``."""
    episodes = evaluation.played(controller)
    length = min(len(episode.time_s) for episode in episodes)
    times = episodes[0].time_s[:length]
    return *_since(times), np.array([episode.trace[trace][:length] for episode in episodes])


def plans(evaluation: Evaluation, agents: tuple[str, ...], column: str) -> Figure:
    """The choices of every agent over time on the first seed: one bar per agent, one panel per controller.

    If there are many agents, only the first are shown, as the title says.

    Args:
        evaluation: the evaluation.
        agents: names of the agents.
        column: a reading with one whole number per agent, e.g. ``stage``.
    """
    episodes = [episode for episode in evaluation.episodes if episode.seed == evaluation.seeds[0]]
    called = short_names(episode.controller for episode in episodes)
    count = 1 + max(int(episode.drawn[column].max()) for episode in episodes)
    whose = "every agent" if len(agents) <= PLAN_AGENTS else f"the first {PLAN_AGENTS} of {len(agents)} agents"
    agents = agents[:PLAN_AGENTS]
    with mpl.rc_context(STYLE):
        height = len(episodes) * (0.5 + 0.2 * len(agents)) + 1.0
        figure = Figure(figsize=(10, max(height, 2.4)), layout="constrained")
        panels = figure.subplots(len(episodes), 1, sharex=True, squeeze=False)[:, 0]
        for axes, episode in zip(panels, episodes, strict=True):
            _bars(axes, episode.time_s, episode.drawn[column][:, : len(agents)])
            axes.set_yticks(range(len(agents)), [_clip(agent) for agent in agents], size=7)
            axes.set_title(called[episode.controller], size=9)
        panels[-1].set_xlabel("time since the start (min)")
        figure.suptitle(
            f"{evaluation.scenario}: {column} of {whose}, seed {evaluation.seeds[0]}", size=11, weight="bold"
        )
        handles = [Patch(color=_colour(k), label=f"{column} {k}") for k in range(count)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(count, 8), frameon=False)
    return figure


def courses(evaluation: Evaluation, names: tuple[str, ...], column: str) -> Figure:
    """A reading over time on the first seed: one panel per identifier, one line per controller.

    If there are many identifiers, only the first are shown, as the title says.

    Args:
        evaluation: the evaluation.
        names: identifiers along the reading's axis, in order.
        column: the reading, e.g. ``depth_m``.
    """
    episodes = [episode for episode in evaluation.episodes if episode.seed == evaluation.seeds[0]]
    whose = f", the first {PLAN_AGENTS} of {len(names)}" if len(names) > PLAN_AGENTS else ""
    names = names[:PLAN_AGENTS]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, max(1.3 * len(names) + 1.0, 2.6)), layout="constrained")
        panels = figure.subplots(max(len(names), 1), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        by_name = {played.controller: played for played in episodes}
        curves = {name: played.drawn[column][:, : len(names)] for name, played in by_name.items()}
        for name, colour in _distinct_curves(curves, evaluation):
            since, unit = _since(by_name[name].time_s)
            for k, axes in enumerate(panels[: len(names)]):
                axes.plot(since, curves[name][:, k], color=colour, lw=1.2)
        for name, axes in zip(names, panels, strict=False):
            axes.set_title(_clip(name), size=9)
            _from_zero(axes)
            axes.margins(x=0)
            axes.grid(color="0.92")
        panels[-1].set_xlabel(f"time since the start ({unit})")
        figure.supylabel(label(column), size=10)
        figure.suptitle(
            f"{evaluation.scenario}: {label(column)}{whose}, seed {evaluation.seeds[0]}", size=11, weight="bold"
        )
        _legend(figure, evaluation, panels)
    return figure


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
        since, unit = ((played.time_s - played.time_s[0]) / 60, "min") if whole else _since(played.time_s)
        for axes, (what, values) in zip(panels, lines, strict=False):
            axes.set_prop_cycle(color=COLOURS)
            axes.plot(since, values, lw=1.4 if values.ndim == 1 else 0.9)
            axes.set_ylabel(what, size=9)
            _from_zero(axes)
            axes.margins(x=0)
            axes.grid(color="0.92")
        for axes, (column, states) in zip(panels[len(lines) :], whole.items(), strict=True):
            _bars(axes, played.time_s, states)
            # Above, as the bars of a few agents are less high than this is long.
            axes.set_title(f"{column} of every agent", size=9, weight="normal")
            axes.set_yticks([])
        panels[-1].set_xlabel(f"time since the start ({unit})")
        panels[0].set_title(f"{name}: one episode, seed {played.seed}")
    return figure


def _from_zero(axes: Any) -> None:
    """Let the axis begin at zero, unless a curve lies below."""
    if not any((line.get_ydata() < 0).any() for line in axes.lines):
        axes.set_ylim(bottom=0)


def _bars(axes: Any, time_s: np.ndarray, states: np.ndarray) -> None:
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
        axes.broken_barh(spans, (agent - 0.4, 0.8), facecolors=[_colour(int(k)) for k in mine[starts]])
    axes.set_ylim(states.shape[1] - 0.4, -0.6)
    axes.set_xlim(0, end / 60)
    axes.tick_params(axis="y", length=0)


def _colour(k: int) -> tuple[float, float, float]:
    """Colour of a choice; when the palette is used up it repeats, paler each time."""
    red, green, blue = to_rgb(COLOURS[k % len(COLOURS)])
    left = 0.45 ** (k // len(COLOURS))
    return 1 - left * (1 - red), 1 - left * (1 - green), 1 - left * (1 - blue)


def _clip(name: str) -> str:
    return name if len(name) <= 18 else name[:15] + "…"
