"""`check_system` finds what is wrong with a system that breaks its promises, one broken part at a time."""

import multiprocessing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from envs import CityloopError, get_system, load_scenario
from envs.core.env import make_loop
from envs.core.testing import systems as testing
from envs.core.testing.systems import CHECKS, check_system

REF = "intersections/grid2x2"
DECISIONS = 6


class Wrapped:
    """A part with some of its methods replaced."""

    def __init__(self, part, **changes):
        self._part, self._changes = part, changes

    def __getattr__(self, name):
        return self._changes[name] if name in self._changes else getattr(self._part, name)


def careless_guard(part):
    """Lets any whole number through."""
    return Wrapped(part, check=lambda readings, requests, mask=None: (np.full(4, 1), []))


def moody_guard(part):
    """Answers differently every time."""
    rng = np.random.default_rng(0)
    return Wrapped(part, check=lambda readings, requests, mask=None: (rng.integers(2, size=4), []))


def closed_guard(part):
    """Allows nothing."""
    return Wrapped(part, mask=lambda readings: np.zeros((4, 2), dtype=bool))


def doubled_features(part):
    """Gives float64."""
    encode = part.encode
    return Wrapped(part, encode=lambda r, m: {k: v.astype(np.float64) for k, v in encode(r, m).items()})


def blind_features(part):
    """Gives NaN."""
    encode = part.encode
    return Wrapped(part, encode=lambda r, m: {k: v * np.float32("nan") for k, v in encode(r, m).items()})


def endless_reward(part):
    """Rewards with infinity."""
    terms = part.terms
    return Wrapped(part, terms=lambda truth: terms(truth) | {"delay": np.full(4, np.inf)})


@pytest.fixture
def break_part(monkeypatch):
    """Give the system a broken part."""
    system = get_system("intersections")

    def apply(field, change):
        make = getattr(system, field)
        broken = replace(system, **{field: lambda site, *rest: change(make(site, *rest))})
        monkeypatch.setattr("envs.core.env.get_system", lambda _: broken)

    return apply


def failed(checks):
    return {check.name: check.detail for check in checks if not check.ok}


@pytest.mark.parametrize(
    ("field", "change", "check", "words"),
    [
        ("make_guard", careless_guard, "guard", "mask forbids"),
        ("make_guard", moody_guard, "guard", "not pure"),
        ("make_guard", closed_guard, "masks", "may ask for nothing"),
        ("make_features", doubled_features, "observations", "not float32"),
        ("make_features", blind_features, "observations", "not finite"),
        ("make_reward", endless_reward, "rewards", "delay is not finite"),
    ],
)
def test_a_broken_part_is_found(break_part, monkeypatch, field, change, check, words):
    monkeypatch.setattr(testing, "CHECKS", {check: CHECKS[check]})
    break_part(field, change)
    assert words in failed(check_system(REF, DECISIONS))[check]


def test_an_undocumented_indicator_is_found(monkeypatch):
    system = get_system("intersections")
    kpis = {key: text for key, text in system.kpis.items() if key != "stops"}
    monkeypatch.setattr("envs.core.env.get_system", lambda _: replace(system, kpis=kpis))
    monkeypatch.setattr(testing, "CHECKS", {"indicators": CHECKS["indicators"]})
    assert "stops" in failed(check_system(REF, DECISIONS))["indicators"]


def test_a_void_episode_is_named_in_place_of_its_indicator(monkeypatch):
    void = SimpleNamespace(kpis={"volume_m3": 172.4, "invalid": 1.0})
    system = SimpleNamespace(
        kpi="volume_m3", failure="invalid", failure_voids=True, kpis={"volume_m3": "", "invalid": "1 if water is lost"}
    )
    monkeypatch.setattr(testing, "random_episode", lambda loop: [void])
    assert testing._indicators(SimpleNamespace(system=system)) == (
        "this episode is void: invalid is 1 (1 if water is lost)"
    )


def test_files_left_behind_are_found(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(testing, "CHECKS", {"closing": CHECKS["closing"]})
    monkeypatch.setattr("tempfile.TemporaryDirectory.cleanup", lambda self: self._finalizer.detach())
    assert "leaves cityloop-" in failed(check_system(REF, DECISIONS))["closing"]


def test_a_crash_is_a_failed_check_not_a_crash(break_part):
    def crash(_):
        raise ZeroDivisionError("oops")

    break_part("make_reward", lambda part: Wrapped(part, terms=crash))
    assert failed(check_system(REF, DECISIONS))["rewards"] == "ZeroDivisionError: oops"


def test_a_scenario_that_cannot_be_used_is_refused():
    with pytest.raises(CityloopError, match="unknown"):
        check_system("intersections/atlantis")


def test_random_requests_are_allowed():
    loop = make_loop(load_scenario(REF, duration_s=60))
    rng = np.random.default_rng(0)
    try:
        loop.reset(0)
        for _ in range(12):
            requests = testing.random_requests(loop, rng)
            assert loop.mask[np.arange(4), requests].all()
            assert loop.step(requests).interventions == []
    finally:
        loop.close()


def test_children_are_known_where_the_kernel_does_not_tell_of_them(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(testing.Path, "read_text", missing)  # of a thread that has ended meanwhile, too
    assert testing._children() == {child.pid for child in multiprocessing.active_children()}
