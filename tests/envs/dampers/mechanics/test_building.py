"""Buildings that ship have the frequencies that they claim; those that cannot stand are refused in one sentence."""

import numpy as np
import pytest

from envs import CityloopError, load_scenario
from envs.dampers.assembly import load_site
from envs.dampers.mechanics.building import BUILDINGS
from envs.dampers.mechanics.structure import spectral_radius
from envs.dampers.scenarios import NAMES, DampersScenario
from tests.envs.dampers.shaken import building

PUBLISHED_HZ = {
    "dyke": [5.457, 15.81, 23.64],
    "jansen": [1.39, 4.08, 6.54, 8.62, 10.19, 11.18],
    "ohtori3": [0.99, 3.06, 5.83],
    "ohtori9": [0.443, 1.18, 2.05],
    "ohtori20": [0.261, 0.753, 1.30, 1.83, 2.40],
}


@pytest.mark.parametrize("name", PUBLISHED_HZ)
def test_frequencies_are_the_published_ones(name):
    found = building(name).frame.frequencies_hz[: len(PUBLISHED_HZ[name])]
    np.testing.assert_allclose(found, PUBLISHED_HZ[name], rtol=0.005)


def test_yangs_frame_is_that_of_the_published_matrices_within_their_own_differences():
    frame = building("yang8").frame
    np.testing.assert_allclose(frame.frequencies_hz[[0, -1]], [0.923, 9.87], rtol=0.01)
    assert frame.damping_ratios[0] == pytest.approx(0.0246, rel=0.02)


@pytest.mark.parametrize("name", BUILDINGS)
def test_every_building_ships_in_a_scenario(name):
    assert any(load_scenario(f"dampers/{scenario}").building == building(name) for scenario in NAMES)


OWN = """
system: dampers
duration_s: 5
building:
  mass_kg: [20000, 18000]
  stiffness_n_m: [2.0e+7, 1.5e+7]
  damping_ratio: 0.03
  dampers: {1: 4}
  device:
    c0a_n_s_m: 44
    c0b_n_s_mv: 440
    alpha_a_n_m: 1087200
    alpha_b_n_mv: 4691600
    z: {a: 1.2, gamma: 300, beta: 300, n: 1}
    eta_1_s: 50
    full_v: 5
    rated_n: 60000
    stroke_mm: 100
"""


def own(tmp_path, text=OWN):
    path = tmp_path / "school.yaml"
    path.write_text(text)
    return load_scenario(path)


def test_a_building_of_ones_own(tmp_path):
    scenario = own(tmp_path)
    assert (scenario.name, scenario.building.frame.floors, list(scenario.mounted.dampers)) == ("school", 2, [1])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("mass_kg: [20000, 18000]", "mass_kg: [20000, -1]", "mass_kg holds -1: give numbers above 0"),
        ("mass_kg: [20000, 18000]", "mass_kg: [20000, 1.0e+308]", r"mass_kg holds 1e\+308: give numbers .* to 1e\+15"),
        ("stiffness_n_m: [2.0e+7, 1.5e+7]", "stiffness_n_m: [2.0e+7]", "stiffness_n_m has 1 values"),
        ("stiffness_n_m: [2.0e+7, 1.5e+7]", "stiffness_n_m: [2.0e+4, 1.5e+4]", "own weight: give stiffness_n_m in N/m"),
        ("dampers: {1: 4}", "dampers: {3: 4}", "dampers name storey 3: there are storeys 1 to 2"),
        ("dampers: {1: 4}", "dampers: {1: 0}", "dampers.1 is 0"),
        ("damping_ratio: 0.03", "damping_ratio: 0.03\n  damping_n_s_m: [1, 1]", "give exactly one of them"),
        ("damping_ratio: 0.03", "damping_ratio: [0.02, .nan]", r"damping_ratio\.1 is nan: give a finite"),
        ("damping_ratio: 0.03", "damping_n_s_m: [-5000, 1]", "its damping feeds energy"),
        ("  mass_kg:", "  tuned: 1\n  mass_kg:", "unknown key 'building.tuned'"),
        ("mass_kg: [20000, 18000]", "mass_kg: [20000, .inf]", r"building.mass_kg.1 is inf: give a finite"),
        ("rated_n: 60000", "rated_n: .inf", r"building.device.rated_n is inf: give a finite"),
        ("dampers: {1: 4}", "dampers: {3: 4}", r"school.yaml: building: dampers name storey 3"),
        ("duration_s: 5", "duration_s: 0.001", "it must cover a decision"),
        ("duration_s: 5", "timing: {substep_ms: 0.7}", "it must divide decision_ms"),
    ],
)
def test_what_cannot_stand_is_refused_with_the_mend(tmp_path, old, new, says):
    with pytest.raises(CityloopError, match=says):
        own(tmp_path, OWN.replace(old, new))


