"""Input checks: never in the way of healthy sensors, never silent about sick ones, and the same whenever asked."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.envelope import ANYWHERE, Envelope, Limits, fit_part, site_key
from envs import CityloopError, get_system, load_scenario
from envs.core.readings import Readings
from envs.core.site import Site
from serving.bench.checks import CASES, bench_checks
from serving.build import Plan
from serving.checks import CheckSettings, InputChecks, put_in
from serving.checks.checks import MOST_LISTED
from serving.config import ServiceConfig
from serving.core.looked import Looked
from serving.core.wire import Tick, example_tick

SITES = {
    "intersections": "intersections/grid2x2",
    "drainage": "drainage/estuary",
    "dampers": "dampers/dyke",
    "transit": "transit/hcmc",
}


@pytest.fixture(scope="module")
def sites() -> dict[str, Site]:
    return {name: get_system(name).load_site(load_scenario(ref)) for name, ref in SITES.items()}


def narrow(site: Site) -> Envelope:
    """Limits so tight that nearly everything is found, and distances of which nothing is known."""
    system = get_system(site.system)
    columns = [column.name for column in system.readings.columns]
    rules = system.consistency(site).rules
    tight = {"change": dict.fromkeys(columns, 0.1), "run": dict.fromkeys(columns, 1.0)}
    tight |= {"low": dict.fromkeys(columns, -0.5), "high": dict.fromkeys(columns, 0.5)}
    parts = {}
    for name, shape in system.make_features(site).shapes.items():
        if name not in ("action_mask", "serves"):
            part = fit_part(np.random.default_rng(0).normal(size=(100, shape[-1])), np.ones(shape[-1], dtype=bool))
            assert part is not None
            parts[name] = part
    limits = Limits(**tight, residuals=dict.fromkeys(rules, 0.1), agent=0.1, mean=0.1)
    return Envelope(rate=1e-3, fitted={}, parts=parts, limits={site_key(site): limits, ANYWHERE: limits})


def drawn(site: Site, rng: np.random.Generator, before: Readings | None) -> Readings:
    """Readings that fit the schema: at the edges, small, silent, or as before."""
    readings = {}
    for column in get_system(site.system).readings.columns:
        n = len(site.axes[column.axis])
        kind = rng.integers(4)
        if kind == 0 and before is not None:
            readings[column.name] = before[column.name].copy()
            continue
        values = np.where(rng.random(n) < 0.3, rng.choice([column.low, column.high], n), rng.normal(0, 3, n))
        values = np.clip(np.round(values) if column.integer else values, column.low, column.high)
        if column.nullable:
            values[rng.random(n) < 0.2] = np.nan
        readings[column.name] = values
    if site.system == "intersections":
        readings["stage"] = np.minimum(readings["stage"], 1.0)
    return readings


@pytest.mark.parametrize("name", SITES)
@given(seed=st.integers(0, 2**31), hold=st.integers(0, 3), envelope=st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fits_the_schema_is_looked_at(
    name: str, sites: dict[str, Site], seed: int, hold: int, envelope: bool
) -> None:
    """Checks never raise; what they make of readings fits the schema too, says all, and is the same the second time."""
    site, rng = sites[name], np.random.default_rng(seed)
    system, config = get_system(name), CheckSettings(hold_ticks=hold)
    seen = narrow(site) if envelope else None
    one, other = InputChecks(system, site, seen, config), InputChecks(system, site, seen, config)
    guard, features = system.make_guard(site), system.make_features(site)
    readings, time_s = None, 0.0
    for k in range(6):
        readings = drawn(site, rng, readings)
        time_s += float(rng.choice([-5.0, 0.0, 1.0, 300.0]))
        looked = one.look(Tick(k, time_s, readings), 0.0)
        again = other.look(Tick(k, time_s, readings), 0.0)
        for column in system.readings.columns:
            assert np.array_equal(looked.readings[column.name], again.readings[column.name], equal_nan=True)
        assert (looked.imputed, looked.findings, looked.local, looked.fall_back) == (
            again.imputed,
            again.findings,
            again.local,
            again.fall_back,
        )
        sent = system.readings.to_json(looked.readings)
        system.readings.validate(sent, site.axes)
        replayed = put_in(readings, looked.imputed)
        assert all(np.array_equal(replayed[c], looked.readings[c], equal_nan=True) for c in replayed)
        observation = features.encode(looked.readings, guard.mask(looked.readings))
        judged = one.judge(looked, observation)
        assert set(judged.local) >= set(looked.local)
        assert judged.readings is looked.readings
        one.describe()


def still(site: Site, **changes: Any) -> Readings:
    readings = get_system(site.system).readings.validate(example_tick(site)["readings"], site.axes)
    return readings | {name: np.array(values, dtype=float) for name, values in changes.items()}


class Street:
    """A grid whose detectors say what a test wants, with limits that a test gives: its own, or those of others."""

    def __init__(self, site: Site, limits: Limits | None = None, elsewhere: bool = False, **options: Any):
        named = {ANYWHERE: limits or Limits()} | ({} if elsewhere else {site_key(site): limits or Limits()})
        known = Envelope(rate=1e-3, fitted={}, parts={}, limits=named)
        self.site, self.tick = site, -1
        self.checks = InputChecks(get_system(site.system), site, known, CheckSettings(**options))

    def next(self, time_s: float | None = None, at_s: float = 0.0, **columns: Any) -> Any:
        self.tick += 1
        now = 5.0 * self.tick if time_s is None else time_s
        limit = np.array([approach.speed_mps for approach in self.site.approaches])  # type: ignore[attr-defined]
        greens = self.checks._watch.consistency._green[0]  # type: ignore[attr-defined]
        rest = {"speed_mps": limit, "red_s": np.where(greens, 0.0, now + 1.0), "green_s": np.full(4, now + 1.0)}
        return self.checks.look(Tick(self.tick, now, still(self.site, **(rest | columns))), at_s)


def counts(site: Site, first: float) -> dict[str, Any]:
    """One detector sees vehicles that move freely; all others none."""
    n = len(site.axes["approach"])
    capacity = site.approaches[0].length_m / 7.5  # type: ignore[attr-defined]
    share = min(first / max(capacity, 1.0), 1.0)
    return {"count_veh": [first, *[0.0] * (n - 1)], "occupancy": [share, *[0.0] * (n - 1)]}


def test_limits_of_other_sites_are_told_of_and_nothing_comes_of_them(sites: dict[str, Site]) -> None:
    """A gate of another network lets through what it is made for; bookkeeping holds everywhere."""
    site = sites["intersections"]
    limits = Limits(high={"count_veh": 5.0}, change={"speed_mps": 0.01}, residuals={"occupancy": 0.01})
    street = Street(site, limits, elsewhere=True, hold_ticks=0)
    looked = street.next(**counts(site, 9.0) | {"occupancy": np.zeros(len(site.axes["approach"]))})
    assert any("beyond what any did elsewhere" in finding for finding in looked.findings)
    assert any("contradict each other" in finding for finding in looked.findings)
    assert (looked.imputed, looked.local, looked.fall_back) == ({}, (), None)
    assert street.next(time_s=0.0).fall_back is not None, "the clock stands still"
    late = Street(site, limits, elsewhere=True, hold_ticks=0)
    looked = late.checks.look(Tick(0, 0.0, still(site), ages_s={"count_veh": 99.0}), 0.0)
    assert looked.imputed, "what is stale is replaced everywhere"
    named = Street(site, limits, elsewhere=True, hold_ticks=0, respond={"count_veh": "local"})
    assert named.next(**counts(site, 9.0)).local, "as it was asked for"


def test_a_quiet_street_gives_no_finding(sites: dict[str, Site]) -> None:
    street = Street(sites["intersections"])
    assert all(street.next().findings == () for _ in range(50))


def test_a_jump_is_bridged_then_null_then_believed(sites: dict[str, Site]) -> None:
    """The last good value stands in for three ticks, null after that; a jump that stays is the truth in the end."""
    site = sites["intersections"]
    street = Street(site, Limits(change={"count_veh": 2.0}), respond={"conserved": "report"})
    street.next(**counts(site, 1.0))
    looked = [street.next(**counts(site, 14.0)) for _ in range(8)]
    assert "count_veh[0] (approach" in looked[0].findings[0]
    assert "jumped from 1 to 14" in looked[0].findings[0]
    assert [each.imputed.get("count_veh[0]", "own") for each in looked] == [
        1.0,
        1.0,
        1.0,
        None,
        None,
        None,
        "own",
        "own",
    ]
    assert np.isnan(looked[3].readings["count_veh"][0])
    assert looked[0].readings["count_veh"][0] == 1.0
    assert not any(each.local or each.fall_back for each in looked)


def test_a_stuck_sensor_is_found_and_one_at_rest_is_not(sites: dict[str, Site]) -> None:
    site = sites["intersections"]
    street = Street(site, Limits(run={"count_veh": 3.0}))
    found = [street.next(**counts(site, 2.0)).findings for _ in range(6)]
    assert found[:4] == [()] * 4
    assert "has shown 2 for 5 ticks, at most 4 are usual" in found[4][0]
    rest = Street(site, Limits(run={"count_veh": 3.0}))
    assert all(rest.next(**counts(site, 0.0)).findings == () for _ in range(10))


def test_an_agent_whose_sensors_are_gone_is_decided_locally(sites: dict[str, Site]) -> None:
    """More than half of a junction's detectors beyond their range, and no good value to stand in."""
    site = sites["intersections"]
    street = Street(site, Limits(high={"count_veh": 5.0}), hold_ticks=0, respond={"speed": "report"})
    mine = get_system(site.system).consistency(site).concerns["approach"][0]
    busy = np.where(mine, 9.0, 0.0)
    capacity = np.array([max(approach.length_m / 7.5, 1.0) for approach in site.approaches])  # type: ignore[attr-defined]
    looked = street.next(count_veh=busy, occupancy=np.minimum(busy / capacity, 1.0))
    assert list(looked.local) == [0]
    assert looked.fall_back is None
    assert np.isnan(looked.readings["count_veh"][mine]).all()


