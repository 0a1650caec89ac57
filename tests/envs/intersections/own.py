"""A network of one's own, as a scenario's YAML beside its files, and how it is refused."""

import pytest

from envs import CityloopError, load_scenario
from envs.intersections.network.read import load_site

YAML = """
system: intersections
net: own.net.xml
routes: [own.rou.xml]
duration_s: 60
"""


def refusal(path, **settings):
    with pytest.raises(CityloopError) as error:
        load_site(load_scenario(path, **settings))
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence
