"""Replaying a log: every decision is made once more from its record, and compared with the recorded answer.

The outcome of a tick is a function of its body, of the values that input checks put in, of the controller and of what
the controller remembers; all of it is in the log, or kept beside it. Anything else is taken as recorded: whether a
controller was late or out of charge, and what a person commanded. Such decisions are checked from there on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agents import load_policy, rules
from agents.policy import Policy
from envs.core.errors import CityloopError
from envs.core.site import Site
from serving.audit import kept
from serving.audit.origin import origin
from serving.audit.query import Wanted, chains, records_of
from serving.audit.records import to_event
from serving.audit.rerun import Place, Rerun
from serving.charge.seat import Seat
from serving.core.events import Decision, Event, Shadowed

MOST_DIFFERENCES = 100

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Difference:
    """A decision with another result.

    Attributes:
        chain, record: of the decision.
        system, site, tick: of the decision.
        step: the first that differs; see `Rerun.step`.
        what: the difference, in a sentence.
    """

    chain: str
    record: int
    system: Any
    site: Any
    tick: Any
    step: str
    what: str


@dataclass
class Replay:
    """Results of a replay.

    Attributes:
        decisions: their number.
        reproduced: number equal to the last bit, from the body to the commands; by source.
        given: of those, the ones in which the fallback stood in for a reason that is taken as recorded, perhaps
            beneath commands by hand.
        inferred: of those, the ones that are only equal if the controller had begun anew, which no record states.
        partly: reason why not everything of a decision could be made once more → number; the rest was equal.
        different: number with another result.
        shadows: numbers of controllers in the shadow that were reproduced, partly, different.
        differences: the first of them.
        origin: code and versions that differ here from those of a recorded difference: name → recorded, here.
    """

    decisions: int = 0
    reproduced: Counter[str] = field(default_factory=Counter)
    given: int = 0
    inferred: int = 0
    partly: Counter[str] = field(default_factory=Counter)
    different: int = 0
    shadows: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    origin: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no decision had another result."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        counts = {"reproduced": self.reproduced, "partly": self.partly, "shadows": self.shadows}
        # `asdict` makes a counter anew from pairs, which counts the pairs.
        return {"ok": self.ok, **asdict(self), **{name: dict(count) for name, count in counts.items()}}


def replay(
    folder: Path,
    wanted: Wanted = Wanted(),  # noqa: B008
    bundle: Path | None = None,
    on_progress: Progress = lambda fraction, note: None,
) -> Replay:
    """Make decisions of a log once more.

    Args:
        folder: of the log.
        wanted: decisions that count; earlier ones are replayed too where a controller may remember them.
        bundle: a bundle's folder, for decisions that it made, instead of the copy that the log keeps.
        on_progress: called with the share that is done.

    Raises:
        CityloopError: if there is no log, no decision in it is wanted, or the bundle is invalid or made none of them.
    """
    given = None if bundle is None else load_policy(bundle)
    assert given is None or isinstance(given, Policy)
    found, folders = Replay(), chains(folder)
    used = False
    for k, chain in enumerate(folders):
        run = _Run(folder, chain, wanted, given, found)
        try:
            for fraction in run.steps():
                note = f"{chain.name}, {found.decisions:,} decisions, {found.different} otherwise"
                on_progress((k + fraction) / len(folders), note)
        finally:
            run.close()
        used = used or run.used
    if not found.decisions:
        raise CityloopError(
            f"{folder} has no decision that fits: leave away --site, --since or --until, or look whether it is whole, "
            "with 'audit verify'"
        )
    if given is not None and not used:
        raise CityloopError(
            f"no decision of {folder} was made by bundle {bundle} (its model's SHA-256 begins with "
            f"{given.card.sha256[:12]}): 'audit show --what bundle' lists those that acted"
        )
    return found


class _Run:
    """One chain, replayed in its order."""

    def __init__(self, folder: Path, chain: Path, wanted: Wanted, given: Policy | None, found: Replay):
        self._folder, self._chain, self._wanted, self._given, self._found = folder, chain, wanted, given, found
        self._sites: dict[str, dict[str, str]] = {}
        self._bundles: dict[str, str | None] = {}
        self._places: dict[str, Place | Rerun] = {}
        self._policies: dict[str, Policy] = {}
        self._origin: dict[str, str] = {}
        self.used = False

    def steps(self) -> Iterator[float]:
        """Replay the chain; yields the share that is done, now and then."""
        for count, (share, record) in enumerate(records_of(self._chain)):
            match record.get("kind"):
                case "segment":
                    self._segment(record)
                case "site":
                    self._site(record)
                case "bundle":
                    self._bundles[str(record.get("sha256"))] = _name(record.get("kept"))
                case "change":
                    self._change(record)
                case "decision" | "shadow" if self._is_wanted(record):
                    self._again(record)
            if count % 64 == 0:
                yield share

    def _is_wanted(self, record: dict[str, Any]) -> bool:
        wanted = self._wanted
        late = wanted.until is not None and record["at_s"] > wanted.until
        return not late and wanted.system in (None, record.get("system")) and wanted.site in (None, record.get("site"))

    def _segment(self, record: dict[str, Any]) -> None:
        self._origin = _table(record, "origin")
        self._bundles |= {sha256: _name(kept_as) for sha256, kept_as in _table(record, "bundles").items()}
        if record.get("why") == "start":  # another process: nobody remembers anything, and sites are told anew
            self.close()
            self._sites = {}
        sites = {ref: _facts(one) for ref, one in _table(record, "sites").items() if isinstance(one, dict)}
        self._sites = {**sites, **self._sites}

    def _site(self, record: dict[str, Any]) -> None:
        system, site = record.get("system"), record.get("site")
        ref = f"{system}/{site}"
        self._sites[ref] = _facts(record)
        place = self._places.pop(ref, None)
        if isinstance(place, Place):
            place.close()
        place = self._place(str(system), ref)
        if isinstance(place, Place):
            place.begin()

    def _change(self, record: dict[str, Any]) -> None:
        place, detail = self._places.get(f"{record.get('system')}/{record.get('site')}"), _table(record, "detail")
        if isinstance(place, Place):
            place.seated_anew(_seated(_table(detail, "after")) - _seated(_table(detail, "before")))

    def _place(self, system: str, ref: str) -> Place | Rerun:
        """The site of a record, or the result if there is none: it was never recorded, or its kept copy is gone."""
        if ref not in self._places:
            kept_as = self._sites.get(ref)
            if kept_as is None:
                return Rerun(unsure="the log does not hold its site")
            try:
                site = kept.load_site(self._folder, system, kept_as["sha256"])
                self._places[ref] = Place(
                    site, kept_as["fallback"], lambda name, sha256: self._seat(site, name, sha256)
                )
            except CityloopError as error:
                self._places[ref] = Rerun("site", str(error))
        return self._places[ref]

    def _seat(self, site: Site, name: str, sha256: str | None) -> Seat:
        """The seat of a controller as in the service.

        Raises:
            CityloopError: if it is unknown here, or its bundle was altered.
        """
        if sha256 is not None:
            return Seat(self._policy(sha256).at(site), site)
        named = rules(site.system)
        if name not in named:
            raise CityloopError(f"controller {name!r} is unknown here: replay it with the code that made it")
        return Seat(named[name](site), site)

    def _policy(self, sha256: str) -> Policy:
        if self._given is not None and self._given.card.sha256 == sha256:
            self.used = True
            return self._given
        if sha256 not in self._policies:
            name = self._bundles.get(sha256)
            folder = kept.find_shipped(sha256) if name is None else kept.find_bundle(self._folder, name)
            if folder is None:
                raise CityloopError(f"bundle {sha256[:12]} is not kept: give it with --bundle")
            self._policies[sha256] = Policy.load(folder)
        return self._policies[sha256]

    def _again(self, record: dict[str, Any]) -> None:
        try:
            event = to_event(record["kind"], record)
        except (AttributeError, TypeError) as error:
            outcome = Rerun("record", f"it cannot be read: {error}")
        else:
            outcome = self._outcome(event)
        since = self._wanted.since
        if since is None or record["at_s"] >= since:
            self._count(record, outcome)

    def _outcome(self, event: Event) -> Rerun:
        assert isinstance(event, (Decision, Shadowed))
        place = self._place(event.system, f"{event.system}/{event.site}")
        if isinstance(place, Rerun):
            return place
        try:
            if isinstance(event, Shadowed):
                return place.shadow(event)
            if event.site_hash != place.site.hash:
                return Rerun("site", f"its hash is recorded as {event.site_hash}, kept is {place.site.hash}")
            if event.begins:
                place.begin()
            return place.decide(event)
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # not what the service writes
            return Rerun("record", f"it cannot be decided once more: {type(error).__name__}: {error}")

    def _count(self, record: dict[str, Any], outcome: Rerun) -> None:
        found, decided = self._found, record["kind"] == "decision"
        if decided:
            found.decisions += 1
            if outcome.step:
                found.different += 1
            elif outcome.unsure:
                found.partly[outcome.unsure] += 1
            else:
                found.reproduced[str(record["source"])] += 1
                found.given += record["fallback_reason"] is not None
                found.inferred += outcome.inferred
        else:
            found.shadows["different" if outcome.step else "partly" if outcome.unsure else "reproduced"] += 1
        if outcome.step and len(found.differences) < MOST_DIFFERENCES:
            what = outcome.what if decided else f"in the shadow: {outcome.what}"
            where = (record.get("system"), record.get("site"), record.get("tick"))
            found.differences.append(Difference(self._chain.name, record["n"], *where, outcome.step, what))
            here = origin()
            names = {name: (str(self._origin.get(name)), here[name]) for name in here}
            found.origin |= {name: pair for name, pair in names.items() if pair[0] != pair[1]}

    def close(self) -> None:
        """Close every controller."""
        for place in self._places.values():
            if isinstance(place, Place):
                place.close()
        self._places = {}


def _table(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table in a record; empty where it was altered into something else."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _name(found: Any) -> str | None:
    return found if isinstance(found, str) else None


def _seated(roles: Mapping[str, Any]) -> set[str]:
    """Controllers that have a seat by some roles."""
    return {name for role in ("champion", "challenger") if (name := _name(roles.get(role))) is not None}


def _facts(record: Mapping[str, Any]) -> dict[str, str]:
    """The kept copy of a site, and its fallback."""
    return {key: str(record.get(key)) for key in ("sha256", "fallback")}