@pytest.mark.parametrize("name", ["quake.AT2", "quake.csv", "quake.txt"])
def test_a_record_lies_beside_the_file_that_names_it(tmp_path, name):
    (tmp_path / name).write_text("0 0\n0.01 0.1\n")
    scenario = own(tmp_path, OWN + f"motion: {{kind: record, record: {name}}}\n")
    assert scenario.motion.record == tmp_path / name


def test_an_unknown_building_names_those_that_ship():
    with pytest.raises(CityloopError, match=r"no such building ships: choose .*jansen"):
        DampersScenario.parse({"name": "a", "building": "tower"}, "here")


def test_dampers_of_a_scenario_replace_the_buildings_own():
    scenario = load_scenario("dampers/jansen-all")
    assert list(scenario.mounted.dampers) == [1, 2, 3, 4, 5, 6]
    assert list(scenario.building.dampers) == [1, 2]


def test_an_episode_lasts_as_long_as_its_record_if_nothing_else_is_said(tmp_path):
    (tmp_path / "quake.csv").write_text("".join(f"{0.02 * k:.2f},{(-1) ** k * 0.1}\n" for k in range(2001)))
    text = OWN.replace("duration_s: 5\n", "") + "motion: {kind: record, record: quake.csv}\n"
    assert own(tmp_path, text).duration_s == 40
    assert own(tmp_path, text + "duration_s: 7\n").duration_s == 7
    with pytest.raises(CityloopError, match="lasts 4000 s: give duration_s, 600 at most"):
        own(tmp_path, text.replace("kind: record", "kind: record, speed: 0.01"))
    assert own(tmp_path, OWN.replace("duration_s: 5\n", "")).duration_s == 30


def test_dampers_too_stiff_for_the_step_are_refused(tmp_path):
    """Masses in tonnes instead of kilograms are such a case: the step would add energy to the building."""
    scenario = own(tmp_path, OWN.replace("[20000, 18000]", "[20, 18]"))
    with pytest.raises(CityloopError, match=r"substep_ms is 1, too long for dampers so stiff beside floors of 18 kg"):
        load_site(scenario)
    assert spectral_radius(building("ohtori20"), 1e-3) == pytest.approx(1, abs=1e-6)


def test_yielding_storeys_too_stiff_for_the_step_are_refused(tmp_path):
    """Their hysteretic forces are held over a step, unlike those of an elastic frame, which is exact at any step."""
    light = OWN.replace("[20000, 18000]", "[20000, 2]")
    assert load_site(own(tmp_path, light))
    with pytest.raises(CityloopError, match="substep_ms is 1, too long for dampers or yielding storeys so stiff"):
        load_site(own(tmp_path, light.replace("  damping_ratio", "  yield_mm: 12\n  damping_ratio")))


def test_end_stops_too_stiff_for_the_step_are_refused(tmp_path):
    """Between its stops the building is as it was: only who hits one meets it."""
    assert load_site(own(tmp_path, OWN.replace("eta_1_s: 50", "eta_1_s: 50\n    stop_n_m: 1.0e+8")))
    with pytest.raises(CityloopError, match=r"too long for dampers so stiff"):
        load_site(own(tmp_path, OWN.replace("eta_1_s: 50", "eta_1_s: 50\n    stop_n_m: 1.0e+11")))