def test_the_whole_site_falls_back_where_most_of_it_cannot_see(sites: dict[str, Site]) -> None:
    site = sites["intersections"]
    street = Street(site, Limits(high={"count_veh": 5.0}), hold_ticks=0)
    looked = street.next(count_veh=np.full(len(site.axes["approach"]), 9.0))
    assert "4 of 4 agents cannot trust their sensors" in str(looked.fall_back)


def test_what_a_signal_controller_says_of_itself_is_never_replaced(sites: dict[str, Site]) -> None:
    site = sites["intersections"]
    street = Street(site)
    street.next()
    looked = street.next(red_s=np.zeros(len(site.axes["movement"])))  # all green at once
    assert any("red ages do not fit the stage" in each for each in looked.findings)
    assert looked.imputed == {}
    assert (looked.readings["red_s"] == 0).all()
    assert looked.fall_back is not None


def test_responses_are_settings(sites: dict[str, Site]) -> None:
    site = sites["intersections"]
    for respond, local, fall_back in (("report", [], False), ("local", [0], False), ("fall_back", [0], True)):
        street = Street(site, Limits(change={"count_veh": 2.0}), respond={"count_veh": respond, "conserved": "report"})
        street.next(**counts(site, 1.0))
        looked = street.next(**counts(site, 14.0))
        assert looked.findings
        assert looked.imputed == {}
        assert [k for k in looked.local if k == 0] == (local and [0])
        assert (looked.fall_back is not None) == fall_back


def test_clocks_that_stand_still_or_go_back_are_found(sites: dict[str, Site]) -> None:
    street = Street(sites["intersections"])
    assert street.next(time_s=10.0).fall_back is None
    assert "stands still" in str(street.next(time_s=10.0).fall_back)
    assert "goes backwards" in str(street.next(time_s=5.0).fall_back)
    street.checks.reset()
    assert street.next(time_s=0.0).fall_back is None


def test_a_wall_clock_tells_how_old_readings_are(sites: dict[str, Site]) -> None:
    street = Street(sites["intersections"], clock="wall", max_age_s=2.0)
    assert street.next(time_s=100.0, at_s=101.0).fall_back is None
    assert "8 s old" in str(street.next(time_s=105.0, at_s=113.0).fall_back)
    assert street.next(time_s=110.0, at_s=110.5).fall_back is None


def test_times_since_1970_are_told_whole(sites: dict[str, Site]) -> None:
    street = Street(sites["intersections"], clock="wall", max_age_s=5.0)
    now = 1796083898.1
    ahead = street.next(time_s=now + 3600.0, at_s=now).fall_back
    assert ahead == "time_s: the plant's clock is 3600 s ahead, 5 s are allowed"
    assert street.next(time_s=now, at_s=now).fall_back == "time_s: the plant's clock goes backwards at 1796083898.1 s"
    street.checks.reset()
    assert street.next(time_s=0.0, at_s=now).fall_back == "time_s: the readings are 1796083898.1 s old, 5 s are allowed"


