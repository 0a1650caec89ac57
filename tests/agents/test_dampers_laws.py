"""The laws of practice, by hand and against each other; the edge loop decides as the simulated loop does."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

from agents import POLICY, make_controller, rules
from agents.baselines.dampers import CONTROLLERS, ContinuousFriction, Friction, Profile
from agents.baselines.dampers_optimal import ContinuousLqg, Lyapunov, _damped
from agents.baselines.dampers_shared import invert, states
from agents.dampers_play import play
from agents.edge import EdgeLoop
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.dampers.assembly import load_site
from envs.dampers.block import Block
from envs.dampers.mechanics.frame import drift_matrix
from envs.dampers.regulator import LqrWeights, actuated, regulator
from tests.envs.dampers.shaken import shear_frame

SCENARIO = load_scenario("dampers/jansen", duration_s=3.0)
SITE = load_site(SCENARIO)


def readings(**changed):
    block = Block(SCENARIO, SITE)
    seen = {name: row[0].copy() for name, row in block.begin([0]).items()}
    return seen | {name: np.array(values, float) for name, values in changed.items()}


def asked(name, **changed):
    return make_controller(name, SITE).act(readings(**changed), {})[:, 0]


def moving(*first):
    return np.concatenate([first, np.zeros(6 - len(first))])


def test_fixed_voltages():
    np.testing.assert_array_equal(asked("passive-off"), [0, 0])
    np.testing.assert_array_equal(asked("passive-on"), [1, 1])
    assert 0 < asked("fixed")[0] < 1


def test_a_profile_has_a_level_for_every_storey():
    np.testing.assert_array_equal(Profile(SITE, {"storey_2": 0.9, "storey_1": 0.4}).levels(readings()), [0.4, 0.9])
    usual = asked("fixed")[0]
    np.testing.assert_array_equal(Profile(SITE, {"storey_2": 0.9, "storey_4": 0.1}).levels(readings()), [usual, 0.9])


def test_dissipation_is_on_while_a_force_works_against_its_own_motion():
    levels = asked("med", rate_est_mm_s=moving(5, 5), force_est_n=[3, -3])
    assert levels[0] > 0 == levels[1]


def test_skyhook_looks_at_the_floor_above():
    levels = asked("skyhook", rate_est_mm_s=moving(-9, 5), force_est_n=[1, 1])
    assert levels[0] > 0 == levels[1]  # floor two still moves back with the first, while its damper is stretched


def test_bang_bang_counts_the_grounds_velocity_in_the_first_storey_alone():
    law = make_controller("bang-bang", SITE)
    now = readings(rate_est_mm_s=moving(-5, -5), force_est_n=[3, 3], ground_m_s2=[1.0])
    assert (law.act(now, {})[:, 0] > 0).tolist() == [True, False]
    law.reset()
    assert not law.act(now | {"ground_m_s2": np.array([np.nan])}, {}).any()


def test_friction_remembers_where_the_drift_turned():
    law = Friction(SITE, {"gain": 1.0})
    for drift, rate in ((1.0, 5.0), (2.0, 0.1), (1.5, -5.0), (0.5, -5.0)):
        wanted = law.wanted(readings(drift_est_mm=moving(drift, 0), rate_est_mm_s=moving(rate, 0)))
    assert wanted[0] == pytest.approx(1.5 * law.unit_n_mm[0])  # it turned between 2.0 and 1.5
    law.reset()
    assert not law.wanted(readings(drift_est_mm=np.zeros(6))).any()


def test_continuous_friction_asks_for_the_voltage_of_its_force():
    law = ContinuousFriction(SITE, {"gain": 1.0, "full": 1.0})
    now = readings(drift_est_mm=moving(1.0, 1.0), rate_est_mm_s=moving(10.0, 10.0))
    level = law.levels(now)
    force = 2 * SITE.building.device.steady_force_n(0.01, level)
    np.testing.assert_allclose(force, law.unit_n_mm * 1.0)


def test_inversion_is_the_models():
    level = np.array([0.2, 0.9])
    force = SITE.building.counts * SITE.building.device.steady_force_n(np.array([0.01, 0.03]), level)
    np.testing.assert_allclose(invert(SITE, force, np.array([0.01, 0.03])), level)


def test_states_are_sums_of_drifts():
    now = readings(drift_est_mm=np.arange(6), rate_est_mm_s=np.ones(6))
    np.testing.assert_allclose(drift_matrix(6) @ states(now)[:6], 1e-3 * np.arange(6), atol=1e-15)
    np.testing.assert_allclose(states(now)[6:], 1e-3 * np.arange(1, 7))


def test_the_regulator_without_limits_calms_the_frame():
    """What it wants, applied as it is, makes every mode decay faster than alone."""
    a, on_floors, *_ = actuated(SITE)
    of_motion = regulator(SITE, LqrWeights(accel=1.0, effort=0.01, lead_ms=0.0))[:12].T
    closed = np.linalg.eigvals(a + on_floors @ of_motion @ np.kron(np.eye(2), 1e3 * drift_matrix(6)))
    assert closed.real.max() < np.linalg.eigvals(a).real.max() < 0


def test_lyapunov_is_on_where_force_lets_energy_fall():
    law = Lyapunov(SITE, {"full": 0.7})
    moved = readings(rate_est_mm_s=moving(10, 10, 10, 10, 10, 10), force_est_n=[5, 5])
    still = moved | {"force_est_n": np.array([-5.0, -5.0])}
    np.testing.assert_array_equal(law.levels(moved), [0.7, 0.7])
    np.testing.assert_array_equal(law.levels(still), [0, 0])


@pytest.mark.filterwarnings("error")
def test_lyapunov_has_a_law_for_a_frame_without_damping():
    """It never comes to rest, so that no P fits it: the law is that of one with hardly any damping."""
    a, _ = shear_frame(SITE.building.mass_kg, SITE.building.stiffness_n_m, 0.0).continuous
    p = solve_continuous_lyapunov(_damped(a).T, -np.eye(12))
    assert np.linalg.eigvalsh(p).min() > 0
    damped, _ = shear_frame(SITE.building.mass_kg, SITE.building.stiffness_n_m, 0.005).continuous
    assert np.array_equal(_damped(damped), damped)


def test_continuous_lqg_never_pushes_the_way_it_moves():
    law = ContinuousLqg(SITE, {})
    rng = np.random.default_rng(0)
    for _ in range(50):
        now = readings(
            rate_est_mm_s=rng.normal(size=6), drift_est_mm=rng.normal(size=6), force_est_n=rng.normal(size=2)
        )
        level, pushes = law.levels(now), law.wanted(now) * now["rate_est_mm_s"][:2]
        assert (level[pushes <= 0] == 0).all()
        assert ((level >= 0) & (level <= 1)).all()


def test_controllers_decide_alike_for_one_building_and_for_many():
    names = [POLICY, *(name for name in CONTROLLERS if name != "uncontrolled")]
    found = play(Block(SCENARIO, SITE), [make_controller(name, SITE) for name in names], [3, 4])
    loop = make_loop(SCENARIO)
    for name, (_, kpis) in zip(names, found, strict=True):
        alone = loop.episode(make_controller(name, SITE), 4).kpis
        assert kpis["j"] == pytest.approx(alone["j"], rel=0.15), name  # the sensors' noise is another in a block


def test_tuned_laws_beat_full_voltage():
    names = ("passive-on", "fixed", "mhf-continuous", "lqg")
    scenario = load_scenario("dampers/jansen", duration_s=15.0)
    laws = [make_controller(name, SITE) for name in names]
    found = play(Block(scenario, SITE), laws, range(10_000, 10_016))
    j = {name: np.median([kpis["j"] for kpis in one]) for name, one in zip(names, found, strict=True)}
    assert max(j["fixed"], j["lqg"]) < j["passive-on"]
    assert set(names) < set(rules("dampers"))


def test_the_edge_decides_as_the_loop_does():
    loop, edge = make_loop(SCENARIO), EdgeLoop(SITE, make_controller("lqg", SITE))
    law = make_controller("lqg", SITE)
    loop.reset(5)
    for k in range(100):
        seen = loop.readings
        parts = [seen["accel_m_s2"], 1e-3 * seen["stroke_mm"], seen["force_n"], seen["ground_m_s2"]]
        levels, changes = edge.decide(np.concatenate(parts))
        if k:  # the first samples are those at rest, which the loop has taken once more
            expected, _ = loop.guard.check(seen, law.act(seen, {}))
            np.testing.assert_allclose(levels, expected[:, 0], atol=1e-9)
            assert not changes
        loop.step(levels[:, None])


def test_a_law_may_be_had_with_the_numbers_of_a_condition():
    usual, late = make_controller("lqg", SITE), make_controller("lqg@delay", SITE)
    assert usual.name == late.name == "lqg"
    assert usual.lead_ms != late.lead_ms
    assert not [name for name in CONTROLLERS if "@" in name]
    for unknown in ("lqg@rain", "passive-on@delay", "nobody@delay"):
        with pytest.raises(CityloopError, match="is unknown"):
            make_controller(unknown, SITE)
    with pytest.raises(CityloopError, match="'lqg@delay' has not been tuned for yang8: give lqg, or run"):
        make_controller("lqg@delay", load_site(load_scenario("dampers/yang8")))


@pytest.mark.parametrize("law", ["fixed", "profile", "lqg"])
def test_another_building_with_the_name_of_one_that_ships_has_none_of_its_numbers(law):
    own = {"mass_kg": (4e5,) * 6, "stiffness_n_m": (6e8,) * 6}
    namesake = SITE.building.model_dump() | own
    given, other = (
        SITE.model_copy(update={"building": SITE.building.model_validate(namesake), "name": name})
        for name in ("jansen", "mine")
    )
    assert vars(make_controller(law, given)).keys() == vars(make_controller(law, other)).keys()
    numbers = make_controller(law, other).defaults(other)
    assert {key: vars(make_controller(law, given))[key] for key in numbers} == numbers


class Broken:
    name, program = "broken", None

    def reset(self):
        pass

    def act(self, readings, observation):
        raise ValueError


def test_the_edge_falls_back_when_its_controller_fails_and_refuses_what_does_not_fit():
    edge = EdgeLoop(SITE, Broken())
    levels, changes = edge.decide(np.zeros(11))
    np.testing.assert_array_equal(levels, SITE.safe_level)
    assert (edge.failures, changes[0].reason) == (1, "no_request")
    for samples in (np.zeros(10), [0.0] * 10, np.zeros((11, 1)), 0.0, None, {}, "no", ["x"] * 11, [[0.0], [0.0, 1.0]]):
        with pytest.raises(CityloopError, match=r"^samples .*: give 6 accelerations, 2 strokes"):
            edge.decide(samples)


def test_the_edge_takes_any_row_of_numbers():
    row = [0.01, None, *[0.0] * 9]  # what JSON has for a lost sample
    for samples in (row, tuple(row), np.array(row), np.array(row, dtype=np.float32)):
        edge, expected = (EdgeLoop(SITE, make_controller("lqg", SITE)) for _ in range(2))
        levels, _ = edge.decide(samples)
        np.testing.assert_array_equal(levels, expected.decide(np.array([0.01, np.nan, *[0.0] * 9]))[0])


def test_the_edge_needs_neither_torch_nor_ray_nor_a_compiler():
    rooms = "agents.edge, agents.baselines.dampers, agents.policy"
    script = f"import {rooms}, sys; print({{'torch', 'ray', 'numba'}} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
