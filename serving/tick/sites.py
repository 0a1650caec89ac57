"""One served site: readings in, safe commands out, whatever becomes of the policy. Plain Python, no Ray, no HTTP.

The steps of a tick: repeated? → parse → episode → input checks → decide → overrides → guard → answer. After the answer:
conduct of the controller in charge, events to the sinks, shadows. Each step has a file; this one joins them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self

import numpy as np
import orjson

from agents import fallback_name
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from envs.core.world import Guard
from serving.charge.keeping import Keeper
from serving.charge.rollback import Conduct
from serving.charge.seat import WARM_UP_S, Seat, reason_of
from serving.charge.settings import SiteConfig
from serving.charge.standing import SERVICE, Standing
from serving.charge.state import StateStore
from serving.core.description import Description
from serving.core.events import Event, Sink, SiteChange
from serving.core.looked import Checks, Looked
from serving.core.refusals import Busy
from serving.core.wire import InCharge, Tick, example_tick, parse_tick
from serving.tick.after import Afterwards
from serving.tick.asked import Asked
from serving.tick.conduct import conduct_of, outside_of
from serving.tick.decide import Choice, decide
from serving.tick.repeats import Repeats
from serving.tick.report import Outcome, answer_of, decision_of, shadowed_of
from serving.tick.shadow import Tried, try_out

LOGGER = logging.getLogger("cityloop.serving")

ANONYMOUS = "anonymous"
"""Name of callers without a key."""

EXAMPLE_S = 4.0
"""Seconds for which the decision of an example shows that a site can decide; less than between Ray's health checks."""


