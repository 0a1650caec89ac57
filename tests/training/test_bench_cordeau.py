"""The benchmark of static instances: costs beside what is known, or a sentence where there is nothing to solve."""

import pytest

from envs import CityloopError
from training.bench.cordeau import bench_cordeau, rows

TEXT = "1 2 100 3 30\n0 0 0 0 0 0 1440\n1 3 4 2 1 10 20\n2 6 8 2 -1 0 1440\n"


def test_an_instance_beside_its_optimum(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text(TEXT)
    (plain,) = rows([path], seconds=0.05)
    assert (plain["known"], plain["bound"], plain["gap_pct"]) == (None, None, None)
    (row,) = rows([path], seconds=0.05, prove_s=20.0)
    assert row["cost"] == pytest.approx(20.0)  # out and back along a line
    assert row["known"] == pytest.approx(20.0)
    assert row["gap_pct"] == pytest.approx(0.0, abs=1e-6)
    assert (row["requests"], row["unserved"]) == (1, 0)


def test_all_instances_at_hand(tmp_path, monkeypatch):
    folder = tmp_path / "transit" / "cordeau"
    folder.mkdir(parents=True)
    (folder / "one.txt").write_text(TEXT)
    monkeypatch.setenv("CITYLOOP_DATA", str(tmp_path))
    found = bench_cordeau(seconds=0.05)
    assert found["ratios"] == {"one: ours / regret insertion alone": pytest.approx(1.0)}
    assert found["figures"]["one: cost"] == pytest.approx(20.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])  # below none a search has no end
def test_no_time_to_search_gets_a_sentence(seconds):
    with pytest.raises(CityloopError, match="give a time above 0"):
        rows([], seconds)


def test_nothing_at_hand_gets_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CITYLOOP_DATA", str(tmp_path))
    with pytest.raises(CityloopError, match="CITYLOOP_DATA"):
        bench_cordeau()
