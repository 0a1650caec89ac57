"""What pip installs: what is asked for is there to be had."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITH_EXTRAS = [line for line in PROJECT["dependencies"] if "[" in line]


@pytest.mark.parametrize("line", WITH_EXTRAS)
def test_extras_that_are_asked_for_exist(line):
    """Pip warns of others, and goes on without what they should bring."""
    name, extras = re.match(r"([\w.-]+)\[(.*)\]", line).groups()
    assert set(extras.split(",")) <= set(metadata(name).get_all("Provides-Extra"))


@pytest.mark.parametrize(
    ("python", "said"), [("old", "old is no Python from 3.11 on"), (sys.executable, ".venv is of an")]
)
def test_an_old_python_is_told_before_anything_is_installed(tmp_path, python, said):
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    bin_ = tmp_path / ".venv/bin"
    bin_.mkdir(parents=True)
    (bin_ / "python").write_text("#!/bin/sh\nexit 1\n")  # what an old one answers to the question whether it is new
    (bin_ / "python").chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "pip" not in done.stdout