def test_columns_that_are_too_old_are_not_trusted(sites: dict[str, Site]) -> None:
    site = sites["intersections"]
    checks, readings = InputChecks(get_system(site.system), site), still(site)
    assert checks.look(Tick(0, 0.0, readings, ages_s={"count_veh": 14.0}), 0.0).findings == ()
    looked = checks.look(
        Tick(1, 5.0, readings | {"count_veh": readings["count_veh"] + 1}, ages_s={"count_veh": 16.0}), 0.0
    )
    assert "count_veh is 16 s old, 15 s are allowed" in looked.findings
    assert (looked.readings["count_veh"] == 0).all()


def test_the_age_of_one_column_hides_nothing_of_another(sites: dict[str, Site]) -> None:
    site = sites["intersections"]
    limits = Limits(high={"count_veh": 5.0, "speed_mps": 0.1})
    checks = Street(site, limits).checks
    busy = still(site, count_veh=[9.0, *[0.0] * (len(site.axes["approach"]) - 1)])
    first, second = checks.look(Tick(0, 0.0, busy, ages_s={"speed_mps": 16.0}), 0.0).findings
    assert first == "speed_mps is 16 s old, 15 s are allowed"
    assert second.startswith("count_veh[0] (approach")


def test_what_is_not_told_one_by_one_is_counted(sites: dict[str, Site]) -> None:
    site = sites["intersections"]
    lanes = len(site.axes["approach"])
    looked = Street(site, Limits(high={"count_veh": 5.0})).next(count_veh=np.full(lanes, 9.0))
    assert [finding.startswith("count_veh[") for finding in looked.findings] == [True] * MOST_LISTED + [False]
    assert looked.findings[-1] == f"and {lanes - MOST_LISTED} more"


def test_observations_beyond_what_was_seen_need_to_last(sites: dict[str, Site]) -> None:
    site = sites["intersections"]
    rows = np.random.default_rng(0).normal(size=(5000, 3))
    part = fit_part(rows, np.ones(3, dtype=bool))
    assert part is not None
    known = Envelope(rate=1e-3, fitted={}, parts={"x": part}, limits={ANYWHERE: Limits(agent=1.0, mean=1.0)})
    far, near = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32)
    far[2] = 50.0
    checks = InputChecks(get_system(site.system), site, known, CheckSettings(envelope_ticks=2))
    looked = [checks.judge(Looked(still(site)), {"x": x}) for x in (near, far, far, near, far)]
    assert [list(each.local) for each in looked] == [[], [], [2], [], []]
    assert [bool(each.findings) for each in looked] == [False, True, True, False, True]
    assert looked[1].envelope is not None
    assert looked[1].envelope > 1 > looked[0].envelope  # type: ignore[operator]
    for _ in range(2):
        everywhere = checks.judge(Looked(still(site)), {"x": np.full((4, 3), 50.0, np.float32)})
    assert everywhere.fall_back is not None


def test_settings_that_name_nothing_are_refused(sites: dict[str, Site]) -> None:
    with pytest.raises(CityloopError, match="unknown key 'queue'"):
        Street(sites["intersections"], respond={"queue": "local"})


