"""The surrogate against SWMM itself, and against the loop that it stands in for."""

import numpy as np
import pytest
import torch

from agents import make_controller
from agents.networks import GatePolicy
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.drainage.features import DrainageFeatures
from envs.drainage.network import load_site
from envs.drainage.surrogate import calibration
from envs.drainage.surrogate.calibration import calibrate
from envs.drainage.surrogate.features import TensorFeatures
from envs.drainage.surrogate.library import Library
from envs.drainage.surrogate.model import Basin, play
from envs.drainage.surrogate.recording import Recorder
from envs.drainage.surrogate.reservoirs import reservoirs
from envs.drainage.surrogate.twin import Twin
from envs.drainage.swmm.inp import Inp
from tests.envs.drainage.small import NETWORK

SCENARIO = load_scenario("drainage/astlingen", storms__depth_spread=0.8, duration_s=30 * 3600)
SITE = load_site(SCENARIO)


@pytest.fixture(scope="module")
def fit():
    return calibrate(SCENARIO, SITE)


def static_plan(decisions):
    return np.tile([gate.static for gate in SITE.gates], (decisions, 1))


def hourly(decisions, seed):
    knots = np.random.default_rng(seed).uniform(0.05, 0.9, (decisions // 12 + 1, len(SITE.gates)))
    return np.repeat(knots, 12, axis=0)[:decisions]


def test_tanks_and_outlets_of_astlingen(fit):
    parts = fit.parts
    assert parts.names == ("T4", "T6", "T3", "T2", "T1"), "T5 has a gate of its own, which nobody moves"
    assert [outlet.link for outlet in parts.outlets] == ["V2", "V3", "V4", "V6", "V1"]
    leads = {outlet.link: (parts.names[outlet.source], outlet.to) for outlet in parts.outlets}
    assert leads == {"V2": ("T2", 4), "V3": ("T3", 4), "V4": ("T4", 4), "V6": ("T6", 2), "V1": ("T1", -1)}


@pytest.mark.parametrize("decision_s", [60, 300, 900, 1800])
def test_settings_of_the_fit_change_by_the_clock(decision_s):
    """However often a scenario decides: tanks fill and empty in hours."""
    settings = calibration._wander(SCENARIO.override({"timing.decision_s": decision_s}), SITE, 1)
    changes = np.flatnonzero((np.diff(settings, axis=0) != 0).any(axis=1)) + 1
    assert changes.tolist() == list(range(5400 // decision_s, len(settings), 5400 // decision_s))


def test_pipes_that_back_up_make_tanks_larger(fit):
    """Areas of walls alone are 100, 120, 520, 200 and 140 m²; measured elsewhere, with the pipes, 175 to 800."""
    means = dict(zip(fit.parts.names, fit.area_m2.mean(axis=1), strict=True))
    published = {"T4": 175, "T6": 290, "T3": 800, "T2": 390, "T1": 303}
    assert means == pytest.approx(published, rel=0.2)
    assert fit.area_m2[2, 8] > 1200, "T3 widens above 3.8 m"


def test_orifices_let_out_what_swmm_says(fit):
    trace = Recorder(SCENARIO, SITE, fit.parts).trace(100_000, hourly(SCENARIO.decisions, 0))
    settings = torch.tensor(hourly(SCENARIO.decisions, 0), dtype=torch.float32)
    flow = Basin(fit, 300).flow_cms(torch.tensor(trace.depth_m[1:], dtype=torch.float32), settings).numpy()
    assert np.abs(flow[:, :4] - trace.flow_cms[1:, :4]).max() < 0.005 * trace.flow_cms.max()


@pytest.mark.parametrize("plan", [lambda n, seed: static_plan(n), hourly], ids=["static", "wandering"])
def test_overflow_on_storms_that_it_was_not_fitted_to(fit, plan):
    found, true = [], []
    for depth_mm, seed in ((6, 200_003), (12, 200_000), (24, 200_001)):
        place = SCENARIO.override({"storms.depth_mm": depth_mm})
        recorder, settings = Recorder(place, SITE, fit.parts), plan(place.decisions, seed)
        trace = recorder.trace(seed, settings)
        assert trace.valid
        true.append(trace.overflow_m3[-1])
        found.append(play(Basin(fit, 300), settings[None], recorder.inflow_cms(seed)[None])[0])
    error = np.array(found) - true
    assert (np.abs(error) < 60 + 0.02 * np.array(true)).all(), "each tank on each storm"
    assert np.abs(error.sum(axis=0)).max() < 0.01 * np.sum(true), "tank by tank, of all"


@pytest.mark.slow
def test_overflow_in_august_2000(fit):
    place = load_scenario("drainage/astlingen-aug2000")
    recorder, settings = Recorder(place, SITE, fit.parts), static_plan(place.decisions)
    trace = recorder.trace(0, settings)
    found = play(Basin(fit, 300), settings[None], recorder.inflow_cms(0)[None])[0]
    np.testing.assert_allclose(found, trace.overflow_m3[-1], rtol=0.05, atol=100)


def test_no_water_is_lost(fit):
    basin = Basin(fit, 300)
    basin.begin(3)
    inflow, settings = torch.rand(40, 3, 5) * 2.0, torch.rand(40, 3, 4)
    come, over, let_out = torch.zeros(3, 5), torch.zeros(3, 5), torch.zeros(3, 1)
    for k in range(40):
        over += basin.advance(settings[k], inflow[k])
        come += inflow[k] * 300
        let_out += basin.under_way[0][:, 4:] * 300  # V1, the only one that leads out of all tanks
    last, before = basin.under_way
    under_way = (last[:, :4].sum(dim=1) + before[:, :3].sum(dim=1)) * basin.dt_s  # V6 is a step from T3, others two
    left = come.sum(dim=1) - over.sum(dim=1) - let_out[:, 0] - basin.volume_m3.sum(dim=1)
    assert over.sum() > 1000
    assert (basin.volume_m3 >= 0).all()
    np.testing.assert_allclose(left, under_way, rtol=0.01)


def test_it_sees_what_the_loop_sees(fit):
    """Columns on tensors are those of the loop, silent sensors and missing forecasts included."""
    rng, features = np.random.default_rng(0), DrainageFeatures(SITE)
    tensors, place = TensorFeatures(features, fit.parts), fit.parts.tanks
    for case in range(20):
        depth = rng.uniform(0, 5, 5)
        silent = rng.random(5) < 0.3 * (case % 3)
        tanks = np.full(len(SITE.tanks), 2.0)
        tanks[place] = np.where(silent, np.nan, depth)
        rain, ahead = rng.uniform(0, 30, 4), rng.uniform(0, 9, 16)
        readings = {
            "depth_m": tanks,
            "setting": rng.random(4),
            "flow_cms": rng.uniform(0, 0.2, 4),
            "still_s": rng.choice([300.0, 7000.0, 9000.0], 4),
            "moves": np.zeros(4),
            "rain_mmh": rain,
            "forecast_mm": np.full(16, np.nan) if case % 2 else ahead,
            "tide_m": np.zeros(0),
        }
        wanted = features.encode(readings, np.zeros((4, 0), bool))["gate"]

        def tensor(values):
            return torch.tensor(np.asarray(values)[None], dtype=torch.float32)

        found = tensors.columns(
            tensor(depth),
            torch.tensor(~silent[None]),
            tensor(readings["setting"]),
            readings["still_s"][None],
            tensor(readings["flow_cms"]),
            tensor(features.weather(rain, readings["forecast_mm"])),
        )
        np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-5)


def law(parts):
    network = GatePolicy({"gate": (parts["gate"].shape[-1],)})
    torch.nn.init.zeros_(network.more.weight)
    return (network(parts)[..., 0].clamp(-1, 1) + 1) / 2


def test_a_law_spills_as_much_as_in_the_loop():
    place = SCENARIO.override({"storms.depth_spread": 0.3, "duration_s": 24 * 3600})
    twin = Twin(place, 1, 0)
    days, seeds = twin.library.days, twin.library.seeds
    with torch.no_grad():
        spilled = twin.play(law, days, twin.library.decisions).overflow_m3.sum(dim=1).numpy()
    loop = make_loop(place)
    try:
        controller = make_controller("law", loop.site)
        true = np.array([loop.episode(controller, seed).kpis["controllable_m3"] for seed in seeds])
    finally:
        loop.close()
    assert true.max() > 500
    np.testing.assert_allclose(spilled, true, rtol=0.03, atol=100)


def test_days_begin_with_what_the_static_plan_has_left(fit):
    place = load_scenario("drainage/astlingen-days")
    library = Library(place, SITE, fit, 8, 3)
    assert library.days.inflow_cms.shape[1:] == (288, 5)
    assert (library.days.overflow_m3.sum(dim=1) > 30).all()
    wet = library.days.volume_m3.sum(dim=1)
    assert (wet == 0).any(), "a first day"
    assert (wet > 100).any(), "a later one, after rain"


def test_gradients_are_those_of_finite_differences(fit):
    """Of what a storm overflows, with respect to settings that are held throughout."""
    inflow = torch.tensor(Recorder(SCENARIO, SITE, fit.parts).inflow_cms(100_003)[None], dtype=torch.float32)

    def spilled(settings):
        basin = Basin(fit, 300)
        basin.begin(1)
        return sum(basin.advance(settings[None], inflow[:, k]).sum() for k in range(inflow.shape[1]))

    at = torch.tensor([0.3, 0.6, 0.4, 0.5], requires_grad=True)
    spilled(at).backward()
    assert spilled(at) > 500
    for k in range(4):
        step = torch.zeros(4)
        step[k] = 0.02
        slope = float(spilled((at + step).detach()) - spilled((at - step).detach())) / 0.04
        assert float(at.grad[k]) == pytest.approx(slope, rel=0.1, abs=50)


def test_windows_repeat_themselves_and_go_on():
    wet = {"storms.depth_mm": 20, "storms.dry_hours": [0, 0], "duration_s": 6 * 3600}
    place = SCENARIO.override({**wet, "sensors.noise": 0.05, "sensors.dropout": 0.2})
    first, second = Twin(place, 2, 1), Twin(place, 2, 1)
    costs = [float(first.window(law, 40).cost) for _ in range(3)]
    assert [float(second.window(law, 40).cost) for _ in range(3)] == costs
    state = first.get_state()
    ahead = [float(first.window(law, 40).cost) for _ in range(3)]
    second.set_state(state)
    assert [float(second.window(law, 40).cost) for _ in range(3)] == ahead


@pytest.mark.parametrize(
    ("ref", "what"), [("estuary", "STATION is no rectangular orifice"), ("alpha", "there is no surrogate")]
)
def test_what_it_does_not_know_is_refused(ref, what):
    scenario = load_scenario(f"drainage/{ref}")
    with pytest.raises(CityloopError, match=what):
        reservoirs(Inp(scenario.inp), load_site(scenario))


def test_tides_are_refused():
    place = SCENARIO.override({"tide.amplitude_m": 1.0})
    with pytest.raises(CityloopError, match="a tide or an objective"):
        Twin(place, 2, 0)


def test_a_way_out_that_a_rule_moves_is_refused(tmp_path):
    (tmp_path / "own.yaml").write_text("system: drainage\ninp: own.inp\ngates: [G]\n")
    rule = "[CONTROLS]\nRULE A\nIF SIMULATION TIME >= 0\nTHEN ORIFICE {} SETTING = 0\n"
    for link in ("G", "h"):
        (tmp_path / "own.inp").write_text(NETWORK + rule.format(link))
        scenario = load_scenario(tmp_path / "own.yaml")
        inp, site = Inp(scenario.inp), load_site(scenario)
        if link == "G":
            assert [outlet.link for outlet in reservoirs(inp, site).outlets] == ["G", "H"]
        else:
            with pytest.raises(CityloopError, match=r"own\.inp: a rule acts on H, which the surrogate takes to stand"):
                reservoirs(inp, site)


@pytest.mark.parametrize("link", ["G", "H"])
@pytest.mark.parametrize("level", ["FIXED 5.2", "TIDAL sea", "TIMESERIES sea"])
def test_a_way_out_into_tidal_water_is_refused(tmp_path, link, level):
    """Its level throttles what runs out; the twin has no column for it, whoever moves the orifice."""
    (tmp_path / "own.yaml").write_text("system: drainage\ninp: own.inp\ngates: [G]\n")
    start = {"G": "T J", "H": "T SPARE"}[link]
    network = NETWORK.replace("SPARE 5 FREE", f"SPARE 5 {level}").replace(f"{link} {start}", f"{link} T SPARE")
    (tmp_path / "own.inp").write_text(network)
    scenario = load_scenario(tmp_path / "own.yaml")
    with pytest.raises(CityloopError, match=rf"own\.inp: {link} leads into SPARE, whose level the surrogate does not"):
        reservoirs(Inp(scenario.inp), load_site(scenario))


ROW = """
[OPTIONS]
FLOW_UNITS CMS
FLOW_ROUTING DYNWAVE
START_DATE 01/01/2020
END_DATE 01/02/2020
WET_STEP 0:05:00
DRY_STEP 0:05:00
ROUTING_STEP 15
[RAINGAGES]
R INTENSITY 0:05 1.0 TIMESERIES r
[SUBCATCHMENTS]
S1 R HIGH 10 80 500 0.5 0
S2 R LOW 10 80 500 0.5 0
[SUBAREAS]
S1 0.01 0.1 0.05 0.05 25 OUTLET
S2 0.01 0.1 0.05 0.05 25 OUTLET
[INFILTRATION]
S1 3.0 0.5 4 7 0
S2 3.0 0.5 4 7 0
[OUTFALLS]
O 0 FREE NO
[STORAGE]
HIGH 8 3 1 FUNCTIONAL 0 0 800 0 0
LOW 4 3 0 FUNCTIONAL 0 0 800 0 0
[ORIFICES]
G1 HIGH LOW SIDE 0 0.65 NO 0
G2 LOW O SIDE 0 0.65 NO 0
[XSECTIONS]
G1 RECT_CLOSED 0.4 0.4 0 0
G2 RECT_CLOSED 0.4 0.4 0 0
[TIMESERIES]
r 0 0
"""
"""Two tanks of 800 m² in a row, larger than the storms that the surrogate is fitted to can fill."""


def in_a_row(folder, text):
    """A scenario of such a network, its fit, and overflow of a heavy storm in SWMM and in the surrogate."""
    (folder / "own.inp").write_text(text)
    (folder / "own.yaml").write_text(
        "system: drainage\ninp: own.inp\nrain: storms\ngates: [G1, G2]\nsettings: {G1: 0.5, G2: 0.5}\n"
        "duration_s: 129600\nstorms: {depth_mm: 25}\n"
    )
    scenario = load_scenario(folder / "own.yaml")
    site = load_site(scenario)
    fit = calibrate(scenario, site)
    recorder, settings = Recorder(scenario, site, fit.parts), np.full((scenario.decisions, 2), 0.5)
    found = play(Basin(fit, scenario.decision_s), settings[None], recorder.inflow_cms(1)[None])[0]
    return fit, recorder.trace(1, settings).overflow_m3[-1], found


def test_what_no_run_reaches_of_a_tank_is_like_what_runs_reach(tmp_path):
    fit, true, found = in_a_row(tmp_path, ROW)
    assert fit.area_m2[0].mean() == pytest.approx(800, rel=0.05)
    assert true[0] > 1000
    np.testing.assert_allclose(found, true, rtol=0.05)


def test_an_orifice_that_nobody_moves_leads_to_the_next_tank(tmp_path):
    text = ROW.replace("[XSECTIONS]", "H HIGH LOW SIDE 0 0.65 NO 0\n[XSECTIONS]\nH RECT_CLOSED 0.4 0.4 0 0")
    fit, true, found = in_a_row(tmp_path, text)
    high, low = fit.parts.names.index("HIGH"), fit.parts.names.index("LOW")
    assert {outlet.link: outlet.to for outlet in fit.parts.outlets} == {"G1": low, "G2": -1, "H": low}
    assert fit.parts.outlets[-1].source == high
    assert true[low] > 4000
    assert found[low] == pytest.approx(true[low], rel=0.1)
