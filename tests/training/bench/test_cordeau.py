"""The benchmark of static instances: costs beside what is known, or a sentence where there is nothing to solve."""

import pytest

from envs import CityloopError
from envs.transit.static.problem import read
from training.bench import cordeau
from training.bench.cordeau import bench_cordeau, fingerprint, rows

TEXT = "1 2 100 3 30\n0 0 0 0 0 0 1440\n1 3 4 2 1 10 20\n2 6 8 2 -1 0 1440\n"


def test_an_instance_beside_its_optimum(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text(TEXT)
    (plain,) = rows([path], seconds=0.05)
    assert (plain["known"], plain["bound"]) == (None, None)
    (row,) = rows([path], seconds=0.05, prove_s=20.0)
    assert row["cost"] == pytest.approx(20.0)  # out and back along a line
    assert row["known"] == pytest.approx(20.0)
    assert (row["requests"], row["unserved"]) == (1, 0)


def test_all_instances_at_hand(tmp_path, monkeypatch):
    folder = tmp_path / "transit" / "cordeau"
    folder.mkdir(parents=True)
    (folder / "one.txt").write_text(TEXT)
    monkeypatch.setenv("CITYLOOP_DATA", str(tmp_path))
    found = bench_cordeau(seconds=0.05)
    assert found["ratios"] == {"one: ours / regret insertion alone": pytest.approx(1.0)}
    assert found["figures"]["one: cost"] == pytest.approx(20.0)


def test_an_optimum_is_of_what_a_file_holds_and_not_of_its_name(tmp_path, monkeypatch):
    mine, other = tmp_path / "mine.txt", tmp_path / "a2-16.txt"
    mine.write_text(TEXT)
    other.write_text(TEXT.replace("1 3 4 2", "1 3 5 2"))
    monkeypatch.setattr(cordeau, "OPTIMA", {fingerprint(read(mine)): 20.0})
    known = [row["known"] for row in rows([mine, other], seconds=0.05)]
    assert known == [20.0, None]


def test_nothing_is_said_of_costs_where_riders_are_left_out(tmp_path, monkeypatch):
    folder = tmp_path / "transit" / "cordeau"
    folder.mkdir(parents=True)
    path = folder / "one.txt"
    # one vehicle cannot be at either end of the line at once
    path.write_text(
        "1 4 100 3 30\n0 0 0 0 0 0 1440\n1 9 0 2 1 10 11\n2 -9 0 2 1 10 11\n3 8 0 2 -1 0 1440\n4 -8 0 2 -1 0 1440\n"
    )
    monkeypatch.setenv("CITYLOOP_DATA", str(tmp_path))
    monkeypatch.setattr(cordeau, "OPTIMA", {fingerprint(read(path)): 40.0})
    found = bench_cordeau(seconds=0.05)
    assert found["figures"]["one: unserved"] == 1
    assert found["ratios"] == {}


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])  # below none a search has no end
def test_no_time_to_search_gets_a_sentence(seconds):
    with pytest.raises(CityloopError, match="give a time above 0"):
        rows([], seconds)


def test_nothing_at_hand_gets_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CITYLOOP_DATA", str(tmp_path))
    with pytest.raises(CityloopError, match="CITYLOOP_DATA"):
        bench_cordeau()
