"""The learning task made from scenarios; loops that only served to read the site are closed."""

from __future__ import annotations

import pytest

from envs import CityloopError, load_scenario
from envs.core.loop import ControlLoop
from envs.core.testing import systems as testing
from training.check import check
from training.evaluation.evaluate import evaluate
from training.reference import train_reference
from training.settings import PROCESSES, Settings
from training.task import task_of

GRIDS = [load_scenario("intersections/grid2x2"), load_scenario("intersections/grid3x3")]


@pytest.fixture
def open_loops(monkeypatch: pytest.MonkeyPatch) -> set[ControlLoop]:
    found: set[ControlLoop] = set()
    begin, end = ControlLoop.__init__, ControlLoop.close

    def opened(loop: ControlLoop, *arguments: object) -> None:
        begin(loop, *arguments)  # type: ignore[arg-type]
        found.add(loop)

    def closed(loop: ControlLoop) -> None:
        end(loop)
        found.discard(loop)

    monkeypatch.setattr(ControlLoop, "__init__", opened)
    monkeypatch.setattr(ControlLoop, "close", closed)
    return found


def test_a_task_fits_the_largest_of_its_scenarios(open_loops: set[ControlLoop]) -> None:
    alone = [task_of([grid], Settings()) for grid in GRIDS]
    both = task_of(GRIDS, Settings())
    assert both.agents == [4, 9]
    assert [plants.label for plants in both.plants] == ["grid2x2", "grid3x3"]
    for name, shape in both.shapes.items():
        assert shape == tuple(map(max, *(task.shapes[name] for task in alone)))
    assert both.discounts == [Settings().gamma] * 2
    assert not open_loops


def test_nothing_stays_open_where_something_is_refused(
    open_loops: set[ControlLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CityloopError, match="workers is"):
        task_of(GRIDS, Settings(workers=PROCESSES + 1))
    with pytest.raises(CityloopError, match=r"only is 'scores', .* give one of encoder, hidden, hold, prior, score"):
        task_of(GRIDS, Settings(only="scores"))
    with pytest.raises(CityloopError, match="'nobody' is unknown"):
        evaluate(GRIDS[0], ["nobody"], seeds=1, save=False)
    with pytest.raises(CityloopError, match="has 4 agents"):
        train_reference(GRIDS[0])
    monkeypatch.setattr(testing, "CHECKS", {})
    assert testing.check_system(GRIDS[0]) == []
    assert all(one.ok for one in check("dampers"))
    assert not open_loops


@pytest.mark.parametrize(
    ("refs", "words"),
    [
        (("intersections/grid2x2", "drainage/theta"), "several systems"),
        (("intersections/grid2x2", "intersections/grid2x2"), "given twice"),
        (("drainage/astlingen-oct2000",), "for tests alone"),
        (("drainage/theta", "drainage/astlingen"), "cannot share a score"),
    ],
)
def test_scenarios_that_cannot_share_a_policy_are_refused(refs: tuple[str, ...], words: str) -> None:
    with pytest.raises(CityloopError, match=words):
        task_of([load_scenario(ref) for ref in refs], Settings())
