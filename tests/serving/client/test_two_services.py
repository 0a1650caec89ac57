"""Two services beside each other: to the plant they are one."""

from __future__ import annotations

import pytest

from envs import CityloopError
from envs.core.readings import Readings
from envs.core.site import Site
from serving.client import Late
from serving.client.transport import Unreachable
from tests.serving.client.script import BAD, KINDS, Both, good


@KINDS
def test_two_services_are_one_to_the_plant(kind: str, site: Site, readings: Readings) -> None:
    """What is held is what was carried out last, whosever it was; misses count where neither answers, in a row."""
    dead, late = (0.001, Unreachable("refused")), BAD["late"]
    second = Both(kind, site, readings, [(0.01, good(site)), late, (0.01, good(site)), late, late])
    steps = [
        *[dead] * 4,  # the second answers
        (0.01, good(site, stage=99)),  # which the local guard does not let through: neither does
        (0.01, good(site)),
        late,  # the second answers
        (0.01, good(site)),
        *[late] * 2,
    ]
    first = Both(kind, site, readings, steps, also=second.client)
    assert first.client.episode == second.client.episode
    found = [first.next() for _ in range(7)]
    sources = ["service", "held", "service", "service", "service", "held", "fallback"]
    assert [one.source for one in found] == sources
    assert (found[1].unsafe, found[5].late) == (True, True)
    assert len(second.script.bodies) == 5, "asked only where the first has no answer"
    first.run("begin", "monday")
    assert second.client.episode == "monday"
    assert first.next().source == "service"


@KINDS
def test_a_second_client_is_of_the_same_site_and_the_last(kind: str, site: Site, readings: Readings) -> None:
    second = Both(kind, site, readings, [])
    with pytest.raises(CityloopError, match="also asks of site 'elsewhere', not of this 'grid2x2'"):
        Both(
            kind,
            site,
            readings,
            [],
            also=Both(kind, site.model_copy(update={"name": "elsewhere"}), readings, []).client,
        )
    with pytest.raises(CityloopError, match="also has another client beside it"):
        Both(kind, site, readings, [], also=Both(kind, site, readings, [], also=second.client).client)


def test_where_the_first_service_is_down_the_second_describes_the_site(
    site: Site, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Both("sync", site, readings)
    first = Both("sync", site, readings, also=second.client)
    monkeypatch.setattr(second.client, "_info", lambda: {"site": "as the second says"})
    assert first.client.info() == {"site": "as the second says"}, "nobody listens at the first's address"


@KINDS
def test_a_program_inside_the_plant_reports_to_the_second_service_where_the_first_is_down(
    kind: str, site: Site, readings: Readings
) -> None:
    second = Both(kind, site, readings, [(0.01, good(site)), BAD["late"]])
    first = Both(kind, site, readings, [BAD["late"]] * 2, also=second.client)
    assert first.run("report", 1, 5.0, readings)["tick"] == 1
    assert len(second.script.bodies) == 1
    with pytest.raises(Late):
        first.run("report", 2, 10.0, readings)
    assert first.run("report", 3, 15.0, readings)["tick"] == 3
    assert len(second.script.bodies) == 2


@KINDS
def test_one_miss_of_both_holds_what_was_carried_out_and_not_an_old_command(
    kind: str, site: Site, readings: Readings
) -> None:
    second = Both(kind, site, readings, [(0.01, good(site)), BAD["late"]])
    steps = [BAD["late"], *[(0.01, good(site, stage=1))] * 3, BAD["late"]]
    first = Both(kind, site, readings, steps, also=second.client)
    found = [first.next() for _ in range(5)]
    assert [one.source for one in found] == ["service"] * 4 + ["held"]
    assert [one.commands[0] for one in found] == [0, 1, 1, 1, 1]