def test_they_can_be_switched_off(sites: dict[str, Site]) -> None:
    street = Street(sites["intersections"], on=False)
    assert not [street.next(time_s=0.0).findings for _ in range(3)][2]


@pytest.mark.parametrize(
    "name", [{"column[0]": 1.0}, {"count_veh": 1.0}, {"count_veh[-1]": 1.0}, {"count_veh[99]": 1.0}]
)
def test_what_stands_in_for_no_reading_is_refused(sites: dict[str, Site], name: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is of no reading"):
        put_in(still(sites["intersections"]), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_shipped_envelopes_tell_sick_from_healthy(name: str) -> None:
    """On test seeds, which no envelope has seen: hardly a false alarm, and every episode of a gross lie is found."""
    found = bench_checks({name: CASES[name]}, seeds=3, shifted=1)
    rows = found["rows"][name]
    assert rows["healthy"]["share of ticks found"] <= 3e-3
    shifts = ["noise of a half", "all zero"]
    if not name.startswith("dampers"):  # whose acquisition unit judges its raw samples itself
        shifts += ["two columns swapped", "a unit mistaken"]
    for shift in shifts:
        assert rows[shift]["episodes found"] == 1.0, shift


def test_a_served_site_checks_and_says_so() -> None:
    """From the configuration to the answer: what was found, what stood in, and who decided."""
    config = ServiceConfig.make({"sites": [{"site": "intersections/grid2x2", "champion": "max-pressure"}]})
    gateway = Plan.make(config).gateway()
    one = gateway.all[0]
    try:
        tick = example_tick(one.site)
        first = one.act(orjson.dumps(tick))
        assert (first["findings"], first["imputed"], first["local"]) == ([], {}, [])
        again = one.act(orjson.dumps(tick | {"tick": 1, "readings": tick["readings"] | {"green_s": [9.0] * 4}}))
        assert "stands still" in again["fallback_reason"]
        assert again["fallback"]
        assert again["findings"]
        assert one.checks is not None
        assert one.checks.describe()["fall_back"] == again["findings"][0]
    finally:
        one.close()


@pytest.mark.parametrize(
    "ref", ["intersections/cologne1", "drainage/astlingen", "dampers/jansen", "dampers/jansen-all", "transit/hcmc"]
)
def test_the_example_that_a_site_gives_is_decided_by_its_policy(ref: str) -> None:
    """It is what a start says to try: who does should not be told that sensors cannot be trusted."""
    gateway = Plan.make(ServiceConfig.make({"sites": [ref], "defaults": {"deadline_ms": 10_000}})).gateway()
    one = gateway.all[0]
    try:
        answer = one.act(orjson.dumps(example_tick(one.site)))
    finally:
        one.close()
    assert (answer["source"], answer["fallback_reason"], answer["findings"]) == ("champion", None, [])


def test_configurations_say_how(tmp_path: Path) -> None:
    checked = "{hold_ticks: 1, limits: own.json, respond: {count_veh: local}}"
    (tmp_path / "city.yaml").write_text(f"sites:\n- site: intersections/grid2x2\n  checks: {checked}\n")
    checks = ServiceConfig.load(tmp_path / "city.yaml").sites[0].checks
    assert (checks.hold_ticks, checks.limits) == (1, tmp_path / "own.json")
    with pytest.raises(CityloopError, match=r"own\.json cannot be read"):
        Plan.make(ServiceConfig.load(tmp_path / "city.yaml")).gateway()
    for wrong in ({"checks": {"hold": 1}}, {"checks": {"respond": {"count_veh": "hope"}}}, {"trusted_keys": ["abc"]}):
        with pytest.raises(CityloopError):
            ServiceConfig.make({"sites": [{"site": "intersections/grid2x2", **wrong}]})
    trusting = {"site": "intersections/grid2x2", "trusted_keys": [base64.b64encode(bytes(32)).decode()]}
    with pytest.raises(CityloopError, match="is not signed"):
        Plan.make(ServiceConfig.make({"sites": [trusting]})).gateway()
