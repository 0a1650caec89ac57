"""What pip installs: what is asked for is there to be had."""

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"]
WITH_EXTRAS = [line for line in PROJECT["dependencies"] if "[" in line]


@pytest.mark.parametrize("line", WITH_EXTRAS)
def test_extras_that_are_asked_for_exist(line):
    """Pip warns of others, and goes on without what they should bring."""
    name, extras = re.match(r"([\w.-]+)\[(.*)\]", line).groups()
    assert set(extras.split(",")) <= set(metadata(name).get_all("Provides-Extra"))
