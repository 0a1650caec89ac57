"""The console in a browser, on a real service: what people see, what they may do, and what they must never see."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from serving.access.keys import create_key, revoke_key
from serving.access.principal import Grant, Role
from serving.alarms.rules import RAISE_TICKS
from tests.console.conftest import SITES, TENSORBOARD, City
from tests.console.told import BUSY, full, telling
from tests.serving.motions import DAMAGED, decisions
from tests.serving.test_console_routes import evaluation

VIEWS = ["/", "/alarms", "/activity", "/training", *(f"/site/{ref}" for ref in SITES)]
QUICK = ("/", f"/site/{SITES[0]}")


@pytest.mark.parametrize("view", [*QUICK, *(pytest.param(v, marks=pytest.mark.slow) for v in VIEWS if v not in QUICK)])
def test_every_view_loads_asks_nobody_else_and_stands_in_nobodys_way(city: City, visit: Any, view: str) -> None:
    """No complaint on the page's console, no request elsewhere (see `visit`), no serious finding of axe-core."""
    for ref in SITES:
        city.tick(ref)
    city.tick("drainage/estuary", depth_m=full(city))
    page = visit("admin", color_scheme="light").go(view)
    page.locator("h1").first.wait_for()
    page.wait_for_timeout(300)
    assert page.locator(".problem").count() == 0
    assert serious(page) == []
    page.get_by_role("button", name="Dark").click()
    # Colours are all that differs.
    assert serious(page, runOnly=["color-contrast"]) == []


def serious(page: Any, **options: Any) -> list[tuple[str, str]]:
    """What axe-core finds in the way of assistive technology: the rule, and where it is broken."""
    found = Axe().run(page, options=options).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("ahead_s", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (-3600, 3600))])
def test_a_plant_that_asks_is_live_and_one_that_falls_silent_is_not_shown_as_now(
    city: City, visit: Any, ahead_s: int
) -> None:
    """Whatever the clock of who looks."""
    one = visit("viewer")
    one.context.add_init_script(f"{{ const now = Date.now; Date.now = () => now() + {1000 * ahead_s}; }}")
    page = one.go("/site/drainage/estuary")
    for _ in range(3):
        city.tick("drainage/estuary")
    page.get_by_text("Live · tick", exact=False).wait_for()
    # No tick comes any more: after two of its periods, two seconds at least, it is old and says so.
    page.get_by_text("Old: the last value came", exact=False).wait_for(timeout=15_000)
    assert page.locator(".site-main.is-stale").count() == 1
    page.goto(f"{city.url}/#/")
    page.locator(".tile.is-stale", has_text="estuary").wait_for()


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


def test_all_are_acknowledged_though_one_is_gone(city: City, visit: Any) -> None:
    lie(city, 2)
    lie(city, 3)
    one = visit("operator")
    one.refused = True
    page = one.go("/alarms")
    button = page.locator("tbody.incident", has_text="speed_mps[3]").get_by_role("button", name="Acknowledge all")
    button.click()
    page.route("**/acknowledge", lambda route: route.fulfill(status=404, json={}), times=1)
    dialog = page.get_by_role("dialog")
    texts = dialog.locator(".findings li").all_inner_texts()
    dialog.get_by_role("button", name="Acknowledge all").click()
    dialog.wait_for(state="detached")
    states = {alarm["text"]: alarm["state"] for alarm in city.ask("GET", "/v1/alarms").json()["alarms"]}
    assert [states[text] == "acknowledged" for text in texts] == [False, *[True] * (len(texts) - 1)]


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


def test_looking_back_says_that_it_is_not_now(city: City, visit: Any) -> None:
    page = visit("viewer").go("/site/drainage/estuary")
    for _ in range(5):
        city.tick("drainage/estuary")
    page.get_by_text("Live · tick", exact=False).wait_for()
    slider = page.get_by_role("slider", name="Look back: time")
    slider.focus()
    slider.press("Home")
    page.get_by_text("not now", exact=False).wait_for()
    assert page.locator(".site-main.is-past").count() == 1
    page.get_by_role("button", name="Back to now").click()
    page.locator(".site-main.is-past").wait_for(state="detached")


def test_the_health_monitor_says_what_it_heard_and_rings_when_stiffness_is_lost(city: City, visit: Any) -> None:
    listening = city.gateway.structural
    assert listening is not None
    page = visit("viewer").go("/site/dampers/jansen")
    monitor = page.get_by_role("region", name="Health monitor")
    monitor.get_by_text("has heard no whole window yet", exact=False).wait_for()
    for tick in decisions([4])[0]:
        listening.take(tick)
    monitor.get_by_text("no alarm. Keep to the usual inspections", exact=False).wait_for()
    assert "safe" not in monitor.inner_text().lower()
    assert monitor.locator("figure").count() == 1 + 6
    for tick in chain(*decisions([5, 6, 7], DAMAGED)):
        listening.take(tick)
    monitor.get_by_text("of the stiffness of storey 5 seems lost", exact=False).wait_for()
    page.locator("table.alarms tr", has_text="storey 5 seems to have lost").wait_for()
    # They came from a clock of long ago: a value says its age, and what is old is grey.
    assert monitor.locator(".is-stale").count() == 1


