"""A folder with a network of one's own."""

import shutil
from pathlib import Path

import pytest

from envs import load_scenario
from tests.envs.drainage.own import YAML


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``own.yaml`` and theta's input as ``own.inp``."""
    shutil.copy(load_scenario("drainage/theta").inp, tmp_path / "own.inp")
    (tmp_path / "own.yaml").write_text(YAML)
    return tmp_path
