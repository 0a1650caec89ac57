"""A policy's envelope: what healthy episodes look like, and from where on something is not healthy.

Episodes of training seeds, with all their variety, say how observations and readings lie; others of training and of
validation seeds set the thresholds; further validation seeds tell how often a healthy tick raises a false alarm. Test
seeds are never looked at.
"""

from __future__ import annotations

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
from envs.core.files import make_folder, write_text
from envs.core.loop import ControlLoop
from envs.core.scenario import Scenario
from envs.core.world import Controller, Observation

RATE = 1e-3
"""Share of healthy ticks that may raise an alarm."""

EPISODES, TICKS = 6, 6000
"""Of each scenario and kind (to fit, to set thresholds, to measure), at least."""

ROWS = 20_000
"""Rows of each part and scenario that are kept at most."""

MARGINS = {"low": 0.5, "high": 0.5, "change": 0.5, "run": 1.0, "residuals": 0.5, "agent": 0.1, "mean": 0.1}
"""How far a limit lies beyond what was seen, as a share of it, or of the whole range."""

OUTWARD = Context(prec=6, rounding=ROUND_CEILING)
"""Limits have six digits, and what was seen lies within them: to the nearest, a tide that never changes lay beyond."""

Progress = Callable[[int, int], None]
"""Called with (episodes done, episodes in all)."""


@dataclass
class Noted:
    """What was seen of some episodes of one scenario.

    Attributes:
        tops: statistic → the largest at each tick, ``(names,)`` an entry.
        rows: part → rows of observations.
        varies: part → which columns change within an episode.
        distances: the farthest agent's and the mean distance at each tick.
    """

    tops: dict[str, list[np.ndarray]] = field(default_factory=dict)
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    varies: dict[str, np.ndarray] = field(default_factory=dict)
    distances: list[tuple[float, float]] = field(default_factory=list)

    def add(self, other: Noted) -> None:
        """Take in what was seen of another episode."""
        for mine, theirs in ((self.tops, other.tops), (self.rows, other.rows)):
            for name, arrays in theirs.items():
                mine.setdefault(name, []).extend(arrays)
        for name, changed in other.varies.items():
            self.varies[name] = self.varies.get(name, changed) | changed
        self.distances += other.distances


class _Place:
    """One scenario with its loop, watch and notes."""

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
        """Play episodes; with an envelope, also tell the distances from it. Episodes that failed are not healthy."""
        noted = Noted()
        for seed in seeds:
            one, healthy = self._episode(seed, parts, envelope)
            if healthy:
                noted.add(one)
        if not noted.tops:
            raise CityloopError(f"{self.scenario.ref}: every episode failed, so nobody knows what is healthy")
        return noted

    def _episode(self, seed: int, parts: Sequence[str], envelope: Envelope | None) -> tuple[Noted, bool]:
        """What was seen of an episode, and whether it went well."""
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
                return noted, not step.kpis[loop.system.failure]

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
    """Play episodes of a policy, fit its envelope, and put that into its bundle; or of a rule, for a file of limits.

    Args:
        controller: a bundle's folder, whose model stays as it is, or, with ``out``, any controller's name.
        scenarios: where it is to be at home.
        episodes: how many to fit on, to set thresholds by, and to measure on, of each scenario; None: `EPISODES`, or
            as many as make `TICKS` ticks.
        rate: share of healthy ticks that may raise an alarm.
        out: a file for sensors' limits alone, without distances; None: the bundle.
        command: what reproduces it, for the card.
        on_progress: told after every scenario's episodes.

    Raises:
        CityloopError: if the bundle cannot be used, a scenario is another system's or for tests alone, or observations
            have nothing to tell distances by.
    """
    system = _system_of(scenarios, episodes, rate)
    policy = Policy.load(Path(controller), system) if out is None else None
    fitted: dict[str, str] = {}
    seen: list[Noted] = []
    limits: dict[str, Limits] = {}
    measured: dict[str, float] = {}
    seeds = [_all_seeds(scenario, _count(scenario, episodes)) for scenario in scenarios]
    written, called = (Path(controller), "folder of the bundle") if out is None else (out, "folder")
    make_folder(written.parent, called)  # now: hours may go by until it is written
    places = [_Place(scenario, policy or str(controller), episodes) for scenario in scenarios]
    observed = {} if policy is None else policy.card.observation  # a rule knows no observations that it has seen
    parts = [name for name, shape in observed.items() if shape[-1] is not None]
    total, done = 3 * len(places), 0

    def tell() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    try:
        for place, (fit, _, _) in zip(places, seeds, strict=True):
            count = place.episodes
            seen.append(place.play(fit, parts))
            fitted[place.scenario.label] = f"{count} of training seeds, {count} of training and validation seeds"
            tell()
        lie = _parts(seen, parts)
        draft = Envelope(rate=rate, fitted=fitted, parts=lie, limits={ANYWHERE: Limits()})
        for place, noted, (_, limit, _) in zip(places, seen, seeds, strict=True):
            other = place.play(limit, parts, draft)
            own = _limits(place, noted, other, rate)
            key = site_key(place.loop.site)
            limits[key] = widest({"a": own, "b": limits[key]}) if key in limits else own
            tell()
        limits[ANYWHERE] = widest(limits)
        envelope = draft.model_copy(update={"limits": limits})
        for place, (_, _, measure) in zip(places, seeds, strict=True):
            fresh = place.play(measure, parts, envelope)
            measured[place.scenario.label] = float(_alarms(place, fresh, envelope.of(place.loop.site)).mean())
            tell()
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


def _system_of(scenarios: Sequence[Scenario], episodes: int | None, rate: float) -> str:
    """The system of scenarios that may be calibrated on.

    Raises:
        CityloopError: if they are of several, for tests alone, or none; or a number does not fit.
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
    """For the card."""
    episodes = {
        label: {"episodes": count, "false alarms a tick": envelope.measured[label]}
        for label, count in envelope.fitted.items()
    }
    facts: dict[str, Any] = {"aimed at": f"at most {envelope.rate:g} false alarms a tick"}
    facts["measured on further validation seeds"] = episodes
    return facts | ({"calibrated with": f"`{command}`"} if command else {})


def _count(scenario: Scenario, episodes: int | None) -> int:
    """Episodes of each kind."""
    return episodes or max(EPISODES, math.ceil(TICKS / scenario.decisions))


def _all_seeds(scenario: Scenario, count: int) -> tuple[list[int], list[int], list[int]]:
    """Of the episodes to fit on, to set thresholds by, and to measure on.

    Raises:
        CityloopError: if a split holds fewer.
    """
    half = max(count // 2, 1)
    measure = _seeds(scenario, "validation", count, count)
    limit = [*_seeds(scenario, "train", count, half), *_seeds(scenario, "validation", 0, half)]
    return _seeds(scenario, "train", 0, count), limit, measure


def _seeds(scenario: Scenario, split: str, skip: int, count: int) -> list[int]:
    """Raises CityloopError: if the split holds fewer."""
    try:
        found: list[int] = getattr(scenario.seeds, split).after(skip, count)
    except CityloopError as error:
        raise CityloopError(f"{scenario.ref}: {split} {error}: play fewer episodes, or give it more") from None
    return found


def _parts(seen: Sequence[Noted], parts: Sequence[str]) -> dict[str, Part]:
    """How rows lie, those of every scenario together.

    Raises:
        CityloopError: if nothing in them changes.
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
    """Limits of one site: beyond everything seen, and wider until few enough healthy ticks raise an alarm."""
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
    """Which ticks raise an alarm, bool ``(ticks,)``."""
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
