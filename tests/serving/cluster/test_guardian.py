"""A service that was killed leaves nothing behind: whoever worked in its folder is ended, and the folder is gone."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.cluster.guardian import Guardian, _users
from serving.cluster.processes import alive

SERVICE = """
import subprocess, sys
from pathlib import Path
from serving.cluster.guardian import Guardian
folder = Path(sys.argv[1])
guardian = Guardian(folder)
log = (folder / "log").open("w")
proxy = subprocess.Popen(["sleep", "1000"], stdout=log, start_new_session=True)
print(guardian.pid, proxy.pid, flush=True)
if sys.argv[2] == "dismiss":
    guardian.dismiss()
    guardian.dismiss()
sys.stdin.read()
"""
"""A service, and something like HAProxy, which looks after nobody."""

FAR_S = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cl-1"
    made.mkdir()
    return made


def started(folder: Path, how: str) -> tuple["subprocess.Popen[bytes]", int, int]:
    program = [sys.executable, "-c", SERVICE, str(folder), how]
    service = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert service.stdout is not None
    guardian, proxy = map(int, service.stdout.readline().split())
    return service, guardian, proxy


def ended(pid: int) -> bool:
    """Wait for a process that is nobody's child of ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], FAR_S)[0])
    finally:
        os.close(handle)


def test_who_is_killed_is_cleaned_up_after(folder: Path) -> None:
    service, guardian, proxy = started(folder, "guarded")
    os.killpg(service.pid, signal.SIGKILL)  # as whoever ends a service's whole group does
    service.communicate()
    assert ended(guardian)
    assert ended(proxy)
    assert not folder.exists()


def test_who_is_dismissed_cleans_nothing_up(folder: Path) -> None:
    service, guardian, proxy = started(folder, "dismiss")
    try:
        assert ended(guardian)
        service.communicate()
        assert alive(proxy)
        assert folder.exists()
    finally:
        os.kill(proxy, signal.SIGKILL)


def test_who_closes_a_file_meanwhile_is_found_by_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = [sys.executable, "-c", "print(flush=True); import sys; sys.stdin.read()"]
    with (folder / "log").open("w") as log:
        worker = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    real = os.readlink

    def closed(link: Path) -> str:
        if link.name == "0":
            raise FileNotFoundError(link)
        return real(link)

    try:
        assert worker.stdout is not None
        worker.stdout.readline()
        assert _users(folder) == [worker.pid]
        monkeypatch.setattr("os.readlink", closed)
        assert _users(folder) == [worker.pid]
    finally:
        worker.communicate()


def test_the_guardian_of_a_service_that_goes_on_waits(folder: Path) -> None:
    guardian = Guardian(folder)
    assert alive(guardian.pid)
    guardian.dismiss()
    assert not alive(guardian.pid)
    assert folder.exists()