class SiteService:
    """Answers the ticks of one site.

    Args:
        standing: the site and its decision state.
        checks: of the readings.
        sinks: called with every event, in order, on the event loop.
        clock: wall clock, seconds since 1970.

    Attributes:
        description: of the site, for clients.
        interval_s: usual time between two ticks.
        last: the last answer; None before the first.
        dropped: number of ticks that a shadow had no time for.
    """

    def __init__(
        self,
        standing: Standing,
        checks: Checks | None = None,
        sinks: Sequence[Sink] = (),
        clock: Callable[[], float] = time.time,
    ):
        self.standing, self.site, self.settings = standing, standing.site, standing.settings
        self.system, self.checks, self._sinks, self._clock = get_system(self.site.system), checks, tuple(sinks), clock
        self._guard, self._shadow_guard = self.system.make_guard(self.site), self.system.make_guard(self.site)
        self._features = self.system.make_features(self.site)
        self._after, self._repeats, self._under_way = Afterwards(), Repeats(), 0
        everyday = self.settings.rollback.everyday
        self._everyday = frozenset(self.system.everyday if everyday is None else everyday)
        self.description = Description(self.system, self.site, lambda: self.in_charge)
        self.interval_s = self.system.consistency(self.site).interval_s
        self._site_hash = self.site.hash  # computing it takes longer than a tick
        self._example = orjson.dumps(example_tick(self.site))
        self._example_decided: asyncio.Future[str | None] | None = None
        self._example_s = 0.0
        self._keeper = Keeper(standing, self.forget_answers)
        self.last: Mapping[str, Any] | None = None
        self._seen: Outcome | None = None
        self._looked: tuple[bytes, Looked] | None = None
        self.dropped = 0

    @classmethod
    def open(
        cls,
        site: Site,
        config: SiteConfig,
        *,
        checks: Checks | None = None,
        sinks: Sequence[Sink] = (),
        store: StateStore | None = None,
    ) -> Self:
        """A service by the names of its controllers; the system's own fallback if none is given.

        Raises:
            CityloopError: if a controller is unknown, unfit, or fails on an idle plant.
        """
        fallback = Seat.open(config.fallback or fallback_name(site.system), site, config.trusted_keys)
        try:
            standing = Standing(site, config, config.roles, {}, fallback, store or StateStore(None, site))
        except BaseException:
            fallback.close()
            raise
        return cls(standing, checks, sinks)

    def begin(self) -> None:
        """Report and save changes of roles with the start, so that the next start continues from there.

        To be called once everything else has started: the process before goes by the saved state.
        """
        if (change := self.standing.change_at_start) is not None:
            self.change(change.who, "configure", change.why, change.detail)
        if self.standing.differs_from_loaded:
            self._keeper.save_now()

    @property
    def ref(self) -> str:
        """``system/site``."""
        return f"{self.site.system}/{self.site.name}"

    @property
    def degraded(self) -> str | None:
        """Reason why the fallback decides; None if it does not."""
        seat, _ = self.standing.crew.in_charge
        if seat.stuck:
            return f"{seat.name}: still busy with an earlier tick"
        return self.standing.watch.tripped

    @property
    def unsaved(self) -> str | None:
        """Reason why operators' changes would not outlive the process; None if they would."""
        well = self.standing.store.writable() and not self._keeper.failed
        return None if well else "its state cannot be saved"

    @property
    def age_s(self) -> float | None:
        """Age of the last answer in seconds; None before the first."""
        return None if self._seen is None else max(0.0, self._clock() - self._seen.asked.at_s)

    @property
    def seen(self) -> tuple[int, Readings] | None:
        """The last tick's number and its checked readings; None before the first."""
        return None if self._seen is None else (self._seen.asked.tick.tick, self._seen.looked.readings)

    @property
    def guard_for_checks(self) -> Guard:
        """A second guard, for questions of what the first would do."""
        return self._shadow_guard

    async def cannot_decide(self) -> str | None:
        """Reason why this site cannot decide an example; None if it can.

        Anybody may ask, so one example does for all who ask within `EXAMPLE_S`: ticks share the policy's thread.
        """
        known, now_s = self._example_decided, time.monotonic()
        if known is None or known.cancelled() or (known.done() and now_s - self._example_s >= EXAMPLE_S):
            self._example_s = now_s
            known = self._example_decided = asyncio.ensure_future(self._decide_example())
        return await asyncio.shield(known)

    async def _decide_example(self) -> str | None:
        """As `cannot_decide`.

        A policy is asked, as it remembers nothing. A rule may remember, so its ticks are not disturbed. A policy that
        is busy is not waited for: it is deciding a tick, or hangs; then the fallback decides, and the site is degraded,
        not broken.
        """
        try:
            readings = parse_tick(self.system, self.site, self._example).readings
            mask = self._shadow_guard.mask(readings)
            observation = self._features.encode(readings, mask)
            seat, _ = self.standing.crew.in_charge
            requests = np.full(len(self.site.agents), np.nan)
            if seat.bundle is not None and not seat.busy:
                requests = await seat.decide_in_time(readings, observation, WARM_UP_S, WARM_UP_S)
            self._shadow_guard.check(readings, requests, mask)
        except Exception as error:
            return reason_of(error)
        return None

    async def fault(self) -> str | None:
        """Reason why this site cannot be relied on; None if it can. A fallback that decides is no fault."""
        return self.unsaved or await self.cannot_decide()

    @property
    def in_charge(self) -> InCharge:
        """Description of the controller in charge."""
        seat, source = self.standing.crew.in_charge
        return InCharge(
            controller=seat.name,
            why=seat.why,
            role=source,
            program=seat.program,
            bundle=None if seat.bundle is None else seat.bundle[:12],
            fallback=self.standing.crew.fallback.name,
            out_of_charge=self.standing.watch.tripped,
            deadline_ms=self.settings.deadline_ms,
        )

    # A tick.

    def act(self, body: bytes, who: str = ANONYMOUS) -> dict[str, Any]:
        """As `act_async`, for callers without an event loop; jobs after the answer are done too."""

        async def ask() -> dict[str, Any]:
            try:
                return await self.act_async(body, who)
            finally:
                self._after.finish()

        return asyncio.run(ask())

    async def act_async(self, body: bytes, who: str = ANONYMOUS) -> dict[str, Any]:
        """Answer a tick; see `wire.ActRequest` and `wire.ActAnswer`.

        Raises:
            ReadingError: if the body cannot be used.
            Busy: if too many are under way.
            Conflict: if it is older than an answered tick.
        """
        started = time.perf_counter()
        if self._under_way >= self.settings.queue:
            raise Busy("queue", self._under_way, "decide locally and ask again", retry_after_s=self._retry_after_s())
        self._under_way += 1
        try:
            while (question := self._repeats.find(body, self.standing.episodes.last)) is not None:
                if (known := await question.wait()) is not None:
                    return known
            tick = parse_tick(self.system, self.site, body)
            deadline_ms = min(self.settings.deadline_ms, tick.deadline_ms or self.settings.deadline_ms)
            begins = self._follow(tick, body)
            with self._repeats.asking(body, tick) as question:
                asked = Asked(body, tick, who, self._clock(), started, deadline_ms, begins)
                question.answer = await self._decide(asked)
            return question.answer
        finally:
            self._under_way -= 1

    def _retry_after_s(self) -> float:
        """Seconds until the ticks under way are done, at the latest."""
        return self.settings.deadline_ms / 1e3

    def _follow(self, tick: Tick, body: bytes) -> bool:
        """Take note of a tick; returns whether controllers and checks begin anew with it, as in a new process."""
        first = self.last is None
        self._keeper.take_up_saved()
        if not self.standing.episodes.follow(tick, body):
            return first
        self.settle()  # earlier answers are judged under the controller in charge then
        canary = self.standing.crew.canary
        self._repeats.forget()
        self.standing.begin_episode()
        self._looked = None
        if self.checks is not None:
            self.checks.reset()
        if tick.episode is not None or canary != self.standing.crew.canary:
            self._after.put(self._keeper.save_soon)
        return True

    async def _decide(self, asked: Asked) -> dict[str, Any]:
        standing = self.standing
        seat, source = standing.crew.in_charge
        looked = Looked(asked.tick.readings)
        if self.checks is not None:
            self.checks.follow(seat.envelope)
            if self._looked is None or self._looked[0] != asked.body:  # no plant's clock stands still for a repeat
                self._looked = asked.body, self.checks.look(asked.tick, asked.at_s)
            looked = self._looked[1]
        if seat.program:
            nothing = np.empty(0)
            return self._answer(
                Outcome(asked, looked, Choice(nothing, seat, source), {}, nothing, None, (), {}, nothing)
            )
        mask = self._guard.mask(looked.readings)
        observation = self._features.encode(looked.readings, mask)
        if self.checks is not None:
            looked = self.checks.judge(looked, observation)
        decided = await decide(standing.crew, asked, looked, observation, standing.watch.tripped)
        overridden = standing.overrides.now()
        requests = standing.overrides.onto(decided.requests, overridden)
        commands, changes = self._guard.check(looked.readings, requests, mask)
        return self._answer(Outcome(asked, looked, decided, overridden, requests, commands, changes, observation, mask))

    def _answer(self, outcome: Outcome) -> dict[str, Any]:
        answer = answer_of(self.site, self.system.command, outcome)
        self.last, self._seen = answer, outcome
        self._after.put(partial(self._finish, outcome, answer))
        return answer

    # After the answer.

    def _finish(self, outcome: Outcome, answer: Mapping[str, Any]) -> None:
        self.tell(decision_of(self.site, self._site_hash, outcome, answer))
        if outcome.commands is None:
            return
        crew, tripped = self.standing.crew, self.standing.watch.tripped
        if tripped is None:
            self._judge(conduct_of(outcome, len(self.site.agents), self._everyday))
        else:
            self._try_out(crew.in_charge[0], outcome, on_probation=True)
        if crew.shadow is not None:
            self._try_out(crew.shadow, outcome)

    def _try_out(self, seat: Seat, outcome: Outcome, on_probation: bool = False) -> None:
        """Ask a controller for comparison; one on probation is judged by the result."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the service ends
            return
        outside, watch = outside_of(outcome), self.standing.watch

        def record(tried: Tried) -> None:
            self.tell(shadowed_of(self.site, self.system.command, outcome.asked, seat, tried))
            if on_probation and watch is self.standing.watch and watch.tripped is not None:
                late = tried.latency_ms > outcome.asked.deadline_ms
                failed = tried.error is not None
                self._judge(Conduct(failed, late and not failed, outside, tried.guarded))

        def tell(tried: Tried) -> None:
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(record, tried)

        assert outcome.commands is not None
        readings, guard = outcome.looked.readings, self._shadow_guard
        if try_out(seat, guard, readings, outcome.observation, outcome.mask, outcome.commands, tell, self._everyday):
            return
        self.dropped += 1
        if on_probation:
            self._judge(Conduct(late=1.0, outside=outside))

    def _judge(self, conduct: Conduct) -> None:
        """Count the conduct of the controller in charge; take it out of charge, or back, as the rates demand."""
        crew, watch = self.standing.crew, self.standing.watch
        why_not = watch.tripped
        what = watch.note(conduct)
        if what is None:
            return
        seat, source = crew.in_charge
        if what == "return":
            detail = {"from": crew.fallback.name, "to": seat.name, "was": why_not}
            reason = f"well for {self.settings.rollback.return_after} ticks"
        elif source == "canary":
            reason = watch.tripped or ""
            roles = crew.roles.demote()
            self.standing.take(roles, {roles.champion: crew.champion}, at_once=False)
            detail = {"from": seat.name, "to": crew.champion.name, "role": source}
        else:
            reason = watch.tripped or ""
            detail = {"from": seat.name, "to": crew.fallback.name, "role": source}
        self.change(SERVICE, what, reason, detail)
        self._keeper.save_soon()

    def change(self, who: str, what: str, reason: str, detail: Mapping[str, Any]) -> None:
        """Report a change, after all earlier events.

        From here on nothing is answered from memory.
        """
        self._after.finish()
        self.forget_answers()
        self.tell(SiteChange(self.site.system, self.site.name, self._clock(), who, what, reason, detail))

    def settle(self) -> None:
        """Pass outstanding events to the sinks now, before these are asked. To be called in the event loop's thread."""
        self._after.finish()

    def forget_answers(self) -> None:
        """Forget answers, so that repeated questions are decided again."""
        self._repeats.forget()

    def tell(self, event: Event) -> None:
        """Hand an event to every sink."""
        for sink in self._sinks:
            sink.record(event)

    def take_up_saved(self) -> None:
        """Take over what another process has saved, ahead of the next tick; to be called before the state is shown."""
        self._keeper.take_up_saved()

    async def catch_up(self) -> None:
        """As `take_up_saved`, and wait until it holds; to be called before a change."""
        await self._keeper.catch_up()

    async def save(self) -> bool:
        """Save the state and wait for it; returns whether it was saved."""
        return await self._keeper.save()

    def close(self) -> None:
        """Finish outstanding jobs and end every thread."""
        self._after.finish()
        self._keeper.close()
        self.standing.crew.close()
