"""The scripts of the quick start end the service that they began, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STOP = Path(__file__).parents[1] / "scripts" / "stop.sh"


def stop(folder: Path, process: subprocess.Popen[str] | None) -> str:
    (folder / "scripts").mkdir()
    (folder / "runs" / "quickstart").mkdir(parents=True)
    script = shutil.copy(STOP, folder / "scripts")
    pid = folder / "runs" / "quickstart" / "serve.pid"
    if process is not None:
        pid.write_text(f"{process.pid}\n")
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=True)
    assert not pid.exists()
    return done.stdout


@pytest.mark.parametrize(("name", "ended"), [("cityloop", True), ("another", False)])
def test_only_the_service_is_stopped(tmp_path: Path, name: str, ended: bool) -> None:
    """Its number may be that of another process by now."""
    program = tmp_path / name
    program.write_text("print('ready', flush=True)\ninput()\n")
    process = subprocess.Popen(
        [sys.executable, program, "serve", "grid"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert stop(tmp_path, process) == ("The service is stopped.\n" if ended else "No service is running.\n")
        assert (process.poll() is None) == (not ended)


def test_where_none_runs_it_says_so(tmp_path: Path) -> None:
    assert stop(tmp_path, None) == "No service is running.\n"
