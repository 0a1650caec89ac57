"""Whatever is asked for and whatever sensors say, gates move as their operator allows and interlocks hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.drainage.guard import DRY_M, FULL_SHARE, SHUT, DrainageGuard
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
        ({"requests": [0.5, 0.4, 1.0], "tide_m": [4.5]}, [0.5, 0.0, 1.0], {"lower": "tide"}),
        ({"requests": [0.5, 0.4, 1.0], "depth_m": [1.0, DRY_M / 2]}, [0.5, 0.4, 0.0], {"pump": "dry"}),
        ({"requests": [0.0, 0.4, 1.0], "depth_m": [3.9, 2.0]}, [0.5, 0.4, 1.0], {"upper": "all_shut"}),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) and "upper" in value else "",
)
def test_each_rule(case, commands, reasons):
    found, said = checked(**case)
    np.testing.assert_allclose(found, commands)
    assert said == reasons


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
    rate=st.floats(0.01, 1.0),
)
def test_every_command_is_safe(requests, setting, depth_m, still_s, moves, tide, rate):
    site = row(rate_per_min=rate)
    guard = DrainageGuard(site)
    seen = readings(setting=setting, depth_m=depth_m, still_s=still_s, moves=moves, tide_m=[tide])
    commands, _ = guard.check(seen, np.array(requests))
    again, none = guard.check(seen, commands)
    commands = commands[:, 0]
    np.testing.assert_array_equal(again[:, 0], commands)
    assert not none
    assert ((commands >= 0) & (commands <= 1)).all()
    level = 2.0 + (0.0 if np.isnan(depth_m[1]) else depth_m[1])
    full = [depth >= FULL_SHARE * 4.0 for depth in depth_m]
    overruled = {UPPER: full[0], LOWER: full[1] or tide > level, PUMP: full[1] or depth_m[1] < DRY_M}
    step = rate * site.timing.decision_s / 60 + 1e-9
    for k in range(len(site.gates)):
        moved = abs(commands[k] - setting[k])
        if overruled[k]:
            continue
        assert moved <= step
        assert moved <= 1e-9 or (still_s[k] >= site.timing.dwell_s and moves[k] < site.timing.moves_per_day)
    if tide > level:
        assert commands[LOWER] == 0
    if depth_m[1] < DRY_M:
        assert commands[PUMP] == 0
    if depth_m[0] >= FULL_SHARE * 4.0:
        assert commands[UPPER] >= SHUT
