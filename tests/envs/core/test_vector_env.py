"""Vectorised plants: results equal those of single plants, independent of process timing, with no leftovers."""

import multiprocessing as mp
import os
import select
import signal
import subprocess
import sys
import tempfile
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest

from envs import CityloopError, get_system, load_scenario, vector_env
from envs.core import plant
from envs.core import vector_env as module
from envs.core.env import SeedStream, make_loop
from envs.core.machine.children import start_child
from envs.core.testing.vectors import check_vector

SHORT = {"duration_s": 60}
GRID = "intersections/grid2x2"


def play(seed, decisions=30):
    """Requests that depend on what was seen, so that a difference anywhere spreads."""
    out = []
    with vector_env(GRID, num_envs=2, seed=seed, **SHORT) as plants:
        batch = plants.reset()
        for _ in range(decisions):
            requests = (np.abs(batch.observation).sum(axis=2) * 10).astype(int) % 2
            batch = plants.step(requests)
            out.append(batch)
    return out


@pytest.fixture(scope="module")
def batches():
    return play(5)


def test_equals_plants_one_after_the_other(batches):
    for k in range(2):
        loop = make_loop(GRID, **SHORT)
        loop.reset(5 + k)
        for t in range(11):
            flat = loop.layout.flatten(loop.observation)
            step = loop.step((np.abs(flat).sum(axis=1) * 10).astype(int) % 2)
            np.testing.assert_array_equal(batches[t].reward[k], step.reward)
            np.testing.assert_array_equal(batches[t].observation[k], loop.layout.flatten(loop.observation))
            np.testing.assert_array_equal(batches[t].state[k], loop.features.state(loop.readings))
        loop.close()


def test_keeps_what_plants_promise():
    assert check_vector(lambda seed: vector_env(GRID, num_envs=2, seed=seed, **SHORT), steps=16) == 2


def test_next_episode_follows_and_the_last_observation_is_kept(batches):
    ends = [t for t, batch in enumerate(batches) if batch.done.all()]
    assert ends == [11, 23]
    end = batches[11]
    assert set(end.kpis[0]) == set(get_system("intersections").kpis)
    assert not np.array_equal(end.last_observation, end.observation)
    assert batches[10].kpis == [{}, {}]


@pytest.mark.parametrize(("seed", "locked"), [(100_000, True), (0, False)])
def test_plants_that_nothing_moves_any_more_say_so(seed, locked):
    """One street has green for ever: of a training seed that ends an episode, of a test seed it does not."""
    with vector_env(GRID, num_envs=1, seed=seed, regime="resco") as plants:
        plants.reset()
        ends = [plants.step(np.zeros((1, plants.agents), dtype=int)) for _ in range(plants.loop.scenario.decisions)]
    assert [t + 1 for t, batch in enumerate(ends) if batch.done[0]] == [57 if locked else 60]
    assert [batch.locked[0] for batch in ends if batch.done[0]] == [locked]
    assert [batch.kpis[0]["gridlock"] for batch in ends if batch.done[0]] == [1]


def test_nothing_is_left_behind():
    plants = vector_env(GRID, num_envs=2, **SHORT)
    plants.reset()
    memory = Path("/dev/shm", plants._memory.name)
    assert memory.exists()
    assert len(mp.active_children()) >= 2
    plants.close()
    plants.close()
    assert not mp.active_children()
    assert not memory.exists()


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zeros(plants):
    return np.zeros((plants.num_envs, plants.agents), dtype=int)


def await_ends(processes):
    """Wait until processes, given by descriptors, have ended; the descriptors are then readable."""
    for process in processes:
        assert select.select([process], [], [], 20)[0], "a process lives on"
        os.close(process)


