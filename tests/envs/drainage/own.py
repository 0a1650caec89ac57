"""A network of one's own in a folder: theta's, or the small one but for one thing."""

from pathlib import Path

import pytest

from envs import CityloopError
from envs.core.env import make_loop
from tests.envs.drainage.small import NETWORK

YAML = "system: drainage\ninp: own.inp\nduration_s: 7200\n"


def small(folder: Path, was: str, then: str) -> None:
    """The small network in the folder's input, but for one thing."""
    assert was in NETWORK
    (folder / "own.inp").write_text(NETWORK.replace(was, then))


def refusal(folder: Path, **settings: object) -> str:
    """The sentence with which it is refused."""
    with pytest.raises(CityloopError) as error:
        make_loop(str(folder / "own.yaml"), **settings).reset(0)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence
