"""Helpers that call the command line."""

import subprocess
import sys

import pytest

import cityloop

GRID = "intersections/grid2x2"


def call(*words):
    """Run the command line here; returns the exit code."""
    with pytest.raises(SystemExit) as caught:
        cityloop.main(words)
    return caught.value.code or 0


def command(*words, cwd=None):
    """Run the command line in a process of its own."""
    line = [sys.executable, "-m", "cityloop", *words]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=600, check=False)
