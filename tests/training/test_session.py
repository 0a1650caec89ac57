"""Ray sessions of a training: the folder of sockets, and the error if Ray does not start."""

import tempfile
from pathlib import Path

import pytest
import ray
from ray._common.utils import get_default_system_temp_dir

from envs.core.errors import CityloopError
from training.algorithm import ray_session


def test_ray_keeps_its_sockets_where_their_paths_fit(tmp_path, monkeypatch):
    """Batch systems have long temporary folders; in one Ray does not start."""
    told = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: told.append(get_default_system_temp_dir()))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    for folder in (tmp_path / ("long" * 20), Path("/var/tmp")):
        monkeypatch.setenv("RAY_TMPDIR", "")  # so that it is as it was afterwards
        monkeypatch.delenv("RAY_TMPDIR")
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with ray_session(cpus=1):
            pass
    assert told == ["/tmp", "/var/tmp"]


def test_ray_that_does_not_start_is_one_sentence(monkeypatch):
    """On a machine that is too busy Ray gives up after half a minute, with an exception of no particular kind."""

    def late(**_):
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", late)
    wanted = r"^Ray did not start \(The current node timed out during startup\): see"
    with pytest.raises(CityloopError, match=wanted), ray_session(cpus=1):
        pytest.fail("there is no Ray")