def test_two_policies_are_set_side_by_side_on_the_same_seeds(city: City, visit: Any) -> None:
    page = visit("viewer").go("/training")
    page.get_by_text("Nothing to compare yet", exact=False).wait_for()
    evaluation(Path("runs"), "night", {"mine": [1.0, 2.0, 3.0], "fixed": [2.0, 2.5, 4.0]})
    page.reload()
    two = page.get_by_role("region", name="Two side by side")
    two.get_by_text("mine is better", exact=False).first.wait_for()
    assert "on 3 common seeds" in two.inner_text()
    two.get_by_role("img", name="a point a seed").wait_for()
    two.get_by_label("with").select_option("0")
    two.get_by_text("no difference is shown").wait_for()


def test_tensorboard_is_linked_where_one_runs_and_nowhere_else(city: City, visit: Any) -> None:
    run = Path("runs") / "one"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("algorithm: PPO\nscenarios:\n- system: dampers\n  name: jansen\n")
    (run / "metrics.csv").write_text("iteration,agent_steps,elapsed_s,tag,value\n1,10,1.0,eval/score,0.9\n")
    page = visit("viewer").go("/training")
    link = page.get_by_role("link", name="the TensorBoard that runs")
    link.wait_for()
    assert link.get_attribute("href") == TENSORBOARD
    page.route("**/v1/runs", lambda route: route.fulfill(json=route.fetch().json() | {"tensorboard": None}))
    page.reload()
    page.get_by_text("tensorboard --logdir", exact=False).wait_for()
    assert link.count() == 0
    # A run's name may have no folder in it.
    page.get_by_role("button", name="one", exact=True).click()
    page.get_by_role("region", name="Curves of one").wait_for()


def test_without_an_audit_log_the_page_says_what_it_cannot_know(city: City, visit: Any) -> None:
    page = visit("viewer").page
    page.route("**/v1/me", lambda route: route.fulfill(json=route.fetch().json() | {"audit": False}))
    page.goto(f"{city.url}/#/site/drainage/estuary")
    page.get_by_text("No audit log is kept here: what was before this page was opened is not known.").wait_for()
    page.goto(f"{city.url}/#/activity")
    page.get_by_text("is not shown: no audit log is kept here.", exact=False).wait_for()


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


def test_a_plant_that_asked_before_is_on_the_page_at_once(city: City, visit: Any) -> None:
    for _ in range(2):
        city.tick("intersections/cologne1")
    page = visit("viewer").go("/")
    page.locator(".tile", has_text="cologne1").locator(".gauges dd").first.wait_for()


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


def test_the_tab_says_which_view_it_is_and_how_many_alarms_wait(city: City, visit: Any) -> None:
    city.tick("drainage/estuary", depth_m=full(city))
    page = visit("viewer").go("/alarms")
    page.locator("table.alarms").first.wait_for()
    waiting = page.locator("nav .count").inner_text()
    assert page.title() == f"({waiting}) Alarms · Cityloop"
    page.goto(f"{city.url}/#/site/drainage/estuary")
    page.locator(".plant").wait_for()
    assert page.title() == f"({waiting}) estuary · Cityloop"


def test_everything_can_be_reached_with_the_keyboard_alone(city: City, visit: Any) -> None:
    page = visit("viewer").go("/")
    page.locator(".tile").first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert any(name.startswith("Alarms") for name in names)
    assert any("estuary" in name for name in names)


PHONE = (390, 844)


def test_why_something_was_changed_is_in_sight_on_a_phone(city: City, visit: Any) -> None:
    city.ask("PUT", "/v1/drainage/estuary/overrides", "operator", command=0.3, reason="maintenance", expires_s=600)
    page = visit("operator").page
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    try:
        page.goto(f"{city.url}/#/activity")
        box = page.get_by_text("maintenance", exact=True).first.bounding_box()
        assert box["x"] + box["width"] <= PHONE[0]
    finally:
        city.ask("DELETE", "/v1/drainage/estuary/overrides", "operator")


def test_alarms_fit_a_phone(city: City, visit: Any) -> None:
    city.tick("drainage/estuary", depth_m=full(city))
    one = visit("operator")
    one.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    for view in ("/", "/alarms"):
        page = one.go(view)
        page.locator("table.alarms").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], view


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1440, 900), (820, 1180), PHONE])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(
    city: City, visit: Any, theme: str, size: tuple[int, int], screenshots: Path | None
) -> None:
    for ref in SITES:
        for _ in range(3):
            city.tick(ref)
    one = visit("admin", color_scheme=theme)
    one.page.set_viewport_size({"width": size[0], "height": size[1]})
    for view in VIEWS:
        page = one.go(view)
        page.locator("h1").first.wait_for()
        page.wait_for_timeout(500)
        if screenshots is not None:
            name = view.strip("/").replace("/", "-") or "city"
            page.screenshot(path=screenshots / f"{name}-{theme}-{size[0]}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], view
        # The bar hides nothing of what a view begins with.
        assert page.locator("h1").bounding_box()["y"] >= page.locator("header.bar").bounding_box()["height"], view