@pytest.mark.parametrize("victim", ["the worker", "its child"])
def test_a_dead_plant_is_replaced(monkeypatch, tmp_path, victim):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with vector_env(GRID, num_envs=2, **SHORT) as plants:
        plants.reset()
        before = plants.step(zeros(plants))
        worker = plants._plants[1]._process.pid
        watched = [os.pidfd_open(pid) for pid in (worker, *children(worker))]
        signal.pidfd_send_signal(watched[victim == "its child"], signal.SIGKILL)
        await_ends(watched)
        batch = plants.step(zeros(plants))
        assert batch.done.tolist() == [False, True]
        assert batch.kpis == [{}, {}]
        assert plants.lost == 1
        np.testing.assert_array_equal(batch.last_observation[1], before.observation[1])
        assert (batch.reward[1] == 0).all()
        assert not plants.step(zeros(plants)).done.any()
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_plant_that_always_dies_is_given_up(monkeypatch):
    with vector_env(GRID, num_envs=1, **SHORT) as plants:
        plants.reset()
        plant = plants._plants[0]
        start = plant._start

        def stillborn():
            start()
            plant._process.kill()
            plant._process.join()

        monkeypatch.setattr(plant, "_start", stillborn)
        plant._process.kill()
        plant._process.join()
        with pytest.raises(CityloopError, match="died 3 times in a row"):
            plants.step(zeros(plants))


def test_deaths_with_a_step_in_between_are_not_in_a_row(monkeypatch):
    """Even if that step is the whole episode."""
    monkeypatch.setattr(module, "DEATHS", 2)
    with vector_env("dampers/dyke", num_envs=1, duration_s=load_scenario("dampers/dyke").decision_s) as plants:
        plants.reset()
        for _ in range(2):
            plants._plants[0]._process.kill()
            plants._plants[0]._process.join()
            assert plants.step(np.zeros((1, plants.agents))).kpis == [{}]
            assert plants.step(np.zeros((1, plants.agents))).kpis != [{}], "the episode is over"
    assert plants.lost == 2


class _Replayed:
    """A loop whose episode is played again."""

    layout = world = features = None

    def reset(self, seed):
        self.steps = 0

    def step(self, requests):
        self.steps += 1


def test_a_long_replay_gives_signs_of_life(monkeypatch):
    """Its end is further off than a step's answer may be; else the plant would be taken for dead, and begin anew."""
    monkeypatch.setattr(plant, "_see", lambda loop, mine: None)
    loop, (ours, theirs) = _Replayed(), mp.Pipe()
    ours.send(None)
    begin = plant.Begin(7, [np.zeros(1)] * (2 * plant.BEAT + 1))
    plant._play(theirs, loop, {"reward": np.zeros(1)}, begin)
    assert loop.steps == len(begin.requests)
    assert [type(ours.recv()).__name__ for _ in range(3)] == ["Replaying", "Replaying", "Report"]


def test_a_plant_that_replays_is_waited_for(monkeypatch):
    """Each sign of life grants it the time of another step."""
    waits, said = [], [plant.Replaying(), plant.Replaying(), plant.Report()]

    class Pipe:
        def poll(self, limit_s):
            waits.append(limit_s)
            return bool(said)

        def recv(self):
            return said.pop(0)

    with vector_env("dampers/dyke", num_envs=1, duration_s=0.005) as plants:
        one = plants._plants[0]
        monkeypatch.setattr(one, "_pipe", Pipe())
        assert one.answer() == plant.Report()
        assert waits == [module.STEP_TIMEOUT_S] * 3
        with pytest.raises(module._DeathError, match="no answer for 300 s"):
            one.answer()
        monkeypatch.undo()


def test_two_lots_may_step_at_the_same_time(batches):
    with vector_env(GRID, num_envs=1, seed=5, **SHORT) as a, vector_env(GRID, num_envs=1, seed=6, **SHORT) as b:
        seen = [a.reset(), b.reset()]
        for t in range(14):
            for plants, batch in zip((a, b), seen, strict=True):
                plants.send((np.abs(batch.observation).sum(axis=2) * 10).astype(int) % 2)
            seen = [a.receive(), b.receive()]
            for k, batch in enumerate(seen):
                np.testing.assert_array_equal(batch.observation[0], batches[t].observation[k])


ORPHANAGE = """
import sys
from envs import vector_env
if __name__ == "__main__":
    plants = vector_env("intersections/grid2x2", num_envs=1, duration_s=60)
    plants.reset()
    print(plants._plants[0]._process.pid, flush=True)
    sys.stdin.read()
"""


