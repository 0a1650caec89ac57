"""The plant as the loop sees it: estimates follow the truth, faults are faults, indicators mean what they say."""

import numpy as np
import pytest

from agents import make_controller
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.core.testing.systems import check_system
from envs.core.testing.vectors import check_vector
from envs.dampers.acquisition.observer import Observer
from envs.dampers.assembly import load_site
from envs.dampers.block import Block, samples
from envs.dampers.features import DAMPER_FEATURES, NEIGHBOUR_FEATURES, DampersFeatures
from envs.dampers.kpis import BARE
from envs.dampers.mechanics.building import Building
from envs.dampers.mechanics.structure import uncontrolled_response
from envs.dampers.motions.motion import draw
from envs.dampers.scenarios import NAMES
from envs.dampers.sensing import SensorModel, draw_faults
from envs.dampers.vector import DampersVector
from envs.dampers.world import UNMOUNTED

SHORT = {"duration_s": 4.0}


def block_of(ref="dampers/jansen", seeds=range(4), **settings):
    scenario = load_scenario(ref, **{**SHORT, **settings})
    block = Block(scenario, load_site(scenario))
    block.begin(list(seeds))
    return block


def run(block, level=0.3):
    """Truth and readings over an episode, by name, ``(T, E, …)``."""
    seen = []
    while not block.done:
        block.step(np.full((len(block.readings["level"]), len(block.site.agents)), level))
        seen.append({**block.truth, **block.readings})
    return {name: np.array([row[name] for row in seen]) for name in seen[0]}


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_keeps_the_contract(name):
    scenario = load_scenario(f"dampers/{name}")
    if name == "dyke":  # the others' world is the same code: one runs the checks in other processes, too
        assert [check for check in check_system(scenario) if not check.ok] == []
        return
    loop = make_loop(scenario.override({"duration_s": 5 * scenario.decision_s}))
    loop.reset(0)
    while not loop.step(np.full((len(loop.site.agents), 1), 0.5)).done:
        assert np.isfinite(loop.observation["damper"]).all()
    assert set(loop.world.kpis()) == set(loop.system.kpis)


def test_rates_are_estimated_closely_and_never_given_away():
    seen = run(block_of(duration_s=10.0))
    storeys = [0, 1]
    true, found = 1e3 * seen["rate_m_s"], seen["rate_est_mm_s"][..., storeys]
    error = np.sqrt(((true - found) ** 2).mean(axis=0) / (true**2).mean(axis=0))
    assert np.median(error) < 0.3
    assert (error > 1e-6).all()


def test_without_noise_or_model_error_the_estimate_is_nearly_the_truth():
    seen = run(block_of(conditions__noise=0.0, bits=32), level=0.0)
    true, found = 1e3 * seen["rate_m_s"], seen["rate_est_mm_s"][..., [0, 1]]
    assert np.sqrt(((true - found) ** 2).mean()) < 0.1 * true.std()


def test_lost_samples_are_silent_in_readings_and_bridged_by_the_observer():
    seen = run(block_of(conditions__dropout=0.3))
    assert np.isnan(seen["accel_m_s2"]).mean() == pytest.approx(0.3, abs=0.03)
    assert np.isfinite(seen["rate_est_mm_s"]).all()
    assert seen["silent_s"].max() > 0.02


def test_noise_and_quantisation_are_what_the_building_says():
    scenario = load_scenario("dampers/jansen", bits=12, conditions__noise=3.0)
    site = load_site(scenario)
    sensors = SensorModel(site, 12, [1], draw_faults(scenario, site, [1]))
    rows = np.array([sensors.read(np.zeros((11, 1)))[:, 0] for _ in range(4000)])
    step = site.ranges["accel_m_s2"] / 2**11
    assert rows[:, 0].std() == pytest.approx(np.hypot(3 * 0.005, step / np.sqrt(12)), rel=0.1)
    np.testing.assert_allclose(rows[:, 0] / step, np.round(rows[:, 0] / step), atol=1e-9)
    assert sensors.read(np.full((11, 1), 1e9)).max() <= 1.001 * site.ranges["force_n"].max()


