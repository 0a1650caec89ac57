"""Who is in charge, at the console: challengers are let in, watched, promoted, rolled back and sent away."""

from __future__ import annotations

from typing import Any

from tests.console.conftest import City


def test_a_challenger_is_let_in_watched_and_sent_away(city: City, visit: Any) -> None:
    page = visit("admin").go("/site/drainage/estuary")
    page.get_by_role("button", name="Try one in the shadow").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Controller's name").fill("static")
    dialog.get_by_label("Why").fill("a look")
    dialog.get_by_role("button", name="Begin").click()
    page.locator(".policies dd", has_text="static").first.wait_for()
    for _ in range(2):
        city.tick("drainage/estuary")
    page.get_by_text("commands in which static would have differed", exact=False).wait_for()
    page.get_by_role("button", name="Demote…").click()
    page.get_by_role("dialog").get_by_label("Why").fill("seen enough")
    page.get_by_role("dialog").get_by_role("button", name="Demote").click()
    page.get_by_role("button", name="Demote…").wait_for(state="detached")
    page.get_by_text("commands in which static would have differed", exact=False).wait_for(state="detached")
    assert city.changed()[-2:] == [("admin", "shadow", "a look"), ("admin", "demote", "seen enough")]
    page.goto(f"{city.url}/#/activity")
    page.locator("tbody tr").first.get_by_text("seen enough").wait_for()  # the newest first


def test_a_challenger_is_promoted_at_once_and_rolled_back(city: City, visit: Any) -> None:
    path = "/v1/drainage/estuary/policies/shadow"
    assert city.ask("POST", path, policy="efd", reason="a look").status_code == 200
    page = visit("admin").go("/site/drainage/estuary")
    champion = page.locator(".policies dd").first
    for act, who in (("Promote", "efd"), ("Roll back", "static")):
        page.get_by_role("button", name=f"{act}").click()
        page.get_by_role("dialog").get_by_label("Why").fill("as agreed")
        page.get_by_role("dialog").get_by_role("button", name=act).click()
        champion.get_by_text(who, exact=True).wait_for()
    assert city.changed()[-2:] == [("admin", "promote", "as agreed"), ("admin", "rollback", "as agreed")]


def test_nobody_is_promoted_but_whom_the_dialog_names(city: City, visit: Any) -> None:
    path = "/v1/drainage/estuary/policies"
    assert city.ask("POST", f"{path}/shadow", policy="efd", reason="a look").status_code == 200
    champion = city.ask("GET", path).json()["roles"]["champion"]
    one = visit("admin")
    one.refused = True
    page = one.go("/site/drainage/estuary")
    page.get_by_role("button", name="Promote the challenger").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("better for a week")
    assert city.ask("POST", f"{path}/shadow", policy="pi", reason="another look").status_code == 200
    page.locator(".policies dd", has_text="pi").first.wait_for()
    assert dialog.locator("h2").inner_text() == "Let efd act here?"
    dialog.get_by_role("button", name="Promote").click()
    dialog.get_by_text("the challenger is pi by now: look again", exact=False).wait_for()
    assert city.ask("GET", path).json()["roles"]["champion"] == champion
    assert city.ask("POST", f"{path}/demote", reason="seen enough").status_code == 200
