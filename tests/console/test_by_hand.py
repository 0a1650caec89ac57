"""Commands by hand at the console: what is shown is what is checked, held and handed back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.console.accessibility import serious
from tests.console.conftest import City
from tests.console.told import BUSY


def test_a_hand_is_asked_once_named_seen_after_a_reload_and_gone_when_it_expires(city: City, visit: Any) -> None:
    city.tick("drainage/estuary")
    agent = city.loops["drainage/estuary"].site.agents[0]
    page = visit("operator").go("/site/drainage/estuary")
    page.get_by_label("What").select_option(agent)
    page.get_by_role("button", name="Check and take over").click()
    dialog = page.get_by_role("dialog")
    assert "As operator; it stands in the audit log." in dialog.inner_text()
    assert serious(page) == []
    dialog.get_by_label("Why").fill("weeds in the sluice")
    dialog.get_by_role("button", name="Take over").click()
    held = page.locator(".overrides li", has_text="weeds in the sluice")
    held.wait_for()
    assert "operator" in held.inner_text()
    page.reload()
    held.wait_for()
    assert city.tick("drainage/estuary")["overridden"] == {agent: "weeds in the sluice"}
    held.get_by_role("button", name="Hand back").click()
    page.get_by_role("dialog").get_by_role("button", name="Hand back").click()
    held.wait_for(state="detached")
    assert city.changed()[-2:] == [("operator", "override", "weeds in the sluice"), ("operator", "release", "by hand")]

    put = city.ask(
        "PUT",
        f"/v1/drainage/estuary/overrides/{agent}",
        "operator",
        command=0.5,
        reason="for a moment",
        expires_s=3,
    )
    assert put.status_code == 200, put.text
    short = page.locator(".overrides li", has_text="for a moment")
    short.wait_for()
    short.wait_for(state="detached", timeout=10_000)


@pytest.mark.parametrize("whole", [True, False])
def test_what_the_form_shows_is_checked_and_held_wherever_the_plant_goes(city: City, visit: Any, whole: bool) -> None:
    city.tick("drainage/estuary")
    agents = city.loops["drainage/estuary"].site.agents
    page = visit("operator").go("/site/drainage/estuary")
    page.get_by_text("Live · tick", exact=False).wait_for()
    form = page.locator("form.takeover")
    form.get_by_label("What").select_option("" if whole else agents[0])
    shown = form.locator("output").inner_text()
    sent: list[float] = []
    page.on("request", lambda one: sent.append(one.post_data_json["command"]) if one.post_data else None)
    try:
        away = 0.0 if int(shown.split()[0]) > 50 else 1.0
        moved = {"command": away, "reason": "away", "expires_s": 60}
        assert city.ask("PUT", "/v1/drainage/estuary/overrides", "operator", **moved).status_code == 200
        for _ in range(5):
            city.tick("drainage/estuary")
        page.locator(".overrides", has_text="away").wait_for()
        assert form.locator("output").inner_text() == shown
        form.get_by_role("button", name="Check and take over").click()
        dialog = page.get_by_role("dialog")
        assert f" at {shown}?" in dialog.locator("h2").inner_text()
        dialog.get_by_label("Why").fill("as it was")
        dialog.get_by_role("button", name="Take over").click()
        dialog.wait_for(state="detached")
        held = city.ask("GET", "/v1/drainage/estuary/overrides").json()["overrides"][agents[0]]
        assert sent == [held["command"]] * 2
        assert f"{100 * held['command']:.0f} % open" == shown
    finally:
        city.ask("DELETE", "/v1/drainage/estuary/overrides", "operator")


def test_what_was_judged_on_example_readings_is_told_as_that(city: City, visit: Any) -> None:
    page = visit("operator").page
    page.route("**/overrides/check", lambda route: route.fulfill(json=route.fetch().json() | {"tick": None}))
    page.goto(f"{city.url}/#/site/drainage/estuary")
    page.get_by_role("button", name="Check and take over").click()
    page.get_by_role("dialog").get_by_text("on example readings, as no plant has asked yet", exact=False).wait_for()


def test_what_was_done_counts_though_nobody_tells_how_things_stand(city: City, visit: Any) -> None:
    one = visit("operator")
    one.refused = True
    page = one.go("/site/drainage/estuary")
    page.get_by_text("Nothing is held by hand.").wait_for()
    page.route("**/state", lambda route: route.fulfill(**BUSY))
    page.get_by_role("button", name="Check and take over").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("a ship passes")
    dialog.get_by_role("button", name="Take over").click()
    try:
        page.get_by_role("alert").get_by_text("what is held by hand, may have changed", exact=False).wait_for()
        dialog.wait_for(state="detached")
        held = city.ask("GET", "/v1/drainage/estuary/overrides").json()["overrides"]
        assert {one["reason"] for one in held.values()} == {"a ship passes"}
    finally:
        city.ask("DELETE", "/v1/drainage/estuary/overrides", "operator")