def test_a_wild_sensor_is_not_believed():
    block = block_of()
    observer, estimate = Observer(block.site), Observer(block.site).rest(1)
    measured, inputs = np.zeros((8, 1)), np.zeros((3, 1))
    measured[0], inputs[0] = 1e6, np.nan
    after = observer.update(estimate, measured, inputs)
    assert not after.x.any()
    np.testing.assert_array_equal(after.silent_s[:, 0], [0.01, 0.0])


def test_the_ground_stands_still_in_the_wind_and_dampers_calm_the_frame():
    changes = {"motion__kind": "wind", "motion__wind": {"width_m": 0.1}, "duration_s": 10.0}
    block = block_of(**changes, conditions__noise=0.0, seeds=[0, 1])
    seen = run(block)
    assert not seen["ground_m_s2"].any()
    assert abs(seen["drift_m"]).max() > 1e-4
    assert all(kpis["drift_rms_ratio"] < 0.8 for kpis in block.kpis())


def test_a_dead_damper_gets_no_voltage_and_is_another_with_another_seed():
    block = block_of(conditions__dead=1, seeds=range(20))
    for _ in range(20):
        block.step(np.ones((20, 2)))
    warm = block._state.dampers.u > 0.1
    assert (warm.sum(axis=0) == 1).all()
    assert 0 < warm[0].sum() < 20


@pytest.mark.parametrize("delay_ms", [0.0, 4.0, 10.0, 25.0])
def test_a_delayed_command_arrives_when_it_should(delay_ms):
    block = block_of(conditions__delay_ms=delay_ms, seeds=[0])
    heat = []
    for _ in range(5):
        block.step(np.ones((1, 2)))
        heat.append(block._state.dampers.u[0, 0])
    since_ms = np.maximum(10.0 * np.arange(1, 6) - delay_ms, 0.0)
    np.testing.assert_allclose(heat, 5.0 * (1 - np.exp(-80 * since_ms / 1e3)), atol=1e-9)


def test_stiffness_error_changes_the_plant_and_not_the_model():
    off = block_of(conditions__stiffness=0.15)
    frame = off._plant.frame
    assert abs(frame.frequencies_hz[0] / off.building.frame.frequencies_hz[0] - 1) > 1e-3
    factors = np.diag(frame.stiffness)[-1] / 29_700.0
    assert 0.85 <= factors <= 1.15
    np.testing.assert_array_equal(off.acquisition.observer.ahead, block_of().acquisition.observer.ahead)


def test_training_seeds_vary_and_others_do_not():
    scenario = load_scenario("dampers/jansen")
    site = load_site(scenario)
    wrong = [draw_faults(scenario, site, [scenario.seeds.train.first + k]) for k in range(40)]
    good = [one for one in wrong if one.delay_ms == 0]
    assert 0.5 * scenario.variety.good < len(good) / len(wrong) < 1.5 * scenario.variety.good
    assert all((one.factor == 1.0).all() and one.alive.all() and not one.dropout.any() for one in good)
    delays = {one.delay_ms for one in wrong}
    assert len(delays) == 1 + len(wrong) - len(good)
    assert max(delays) <= scenario.variety.delay_ms
    assert all(draw_faults(scenario, site, [seed]).delay_ms == 0 for seed in (0, 20_000))


def test_hanging_loose_is_what_ratios_are_measured_against():
    loop = make_loop("dampers/jansen", duration_s=6.0)
    loop.reset(1, UNMOUNTED)
    step = loop.step(None)
    while not step.done:
        step = loop.step(None)
    for name in ("j", "drift_ratio", "accel_ratio", "shear_ratio", "worst_drift_ratio"):
        assert step.kpis[name] == pytest.approx(1.0, rel=0.01)
    assert step.kpis["fatigue_ratio"] == pytest.approx(1.0, rel=0.02)
    assert step.kpis["force_n"] == step.kpis["dissipated_j"] == 0.0
    with pytest.raises(CityloopError, match="no local programs"):
        loop.reset(1, "actuated")


def test_fatigue_is_told_for_every_storey_beside_the_building_without_dampers():
    loop = make_loop("dampers/jansen", duration_s=6.0)
    kpis = loop.episode(make_controller("fixed", loop.site), 2).kpis
    places = loop.world.places()["fatigue"]
    bare = [places[f"{storey}{BARE}"] for storey in range(1, 7)]
    assert max(bare) == 1.0
    assert kpis["fatigue_ratio"] == max(places[f"{storey}"] for storey in range(1, 7))
    assert 0 < kpis["fatigue_ratio"] < 0.5


