"""Calibration of a policy's envelope: statistics of healthy episodes, and thresholds of anomalies.

Episodes of training seeds, with all their variety, give the distribution of observations and readings. Other episodes,
of training and validation seeds, set the thresholds. Further validation seeds measure the rate of false alarms. Test
seeds are never used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context
from pathlib import Path
from typing import Any

import numpy as np

from agents import make_controller
from agents.envelope import ANYWHERE, Envelope, Limits, Part, fit_part, site_key, widest
from agents.policy import Policy, add_envelope
from agents.watch import Watch
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.machine.files import make_folder, write_text
from envs.core.scenario import Scenario
from envs.core.world import Controller, Observation

RATE = 1e-3
"""Share of healthy ticks that may raise an alarm."""

EPISODES, TICKS = 6, 6000
"""Least number of episodes and of ticks, for each scenario and purpose (fit, thresholds, measurement)."""

ROWS = 20_000
"""Most rows that are kept of each part and scenario."""

MARGINS = {"low": 0.5, "high": 0.5, "change": 0.5, "run": 1.0, "residuals": 0.5, "agent": 0.1, "mean": 0.1}
"""Margin of each limit beyond the extreme seen, as a fraction of that extreme (low and high: of the whole range)."""

OUTWARD = Context(prec=6, rounding=ROUND_CEILING)
"""Limits are rounded outward to six digits: rounded to nearest, they could exclude a constant value, such as a tide."""

Progress = Callable[[int, int], None]
"""Called with (rounds of episodes done, rounds in all)."""


@dataclass
class Noted:
    """Statistics of some episodes of one scenario.

    Attributes:
        tops: statistic → its largest values at each tick, one array ``(names,)`` per tick.
        rows: part → rows of observations.
        varies: part → mask of the columns that change within an episode.
        distances: largest and mean distance over agents, at each tick.
    """

    tops: dict[str, list[np.ndarray]] = field(default_factory=dict)
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    varies: dict[str, np.ndarray] = field(default_factory=dict)
    distances: list[tuple[float, float]] = field(default_factory=list)

    def add(self, other: Noted) -> None:
        """Add the statistics of another episode."""
        for mine, theirs in ((self.tops, other.tops), (self.rows, other.rows)):
            for name, arrays in theirs.items():
                mine.setdefault(name, []).extend(arrays)
        for name, changed in other.varies.items():
            self.varies[name] = self.varies.get(name, changed) | changed
        self.distances += other.distances


class _Place:
    """One scenario with its loop, its controller and the watch of its sensors."""

    def __init__(self, scenario: Scenario, controller: Policy | str, episodes: int | None):
        self.scenario = scenario
        self.episodes = _count(scenario, episodes)
        self.loop: ControlLoop = make_loop(scenario)
        site = self.loop.site
        self.policy: Controller = (
            make_controller(controller, site) if isinstance(controller, str) else controller.at(site)
        )
        self.watch = Watch(self.loop.system, self.loop.site)
        rules, plausible = self.watch.consistency.rules, self.watch.consistency.plausible
        self.learned = [name for name, rule in rules.items() if not np.isfinite(rule.limit)]
        self.ranged = [name for name in self.watch.flat.names if plausible[name].imputable]
        self.rng = np.random.default_rng(0)

    def play(self, seeds: Sequence[int], parts: Sequence[str], envelope: Envelope | None = None) -> Noted:
        """Play episodes and collect their statistics, except for failed ones, which are not healthy.

        Args:
            seeds: seeds of the episodes.
            parts: names of the observation's parts; none: distances are zero.
            envelope: envelope to which distances are measured; None: rows of observations are collected instead.

        Raises:
            CityloopError: if every episode failed.
        """
        noted = Noted()
        for seed in seeds:
            one, healthy = self._episode(seed, parts, envelope)
            if healthy:
                noted.add(one)
        if not noted.tops:
            system = self.loop.system
            why = f"{system.failure}: {system.kpis[system.failure]}"
            raise CityloopError(
                f"{self.scenario.ref}: every episode failed ({why}), so nobody knows what is healthy: "
                "make the scenario milder, or calibrate on another"
            )
        return noted

    def _episode(self, seed: int, parts: Sequence[str], envelope: Envelope | None) -> tuple[Noted, bool]:
        """Statistics of an episode, and whether it was healthy."""
        noted = Noted({name: [] for name in ("low", "high", "change", "run", "residuals")})
        loop, watch = self.loop, self.watch
        self.policy.reset()
        loop.reset(seed)
        watch.reset()
        first: Observation = {}
        while True:
            observation = loop.observation
            self._note(noted)
            if not parts:
                noted.distances.append((0.0, 0.0))
            elif envelope is not None:
                far = envelope.distances(observation)
                noted.distances.append((float(far.max()), float(far.mean())))
            else:
                first = first or {name: observation[name].copy() for name in parts}
                self._keep(noted, observation, first)
            step = loop.step(self.policy.act(loop.readings, observation))
            if step.done:
                return noted, not loop.system.failed(step.kpis)

    def _note(self, noted: Noted) -> None:
        watch = self.watch
        seen = watch.see(self.loop.readings, self.loop.world.time_s)
        watch.keep(seen, seen.readings)
        silent = np.isnan(seen.scaled)
        noted.tops["high"].append(watch.flat.most(np.where(silent, -np.inf, seen.scaled)))
        noted.tops["low"].append(watch.flat.most(np.where(silent, -np.inf, -seen.scaled)))
        noted.tops["change"].append(watch.flat.most(seen.change))
        noted.tops["run"].append(watch.flat.most(seen.run))
        found = [np.nan_to_num(seen.residuals.get(name, np.zeros(1)), nan=0.0) for name in self.learned]
        noted.tops["residuals"].append(np.array([each.max(initial=0.0) for each in found]))

    def _keep(self, noted: Noted, observation: Observation, first: Observation) -> None:
        for name, start in first.items():
            part = observation[name]
            changed = (part != start).reshape(-1, part.shape[-1]).any(axis=0)
            noted.varies[name] = noted.varies.get(name, np.zeros(part.shape[-1], dtype=bool)) | changed
            rows = part.reshape(-1, part.shape[-1])
            share = ROWS / (self.episodes * self.scenario.decisions * len(rows))
            chosen = rows[self.rng.random(len(rows)) < share] if share < 1 else rows
            noted.rows.setdefault(name, []).append(chosen[chosen.any(axis=1)])


def calibrate(
    controller: str | Path,
    scenarios: Sequence[Scenario],
    episodes: int | None = None,
    rate: float = RATE,
    out: Path | None = None,
    command: str = "",
    on_progress: Progress | None = None,
) -> Envelope:
    """Fit the envelope of a policy and store it in the policy's bundle, or write a file of sensor limits.

    Args:
        controller: folder of a bundle, whose model is not changed; with ``out``, the name of any controller.
        scenarios: scenarios on which healthy episodes are played.
        episodes: number of episodes per scenario for each of fit, thresholds and measurement; None: `EPISODES`, or
            more if these have fewer than `TICKS` ticks.
        rate: share of healthy ticks that may raise an alarm.
        out: file for limits of sensors alone, without distances; None: the envelope goes into the bundle.
        command: command line that reproduces the calibration, for the card.
        on_progress: called with (rounds of episodes done, rounds in all), three rounds per scenario.

    Raises:
        CityloopError: if the bundle cannot be used or ``out`` written, a scenario is of another system or reserved for
            tests, every episode of one fails, or no observation changes.
    """
    system = _system_of(scenarios, episodes, rate)
    policy = Policy.load(Path(controller), system) if out is None else None
    seeds = [_all_seeds(scenario, _count(scenario, episodes)) for scenario in scenarios]
    written, called = (Path(controller), "folder of the bundle") if out is None else (out, "folder")
    make_folder(written.parent, called)  # checked first, because the episodes may take hours
    if out is not None and out.is_dir():
        raise CityloopError(f"{out} is a folder: give a file for the limits of sensors")
    places = [_Place(scenario, policy or str(controller), episodes) for scenario in scenarios]
    observed = {} if policy is None else policy.card.observation  # a rule has no observations that it was trained on
    parts = [name for name, shape in observed.items() if shape[-1] is not None]
    steps, total = itertools.count(1), 3 * len(places)

    def tell() -> None:
        if on_progress is not None:
            on_progress(next(steps), total)

    try:
        draft, seen = _fit(places, [fit for fit, _, _ in seeds], parts, rate, tell)
        envelope = _thresholds(places, [limit for _, limit, _ in seeds], draft, parts, seen, tell)
        measured = _measure(places, [measure for _, _, measure in seeds], envelope, parts, tell)
    finally:
        for place in places:
            place.loop.close()
    envelope = Envelope.model_validate(envelope.model_dump() | {"measured": measured})
    if policy is None:
        assert out is not None
        write_text(out, envelope.model_dump_json() + "\n")
    else:
        add_envelope(Path(controller), envelope, _facts(envelope, command))
    return envelope


def _fit(
    places: Sequence[_Place],
    seeds: Sequence[Sequence[int]],
    parts: Sequence[str],
    rate: float,
    tell: Callable[[], None],
) -> tuple[Envelope, list[Noted]]:
    """Play the episodes of the fit.

    Args:
        places: the scenarios.
        seeds: seeds of each scenario.
        parts: names of the observation's parts to fit.
        rate: share of healthy ticks that may raise an alarm.
        tell: called after each scenario.

    Returns:
        An envelope without limits, and what was seen at each place.
    """
    seen: list[Noted] = []
    fitted: dict[str, str] = {}
    for place, chosen in zip(places, seeds, strict=True):
        seen.append(place.play(chosen, parts))
        half = _half(place.episodes)
        fitted[place.scenario.label] = (
            f"{place.episodes} of training seeds, {2 * half} of training and validation seeds"
        )
        tell()
    return Envelope(rate=rate, fitted=fitted, parts=_parts(seen, parts), limits={ANYWHERE: Limits()}), seen


def _thresholds(
    places: Sequence[_Place],
    seeds: Sequence[Sequence[int]],
    draft: Envelope,
    parts: Sequence[str],
    seen: Sequence[Noted],
    tell: Callable[[], None],
) -> Envelope:
    """The envelope with limits of every site, from other episodes; those of `ANYWHERE` are the widest of them."""
    limits: dict[str, Limits] = {}
    for place, noted, chosen in zip(places, seen, seeds, strict=True):
        other = place.play(chosen, parts, draft)
        own = _limits(place, noted, other, draft.rate)
        key = site_key(place.loop.site)
        limits[key] = widest({"a": own, "b": limits[key]}) if key in limits else own
        tell()
    limits[ANYWHERE] = widest(limits)
    return draft.model_copy(update={"limits": limits})


def _measure(
    places: Sequence[_Place],
    seeds: Sequence[Sequence[int]],
    envelope: Envelope,
    parts: Sequence[str],
    tell: Callable[[], None],
) -> dict[str, float]:
    """Label of each scenario → share of ticks in further healthy episodes that raise an alarm."""
    measured: dict[str, float] = {}
    for place, chosen in zip(places, seeds, strict=True):
        fresh = place.play(chosen, parts, envelope)
        measured[place.scenario.label] = float(_alarms(place, fresh, envelope.of(place.loop.site)).mean())
        tell()
    return measured


def _system_of(scenarios: Sequence[Scenario], episodes: int | None, rate: float) -> str:
    """Check the arguments of `calibrate`, and return the common system of the scenarios.

    Raises:
        CityloopError: if there is no scenario, they are of several systems, one is reserved for tests, or a number is
            out of range.
    """
    if not scenarios:
        raise CityloopError("no scenario is given: name at least one where the policy is to be at home")
    system = scenarios[0].system
    for scenario in scenarios:
        if scenario.system != system:
            raise CityloopError(f"{scenario.ref} is not of system {system!r}: choose scenarios of one system")
        if scenario.held_out:
            raise CityloopError(f"{scenario.ref} is for tests alone: calibrate on another")
    if not 0 < rate < 0.5:
        raise CityloopError(f"rate is {rate:g}: give a share above 0 and below 0.5")
    if episodes is not None and episodes < 1:
        raise CityloopError(f"episodes is {episodes}: give one or more")
    return system


def _facts(envelope: Envelope, command: str) -> dict[str, Any]:
    """Facts about the calibration for the bundle's card."""
    episodes = {
        label: {"episodes": count, "false alarms a tick": envelope.measured[label]}
        for label, count in envelope.fitted.items()
    }
    facts: dict[str, Any] = {"aimed at": f"at most {envelope.rate:g} false alarms a tick"}
    facts["measured on further validation seeds"] = episodes
    return facts | ({"calibrated with": f"`{command}`"} if command else {})


