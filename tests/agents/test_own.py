"""Users' own controllers, named by the location of their code."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from agents.own import make_any
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from training import evaluate

MINE = """
import numpy as np
from envs.core.world import Controller
from share import SHARE

class Open(Controller):
    name = "open"

    def __init__(self, site):
        self.count = len(site.agents)

    def act(self, readings, observation):
        return np.full(self.count, SHARE)

class Late(Open):
    def act(self, readings, observation):
        return readings["depth"]

def broken(site):
    return 1 / 0

def nothing(site):
    return object()

SIX = 6

class Scaling(Open):
    def act(self, readings, observation):
        readings["depth_m"] /= 3.0
        return super().act(readings, observation)

class Replacing(Open):
    def act(self, readings, observation):
        readings["setting"] = readings["setting"] * 0.0  # where a guard that limits movement would begin
        return super().act(readings, observation)
"""


@pytest.fixture(scope="module")
def site():
    loop = make_loop("drainage/astlingen")
    yield loop.site
    loop.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "share.py").write_text("SHARE = 0.5\n")
    (tmp_path / "torn.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", sys.path[:])
    for name in ("mine", "share"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("ref", ["mine.py:Open", "mine:Open"])
def test_code_beside_the_user_decides_and_what_it_imports_is_found(ref, folder, site):
    controller = make_any(ref, site)
    controller.reset()
    assert controller.program is None
    np.testing.assert_array_equal(controller.act({}, {}), np.full(4, 0.5))


def test_a_file_may_stand_elsewhere_and_names_of_rules_and_bundles_are_what_they_were(folder, site, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert make_any(folder / "mine.py:Open", site).name == "open"
    assert make_any("efd", site).name == "efd"
    with pytest.raises(CityloopError, match="controller 'ef' is unknown"):
        make_any("ef", site)


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("gone.py:Open", "there is no file gone.py"),
        ("gone:Open", "importing gone failed: ModuleNotFoundError: No module named 'gone'$"),
        ("torn.py:f", r"importing torn.py failed: SyntaxError: invalid syntax$"),
        ("mine.py:Closed", "mine.py defines no class or function Closed"),
        ("mine.py:SIX", "mine.py defines no class or function SIX"),
        ("mine.py:broken", r"broken\(site\) failed: ZeroDivisionError: division by zero \(mine.py, line 20\)$"),
        ("mine.py:nothing", r"what nothing\(site\) gives has no name, no program, no reset, no act: derive it"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_a_sentence(ref, said, folder, site):
    with pytest.raises(CityloopError, match=f"controller '{ref}': .*{said}"):
        make_any(ref, site)


def test_it_is_compared_like_any_other(folder):
    found = evaluate("drainage/astlingen", ["mine.py:Open", "static"], seeds=1, save=False)
    assert list(found.controllers) == ["mine.py:Open", "static"]
    assert found.controllers["mine.py:Open"].rows[0]["movement"] > 0


def test_where_it_failed_is_told(folder):
    with pytest.raises(CityloopError, match=r"with seed 0 failed: KeyError: 'depth' \(mine.py, line 17\)$"):
        evaluate("drainage/astlingen", ["mine.py:Late"], seeds=1, save=False, duration_s=7200)


def test_readings_are_not_a_controllers_to_change(folder):
    """The guard reads them after it: it would judge a plant that is not there."""
    with pytest.raises(CityloopError, match=r"Scaling' with seed 0 failed: .*read-only \(mine.py, line \d+"):
        evaluate("drainage/theta", ["mine.py:Scaling"], 1, processes=1, save=False)
    found = evaluate("drainage/theta", ["mine.py:Open", "mine.py:Replacing"], 1, processes=1, save=False)
    assert found.controllers["mine.py:Open"].rows == found.controllers["mine.py:Replacing"].rows
    with closing(make_loop("drainage/theta")) as loop:
        kpis = [loop.episode(make_any(f"mine.py:{name}", loop.site), seed=0).kpis for name in ("Open", "Replacing")]
    assert kpis[0] == kpis[1]


def test_a_class_itself_is_not_a_name(folder):
    with pytest.raises(CityloopError, match="a controller is <class 'int'>: name where its code stands"):
        evaluate("drainage/astlingen", [int], save=False)