def test_no_plant_outlives_its_caller(tmp_path):
    script = tmp_path / "orphanage.py"
    script.write_text(ORPHANAGE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as caller:
        worker = int(caller.stdout.readline())
        watched = [worker, *children(worker)]
        assert len(watched) == 2
        ends = [os.pidfd_open(pid) for pid in watched]
        caller.kill()
        await_ends(ends)


def test_a_user_error_in_a_plant_is_a_sentence(tmp_path):
    broken = tmp_path / "broken.rou.xml"
    broken.write_text("<routes><vehicle")
    with vector_env(load_scenario(GRID), num_envs=1, **SHORT) as plants:
        plants.reset()
        for wrong in (np.zeros((2, 4)), None, "x"):
            with pytest.raises(CityloopError, match=r"give \(1, 4\)"):
                plants.step(wrong)
    with pytest.raises(CityloopError, match=r"broken\.rou\.xml"):
        vector_env(load_scenario(GRID, routes=[str(broken)]), num_envs=1)


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_how_many_plants_is_a_number_from_one_on(count):
    with pytest.raises(CityloopError, match=f"num_envs is {count}: give a whole number"):
        vector_env("dampers/dyke", count)


def test_a_worker_never_hears_of_ctrl_c_from_its_first_moment_on():
    """It would print a trace while it imports, before it could ask to be spared."""
    mine = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    process = start_child(signal.pause)
    try:
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        blocked = next(line for line in status if "SigBlk" in line)
        assert int(blocked.split()[1], 16) & 1 << (signal.SIGINT - 1)
    finally:
        process.kill()
        process.join()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mine


def test_a_seed_that_nobody_names_is_one_of_a_test():
    """Wherever test seeds begin; and those that follow are, too."""
    seeds = {
        "train": {"first": 0, "last": 99},
        "validation": {"first": 100, "last": 199},
        "test": {"first": 200, "last": 203},
    }
    scenario = load_scenario("dampers/jansen", seeds=seeds)
    for _ in range(20):
        stream = SeedStream(scenario, None)
        assert {stream.take() for _ in range(3)} <= {200, 201, 202, 203}


def test_plants_are_not_asked_for_what_they_cannot_do():
    """A plant that waits for its first episode would never answer a step."""
    plants = vector_env("transit/hcmc", num_envs=1, duration_s=600)
    with pytest.raises(CityloopError, match=r"call reset\(\) before step\(\)"):
        plants.step(np.zeros((1, 12, 2)))
    plants.reset()
    for shape in ((1, 12), (1, 24), (12, 2)):
        with pytest.raises(CityloopError, match=r"give \(1, 12, 2\)"):
            plants.step(np.zeros(shape))
    assert plants.step(np.zeros((1, 12, 2))).interventions == 0
    plants.close()
    with pytest.raises(CityloopError, match="closed"):
        plants.reset()


def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    """Its processes import it, begin anew and end: the error names the guard that the script needs, not memory."""
    script = tmp_path / "mine.py"
    script.write_text('import envs\n\nenvs.vector_env("dampers/dyke", 1).reset()\n')
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    *_, said = (line for line in done.stderr.splitlines() if line.startswith("envs.core.errors"))
    assert "plant 0 of dampers/dyke: its process ended as it started" in said
    assert '`if __name__ == "__main__":`' in said


class _Prepared:
    """A loop that is its own world, and notes what is asked of it."""

    def __init__(self, error=None):
        self.asked, self.world, self.error = [], self, error

    def prepare(self):
        self.asked.append("prepare")
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [None, CityloopError("the rain cannot be read"), ZeroDivisionError()])
def test_what_episodes_share_is_done_once_before_them(monkeypatch, tmp_path, error):
    """Each child would import its simulator again; what fails then fails in the episode, too, which reports it."""
    loop = _Prepared(error)
    monkeypatch.setattr(plant, "make_loop", lambda scenario: loop)
    monkeypatch.setattr(plant.gc, "freeze", lambda: None)
    monkeypatch.setattr(tempfile, "tempdir", None)
    ours, theirs = mp.Pipe()
    ours.send(None)
    memory = SharedMemory(create=True, size=8)
    try:
        plant.work(theirs, str(tmp_path), load_scenario(GRID), memory.name, {"reward": ((1,), np.float64)}, 0)
    finally:
        memory.close()
        memory.unlink()
    assert loop.asked == ["prepare"]


def test_a_user_error_in_what_episodes_share_is_a_sentence():
    with (
        vector_env("drainage/astlingen", 1, tide__amplitude_m=1.0) as plants,
        pytest.raises(CityloopError, match="no outfall of"),
    ):
        plants.reset()
