"""Whatever is asked for and whatever sensors say, gates move as their operator allows and interlocks hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.drainage.actuators import Actuators
from envs.drainage.guard import DRY_M, SHUT, TIDE_MARGIN_M, DrainageGuard
from envs.drainage.site import NEARLY_FULL
from tests.envs.drainage.small import LOWER, PUMP, READ, UPPER, row


def readings(**changed):
    return {name: np.array(values, dtype=float) for name, values in {**READ, **changed}.items()}


def checked(requests, timing=None, **changed):
    site = row(**(timing or {"deadband": 0.0}))
    commands, changes = DrainageGuard(site).check(readings(**changed), np.array(requests))
    return commands[:, 0], {change.agent: change.reason for change in changes}


def test_what_is_allowed_goes_through():
    commands, reasons = checked([[0.6], [0.4], [1.0]])
    np.testing.assert_array_equal(commands, [0.6, 0.4, 1.0])
    assert not reasons


@pytest.mark.parametrize(
    ("case", "commands", "reasons"),
    [
        ({"requests": [2.0, -1.0, 1.0]}, [1.0, 0.0, 1.0], {"upper": "range", "lower": "range"}),
        ({"requests": [np.nan, 0.4, 1.0]}, [0.5, 0.4, 1.0], {"upper": "no_request"}),
        ({"requests": [0.9, 0.4, 1.0], "depth_m": [np.nan, 2.0]}, [0.5, 0.4, 1.0], {"upper": "no_level"}),
        ({"requests": [0.9, 0.4, 1.0], "still_s": [300, 9e3, 9e3]}, [0.5, 0.4, 1.0], {"upper": "dwell"}),
        ({"requests": [0.9, 0.4, 1.0], "moves": [72, 0, 0]}, [0.5, 0.4, 1.0], {"upper": "moves"}),
        ({"requests": [0.9, 0.4, 1.0], "timing": {"rate_per_min": 0.02}}, [0.6, 0.4, 1.0], {"upper": "rate"}),
        ({"requests": [0.52, 0.4, 1.0], "timing": {"deadband": 0.05}}, [0.5, 0.4, 1.0], {"upper": "deadband"}),
        ({"requests": [0.5, 0.4, 1.0], "tide_m": [4.5]}, [0.5, 0.0, 1.0], {"lower": "tide"}),
        ({"requests": [0.5, 0.4, 1.0], "tide_m": [4.0 - TIDE_MARGIN_M / 2]}, [0.5, 0.0, 1.0], {"lower": "tide"}),
        ({"requests": [0.5, 0.4, 1.0], "tide_m": [np.nan]}, [0.5, 0.0, 1.0], {"lower": "tide"}),
        (
            {"requests": [0.5, 0.4, 1.0], "tide_m": [4.0 - 2.5 * TIDE_MARGIN_M], "timing": {"decision_s": 900}},
            [0.5, 0.0, 1.0],
            {"lower": "tide"},
        ),
        ({"requests": [0.5, 0.4, 1.0], "depth_m": [1.0, DRY_M / 2]}, [0.5, 0.4, 0.0], {"pump": "dry"}),
        ({"requests": [0.0, 0.4, 1.0], "depth_m": [3.9, 2.0]}, [0.5, 0.4, 1.0], {"upper": "all_shut"}),
        ({"requests": [0.01, 0.4, 1.0], "depth_m": [3.9, 2.0]}, [0.5, 0.4, 1.0], {"upper": "all_shut"}),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) and "requests" not in value else "",
)
def test_each_rule(case, commands, reasons):
    found, said = checked(**case)
    np.testing.assert_allclose(found, commands)
    assert said == reasons


def test_an_interlock_is_stronger_than_the_deadband():
    commands, _ = checked(
        [0.5, 0.04, 1.0], {"deadband": 0.5, "rate_per_min": 0.2}, setting=[0.5, 0.04, 1.0], tide_m=[9]
    )
    assert commands[LOWER] == 0
    drives = Actuators(np.array([0.5, 0.04, 1.0]), np.zeros(3, dtype=bool))
    drives.move(commands, 0.0)
    assert drives.settings[LOWER] == 0, "the drive carries out what the guard commands, however little it is"


def test_many_networks_at_once_are_each_limited_as_alone():
    asked = np.array([[0.9, 0.4, 1.0], [np.nan, 2.0, 0.0], [0.0, 0.0, 0.0]])
    depth_m = np.array([[1.0, 2.0], [3.9, np.nan], [3.9, 0.01]])
    seen = readings(setting=[[0.5, 0.4, 1.0]] * 3, depth_m=depth_m, tide_m=[[-5.0], [4.5], [np.nan]])
    seen |= {"still_s": np.full((3, 3), 3600.0), "moves": np.zeros((3, 3))}
    guard = DrainageGuard(row())
    settings, why = guard.limit(seen, asked)
    for e in range(3):
        alone = guard.limit({name: values[e] for name, values in seen.items() if values.ndim == 2}, asked[e])
        np.testing.assert_array_equal(alone, (settings[e], why[e]))


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)
share = st.floats(0, 1)
depth = st.one_of(st.floats(0, 8), st.just(float("nan")))


@given(
    requests=st.lists(numbers, min_size=3, max_size=3),
    setting=st.lists(share, min_size=3, max_size=3),
    depth_m=st.lists(depth, min_size=2, max_size=2),
    still_s=st.lists(st.floats(0, 1e5), min_size=3, max_size=3),
    moves=st.lists(st.integers(0, 200), min_size=3, max_size=3),
    tide=st.one_of(st.floats(-10, 20), st.just(float("nan"))),
    rate=st.floats(0.02, 1.0),
)
def test_every_command_is_safe(requests, setting, depth_m, still_s, moves, tide, rate):
    site = row(rate_per_min=rate)
    guard = DrainageGuard(site)
    seen = readings(setting=setting, depth_m=depth_m, still_s=still_s, moves=moves, tide_m=[tide])
    commands, _ = guard.check(seen, np.array(requests))
    again, none = guard.check(seen, commands)
    np.testing.assert_array_equal(again, commands)
    assert not none
    drives = Actuators(np.array(setting), np.zeros(3, dtype=bool))
    drives.move(commands[:, 0], 0.0)
    stands = drives.settings
    np.testing.assert_allclose(stands, commands[:, 0], atol=1e-6)
    assert ((stands >= 0) & (stands <= 1)).all()
    # What must hold, from the numbers themselves:
    level = 2.0 + (0.0 if np.isnan(depth_m[1]) else depth_m[1])
    against = not tide + TIDE_MARGIN_M <= level
    dry = depth_m[1] < DRY_M
    full = [depth >= NEARLY_FULL * 4.0 for depth in depth_m]
    if against:
        assert stands[LOWER] <= 1e-6
    if dry:
        assert stands[PUMP] <= 1e-6
    if full[0]:
        assert stands[UPPER] >= SHUT
    if full[1]:
        assert max(stands[LOWER], stands[PUMP]) >= SHUT, "a full tank may empty one way at least"
    opened = [full[0], full[1], full[1]]
    overruled = {UPPER: full[0], LOWER: against or full[1], PUMP: dry or full[1]}
    step = rate * site.timing.decision_s / 60 + 1e-6
    for k in range(len(site.gates)):
        moved = abs(stands[k] - setting[k])
        allowed = moved <= step and (moved <= 1e-6 or (still_s[k] >= 600 and moves[k] < 72 and moved >= 0.05 - 1e-6))
        rescued = overruled[k] and (stands[k] <= 1e-6 or (opened[k] and stands[k] >= SHUT and moved <= step))
        assert allowed or rescued


@pytest.mark.parametrize("name", ["setting", "still_s", "moves", "depth_m", "tide_m"])
def test_columns_that_are_too_short_are_refused(name):
    with pytest.raises(ValueError, match="readings of another number"):
        checked([[0.5], [0.4], [1.0]], **{name: READ[name][:-1]})
