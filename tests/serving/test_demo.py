"""The demonstration leaves nothing behind, and ends without a trace."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints
from unittest.mock import Mock

import pytest

from envs import CityloopError
from serving.demo import SCENARIOS, Show, _run_show, _Twin, demo
from tests.serving.plants import GRID
from verbs.demo import demo as verb


@pytest.fixture(autouse=True)
def _terminations() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_its_help_names_what_it_shows() -> None:
    (argument,) = get_type_hints(verb, include_extras=True)["scenarios"].__metadata__
    assert argument.show_default == " ".join(SCENARIOS)


def test_a_twin_takes_its_simulators_files_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with _Twin(GRID) as twin:
        twin.begin(0)
        twin.step()
        assert twin._pipe.poll(120)
        assert list(tmp_path.rglob("*.add.xml"))
    assert not list(tmp_path.rglob("*.add.xml"))


@dataclass(frozen=True)
class Compiling(Show):
    """A plant that is ended while numba compiles: it swallows what a signal raises, and fails."""

    ended: bool = True

    def run(self) -> None:
        if self.ended:
            with suppress(SystemExit):
                signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("no compiled object yet")


def test_a_plant_that_is_ended_amid_compiling_says_nothing() -> None:
    _run_show(Compiling(GRID, "http://127.0.0.1:1", 1.0))
    with pytest.raises(RuntimeError, match="no compiled object"):
        _run_show(Compiling(GRID, "http://127.0.0.1:1", 1.0, ended=False))


class Gone:
    """A service that cannot go on."""

    url = "http://127.0.0.1:1"
    sites: tuple[dict[str, str], ...] = ()

    def check(self) -> None:
        raise CityloopError("the service is gone")

    def __enter__(self) -> Gone:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_it_ends_with_its_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant = Mock(is_alive=Mock(side_effect=(True, False)))
    monkeypatch.setattr("serving.demo.serve", lambda *_, **__: Gone())
    monkeypatch.setattr("serving.demo.start_child", lambda *_, **__: plant)
    stop = Mock(wait=Mock(return_value=False))
    with pytest.raises(CityloopError, match="the service is gone"):
        demo([GRID], state=tmp_path, say=lambda _: None, stop=stop)
    plant.terminate.assert_called_once()
