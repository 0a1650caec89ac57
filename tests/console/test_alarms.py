"""Alarms on the console: they come by themselves, and are acknowledged and shelved by people with names."""

from __future__ import annotations

from typing import Any

import pytest

from serving.alarms.rules import RAISE_TICKS
from tests.console.accessibility import serious
from tests.console.conftest import City
from tests.console.told import full, telling


def lie(city: City, detector: int) -> None:
    """Let one of cologne1's detectors tell of a speed that nobody drives, for as many ticks as make an alarm of it."""
    for _ in range(RAISE_TICKS):
        speeds: list[float | None] = city.loops["intersections/cologne1"].readings["speed_mps"].tolist()
        speeds[detector] = 60.0
        city.tick("intersections/cologne1", speed_mps=speeds)


@pytest.mark.slow
def test_an_alarm_is_there_within_two_seconds(city: City, visit: Any) -> None:
    row = visit("operator").go("/alarms").locator("tr", has_text="speed_mps[1]")
    assert row.count() == 0
    lie(city, 1)
    row.wait_for(timeout=2000)


def test_an_alarm_comes_by_itself_and_acknowledging_it_asks_once_and_survives_a_reload(city: City, visit: Any) -> None:
    page = visit("operator").go("/alarms")
    row = page.locator("tr", has_text="speed_mps[0]")
    assert row.count() == 0
    lie(city, 0)
    row.wait_for()
    told = row.locator(".what").inner_text()
    row.get_by_role("button", name="Acknowledge").dblclick()  # a hand that slipped acts for nobody
    assert "Acknowledge as operator?" in row.get_by_role("group").inner_text()
    assert serious(page) == []
    row.get_by_role("button", name="Yes").focus()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Acknowledge"
    page.keyboard.press("Enter")
    standing = {alarm["text"]: alarm["state"] for alarm in city.ask("GET", "/v1/alarms").json()["alarms"]}
    assert standing[told] == "raised"
    page.keyboard.press("Enter")
    page.locator("tr.state-acknowledged", has_text=told).wait_for()
    page.reload()
    page.locator("tr.state-acknowledged", has_text="by operator").first.wait_for()
    assert city.changed()[-1] == ("operator", "acknowledge", told)


def test_shelving_asks_why_and_names_who_and_bringing_back_asks_again(city: City, visit: Any) -> None:
    city.tick("drainage/estuary", depth_m=full(city))
    page = visit("operator").go("/alarms")
    page.get_by_role("button", name="Shelve…").first.click()
    page.get_by_role("dialog").get_by_label("Why").fill("the gauge is replaced")
    page.get_by_role("dialog").get_by_role("button", name="Shelve").click()
    page.get_by_text("shelved by operator for 10 min: the gauge is replaced", exact=False).wait_for()
    page.get_by_role("button", name="Unshelve…").click()
    page.get_by_role("dialog").get_by_role("button", name="Unshelve").click()
    page.get_by_role("button", name="Unshelve…").wait_for(state="detached")
    assert [what[:2] for what in city.changed()[-2:]] == [("operator", "shelve"), ("operator", "unshelve")]


def test_all_are_acknowledged_though_one_is_gone(city: City, visit: Any) -> None:
    lie(city, 2)
    lie(city, 3)
    one = visit("operator")
    one.refused = True
    page = one.go("/alarms")
    button = page.locator("tbody.incident", has_text="speed_mps[3]").get_by_role("button", name="Acknowledge all")
    button.click()
    gone = iter([{"status": 404, "json": {}}])

    def acknowledge(route: Any) -> None:  # a route that is over at once takes the next request away with it
        route.fulfill(**answer) if (answer := next(gone, None)) else route.continue_()

    page.route("**/acknowledge", acknowledge)
    dialog = page.get_by_role("dialog")
    texts = dialog.locator(".findings li").all_inner_texts()
    dialog.get_by_role("button", name="Acknowledge all").click()
    dialog.wait_for(state="detached")
    # One that had returned is no longer listed once it is acknowledged.
    states = {alarm["text"]: alarm["state"] for alarm in city.ask("GET", "/v1/alarms").json()["alarms"]}
    seen_to = [states.get(text, "acknowledged") == "acknowledged" for text in texts]
    assert seen_to == [False, *[True] * (len(texts) - 1)]


@pytest.mark.parametrize("view", ["/", "/site/drainage/estuary"])
def test_a_dialog_stays_though_somebody_else_has_seen_to_the_alarm(city: City, visit: Any, view: str) -> None:
    one = visit("operator")
    page = one.page
    city.tick("drainage/estuary", depth_m=full(city))
    alarm = city.ask("GET", "/v1/alarms").json()["alarms"][0]
    alarm |= {"system": "drainage", "site": "estuary", "state": "raised", "shelved_until_s": None}
    told = {"alarms": [alarm], "rate": 1, "course": [1]}
    page.route("**/v1/alarms", lambda route: route.fulfill(json=told))
    telling(page)
    page.goto(f"{city.url}/#{view}")
    page.get_by_role("button", name="Shelve…").click()
    why = page.get_by_role("dialog").get_by_label("Why")
    why.fill("the gauge is")
    told["alarms"] = []
    page.locator("table.alarms").wait_for(state="detached")  # whenever the stream begins anew, alarms are asked for
    assert why.input_value() == "the gauge is"
