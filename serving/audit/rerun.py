"""Deciding a recorded tick once more, in the steps of the service, and reporting the first difference."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from envs.core.errors import CityloopError, ReadingError
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from envs.core.world import Commands, Observation, Requests
from serving.audit.kept import Altered
from serving.charge.overrides import Override, Overrides
from serving.charge.seat import Seat, reason_of
from serving.checks.impute import put_in
from serving.core.events import Decision, Shadowed
from serving.core.wire import parse_tick
from serving.tick.decide import with_rows
from serving.tick.report import commands_of, hash_of

REMEMBERED = 64
"""Number of past ticks that are remembered for records of controllers in the shadow."""


@dataclass(frozen=True)
class Rerun:
    """Result of deciding a tick once more.

    Attributes:
        step: of the first difference; None if there is none. Of a tick: ``body``, ``readings``, ``requests``,
            ``commands``, ``interventions``; of a controller in the shadow: ``commands``, ``difference`` (the share of
            agents that it would have commanded otherwise), ``error``. Or in what is needed to decide at all:
            ``record`` (it cannot be read), ``site``, ``bundle`` (not those that were kept).
        what: the difference, in a sentence.
        unsure: reason why not everything could be decided once more; None if it could.
        inferred: whether it only agrees if the controller had forgotten earlier ticks, which no record states.
    """

    step: str | None = None
    what: str = ""
    unsure: str | None = None
    inferred: bool = False


class Differs(Exception):
    """A difference from the record."""

    def __init__(self, step: str, what: str):
        self.step = step
        super().__init__(what)


@dataclass(frozen=True)
class _Seen:
    """A tick as the controllers saw it, and the commands that were carried out; ``number``: which one of the site's."""

    number: int
    readings: Readings
    observation: Observation
    mask: np.ndarray
    commands: Commands


