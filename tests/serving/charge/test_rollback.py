"""When a policy is taken out of charge, and when it is let back."""

from __future__ import annotations

from typing import Any

import pytest

from envs import CityloopError, get_system, load_scenario
from envs.core.world import Guard
from serving.build import Plan
from serving.charge.rollback import CAUSES, Conduct, ConductWatch, RollbackSettings
from serving.config import ServiceConfig
from tests.serving.plants import GRID

WELL, ILL = Conduct(), Conduct(errors=1.0)


def settings(**changes: Any) -> RollbackSettings:
    return RollbackSettings.model_validate({"window": 10, "errors": 0.2, "return_after": 6, **changes})


def told(watch: ConductWatch, *ticks: Conduct) -> list[str | None]:
    return [watch.note(tick) for tick in ticks]


@pytest.mark.parametrize("cause", list(CAUSES))
def test_more_than_the_rate_trips_and_names_the_cause(cause: str) -> None:
    watch = ConductWatch(settings(**{cause: 0.2}))
    bad = Conduct(**{cause: 1.0})
    assert told(watch, bad, WELL, bad, WELL, bad) == [None, None, None, None, "rollback"]
    assert watch.tripped == f"{CAUSES[cause]}: 0.3 over 10 ticks, 0.2 is allowed"


def test_what_lies_behind_the_window_is_forgotten() -> None:
    watch = ConductWatch(settings())
    for _ in range(10):
        assert told(watch, ILL, ILL, *[WELL] * 8) == [None] * 10
    assert watch.rates()["errors"] == 0.2


def test_shares_add_up() -> None:
    watch = ConductWatch(settings(guarded=0.3))
    assert told(watch, *[Conduct(guarded=0.3)] * 10) == [None] * 10
    assert told(watch, *[Conduct(guarded=0.31)] * 10)[-1] == "rollback" or watch.tripped is not None


def test_it_returns_only_after_it_has_been_well_for_long_enough() -> None:
    watch = ConductWatch(settings())
    told(watch, ILL, ILL, ILL)
    assert told(watch, *[WELL] * 5) == [None] * 5
    assert watch.note(WELL) == "return"
    assert watch.tripped is None
    assert watch.rates()["errors"] == 0.0


def test_the_way_back_is_stricter_than_the_way_out() -> None:
    """One in ten is allowed in charge; half of it is allowed before the return."""
    watch = ConductWatch(settings(errors=0.2, return_after=10, return_below=0.5))
    told(watch, ILL, ILL, ILL)
    assert told(watch, ILL, *[WELL] * 9)[-1] == "return"
    told(watch, ILL, ILL, ILL)
    assert "return" not in told(watch, ILL, ILL, *[WELL] * 8)


def test_a_watch_that_was_saved_tripped_stays_tripped() -> None:
    watch = ConductWatch(settings(), tripped="the guard")
    assert watch.tripped == "the guard"
    assert told(watch, *[WELL] * 6)[-1] == "return"


def test_a_rate_of_zero_allows_nothing_and_of_one_everything() -> None:
    assert ConductWatch(settings(errors=0)).note(ILL) == "rollback"
    assert set(told(ConductWatch(settings(errors=1)), *[ILL] * 50)) == {None}


def test_an_everyday_reason_that_the_guard_never_tells_is_refused() -> None:
    for system, site in (("drainage", "astlingen"), ("dampers", "jansen")):
        assert set(get_system(system).everyday) <= set(guard_of(f"{system}/{site}").reasons)
    settings(everyday=["clearing"]).check_reasons(guard_of(GRID).reasons)
    with pytest.raises(
        CityloopError, match=r"rollback\.everyday has unknown reason 'clearign': choose invalid, clearing"
    ):
        Plan.make(ServiceConfig.make({"sites": [{"site": GRID, "rollback": {"everyday": ["clearign"]}}]}))


def test_everyday_reasons_of_several_systems_may_be_given_at_once() -> None:
    defaults = {"rollback": {"everyday": ["clearing", "deadband"]}}
    content = {"defaults": defaults, "sites": [GRID, "drainage/theta"]}
    Plan.make(ServiceConfig.make(content))
    with pytest.raises(CityloopError, match="unknown reason 'deadband'"):
        Plan.make(ServiceConfig.make(content | {"sites": [GRID]}))


def guard_of(ref: str) -> Guard:
    scenario = load_scenario(ref)
    system = get_system(scenario.system)
    return system.make_guard(system.load_site(scenario))
