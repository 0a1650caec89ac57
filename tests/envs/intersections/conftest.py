"""A network of one's own in a folder."""

import shutil

import pytest

from envs.intersections.generated.grids import generated_grid
from tests.envs.intersections.own import YAML


@pytest.fixture
def folder(tmp_path):
    net, routes = generated_grid(2)
    shutil.copy(net, tmp_path / "own.net.xml")
    shutil.copy(routes, tmp_path / "own.rou.xml")
    (tmp_path / "own.yaml").write_text(YAML)
    return tmp_path
