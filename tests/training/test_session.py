"""Ray sessions of a training: the folder of sockets, the error if Ray does not start, and signals."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import ray
from ray._common.utils import get_default_system_temp_dir

from envs.core.errors import CityloopError
from training.session import ray_session


def test_ray_keeps_its_sockets_where_their_paths_fit(tmp_path, monkeypatch):
    """Batch systems have long temporary folders; in one Ray does not start."""
    told = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: told.append(get_default_system_temp_dir()))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    for folder in (tmp_path / ("long" * 20), Path("/var/tmp")):
        folder.mkdir(exist_ok=True)
        monkeypatch.setenv("RAY_TMPDIR", "")  # so that it is as it was afterwards
        monkeypatch.delenv("RAY_TMPDIR")
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with ray_session(cpus=1):
            pass
    assert told == ["/tmp", "/var/tmp"]


def test_what_rays_processes_leave_is_removed(tmp_path, monkeypatch):
    """Ray kills its workers, whose folders of sockets stayed."""

    def begin(**_):
        (Path(os.environ["TMPDIR"]) / "pymp-of-a-worker").mkdir()

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", begin)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ray_session(cpus=1):
        assert os.environ["TMPDIR"] == str(tmp_path)
        assert list(tmp_path.rglob("pymp-*"))
    assert not list(tmp_path.iterdir())


def test_ray_that_does_not_start_is_one_sentence(monkeypatch):
    """On a machine that is too busy Ray gives up after half a minute, with an exception of no particular kind."""

    def late(**_):
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", late)
    wanted = r"^Ray did not start \(The current node timed out during startup\): see"
    with pytest.raises(CityloopError, match=wanted), ray_session(cpus=1):
        pytest.fail("there is no Ray")


@pytest.mark.parametrize(("cpus", "told"), [(1.0, True), (2.0, False)])
def test_a_ray_of_ones_own_with_too_few_cores_is_told(monkeypatch, caplog, cpus, told):
    """Ray waits for more of them without a word."""
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": cpus})
    with ray_session(cpus=4, least=2):
        pass
    assert ("has num_cpus=1 and this needs 2, so it waits" in caplog.text) is told


@pytest.mark.parametrize("starts", [False, True], ids=["while it starts", "later"])
def test_sigterm_is_heard_by_whoever_heard_it_before_ray(monkeypatch, starts):
    """Ray's handler ends the process, with the exit code 15 and without a word."""
    heard = []

    def begin(**_):
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        if not starts:
            signal.raise_signal(signal.SIGTERM)

    def hear(number, _):
        heard.append(number)
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", begin)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    before = signal.signal(signal.SIGTERM, hear)
    try:
        with pytest.raises(KeyboardInterrupt), ray_session(cpus=1):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is hear
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_presses_twice_does_not_keep_ray_from_ending(monkeypatch, number):
    """Ray's processes outlived an interrupted shutdown by half a minute, and the exit code was 1."""
    ended = []

    def stop():
        signal.raise_signal(number)
        ended.append(number)

    def again(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", stop)
    before = signal.signal(number, again)
    try:
        with pytest.raises(KeyboardInterrupt, match="once"), ray_session(cpus=1):
            raise KeyboardInterrupt("once")
        assert signal.getsignal(number) is again
    finally:
        signal.signal(number, before)
    assert ended == [number]
