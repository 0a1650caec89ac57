"""Input checks of one site: clock, ranges, jumps, stuck sensors, contradictions, values outside of training.

A tick without findings costs a few operations on one vector of all readings. Doubtful values are then handled one by
one: another value stands in for a while, the value's agents are decided by the fallback, or the whole site is, as the
settings say. Actuators' reports of themselves are never replaced, as guards rely on them. Values that sensors of other
sites never had are only reported: where a policy's envelope does not know the site, it has no other limits for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from agents.envelope import Envelope, Limits, read_envelope
from agents.watch import Seen, Watch
from envs.core.errors import CityloopError
from envs.core.site import Site
from envs.core.system import System
from envs.core.world import Observation
from serving.checks.impute import put_in
from serving.checks.settings import CheckSettings, Respond
from serving.core.looked import Looked
from serving.core.wire import Tick

MOST_LISTED = 8
"""Number of findings that are listed one by one; more are counted."""


class InputChecks:
    """Checks the readings of one site, tick after tick; see the module. Deterministic in the order of ticks.

    Args:
        system: the site's system.
        site: the site.
        envelope: ranges of the policy's training, and of healthy sensors; None: only physical limits and bookkeeping
            are checked.
        settings: of the checks.

    Raises:
        CityloopError: if the settings name something that does not exist.
    """

    def __init__(
        self, system: System, site: Site, envelope: Envelope | None = None, settings: CheckSettings | None = None
    ):
        self.settings = settings or CheckSettings()
        self.site, self._columns = site, {column.name: column for column in system.readings.columns}
        self._watch = Watch(system, site)
        self._rules, self._concerns = self._watch.consistency.rules, self._watch.consistency.concerns
        self.settings.check_names(system, tuple(self._rules))
        self._max_age_s = self.settings.max_age_s or max(3.0 * self._watch.consistency.interval_s, 1.0)
        self._named = np.zeros(self._watch.flat.size, dtype=bool)  # values whose column has a response of its own
        for name in self.settings.respond:
            if name in self._watch.flat.slices:
                self._named[self._watch.flat.slices[name]] = True
        self._sensors: Envelope | None = None
        if self.settings.limits is not None:
            self._sensors = _read(self.settings)
        self._follow(envelope)
        self.reset()

    def follow(self, envelope: Envelope | None) -> None:
        """Compare readings with another policy's envelope from now on."""
        if envelope is not self._envelope:
            self._follow(envelope)

    def _follow(self, envelope: Envelope | None) -> None:
        self._envelope = envelope
        source = self._sensors or envelope
        self._calibrated = source is not None and source.knows(self.site)
        self._elsewhere = self._sensors is None and envelope is not None and not self._calibrated
        limits = None if source is None else source.of(self.site)
        flat, tables = self._watch.flat, limits or Limits()
        self._low, self._high = flat.spread(tables.low, -np.inf), flat.spread(tables.high, np.inf)
        self._change, self._run = flat.spread(tables.change, np.inf), flat.spread(tables.run, np.inf)
        self._rule_limits = {
            name: rule.limit if np.isfinite(rule.limit) else tables.residuals.get(name, np.inf)
            for name, rule in self._rules.items()
        }
        own = Limits() if envelope is None else envelope.of(self.site)
        self._agent, self._mean = own.agent or np.inf, own.mean or np.inf

    def reset(self) -> None:
        """Forget the episode."""
        self._watch.reset()
        self._held = np.zeros(self._watch.flat.size, dtype=np.int64)
        self._outside = np.zeros(len(self.site.agents), dtype=np.int64)
        self._all_outside = 0
        self._last: Looked | None = None

    def describe(self) -> dict[str, Any]:
        """The present state of the sensors, as plain data."""
        source = self._sensors or self._envelope
        limits = "none" if source is None else "of this site" if self._calibrated else "of other sites"
        last = self._last
        return {
            "on": self.settings.on,
            "limits": limits,
            "findings": [] if last is None else list(last.findings),
            "imputed": {} if last is None else dict(last.imputed),
            "local": [] if last is None else [self.site.agents[k] for k in last.local],
            "fall_back": None if last is None else last.fall_back,
            "envelope": None if last is None else last.envelope,
        }

    # The look.

    def look(self, tick: Tick, at_s: float) -> Looked:
        """Check a tick.

        Args:
            tick: the tick; its readings fit the schema.
            at_s: wall clock of its arrival, seconds since 1970.
        """
        if not self.settings.on:
            return Looked(tick.readings)
        late = self._clock(tick, at_s)
        seen = self._watch.see(tick.readings, tick.time_s)
        bad = seen.change > self._change
        bad |= seen.run > self._run
        bad |= (seen.scaled > self._high) | (seen.scaled < self._low)
        broken, stale = self._broken(seen), {}
        for name, age_s in tick.ages_s.items():
            if age_s > self._max_age_s:
                stale[name] = f"{name} is {_seconds(age_s)} old, {self._max_age_s:g} s are allowed"
                bad[self._watch.flat.slices[name]] = True
        if late is None and not broken and not np.count_nonzero(bad):
            self._held[:] = 0
            self._watch.keep(seen, tick.readings)
            looked = Looked(tick.readings)
        else:
            looked = self._respond(seen, bad, broken, late, stale)
        self._last = looked
        return looked

    def judge(self, looked: Looked, observation: Observation) -> Looked:
        """Check a tick once it is encoded: whether it lies within the policy's training."""
        if self._envelope is None or not self._envelope.parts or not self.settings.on:
            return looked
        far = self._envelope.distances(observation)
        beyond = far > self._agent
        mean = float(far.mean())
        distance = max(float(far.max()) / self._agent, mean / self._mean)
        self._outside = (self._outside + 1) * beyond
        self._all_outside = self._all_outside + 1 if mean > self._mean else 0
        judged = replace(looked, envelope=distance)
        if distance > 1.0:
            judged = self._respond_outside(judged, beyond, distance)
        self._last = judged
        return judged

    def _clock(self, tick: Tick, at_s: float) -> str | None:
        """Findings about the time of a tick."""
        settings, watch = self.settings, self._watch
        if watch.started and tick.time_s <= watch.time_s:
            what = "stands still" if tick.time_s == watch.time_s else "goes backwards"
            return f"time_s: the plant's clock {what} at {_seconds(tick.time_s)}"
        age_s = at_s - tick.time_s
        if settings.clock == "wall" and abs(age_s) > self._max_age_s:
            off = f"readings are {_seconds(age_s)} old" if age_s > 0 else f"plant's clock is {_seconds(-age_s)} ahead"
            return f"time_s: the {off}, {self._max_age_s:g} s are allowed"
        return None

    def _broken(self, seen: Seen) -> dict[str, np.ndarray]:
        """Rule → places at which it is broken."""
        found = {}
        for name, residual in seen.residuals.items():
            beyond = residual > self._rule_limits[name]
            if np.count_nonzero(beyond):  # a third of the time of `any`, and there are many rules
                found[name] = np.flatnonzero(beyond)
        return found

    # What becomes of it.

    def _respond(
        self,
        seen: Seen,
        bad: np.ndarray,
        broken: Mapping[str, np.ndarray],
        late: str | None,
        stale: Mapping[str, str],
    ) -> Looked:
        single = bad.copy()  # what is doubtful by itself; the age of a column says all of its values
        for name in stale:
            single[self._watch.flat.slices[name]] = False
        findings, fall_back = [*stale.values()], late
        sure = bad & ~single  # wrong by itself, independent of sensors elsewhere
        if late is not None:
            findings.append(late)
        asked: dict[int, Respond] = {}
        for name, where in broken.items():
            rule = self._rules[name]
            respond = self.settings.respond.get(name, "report" if rule.only_reported else None)
            holds = not self._elsewhere or np.isfinite(rule.limit)
            findings += self._contradiction(name, where)
            if respond == "fall_back" or (not rule.blames and respond is None and holds):
                fall_back = fall_back or findings[-1]
            for column, index in rule.blames.items():
                for k in index[where][index[where] >= 0].tolist():
                    place = self._watch.flat.slices[column].start + k
                    bad[place] = True
                    if respond is not None:
                        asked[place] = respond
                    sure[place] |= holds
        count = len(findings) + int(np.count_nonzero(single))
        findings = [*findings, *self._reasons(seen, single)][:MOST_LISTED]
        if count > MOST_LISTED:
            findings.append(f"and {count - MOST_LISTED} more")
        if self._elsewhere:
            for place in np.flatnonzero(bad & ~sure & ~self._named).tolist():
                asked.setdefault(place, "report")
        imputed, local, more = self._replace(seen, bad, asked)
        fall_back = fall_back or more
        if fall_back is None and len(local) > self.settings.fall_back_share * len(self.site.agents):
            fall_back = f"{len(local)} of {len(self.site.agents)} agents cannot trust their sensors"
        readings = put_in(seen.readings, imputed)
        self._watch.keep(seen, readings, ~bad)
        return Looked(readings, imputed, tuple(findings), local, fall_back)

    def _reasons(self, seen: Seen, bad: np.ndarray) -> list[str]:
        """Findings about single values, in words; `MOST_LISTED` of them at most."""
        told = []
        for k in np.flatnonzero(bad)[:MOST_LISTED].tolist():
            column, index, where = self._watch.flat.where(k)
            value = seen.values[k]
            if seen.run[k] > self._run[k]:
                what = f"has shown {value:g} for {seen.run[k] + 1:.0f} ticks, at most {self._run[k] + 1:.0f} are usual"
            elif seen.change[k] > self._change[k]:
                what = f"jumped from {self._watch.good[k]:g} to {value:g}"
            else:
                what = f"shows {value:g}, beyond what {'any did elsewhere' if self._elsewhere else 'it ever did'}"
            told.append(f"{column}[{index}] ({where}) {what}")
        return told

    def _contradiction(self, name: str, where: np.ndarray) -> list[str]:
        rule = self._rules[name]
        if not rule.axis:
            return [f"readings contradict each other: {rule.doc}"]
        ids = self.site.axes[rule.axis]
        few = ", ".join(f"{ids[k]}" for k in where[:3].tolist()) + (", …" if len(where) > 3 else "")
        return [f"readings contradict each other at {rule.axis} {few}: {rule.doc}"]

    def _replace(
        self, seen: Seen, bad: np.ndarray, asked: Mapping[int, Respond]
    ) -> tuple[dict[str, float | None], tuple[int, ...], str | None]:
        """Stand-ins for doubtful values, agents for the fallback to decide, and the reason if it decides for all."""
        watch, settings = self._watch, self.settings
        self._held = (self._held + 1) * bad
        imputed: dict[str, float | None] = {}
        unknown = np.zeros(watch.flat.size, dtype=bool)
        relied = np.zeros(watch.flat.size, dtype=bool)
        fall_back = None
        for k in np.flatnonzero(bad).tolist():
            name, index, where = watch.flat.where(k)
            respond = asked.get(k) or settings.respond.get(name, "impute")
            if respond == "fall_back":
                fall_back = f"{name}[{index}] ({where}) cannot be trusted"
            if respond == "report":
                continue
            if respond != "impute" or not watch.imputable[k]:
                relied[k] = True
                continue
            good = watch.good[k]
            if self._held[k] <= settings.hold_ticks and not np.isnan(good):
                imputed[f"{name}[{index}]"] = float(good)
            elif self._columns[name].nullable:
                imputed[f"{name}[{index}]"] = None
                unknown[k] = True
            else:
                relied[k] = True
                if not np.isnan(good):
                    imputed[f"{name}[{index}]"] = float(good)
        return imputed, self._local(unknown, relied), fall_back

    def _local(self, unknown: np.ndarray, relied: np.ndarray) -> tuple[int, ...]:
        """Agents that rely on untrusted values without a good stand-in."""
        local = np.zeros(len(self.site.agents), dtype=bool)
        for name, span in self._watch.flat.slices.items():
            concerns = self._concerns[self._columns[name].axis]
            if relied[span].any():
                local |= concerns[:, relied[span]].any(axis=1)
            if unknown[span].any():
                share = concerns[:, unknown[span]].sum(axis=1) / np.maximum(concerns.sum(axis=1), 1)
                local |= share > self.settings.local_share
        return tuple(np.flatnonzero(local).tolist())

    def _respond_outside(self, looked: Looked, beyond: np.ndarray, distance: float) -> Looked:
        settings, names = self.settings, self.site.agents
        count = int(beyond.sum())
        who = ", ".join(names[k] for k in np.flatnonzero(beyond)[:3].tolist()) + (", …" if count > 3 else "")
        found = (
            f"observations beyond what the policy has seen ({distance:.2g} times the limit): {who or 'all together'}"
        )
        looked = replace(looked, findings=(*looked.findings, found))
        if settings.envelope == "report":
            return looked
        lasting = np.flatnonzero(self._outside >= settings.envelope_ticks).tolist()
        together = self._all_outside >= settings.envelope_ticks
        local = tuple(sorted({*looked.local, *lasting}))
        many = len(local) > settings.fall_back_share * len(names)
        if looked.fall_back is None and (together or many or (lasting and settings.envelope == "fall_back")):
            looked = replace(looked, fall_back=found)
        return replace(looked, local=local)


def _read(settings: CheckSettings) -> Envelope:
    assert settings.limits is not None
    try:
        return read_envelope(settings.limits.read_bytes(), settings.limits)
    except OSError as error:
        raise CityloopError(f"checks.limits: {settings.limits} cannot be read ({error.strerror})") from None


def _seconds(s: float) -> str:
    """A time for people, to a hundredth; `g` would show seconds since 1970 as 1.79608e+09."""
    return f"{round(s, 2):.15g} s"
