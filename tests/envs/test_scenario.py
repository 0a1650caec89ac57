"""What every system's scenarios have in common."""

import pytest

from envs.core.scenario import Scenario


class Plain(Scenario):
    """Of no system: decisions as often as is said."""

    every_s: float

    @property
    def decision_s(self) -> float:
        """As given."""
        return self.every_s


@pytest.mark.parametrize(
    ("duration_s", "every_s", "decisions"),
    [(0.3, 0.1, 3), (0.6, 0.2, 3), (0.29, 0.1, 2), (3600.0, 5.0, 720), (3604.0, 5.0, 720), (49_999.7, 0.1, 499_997)],
)
def test_an_episode_has_as_many_decisions_as_whole_intervals(duration_s: float, every_s: float, decisions: int) -> None:
    assert Plain(system="none", name="plain", duration_s=duration_s, every_s=every_s).decisions == decisions