def test_indicators_are_those_of_the_motion_that_was_seen():
    block = block_of(duration_s=6.0, seeds=[3])
    seen = run(block)
    kpis = block.kpis()[0]
    assert kpis["drift_mm"] >= 1e3 * abs(seen["drift_m"]).max()
    assert kpis["drift_mm"] == pytest.approx(1e3 * abs(seen["drift_m"]).max(), rel=0.05)
    assert kpis["j"] == pytest.approx((kpis["drift_ratio"] + kpis["accel_ratio"]) / 2)
    assert kpis["level"] == pytest.approx(0.3)
    assert kpis["dissipated_j"] > 0
    growth = seen["drift_growth"].sum() + seen["accel_growth"].sum()
    assert growth == pytest.approx(2 * kpis["j"], rel=0.02)


@pytest.fixture
def record(tmp_path):
    """Ten seconds of noise at 100 Hz: five times as fast it is finer than a load is made at elsewhere."""
    values = np.random.default_rng(0).uniform(-1.0, 1.0, 1001)
    path = tmp_path / "noise.txt"
    path.write_text("".join(f"{k / 100:.2f} {value:.6f}\n" for k, value in enumerate(values)))
    return path


def test_of_a_record_nothing_is_lost_between_samples(record):
    motion = {"motion.kind": "record", "motion.record": str(record), "motion.speed": 5.0}
    scenario = load_scenario("dampers/dyke", **motion, **{"timing.decision_ms": 10.0})
    assert scenario.duration_s == 2.0, "as long as its record"
    block = Block(scenario, load_site(scenario))
    block.begin([0])
    fine = draw(scenario.motion, scenario.duration_s, 1e-4, 1.0, 0)[None]
    true = np.abs(uncontrolled_response(block.building, block.building.frame, fine, 1e-4)).max(axis=2).T
    np.testing.assert_allclose(block.tally.uncontrolled, true, rtol=0.01)


def test_another_record_brings_its_length_unless_that_is_set_too(record):
    asked = {"motion.kind": "record", "motion.record": str(record)}
    assert load_scenario("dampers/jansen", **asked).duration_s == 10.0
    assert load_scenario("dampers/jansen", **asked).override({"motion.speed": 4.0}).duration_s == 2.5
    assert load_scenario("dampers/jansen", motion={"kind": "record", "record": str(record)}).duration_s == 10.0
    assert load_scenario("dampers/jansen", **asked, duration_s=3.0).duration_s == 3.0
    short = load_scenario("dampers/jansen", **asked, duration_s=3.0)
    assert short.override({"motion": short.motion.model_dump(mode="json")}).duration_s == 3.0, "the record is the same"
    assert load_scenario("dampers/jansen", **{"motion.speed": 4.0}).duration_s == 30.0, "there is no record"


def test_a_stiff_building_is_shaken_finely_enough():
    """Or its peaks without dampers, beside which it is held, would fall between two samples."""
    scenario = load_scenario("dampers/jansen")
    soft, masses = scenario.building, [mass / 60 for mass in scenario.building.mass_kg]
    stiff = Building.model_validate(soft.model_dump() | {"mass_kg": masses})
    assert stiff.frame.frequencies_hz[0] > 7 * soft.frame.frequencies_hz[0]
    assert (samples(scenario, soft), samples(scenario, stiff)) == (2, 6)


def test_a_yielding_building_with_a_light_stiff_top_is_stepped_finely_enough():
    """Or its motion without dampers, beside which it is held, would grow without bound."""
    scenario = load_scenario("dampers/jansen", duration_s=6.0)
    own = scenario.building.model_dump() | {"yield_mm": 5.0}
    own |= {"mass_kg": (22.7,) * 5 + (0.2,), "stiffness_n_m": (29_700.0,) * 5 + (60_000.0,)}
    scenario = scenario.override({"building": own})
    block = Block(scenario, load_site(scenario))
    block.begin([1], mounted=False)
    run(block)
    assert block.kpis()[0]["j"] == pytest.approx(1.0, rel=0.02)


