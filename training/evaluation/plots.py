"""Pictures of an evaluation as matplotlib figures, independent of any system."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from envs.core.colours import COLOURS
from training.evaluation.results import Evaluation, short_names
from training.pictures import STYLE, colour_of_choice, from_zero, label, paint_choices, since_start

ALIKE = "0.35"
"""Colour of a curve that is equal under all controllers and drawn once, such as rain or ground motion."""


PLAN_AGENTS = 60
"""How many agents it shows at most, and `courses` panels: a picture of hundreds is too high to be drawn."""


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


def _stack(evaluation: Evaluation, controller: str, trace: str) -> tuple[np.ndarray, str, np.ndarray]:
    """Time since the start ``(T,)``, its unit, and a trace of all seeds ``(seeds, T)``."""
    episodes = evaluation.played(controller)
    length = min(len(episode.time_s) for episode in episodes)
    times = episodes[0].time_s[:length]
    return *since_start(times), np.array([episode.trace[trace][:length] for episode in episodes])


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
            paint_choices(axes, episode.time_s, episode.drawn[column][:, : len(agents)])
            axes.set_yticks(range(len(agents)), [_clip(agent) for agent in agents], size=7)
            axes.set_title(called[episode.controller], size=9)
        panels[-1].set_xlabel("time since the start (min)")
        figure.suptitle(
            f"{evaluation.scenario}: {column} of {whose}, seed {evaluation.seeds[0]}", size=11, weight="bold"
        )
        handles = [Patch(color=colour_of_choice(k), label=f"{column} {k}") for k in range(count)]
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
            since, unit = since_start(by_name[name].time_s)
            for k, axes in enumerate(panels[: len(names)]):
                axes.plot(since, curves[name][:, k], color=colour, lw=1.2)
        for name, axes in zip(names, panels, strict=False):
            axes.set_title(_clip(name), size=9)
            from_zero(axes)
            axes.margins(x=0)
            axes.grid(color="0.92")
        panels[-1].set_xlabel(f"time since the start ({unit})")
        figure.supylabel(label(column), size=10)
        figure.suptitle(
            f"{evaluation.scenario}: {label(column)}{whose}, seed {evaluation.seeds[0]}", size=11, weight="bold"
        )
        _legend(figure, evaluation, panels)
    return figure


def _clip(name: str) -> str:
    return name if len(name) <= 18 else name[:15] + "…"
