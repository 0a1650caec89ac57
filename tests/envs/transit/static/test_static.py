"""Static problems: solutions keep everything, small ones are solved to the optimum, and files are read or refused."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from envs import CityloopError
from envs.transit.static.exact import optimum
from envs.transit.static.problem import Problem, read
from envs.transit.static.routes import best_place, data_of, length, times
from envs.transit.static.solve import solve
from tests.data import FOLDER
from tests.envs.transit.static import checker

CORDEAU = FOLDER / "transit" / "cordeau"
needs_cordeau = pytest.mark.skipif(not CORDEAU.is_dir(), reason=f"the instances of Cordeau are not in {CORDEAU}")


def small(seed, requests=4, vehicles=2, capacity=2, ride=12.0, duration=80.0, wide=15.0):
    """A random problem: half of the requests have a window for the pick-up, half for the drop-off."""
    rng = np.random.default_rng(seed)
    at = np.concatenate([[[0.0, 0.0]], rng.uniform(-5, 5, (2 * requests, 2))])
    window = np.tile([0.0, 240.0], (2 * requests + 1, 1))
    start = rng.uniform(20, 90, requests)
    for k in range(requests):
        node = k + 1 + (requests if k % 2 else 0)
        window[node] = start[k], start[k] + wide
    load = rng.integers(1, capacity + 1, requests)
    service = np.concatenate([[0.0], np.full(2 * requests, 1.0)])
    return Problem(
        *("small", vehicles, capacity, duration, ride), at, service, np.concatenate([[0], load, -load]), window
    )


def drivable(problem, route):
    """Whether a route has times at all, as a linear program."""
    n, count = problem.requests, len(route)
    at, rows, most = (0, *route, 0), [], []
    place = {node: k + 1 for k, node in enumerate(route)}

    def differs(a, b, limit):
        """Time a minus time b is at most a limit."""
        row = np.zeros(count + 2)
        row[a], row[b] = 1.0, -1.0
        rows.append(row)
        most.append(limit)

    for k in range(count + 1):
        stood = problem.service[at[k]] if k else 0.0
        differs(k, k + 1, -(stood + np.hypot(*(problem.at[at[k]] - problem.at[at[k + 1]]))))
    for node in route:
        if node > n:
            differs(place[node], place[node - n], problem.ride + problem.service[node - n])
    differs(count + 1, 0, problem.duration)
    bounds = [tuple(problem.window[node]) for node in at]
    return linprog(np.zeros(count + 2), np.array(rows), most, bounds=bounds).status == 0


def seated(problem, route):
    return np.cumsum([problem.load[node] for node in route]).max() <= problem.capacity


def orders(problem):
    """Every order of every node in which drop-offs follow pick-ups."""
    n = problem.requests
    for order in itertools.permutations(range(1, 2 * n + 1)):
        if all(order.index(r) < order.index(n + r) for r in range(1, n + 1)):
            yield order


@pytest.mark.parametrize("seed", range(3))
def test_a_route_has_times_just_if_a_linear_program_finds_some(seed):
    """Longest rides that only later departures keep included: all orders of three requests."""
    problem = small(seed, requests=3, ride=8.0, duration=60.0)
    data, begin, place = data_of(problem), np.zeros(8), np.zeros(7, np.int64)
    found = []
    for order in orders(problem):
        can = times(np.array(order), 6, data, begin, place)
        assert can == (seated(problem, order) and drivable(problem, order))
        if can:
            found.append(checker.broken(problem, [order], [begin]))
    assert not any(found)


def test_a_pickup_is_put_off_so_that_the_ride_is_short_enough():
    """The drop-off opens at 50, the ride is direct and a minute's stand: boarding before 39 is too early."""
    problem = Problem(
        *("one", 1, 1, 100.0, 10.0),
        np.array([[0.0, 0.0], [1.0, 0.0], [6.0, 0.0]]),
        np.array([0.0, 1.0, 1.0]),
        np.array([0, 1, -1]),
        np.array([[0.0, 100.0], [0.0, 100.0], [50.0, 60.0]]),
    )
    begin = np.zeros(4)
    loose = data_of(problem)._replace(window=problem.window)
    assert times(np.array([1, 2]), 2, loose, begin, np.zeros(3, np.int64))
    assert begin.tolist() == [0.0, 39.0, 50.0, 57.0]
    short = data_of(dataclasses.replace(problem, duration=17.0))
    assert times(np.array([1, 2]), 2, short, begin, np.zeros(3, np.int64))
    assert begin.tolist() == [40.0, 41.0, 50.0, 57.0], "the depot is left later"