def test_energy_that_dampers_took_is_their_force_times_their_stroke():
    """At full voltage most of the work of stiff dampers is given back at once: the rest must not be blurred."""
    scenario = load_scenario("dampers/jansen", duration_s=6.0, **{"timing.decision_ms": 1.0, "dampers": {1: 30, 2: 30}})
    block = Block(scenario, load_site(scenario))
    block.begin([1])
    work_j, before = 0.0, block._state
    while not block.done:
        block.step(np.ones((1, 2)))
        after = block._state
        work_j += (after.force[:, 0] * (after.stroke - before.stroke)[:, 0]).sum()
        before = after
    assert block.kpis()[0]["dissipated_j"] == pytest.approx(work_j, rel=1e-9)


def test_without_any_motion_nothing_is_divided_by_nothing():
    block = block_of(motion__kind="none", seeds=[0])
    run(block)
    assert np.isfinite(list(block.kpis()[0].values())).all()


def test_one_building_of_a_block_is_the_building_alone():
    many, alone = block_of(conditions__noise=0.0, seeds=[5, 6, 7]), block_of(conditions__noise=0.0, seeds=[6])
    run(many), run(alone)
    for name, value in alone.kpis()[0].items():
        assert many.kpis()[1][name] == pytest.approx(value, rel=1e-4, abs=1e-9)


def test_features_of_neighbours_are_those_of_adjacent_storeys():
    scenario = load_scenario("dampers/jansen-all")
    features = DampersFeatures(load_site(scenario))
    block = block_of("dampers/jansen-all", seeds=[0])
    for _ in range(100):
        block.step(np.linspace(0, 1, 6)[None])
    own, beside, _ = features.columns({name: row[0] for name, row in block.readings.items()}).values()
    level, told = own[:, DAMPER_FEATURES.index("level")], beside[:, NEIGHBOUR_FEATURES.index("level")]
    assert told[0] == pytest.approx(level[1])
    assert told[2] == pytest.approx((level[1] + level[3]) / 2)
    np.testing.assert_allclose(beside[:, NEIGHBOUR_FEATURES.index("there")], [0.5, 1, 1, 1, 1, 0.5])


def test_features_do_not_tell_a_motions_strength_but_by_its_size():
    """Twice the motion: what is relative to peaks of late stays, the logarithm of the peaks moves."""
    site = load_site(load_scenario("dampers/jansen"))
    block = block_of(seeds=[0])
    run(block)
    readings = {name: row[0] for name, row in block.readings.items()}
    linear = {k: v * 2 if k.endswith(("_mm", "_mm_s", "_m_s2")) else v for k, v in readings.items()}
    once, twice = (DampersFeatures(site).columns(each)["damper"] for each in (readings, linear))
    for name in ("drift_now", "rate_now", "above_now", "storey_share"):
        np.testing.assert_allclose(once[:, DAMPER_FEATURES.index(name)], twice[:, DAMPER_FEATURES.index(name)])
    moved = (twice - once)[:, DAMPER_FEATURES.index("drift_size")]
    np.testing.assert_allclose(moved, np.log(2) / 3, rtol=1e-6)


def vector(seed=100_000):
    return DampersVector(load_scenario("dampers/jansen", duration_s=0.5), 6, seed)


def test_many_buildings_keep_what_plants_promise():
    assert check_vector(vector, steps=120) == 12


def test_requests_to_many_buildings_are_taken_and_refused_as_by_processes():
    plants, levels = vector(), np.random.default_rng(0).uniform(0, 1, (6, 2))
    with pytest.raises(CityloopError, match="call reset"):
        plants.step(levels)
    plants.reset()
    with pytest.raises(CityloopError, match=r"requests have shape \(6, 3\): give \(6, 2, 1\)"):
        plants.step(np.zeros((6, 3)))
    reward = plants.step(levels).reward
    plants.reset()
    np.testing.assert_array_equal(plants.step(levels[..., None]).reward, reward)


def test_a_vector_of_one_is_the_world():
    scenario = load_scenario("dampers/jansen", duration_s=1.0)
    plants, loop = DampersVector(scenario, 1, 7), make_loop(scenario)
    plants.reset()
    loop.reset(7)
    for level in (0.1, 0.9, 0.4) * 10:
        batch, step = plants.step(np.full((1, 2, 1), level)), loop.step(np.full((2, 1), level))
        np.testing.assert_allclose(batch.reward[0], step.reward, rtol=1e-2, atol=1e-3)
        np.testing.assert_allclose(batch.observation[0], loop.layout.flatten(loop.observation), atol=0.02)
