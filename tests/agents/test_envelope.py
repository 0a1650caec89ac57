"""Envelopes of policies: distances against closed forms, limits by site, and storage in a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agents.envelope import ANYWHERE, Envelope, Limits, fit_part, read_envelope, site_key, widest
from agents.policy import ENVELOPE, Policy, add_envelope, add_results
from envs import CityloopError, get_system, load_scenario
from tests.serving.bundles import bundle

GRID = "intersections/grid2x2"
MIDDLE = (1.0, 0.0, 5.0)


def envelope(rows: np.ndarray, part: str = "part", **limits: Limits) -> Envelope:
    fitted = fit_part(rows, np.ones(rows.shape[1], dtype=bool))
    assert fitted is not None
    return Envelope(
        rate=1e-3, fitted={}, parts={part: fitted}, limits={ANYWHERE: Limits(agent=1.0, mean=1.0), **limits}
    )


def gaussian(rows: int = 40_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 3)) @ np.array([[1.0, 0.9, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 2.0]]) + [
        1.0,
        0.0,
        5.0,
    ]


def test_distance_is_mahalanobis() -> None:
    """On correlated normal rows it orders points as the textbook's distance does, and one in a thousand is beyond 1."""
    data = gaussian()
    found = envelope(data)
    assert np.mean(found.distances({"part": data.astype(np.float32)}) > 1) == pytest.approx(1e-3, rel=0.1)
    probes = np.random.default_rng(1).normal(MIDDLE, 3, (200, 3))
    away = probes - data.mean(axis=0)
    wanted = np.sqrt(np.einsum("ij,jk,ik->i", away, np.linalg.inv(np.cov(data.T)), away))
    seen = found.distances({"part": probes.astype(np.float32)})
    assert np.corrcoef(seen, wanted)[0, 1] > 0.99


def test_what_breaks_a_correlation_is_far() -> None:
    """Both values are usual by themselves; together they never were."""
    seen = envelope(gaussian()).distances({"part": np.array([[3.0, 1.8, 5.0], [3.0, -1.8, 5.0]], np.float32)})
    assert seen[0] < 1 < seen[1]


def test_an_agent_is_as_far_as_its_farthest_row_and_padding_is_nowhere() -> None:
    found = envelope(gaussian())
    usual, far = [1.0, 0.0, 5.0], [50.0, 0.0, 5.0]
    rows = np.array([[usual, [0, 0, 0]], [usual, far], [far, usual]], np.float32)
    seen = found.distances({"part": rows})
    assert seen[0] < 0.1
    assert seen[1] == seen[2] > 5


def test_features_that_never_change_do_not_count() -> None:
    data = gaussian()
    part = fit_part(data, np.array([True, False, True]))
    assert part is not None
    assert part.features == (0, 2)
    assert fit_part(data, np.zeros(3, dtype=bool)) is None


def test_limits_are_a_sites_whatever_it_is_called() -> None:
    site = get_system("intersections").load_site(load_scenario(GRID))
    other = get_system("intersections").load_site(load_scenario(GRID, regime="resco"))
    own = Limits(agent=2.0, mean=2.0, change={"count_veh": 3.0}, low={"count_veh": 0.0})
    found = envelope(gaussian(), **{site_key(site): own})
    assert found.of(site.model_copy(update={"name": "elsewhere"})) == own
    assert found.knows(site)
    assert not found.knows(other)
    assert found.of(other).agent == 1.0
    both = widest({"a": own, "b": Limits(change={"count_veh": 1.0, "queue_veh": 4.0}, low={"count_veh": -1.0})})
    assert (both.agent, both.change, both.low) == (2.0, {"count_veh": 3.0, "queue_veh": 4.0}, {"count_veh": -1.0})


def test_it_lives_in_the_bundle(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    model = (path / "policy.onnx").read_bytes()
    found = envelope(gaussian(), "approaches")
    add_envelope(path, found, {"aimed at": "little"})
    loaded = Policy.load(path)
    assert loaded.envelope == found
    assert (path / "policy.onnx").read_bytes() == model
    assert "aimed at: little" in (path / "CARD.md").read_text()
    add_results(path, {"test": 1.0})
    assert Policy.load(path).envelope == found
    (path / ENVELOPE).write_bytes((path / ENVELOPE).read_bytes().replace(b"0.001", b"0.002"))
    with pytest.raises(CityloopError, match="was altered"):
        Policy.load(path)
    (path / ENVELOPE).unlink()
    with pytest.raises(CityloopError, match="cannot be read"):
        Policy.load(path)


NOWHERE = b'{"rate": 0.001, "fitted": {}, "parts": {}, "limits": {}}'


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"rate": 2}', NOWHERE, b"x" * (2 << 20)])
def test_what_is_no_envelope_is_one_sentence(content: bytes) -> None:
    with pytest.raises(CityloopError, match=r"here\.json"):
        read_envelope(content, "here.json")