@pytest.mark.parametrize("seed", range(4))
def test_the_best_place_is_the_best_of_all(seed):
    problem = small(seed, requests=3, capacity=3, ride=25.0, duration=200.0, wide=40.0)
    data, n = data_of(problem), problem.requests
    begin, place, trial = np.zeros(2 * n + 3), np.zeros(2 * n + 1, np.int64), np.zeros(2 * n + 1, np.int64)
    route, count = np.zeros(2 * n, np.int64), 0
    for r in range(1, n + 1):
        grown, i, j = best_place(r, route, count, data, trial, begin, place)
        old, tried = route[:count].tolist(), [np.inf]
        for a, b in itertools.combinations_with_replacement(range(count + 1), 2):
            order = [*old[:a], r, *old[a:b], n + r, *old[b:]]
            if seated(problem, order) and drivable(problem, order):
                tried.append(checker.cost(problem, [order]) - checker.cost(problem, [old] if old else []))
        assert grown == pytest.approx(min(tried), abs=1e-6)
        if i >= 0:
            order = [*old[:i], r, *old[i:j], n + r, *old[j:]]
            count += 2
            route[:count] = order
            assert length(route, count, data) == pytest.approx(checker.cost(problem, [order]))


@pytest.mark.parametrize("seed", range(6))
def test_small_problems_are_solved_to_the_proven_optimum(seed):
    """The search against a mixed integer program that shares nothing with it."""
    problem = small(seed, ride=10.0, wide=20.0)
    exact = optimum(problem, seconds=60.0)
    found = solve(problem, rounds=500)
    assert exact.proven
    assert not found.unserved
    assert found.cost == pytest.approx(exact.cost, abs=1e-4)
    assert checker.broken(problem, found.routes, found.begins) == []
    assert checker.cost(problem, exact.routes) == pytest.approx(exact.cost, abs=1e-4)
    assert all(drivable(problem, route) and seated(problem, route) for route in exact.routes)


def test_nothing_is_proven_where_time_ran_out_or_nobody_can():
    assert not optimum(small(0, requests=7), seconds=1e-3).proven
    impossible = optimum(small(0, requests=4, vehicles=1, wide=1.0), seconds=60.0)
    assert impossible.proven
    assert np.isinf(impossible.bound)
    assert solve(small(0, requests=4, vehicles=1, wide=1.0), rounds=100).unserved


def test_the_same_seed_gives_the_same_solution():
    problem = small(3, requests=8)
    one, other = solve(problem, rounds=200, seed=5), solve(problem, rounds=200, seed=5)
    assert dataclasses.replace(one, found_s=0.0) == dataclasses.replace(other, found_s=0.0)


def test_who_fits_in_nowhere_is_named():
    problem = small(0, requests=6, vehicles=1, wide=3.0)
    found = solve(problem, rounds=100)
    assert found.unserved
    served = {node for route in found.routes for node in route}
    assert served.isdisjoint(found.unserved)


@needs_cordeau
@pytest.mark.parametrize("name", ["a2-16", "a2-20", "a3-24", "a4-32", "b2-16", "b3-24", "R1a"])
def test_cordeaus_instances_are_solved_feasibly(name):
    problem = read(CORDEAU / f"{name}.txt")
    found = solve(problem, rounds=300)
    assert not found.unserved
    assert checker.broken(problem, found.routes, found.begins) == []
    assert found.cost == pytest.approx(checker.cost(problem, found.routes))
    assert found.cost <= found.first + 1e-9


TEXT = "1 2 100 3 30\n0 0 0 0 0 0 1440\n1 3 4 2 1 10 20\n2 6 8 2 -1 0 1440\n"


def test_a_file_is_read(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text(TEXT + "3 0 0 0 0 0 1440\n")  # a depot at the end
    problem = read(path)
    assert (problem.name, problem.vehicles, problem.requests, problem.ride) == ("one", 1, 1, 30.0)
    assert problem.tight[2].tolist() == [17.0, 52.0], "from the earliest boarding on, to the longest ride's end"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "first line"),
        ("1 2 100 3\n", "first line"),
        ("1 2 100 3 thirty\n", "cannot be read"),
        (TEXT.replace("1 2 100", "1 4 100"), "4 nodes"),
        (TEXT.replace(" 10 20", " 10"), "7 numbers"),
        (TEXT.replace("2 -1", "2 -2"), "load"),
    ],
)
def test_a_file_that_is_none_gets_a_sentence(tmp_path, text, word):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(CityloopError, match=word):
        read(path)
