"""The console where the service, or its stream, does not tell all: what is old or not known is said to be."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.console.conftest import City
from tests.console.told import BUSY, decided, full, in_its_place, telling


def test_a_lost_stream_is_said_and_greys_the_page(city: City, visit: Any) -> None:
    page = visit("viewer").page
    page.route("**/v1/events*", lambda route: route.fulfill(content_type="text/event-stream", body=": still here\n\n"))
    page.goto(f"{city.url}/#/")
    page.get_by_text("connection lost: nothing here is current", exact=False).wait_for()
    assert page.locator("main.lost").count() == 1


def test_a_service_that_comes_back_with_other_sites_is_shown_with_them(city: City, visit: Any) -> None:
    page = visit("viewer").page
    answers: list[dict[str, Any]] = []

    def systems(route: Any) -> None:
        answers.append(route.fetch().json())
        if len(answers) == 1:
            answers[0]["systems"] = [one for one in answers[0]["systems"] if one["name"] != "dampers"]
        route.fulfill(json=answers[-1])

    page.route("**/v1/systems", systems)
    page.route("**/v1/events*", lambda route: route.fulfill(content_type="text/event-stream", body=": a moment\n\n"))
    page.goto(f"{city.url}/#/")
    page.locator(".tile", has_text="estuary").wait_for()
    assert page.locator(".tile", has_text="jansen").count() == 0
    page.locator(".tile", has_text="jansen").wait_for()


def test_a_site_that_has_changed_is_learned_anew(city: City, visit: Any) -> None:
    """The service is started again with another network by the same name, as large."""
    page = visit("operator").page
    told: list[str] = []

    def info(route: Any) -> None:
        found = route.fetch().json()
        if told:
            found |= {"site_hash": "another", "agents": [*found["agents"][:-1], "new gate"]}
        told.append(found["site_hash"])
        route.fulfill(json=found)

    drawn: list[str] = []
    page.on("request", lambda request: drawn.append(request.url) if request.url.endswith("/scene") else None)
    page.route("**/v1/drainage/estuary", info)
    telling(page)
    page.goto(f"{city.url}/#/site/drainage/estuary")
    page.get_by_label("What").get_by_role("option", name="new gate").wait_for(state="attached")
    page.wait_for_function("document.querySelector('.plant')")
    assert len(drawn) == 2


def test_a_pause_between_two_ticks_is_no_period(city: City, visit: Any) -> None:
    """Ten seconds are two periods of a signal: what is older is old, though the last two ticks lay further apart."""
    page, ref, now_s = visit("viewer").page, "intersections/cologne1", time.time()
    telling(page, [("decision", decided(city, ref, at_s)) for at_s in (now_s - 100, now_s - 20)])
    page.goto(f"{city.url}/#/site/{ref}")
    page.get_by_text("Old: the last value came", exact=False).wait_for()


@pytest.mark.parametrize("audit", [True, False])
def test_what_the_stream_left_out_is_asked_for_or_not_known(city: City, visit: Any, audit: bool) -> None:
    page, ref, now_s = visit("viewer").page, "drainage/estuary", float(int(time.time()))
    cut = decided(city, ref, now_s - 40, source="fallback", controller="meanwhile")

    def history(route: Any) -> None:
        asked = {key: float(value) for key, (value,) in parse_qs(urlsplit(route.request.url).query).items()}
        within = audit and asked["since"] <= cut["at_s"] <= asked.get("until", 0.0)  # nothing as the page is opened
        route.fulfill(json={"decisions": [cut] if within else []})

    gap = {"system": "drainage", "site": "estuary", "reason": "it was away too long"}
    before = [("decision", decided(city, ref, now_s - late_s)) for late_s in (80, 75)]
    telling(page, before, [("gap", gap), ("decision", decided(city, ref, now_s - 5))])
    page.route("**/v1/me", lambda route: route.fulfill(json=route.fetch().json() | {"audit": audit}))
    page.route("**/history?*", history)
    page.goto(f"{city.url}/#/site/{ref}")
    strip = page.get_by_role("region", name="Time line")
    strip.get_by_text("in the last 75 s").wait_for()
    page.get_by_role("slider", name="Look back: time").fill(str(now_s - 35))
    if audit:
        strip.get_by_text("meanwhile decided", exact=False).wait_for()
        assert "may be missing here" not in strip.inner_text()
    else:
        strip.get_by_text("What was decided then is not known here.").wait_for()
        ends = [datetime.fromtimestamp(now_s - late_s).strftime("%H:%M:%S") for late_s in (75, 5)]
        assert f"Decisions after {ends[0]} and before {ends[1]} may be missing here." in strip.inner_text()
        assert "As it was" not in page.locator(".stamp").inner_text()


def test_what_the_log_has_too_much_of_is_not_known_either(city: City, visit: Any) -> None:
    """Of a time that the stream left out, the log gives the last part alone."""
    page, ref, now_s = visit("viewer").page, "drainage/estuary", float(int(time.time()))
    late = decided(city, ref, now_s - 20)

    def history(route: Any) -> None:
        asked = {key: float(value) for key, (value,) in parse_qs(urlsplit(route.request.url).query).items()}
        within = asked["since"] <= late["at_s"] <= asked.get("until", 0.0)  # nothing as the page is opened
        route.fulfill(json={"decisions": [late] if within else [], "since": now_s - 20 if within else asked["since"]})

    gap = {"system": "drainage", "site": "estuary", "reason": "it was away too long"}
    before = [("decision", decided(city, ref, now_s - late_s)) for late_s in (80, 75)]
    telling(page, before, [("gap", gap), ("decision", decided(city, ref, now_s - 5))])
    page.route("**/history?*", history)
    page.goto(f"{city.url}/#/site/{ref}")
    ends = [datetime.fromtimestamp(now_s - late_s).strftime("%H:%M:%S") for late_s in (75, 20)]
    sentence = f"Decisions after {ends[0]} and before {ends[1]} may be missing here."
    page.get_by_role("region", name="Time line").get_by_text(sentence).wait_for()


def test_an_alarm_that_the_stream_tells_is_shown_though_the_list_cannot_be_asked_for(city: City, visit: Any) -> None:
    city.tick("drainage/estuary", depth_m=full(city))
    alarm = city.ask("GET", "/v1/alarms").json()["alarms"][0]
    one = visit("operator")
    one.refused = True
    page = one.page
    alarm |= {"id": 10**6, "text": "the weir is open", "state": "raised", "returned_s": None, "shelved_until_s": None}
    telling(page, [("alarm", alarm)])
    answer_again = in_its_place(page, "**/v1/alarms", lambda route: route.fulfill(**BUSY))
    page.goto(f"{city.url}/#/alarms")
    page.locator("table.alarms tr", has_text="the weir is open").wait_for()
    said = page.get_by_text("The list of alarms may be old", exact=False)
    said.wait_for()
    assert page.title().startswith("(1)")
    answer_again()
    said.wait_for(state="detached")
    assert page.get_by_text("the weir is open").count() == 0, "the list counts"


def test_a_service_of_which_a_process_does_not_answer_is_asked_until_it_does(city: City, visit: Any) -> None:
    one = visit("viewer")
    one.refused = True
    one.page.route("**/v1/systems", lambda route: route.fulfill(**BUSY), times=1)
    one.page.goto(f"{city.url}/#/")
    one.page.get_by_text("It is tried again every few seconds.").wait_for()
    one.page.locator(".tile", has_text="estuary").wait_for()


def half(route: Any) -> None:
    """An answer that ends in the middle, as when a proxy reloads."""
    whole = route.fetch().text()
    route.fulfill(content_type="application/json", body=whole[: len(whole) // 2])


@pytest.mark.parametrize("path", ["/v1/alarms", "/v1/drainage/estuary", "/v1/drainage/estuary/scene"])
def test_an_answer_that_breaks_off_is_asked_for_again(city: City, visit: Any, path: str) -> None:
    city.tick("drainage/estuary")
    page = visit("viewer").page
    answer_again = in_its_place(page, f"**{path}", half)
    page.goto(f"{city.url}/#/site/drainage/estuary")
    page.get_by_text("service: its answer broke off", exact=False).wait_for()
    answer_again()
    page.get_by_text("service: its answer broke off", exact=False).wait_for(state="detached")
    page.get_by_role("region", name="Plant", exact=True).wait_for()
    page.goto(f"{city.url}/#/alarms")
    page.get_by_role("heading", name="Alarms").wait_for()


def test_what_a_health_monitor_heard_is_asked_for_again(city: City, visit: Any) -> None:
    page = visit("viewer").page
    page.route("**/v1/dampers/jansen/structure?*", half, times=1)
    page.goto(f"{city.url}/#/site/dampers/jansen")
    page.get_by_role("region", name="Health monitor").wait_for()


def test_a_change_whose_answer_breaks_off_may_have_been_done(city: City, visit: Any) -> None:
    city.tick("drainage/estuary")
    page = visit("operator").go("/site/drainage/estuary")
    page.get_by_label("What").select_option(city.loops["drainage/estuary"].site.agents[0])
    page.route("**/overrides/check", half, times=1)
    page.get_by_role("button", name="Check and take over").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("The guard was not asked: service: its answer broke off", exact=True).wait_for()
    dialog.get_by_label("Why").fill("a bridge is under repair")
    page.route("**/overrides/*", half, times=1)
    dialog.get_by_role("button", name="Take over").click()
    try:
        dialog.get_by_text("its answer broke off; what was asked for may have been done", exact=False).wait_for()
        dialog.get_by_role("button", name="Cancel").click()
        page.locator(".overrides li", has_text="a bridge is under repair").wait_for()
    finally:
        city.ask("DELETE", "/v1/drainage/estuary/overrides", "operator")


def test_a_view_that_failed_is_tried_again(city: City, visit: Any) -> None:
    ref, now_s = "drainage/estuary", time.time()
    one = visit("viewer")
    one.refused = True
    whole = decided(city, ref, now_s)
    telling(one.page, [("decision", whole | {"at_s": now_s - 1, "commands": None})], [("decision", whole)])
    one.page.goto(f"{city.url}/#/site/{ref}")
    one.page.get_by_text("This view failed", exact=False).wait_for()
    one.page.get_by_role("region", name="Plant", exact=True).wait_for()


def test_without_an_audit_log_the_page_says_what_it_cannot_know(city: City, visit: Any) -> None:
    page = visit("viewer").page
    page.route("**/v1/me", lambda route: route.fulfill(json=route.fetch().json() | {"audit": False}))
    page.goto(f"{city.url}/#/site/drainage/estuary")
    page.get_by_text("No audit log is kept here: what was before this page was opened is not known.").wait_for()
    page.goto(f"{city.url}/#/activity")
    page.get_by_text("is not shown: no audit log is kept here.", exact=False).wait_for()
