"""Folders of caches if neither the installation nor the home is writable."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from envs.core.machine import cache

BOTH = (cache.NUMBA, cache.MATPLOTLIB)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No folder may be written to but the temporary one, which is given."""
    for variable in BOTH:
        monkeypatch.setenv(variable, "")  # so that it is put back
        monkeypatch.delenv(variable)
    monkeypatch.delenv(cache.CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/cache")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cache.os, "access", lambda path, mode: False)
    return tmp_path


def named():
    return [Path(os.environ[variable]) for variable in BOTH]


def test_processes_of_one_user_share_a_folder_that_is_theirs_alone(nowhere, monkeypatch):
    cache.find_caches()
    first = named()
    assert [folder.name for folder in first] == ["numba", "matplotlib"]
    assert {folder.parent.parent for folder in first} == {nowhere}
    assert first[0].parent.stat().st_mode & 0o077 == 0
    for variable in BOTH:
        monkeypatch.delenv(variable)
    cache.find_caches()
    assert named() == first


@pytest.mark.parametrize("theirs", ["open", "link", "file"])
def test_a_folder_that_others_can_write_to_is_left_alone(nowhere, theirs):
    place = nowhere / f"cityloop-{os.getuid()}"
    if theirs == "open":
        place.mkdir()
        place.chmod(0o777)
    elif theirs == "link":
        (nowhere / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(nowhere / "elsewhere")
    else:
        place.touch()
    cache.find_caches()
    for folder in named():
        assert folder.parent != place
        assert folder.parent.stat().st_mode & 0o077 == 0


def test_what_the_user_says_holds(nowhere, monkeypatch):
    for variable in BOTH:
        monkeypatch.setenv(variable, "/somewhere")
    cache.find_caches()
    assert set(named()) == {Path("/somewhere")}


def test_both_decide_by_themselves_where_they_can(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for variable in BOTH:
        monkeypatch.delenv(variable, raising=False)
    cache.find_caches()
    assert not set(BOTH) & set(os.environ)


def test_caches_lie_where_the_user_says_or_can_write(nowhere, monkeypatch):
    monkeypatch.setenv("CITYLOOP_CACHE", "/somewhere")
    assert cache.cache_folder() == Path("/somewhere")
    cache.find_caches()
    assert set(named()) == {Path("/somewhere/numba"), Path("/somewhere/matplotlib")}
    monkeypatch.delenv("CITYLOOP_CACHE")
    assert cache.cache_folder() == nowhere / f"cityloop-{os.getuid()}"
    monkeypatch.setattr(cache.os, "access", lambda path, mode: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere))
    assert cache.cache_folder() == nowhere / "cityloop"


def test_a_home_that_is_closed_to_its_user_is_none(nowhere, monkeypatch):
    """As systemd's ProtectHome leaves it: whatever is asked of a place below is refused, which ended in a trace."""
    real = os.stat

    def stat(path, *args, **more):
        if os.fspath(path).startswith("/proc/cache"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **more)

    monkeypatch.setattr(os, "stat", stat)
    cache.find_caches()
    assert {folder.parent.parent for folder in named()} == {nowhere}
