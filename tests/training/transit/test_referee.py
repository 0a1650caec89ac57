"""SUMO beside our own simulator: a service's decisions are carried out, and its indicators are compared."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.transit.referee import legs
from envs.transit.referee.play import play
from envs.transit.sources import streets
from training.transit.referee import dispatched, indicators, record, referee


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A town of 4 by 4 corners that SUMO drives in, and a trip every half minute."""
    import sumo

    folder = tmp_path_factory.mktemp("town")
    made = ["--grid", "--grid.number=4", "--grid.length=200", "--seed=1", "-o", str(folder / "a.net.xml")]
    subprocess.run([Path(sumo.SUMO_HOME) / "bin" / "netgenerate", *made], check=True, capture_output=True)
    names = [edge.getID() for edge in streets.read_net(folder / "a.net.xml").edges]
    rng = np.random.default_rng(0)
    trips = [(*rng.choice(names, 2, replace=False), time_s) for time_s in range(0, 600, 30)]
    text = "".join(f'<trip id="{k}" from="{a}" to="{b}" depart="{t}"/>' for k, (a, b, t) in enumerate(trips))
    (folder / "a.rou.xml").write_text(f"<routes>{text}</routes>")
    (folder / "mine.yaml").write_text(
        "system: transit\nnet: a.net.xml\nroutes: [a.rou.xml]\nduration_s: 900\n"
        "trips: {stretch: 1.5, share: 1, tide: 0, zones: [2, 2]}\nfleet: {vehicles: 4}\n"
        "timing: {board_s: 10, alight_s: 10}\n"
    )
    return load_scenario(folder / "mine.yaml")


def test_what_has_no_network_cannot_be_played():
    with pytest.raises(CityloopError, match="has no SUMO network"):
        referee(load_scenario("transit/hcmc"))


def test_what_knows_no_batteries_says_so():
    with pytest.raises(CityloopError, match="range_km is 60: SUMO's taxis cannot do that"):
        referee(load_scenario("transit/cologne", fleet__range_km=60.0), seeds=1)


def test_riders_who_change_vehicles_cannot_be_played():
    with pytest.raises(CityloopError, match=r"timing.reassign_s is 60: .*set it to 0"):
        referee(load_scenario("transit/cologne", timing__reassign_s=60.0))
    with pytest.raises(CityloopError, match=r"breakdowns\.per_veh_h is 1"):
        referee(load_scenario("transit/cologne", breakdowns__per_veh_h=1.0))


def test_a_script_says_what_the_events_say():
    found, script, wait = record(load_scenario("transit/cologne", duration_s=1800.0), "reactive", 0)
    promised = {r for _, _, r in script.promises}
    assert found["served_pct"] == pytest.approx(100 * len(promised) / len(script.known_s))
    for order in script.orders:
        picks = [r for r, pick in order if pick]
        assert sorted(picks) == sorted(r for r, pick in order if not pick)
        assert all(order.index((r, True)) < order.index((r, False)) for r in picks)
    assert wait["promised"] + wait["shared"] == pytest.approx(wait["wait"])
    assert wait["wait"] == pytest.approx(found["wait_mean_s"])
    assert (wait["driving"], wait["stops"], wait["moving_off"]) == (0, 0, 0), "in our own simulator nothing else moves"


def test_watching_changes_nothing():
    scenario = load_scenario("transit/cologne", duration_s=1800.0)
    loop = make_loop(scenario)
    kpis = loop.episode(make_controller("reactive", loop.site), 0).kpis
    found, _, _ = record(scenario, "reactive", 0)
    assert found["wait_mean_s"] == pytest.approx(60 * kpis["wait_mean_min"])
    assert found["total_km"] == pytest.approx(kpis["total_km"])


def test_what_streets_do_to_those_who_wait_is_counted_as_driving():
    scenario = load_scenario("transit/cologne", duration_s=1800.0, streets__spread=0.5)
    _, _, wait = record(scenario, "reactive", 0)
    assert wait["driving"] != 0
    assert sum(wait[name] for name in ("promised", "shared", "driving")) == pytest.approx(wait["wait"])


def test_our_dispatch_drives_sumos_vehicles(town):
    """The waits that it reports are those of the riders, part by part, and vehicles take the ways that are planned."""
    found, wait, driven = dispatched(town, "reactive", 0, 0.0)
    assert found["asked"] > 10
    assert found["served_pct"] == 100
    assert found["lost_veh"] == 0
    assert wait["wait"] == pytest.approx(found["wait_mean_s"])
    assert sum(value for name, value in wait.items() if name != "wait") == pytest.approx(wait["wait"])
    assert len(driven) >= found["asked"]
    planned, way, took = driven[:, legs.PLANNED :].T
    assert (way >= planned - 1e-6).all()
    assert np.median(way / planned) == pytest.approx(1, abs=1e-6)
    assert np.median(took / way) == pytest.approx(1, abs=0.25)


def test_what_was_decided_is_carried_out_by_sumos_vehicles(town):
    _, script, _ = record(town, "reactive", 0)
    played = play(town, script, 0, 0.0)
    found = indicators(played, script.known_s, 300.0)
    assert (played.refused, played.lost) == (0, 0)
    assert found["served_pct"] == 100
    assert 0 < played.loaded_m < played.metres


@pytest.mark.slow
def test_both_simulators_agree():
    """In the first half hour, with the usual traffic around, SUMO serves the same riders in about the same time."""
    scenario = load_scenario("transit/cologne", duration_s=1800.0, fleet__vehicles=20)
    found = referee(scenario, seeds=1, stock=("greedyShared",))
    ours, theirs, carried, stock = found["rows"].values()
    assert theirs["served_pct"] == pytest.approx(ours["served_pct"], abs=3)
    assert theirs["wait_mean_s"] == pytest.approx(ours["wait_mean_s"], rel=0.2)
    assert theirs["ride_mean_s"] == pytest.approx(ours["ride_mean_s"], rel=0.2)
    assert theirs["total_km"] == pytest.approx(ours["total_km"], rel=0.2)
    assert theirs["lost_veh"] == carried["lost_veh"] == 0
    assert carried["served_pct"] == pytest.approx(ours["served_pct"], abs=3)
    assert stock["wait_mean_s"] > ours["wait_mean_s"]
    assert found["legs"]["all"]["error_pct"] == pytest.approx(0, abs=15)