class Place:
    """One site in one process of the service: its controllers with their memories.

    Args:
        site: the site.
        fallback: the name of its fallback.
        open_seat: ``(controller's name, bundle's SHA-256)`` → a seat at this site.
    """

    def __init__(self, site: Site, fallback: str, open_seat: Callable[[str, str | None], Seat]):
        self.site, self._fallback, self._open = site, fallback, open_seat
        self._system = get_system(site.system)
        self._guard, self._features = self._system.make_guard(site), self._system.make_features(site)
        self._seats: dict[tuple[str, str | None, bool], Seat | CityloopError] = {}
        self._seen: dict[tuple[int, float], _Seen] = {}
        self._ticks, self._begun = 0, 0
        self._seated: dict[str, int] = {}
        self.unsure: str | None = "records before the first are missing"
        """Reason why the controllers' memories are unknown; None where they are known."""

    def begin(self) -> None:
        """Begin an episode: every controller forgets."""
        self.unsure, self._begun = None, self._ticks
        for seat in self._seats.values():
            if isinstance(seat, Seat):
                seat.forget()

    def seated_anew(self, names: Collection[str]) -> None:
        """Controllers that were given a role and had none before: they start without a memory."""
        self._seated |= dict.fromkeys(names, self._ticks)
        for (name, _, fallback), seat in self._seats.items():
            if name in names and not fallback and isinstance(seat, Seat):
                seat.forget()

    def _seat(self, name: str, bundle: str | None, fallback: bool = False) -> Seat | CityloopError:
        """A seat, or the reason why there is none. The fallback's is its own, whoever else has its name.

        Raises:
            Differs: if its bundle was altered.
        """
        if (name, bundle, fallback) not in self._seats:
            try:
                self._seats[name, bundle, fallback] = self._open(name, bundle)
            except CityloopError as error:
                self._seats[name, bundle, fallback] = error
        seat = self._seats[name, bundle, fallback]
        if isinstance(seat, Altered):
            raise Differs("bundle", str(seat))
        return seat

    def decide(self, then: Decision) -> Rerun:
        """Decide a tick once more."""
        self._ticks += 1
        try:
            readings = self._readings(then)
            if then.requests is None:
                _same_commands(
                    self.site, then.commands, {agent: {"program": then.controller} for agent in self.site.agents}
                )
                return Rerun()
            mask = self._guard.mask(readings)
            observation = self._features.encode(readings, mask)
            requests, unsure, inferred = self._requests(then, readings, observation)
            commands, changes = self._guard.check(readings, requests, mask)
            _same_commands(self.site, then.commands, self._commands(commands))
            _same("interventions", then.interventions, [change._asdict() for change in changes])
        except Differs as error:
            return Rerun(error.step, str(error))
        finally:
            if then.fallback_reason is not None:
                self.unsure = f"whether the controller took part in tick {then.tick} is not recorded"
        self._seen[then.tick, then.at_s] = _Seen(self._ticks, readings, observation, mask, commands)
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return Rerun(unsure=unsure, inferred=inferred)

    def _readings(self, then: Decision) -> Readings:
        """Readings as the controllers saw them: the body as read today, with the stand-ins of the input checks."""
        try:
            tick = parse_tick(self._system, self.site, then.body)
        except ReadingError as error:
            raise Differs("body", f"the body is refused: {error}") from None
        _same("body", [then.tick, then.time_s, then.episode], [tick.tick, tick.time_s, tick.episode])
        try:
            readings = put_in(tick.readings, then.imputed)
        except ValueError as error:
            raise Differs("readings", str(error)) from None
        if hash_of(readings) != then.readings_hash:
            raise Differs(
                "readings", f"their hash is recorded as {then.readings_hash}, replayed as {hash_of(readings)}"
            )
        return readings

    def _requests(self, then: Decision, readings: Readings, seen: Observation) -> tuple[Requests, str | None, bool]:
        """Requests to the guard, or the recorded ones with a reason; and whether the memory was inferred."""
        recorded = _array(then.requests)
        fallback = then.fallback_reason is not None
        seat = self._seat(then.controller, then.bundle, fallback)
        if isinstance(seat, CityloopError):
            return recorded, str(seat), False
        if seat.controller.timed:
            return recorded, f"{seat.name} searches for as long as its time allows, not always equally far", False
        requests = self._asked(then, seat, readings, seen, recorded)
        if _plain(requests) == _plain(recorded):
            return requests, None, False
        if seat.bundle is None:  # a rule may remember
            fresh = self._open(then.controller, None)
            again = self._asked(then, fresh, readings, seen, recorded)
            if _plain(again) == _plain(recorded):
                seat.close()
                self._seats[then.controller, None, fallback] = fresh
                return again, None, True
            fresh.close()
            if self.unsure is not None:
                return recorded, self.unsure, False
        raise Differs("requests", _first(self.site.agents, recorded.tolist(), requests.tolist()))

    def _asked(self, then: Decision, seat: Seat, readings: Readings, seen: Observation, recorded: Requests) -> Requests:
        """The requests of a seat, with those of the fallback and of people put in."""
        try:
            requests = seat.decide(readings, seen)
        except Exception as error:
            if then.fallback_reason is None:
                raise Differs("requests", f"{seat.name} gives none: {reason_of(error)}") from None
            requests = np.full(len(self.site.agents), np.nan)
        rows = [self.site.agents.index(agent) for agent in then.local]
        if rows:
            fallback = self._seat(self._fallback, None, fallback=True)
            if isinstance(fallback, CityloopError):
                raise Differs("requests", str(fallback))
            requests = with_rows(requests, fallback.decide(readings, seen), rows, fallback.width)
        return self._by_hand(then, requests, recorded)

    def _by_hand(self, then: Decision, requests: Requests, recorded: Requests) -> Requests:
        """Requests in which those of overridden agents are the commands by hand."""
        if not then.overridden:
            return requests
        width = recorded.shape[1] if recorded.ndim > 1 else 0
        held = {}
        for agent in then.overridden:
            if agent not in then.manual:
                raise Differs("requests", f"{agent}: what a person commanded is not recorded")
            command = then.manual[agent]
            command = tuple(command) if isinstance(command, list) else command
            held[agent] = Override(command=command, reason="recorded", who="recorded", since_s=0.0, until_s=1.0)
        return Overrides(self.site.agents, width, lambda: 0.0).onto(requests, held)

    def shadow(self, then: Shadowed) -> Rerun:
        """Ask a controller once more that was asked in the shadow."""
        seen = self._seen.get((then.tick, then.at_s))
        try:
            seat = self._seat(then.controller, then.bundle)
            if seen is None or isinstance(seat, CityloopError):
                return Rerun(unsure="its tick could not be decided" if seen is None else str(seat))
            if seat.controller.timed:
                return Rerun(unsure=f"{seat.name} searches for as long as its time allows")
            if seat.bundle is None and seen.number <= max(self._begun, self._seated.get(then.controller, 0)):
                return Rerun(unsure="it was recorded after its controller was to forget that tick")
            try:
                commands, _ = self._guard.check(seen.readings, seat.decide(seen.readings, seen.observation), seen.mask)
            except Exception as error:
                _same("error", then.error, reason_of(error))
                return Rerun()
            _same_commands(self.site, then.commands, self._commands(commands))
            other = np.reshape(commands != seen.commands, (len(commands), -1)).any(axis=1)
            _same("difference", then.differs, float(other.mean()))
        except Differs as error:
            unsure = self.unsure if then.bundle is None else None
            return Rerun(unsure=unsure) if unsure else Rerun(error.step, str(error))
        return Rerun()

    def _commands(self, commands: Commands) -> dict[str, Any]:
        return commands_of(self.site, self._system.command, commands)

    def close(self) -> None:
        """Let every seat's thread end."""
        for seat in self._seats.values():
            if isinstance(seat, Seat):
                seat.close()


def _array(requests: Any) -> Requests:
    """Recorded requests as an array; null is NaN."""
    flat = orjson.dumps(requests)
    return np.array(requests, dtype=np.float64 if b"null" in flat or b"." in flat else None)


def _plain(value: Any) -> bytes:
    """A value as bytes that are equal exactly when the values are, to the last bit; non-finite values are all equal."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _same(step: str, recorded: Any, replayed: Any) -> None:
    if _plain(recorded) != _plain(replayed):
        raise Differs(step, f"recorded {_short(recorded)}, replayed {_short(replayed)}")


def _same_commands(site: Site, recorded: Any, replayed: dict[str, Any]) -> None:
    if _plain(recorded) != _plain(replayed):
        both = ([values.get(agent) for agent in site.agents] for values in (recorded, replayed))
        raise Differs("commands", _first(site.agents, *both))


def _first(agents: Sequence[str], recorded: Any, replayed: Any) -> str:
    """The first agent for which two lists differ."""
    pairs = zip(agents, recorded, replayed, strict=False)
    different = [(agent, a, b) for agent, a, b in pairs if _plain(a) != _plain(b)]
    if not different:
        return f"recorded {_short(recorded)}, replayed {_short(replayed)}"
    agent, a, b = different[0]
    more = f", and {len(different) - 1} more agents" if len(different) > 1 else ""
    return f"{agent}: recorded {_short(a)}, replayed {_short(b)}{more}"


def _short(value: Any) -> str:
    text = _plain(value).decode()
    return text if len(text) <= 200 else text[:197] + "..."
