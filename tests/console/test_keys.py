"""Keys at the console: whom one lets in, and what its holder may do and know."""

from __future__ import annotations

from typing import Any

import pytest

from serving.access.keys import create_key, revoke_key
from serving.access.principal import Grant, Role
from tests.console.conftest import City
from tests.console.told import full


def test_a_viewer_sees_all_and_may_do_nothing(city: City, visit: Any) -> None:
    city.tick("drainage/estuary", depth_m=full(city))
    page = visit("viewer").go("/site/drainage/estuary")
    page.locator(".plant").wait_for()
    assert page.get_by_role("button", name="Take over").count() == 0
    assert page.get_by_role("button", name="Try one in the shadow").count() == 0
    assert page.get_by_role("button", name="Acknowledge").count() == 0
    refused = city.ask("PUT", "/v1/drainage/estuary/overrides", "viewer", command=1.0, reason="because", expires_s=60)
    assert refused.status_code == 403
    number = city.ask("GET", "/v1/alarms", "viewer").json()["alarms"][0]["id"]
    assert city.ask("POST", f"/v1/alarms/{number}/acknowledge", "viewer").status_code == 403


def test_activity_tells_a_viewer_why_it_begins_now(city: City, visit: Any) -> None:
    page = visit("viewer").go("/activity")
    page.get_by_text("reading the audit log takes the role operate", exact=False).wait_for()


def test_a_key_for_one_system_is_told_what_it_may_know(city: City, browser: Any) -> None:
    city.ask("PUT", "/v1/drainage/estuary/overrides", "operator", command=0.3, reason="a look at it", expires_s=600)
    city.ask("DELETE", "/v1/drainage/estuary/overrides", "operator")
    token, _ = create_key(city.key_file, "local", [Grant(role=Role.ADMINISTER, system="drainage")])
    context = browser.new_context()
    context.add_init_script(f"sessionStorage.setItem('cityloop.key', '{token}')")
    page = context.new_page()
    page.goto(f"{city.url}/#/activity")
    page.locator("tbody tr", has_text="a look at it").first.wait_for()
    page.get_by_text("is shown of the sites that this key may operate", exact=False).wait_for()
    page.goto(f"{city.url}/#/site/drainage/estuary")
    page.get_by_role("button", name="Try one in the shadow").click()
    page.locator("#controllers option[value=efd]").wait_for(state="attached")
    context.close()


def test_without_a_key_nothing_is_shown_and_a_wrong_one_is_refused_in_words(city: City, browser: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(city.url)
    page.get_by_label("Your key or token").fill("wrong")
    page.get_by_role("button", name="Enter").click()
    page.get_by_role("alert").wait_for()
    assert page.locator(".tile").count() == 0
    page.get_by_label("Your key or token").fill(city.keys["viewer"])
    page.get_by_role("button", name="Enter").click()
    page.locator(".tile").first.wait_for()
    context.close()


def test_a_key_with_characters_that_no_key_has_locks_nobody_out(city: City, browser: Any) -> None:
    context = browser.new_context()
    context.add_init_script(
        "sessionStorage.getItem('cityloop.key') || sessionStorage.setItem('cityloop.key', 'k\u0119y')"
    )
    page = context.new_page()
    page.goto(city.url)
    field = page.get_by_label("Your key or token")
    field.fill(f"{city.keys['viewer']}ü")
    page.get_by_role("button", name="Enter").click()
    page.get_by_text("No key holds such characters", exact=False).wait_for()
    field.fill(f" \ufeff{city.keys['viewer']}\u200b")
    page.get_by_role("button", name="Enter").click()
    page.locator(".tile").first.wait_for()
    context.close()


@pytest.mark.parametrize("told_by", ["stream", "view"])
def test_a_key_that_is_taken_back_is_asked_for_again(city: City, browser: Any, told_by: str) -> None:
    token, _ = create_key(city.key_file, told_by, [Grant(role=Role.READ)])
    context = browser.new_context()
    context.add_init_script(f"sessionStorage.setItem('cityloop.key', '{token}')")
    page = context.new_page()
    if told_by == "stream":  # ends at once, and is asked for again
        begun = {"content_type": "text/event-stream", "body": ": a moment\n\n"}
        page.route("**/v1/events*", lambda route: route.fulfill(**begun), times=1)
    page.goto(f"{city.url}/#/")
    page.locator(".tile").first.wait_for()
    revoke_key(city.key_file, told_by)
    if told_by == "view":
        page.goto(f"{city.url}/#/training")
    page.get_by_text("That key is not known here, or no longer.").wait_for()
    page.get_by_label("Your key or token").fill(city.keys["viewer"])
    page.get_by_role("button", name="Enter").click()
    page.get_by_text("live", exact=False).first.wait_for()
    context.close()


def test_a_refusal_of_the_key_before_comes_late_and_asks_nobody_again(city: City, browser: Any) -> None:
    token, _ = create_key(city.key_file, "before", [Grant(role=Role.READ)])
    context = browser.new_context()
    context.add_init_script(f"sessionStorage.setItem('cityloop.key', '{token}')")
    page = context.new_page()
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/v1/drainage/estuary", hold, times=1)
    page.goto(f"{city.url}/#/")
    page.locator(".tile").first.wait_for()
    revoke_key(city.key_file, "before")
    page.goto(f"{city.url}/#/training")
    page.get_by_label("Your key or token").fill(city.keys["viewer"])
    page.get_by_role("button", name="Enter").click()
    page.get_by_text("live", exact=False).first.wait_for()
    with page.expect_response(lambda answer: answer.status == 401):
        held[0].continue_()
    page.goto(f"{city.url}/#/alarms")
    page.locator("h1", has_text="Alarms").wait_for()
    assert page.get_by_label("Your key or token").count() == 0
    context.close()
