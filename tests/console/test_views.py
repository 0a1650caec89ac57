"""The console's views: what is shown is of now or said not to be, and can be read on any screen and without a mouse."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.console.accessibility import serious
from tests.console.conftest import SITES, City
from tests.console.told import full
from tests.serving.motions import DAMAGED, decisions

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


def test_a_plant_that_asked_before_is_on_the_page_at_once(city: City, visit: Any) -> None:
    for _ in range(2):
        city.tick("intersections/cologne1")
    page = visit("viewer").go("/")
    page.locator(".tile", has_text="cologne1").locator(".gauges dd").first.wait_for()


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
