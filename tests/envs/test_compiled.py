"""Where numba keeps what it compiled, where neither the installation nor a home can be written to."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from envs.core import compiled


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No folder may be written to but the temporary one, which is given."""
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/cache")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(compiled.os, "access", lambda path, mode: False)
    yield tmp_path
    os.environ.pop(compiled.VARIABLE, None)


def test_processes_of_one_user_share_a_folder_that_is_theirs_alone(nowhere):
    compiled.find_cache()
    folder = Path(os.environ.pop(compiled.VARIABLE))
    assert folder.parent == nowhere
    assert folder.stat().st_mode & 0o077 == 0
    compiled.find_cache()
    assert os.environ[compiled.VARIABLE] == str(folder)


@pytest.mark.parametrize("theirs", ["open", "link", "file"])
def test_a_folder_that_others_can_write_to_is_left_alone(nowhere, theirs):
    place = nowhere / f"cityloop-numba-{os.getuid()}"
    if theirs == "open":
        place.mkdir()
        place.chmod(0o777)
    elif theirs == "link":
        (nowhere / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(nowhere / "elsewhere")
    else:
        place.touch()
    compiled.find_cache()
    folder = Path(os.environ[compiled.VARIABLE])
    assert folder != place
    assert folder.stat().st_mode & 0o077 == 0


def test_what_the_user_says_holds(nowhere, monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, "/somewhere")
    compiled.find_cache()
    assert os.environ[compiled.VARIABLE] == "/somewhere"


def test_numba_decides_where_it_can(monkeypatch):
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    compiled.find_cache()
    assert compiled.VARIABLE not in os.environ


def test_what_was_compiled_from_other_sources_is_forgotten(tmp_path: Path) -> None:
    code, kept, other = (tmp_path / name for name in ("a.py", "__pycache__/a.f-1.py311.nbi", "b.py"))
    kept.parent.mkdir()
    for k, file in enumerate((code, other, kept)):
        file.touch()
        os.utime(file, (1000 + k, 1000 + k))
    compiled.forget_stale(tmp_path)
    assert kept.exists()
    os.utime(other, (2000, 2000))  # which holds what is called
    compiled.forget_stale(tmp_path)
    assert not kept.exists()


def test_a_source_from_the_future_spoils_nothing(tmp_path: Path) -> None:
    code, kept = tmp_path / "a.py", tmp_path / "__pycache__" / "a.f-1.py311.nbi"
    kept.parent.mkdir()
    code.touch(), kept.touch()
    os.utime(code, (time.time() + 1e6,) * 2)
    compiled.forget_stale(tmp_path)
    assert kept.exists()