def _count(scenario: Scenario, episodes: int | None) -> int:
    """Number of episodes for each of fit, thresholds and measurement."""
    return episodes or max(EPISODES, math.ceil(TICKS / scenario.decisions))


def _half(count: int) -> int:
    """Number of episodes of each of two splits for the thresholds."""
    return max(count // 2, 1)


def _all_seeds(scenario: Scenario, count: int) -> tuple[list[int], list[int], list[int]]:
    """Seeds for the fit, the thresholds and the measurement.

    Raises:
        CityloopError: if a split has too few seeds.
    """
    half = _half(count)
    measure = _seeds(scenario, "validation", count, count)
    limit = [*_seeds(scenario, "train", count, half), *_seeds(scenario, "validation", 0, half)]
    return _seeds(scenario, "train", 0, count), limit, measure


def _seeds(scenario: Scenario, split: str, skip: int, count: int) -> list[int]:
    """``count`` seeds of a split after the first ``skip``.

    Raises:
        CityloopError: if the split has fewer.
    """
    try:
        found: list[int] = getattr(scenario.seeds, split).after(skip, count)
    except CityloopError as error:
        raise CityloopError(f"{scenario.ref}: {split} {error}: play fewer episodes, or give it more") from None
    return found


def _parts(seen: Sequence[Noted], parts: Sequence[str]) -> dict[str, Part]:
    """The distribution of each part's rows, over all scenarios together.

    Raises:
        CityloopError: if no column changes.
    """
    found: dict[str, Part] = {}
    for name in parts:
        rows = np.concatenate([each for noted in seen for each in noted.rows[name]])
        varies = np.any([noted.varies[name] for noted in seen], axis=0)
        part = fit_part(rows, varies)
        if part is not None:
            found[name] = part
    if parts and not found:
        raise CityloopError("nothing changes in the observations of these episodes: give longer ones")
    return found


def _limits(place: _Place, noted: Noted, other: Noted, rate: float) -> Limits:
    """Limits of one site: beyond all values seen, widened until at most ``rate`` of healthy ticks raise an alarm."""
    names: dict[str, Sequence[str]] = dict.fromkeys(("low", "high", "change", "run"), place.watch.flat.names)
    names["residuals"] = place.learned
    most = {name: np.maximum(*(np.max(each.tops[name], axis=0) for each in (noted, other))) for name in names}
    span = most["high"] + most["low"]
    tables: dict[str, Any] = {}
    for name, columns in names.items():
        margin = MARGINS[name] * (span if name in ("low", "high") else np.abs(most[name]))
        table = most[name] + margin + (1.0 if name == "run" else 1e-3)
        sign = -1.0 if name == "low" else 1.0
        tables[name] = {
            column: sign * float(OUTWARD.create_decimal_from_float(float(value)))
            for column, value in zip(columns, table, strict=True)
            if np.isfinite(value) and (name == "residuals" or column in place.ranged)
        }
    agent, mean = (float(np.quantile(values, 1 - rate / 4)) for values in np.transpose(other.distances))
    if not agent:
        return Limits(**tables)
    agent, mean = agent * (1 + MARGINS["agent"]), mean * (1 + MARGINS["mean"])
    while _alarms(place, other, limits := Limits(**tables, agent=agent, mean=mean)).mean() > rate:
        agent, mean = 1.02 * agent, 1.02 * mean
    return limits


def _alarms(place: _Place, noted: Noted, limits: Limits) -> np.ndarray:
    """Mask of the ticks that raise an alarm, bool ``(ticks,)``."""
    columns = place.watch.flat.names
    found = np.zeros(len(noted.distances), dtype=bool)
    tables: Mapping[str, tuple[Sequence[str], dict[str, float], float]] = {
        "low": (columns, limits.low, -1.0),
        "high": (columns, limits.high, 1.0),
        "change": (columns, limits.change, 1.0),
        "run": (columns, limits.run, 1.0),
        "residuals": (place.learned, limits.residuals, 1.0),
    }
    for name, (order, table, sign) in tables.items():
        if order:
            edge = np.array([sign * table[each] if each in table else np.inf for each in order])
            found |= (np.array(noted.tops[name]) > edge).any(axis=1)
    edges = [np.inf if edge is None else edge for edge in (limits.agent, limits.mean)]
    return found | (np.array(noted.distances) > edges).any(axis=1)
