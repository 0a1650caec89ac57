"""The life of an alarm: raised, seen, gone; kept over restarts; counted as EEMUA 191 counts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from envs.core.conditions import Condition
from serving.alarms.book import LONGEST_SHELF_S, AlarmBook, NoSuchAlarm

FULL = Condition("full:T1", "high", "T1 is full", "T1")
SENSOR = Condition("sensor:depth", "low", "depth of T2 is stuck")


def hold(book: AlarmBook, now_s: float, *conditions: Condition, site: str = "town") -> None:
    book.hold("drainage", site, {c.key: c for c in conditions}, now_s)


def save(book: AlarmBook) -> None:
    content = book.unwritten()
    assert content is not None
    assert book.unwritten() is None
    book.write(content)


def states(book: AlarmBook, now_s: float = 0.0) -> list[tuple[str, str]]:
    return [(alarm.key, alarm.state) for alarm in book.all(now_s)]


def test_an_alarm_stays_until_its_cause_is_gone_and_somebody_has_seen_it() -> None:
    book = AlarmBook()
    hold(book, 1.0, FULL)
    hold(book, 2.0)
    assert states(book) == [("full:T1", "returned")]
    book.acknowledge(1, "ana", 3.0)
    assert states(book) == []
    hold(book, 4.0, FULL)
    book.acknowledge(2, "ana", 5.0)
    assert states(book) == [("full:T1", "acknowledged")]
    hold(book, 6.0)
    assert states(book) == []


def test_one_that_comes_back_unseen_is_the_same_alarm_again() -> None:
    book = AlarmBook()
    for now_s in (1.0, 3.0):
        hold(book, now_s, FULL)
        hold(book, now_s + 1)
    (alarm,) = book.all(5.0)
    assert (alarm.id, alarm.count, alarm.state) == (1, 2, "returned")
    assert book.rate(5.0) == 2
    assert book.rate(601.0) == 1
    assert book.rate(603.0) == 0


def test_what_is_less_than_an_alarm_that_stands_is_no_alarm() -> None:
    book, filling = AlarmBook(), Condition("filling:T1", "medium", "T1 is nearly full", "T1", beneath="full:T1")
    hold(book, 1.0, filling)
    hold(book, 2.0, FULL)
    assert states(book) == [("full:T1", "raised"), ("filling:T1", "returned")]
    for alarm in book.all(2.0):
        book.acknowledge(alarm.id, "ana", 3.0)
    hold(book, 4.0, FULL, filling)  # it goes down, and is not gone yet
    assert states(book) == [("full:T1", "acknowledged")]
    hold(book, 20.0, filling)
    assert states(book) == []
    hold(book, 21.0, filling)
    assert states(book) == [("filling:T1", "raised")]


def test_what_comes_anew_is_an_alarm_though_a_worse_one_was_never_seen_to() -> None:
    """The tank sinks, which is nothing new; a day later it fills again."""
    book, filling = AlarmBook(), Condition("filling:T1", "medium", "T1 is nearly full", "T1", beneath="full:T1")
    hold(book, 1.0, FULL)
    for at_s in (2.0, 3.0):
        hold(book, at_s, filling)
        assert states(book) == [("full:T1", "returned")]
    hold(book, 4.0)
    hold(book, 86_400.0, filling)
    assert set(states(book)) == {("filling:T1", "raised"), ("full:T1", "returned")}


def test_no_alarm_is_shelved_for_longer_where_the_clock_is_put_back() -> None:
    book, day_s = AlarmBook(), 86_400.0
    hold(book, day_s, FULL)
    (alarm,) = book.all(day_s)
    book.shelve(alarm.id, "ana", "seen to", 8 * 3600.0, day_s)
    hold(book, 0.0, FULL)
    assert alarm.shelved_until_s == 8 * 3600.0


def test_alarms_stay_with_their_site_whatever_else_is_served(tmp_path: Path) -> None:
    here, there = ("drainage", "town"), ("drainage", "theta")
    alone = AlarmBook(tmp_path / "estuary.json", sites=[here])
    hold(alone, 1.0, FULL)
    save(alone)
    both = AlarmBook(tmp_path / "estuary+theta.json", sites=[here, there])
    (alarm,) = both.all(2.0)
    assert (alarm.id, alarm.state) == (1, "raised")
    both.hold(*there, {FULL.key: FULL}, 3.0)
    assert [alarm.id for alarm in both.all(3.0)] == [2, 1]
    both.acknowledge(1, "ada", 4.0)
    hold(both, 5.0)
    save(both)
    os.utime(tmp_path / "estuary.json", (0, 0))  # written long before
    again = AlarmBook(tmp_path / "estuary.json", sites=[here])
    assert again.all(6.0) == []
    hold(again, 6.0, FULL)
    assert [alarm.id for alarm in again.all(6.0)] == [3]


def test_how_often_alarms_came_is_known_for_a_day_over_restarts(tmp_path: Path) -> None:
    book = AlarmBook(tmp_path / "alarms.json")
    for now_s in (0.0, 700.0, 710.0):
        hold(book, now_s, FULL)
        hold(book, now_s + 1)
    assert book.course(since_s=0.0, now_s=1199.0) == [1, 2]
    save(book)
    again = AlarmBook(tmp_path / "alarms.json")
    assert again.course(since_s=1100.0, now_s=1799.0) == [1, 2, 0]
    hold(again, 90_000.0, FULL)
    day = again.course(since_s=0.0, now_s=90_001.0)
    assert (len(day), sum(day), day[-1]) == (144, 1, 1)


def test_what_needs_a_person_comes_first() -> None:
    book = AlarmBook()
    hold(book, 1.0, SENSOR, FULL)
    assert [key for key, _ in states(book)] == ["full:T1", "sensor:depth"]
    book.acknowledge(book.all(1.0)[0].id, "ana", 2.0)
    assert [key for key, _ in states(book)] == ["sensor:depth", "full:T1"]
    hold(book, 3.0, FULL, site="other")
    assert states(book)[0] == ("full:T1", "raised")
    hold(book, 4.0, site="other")
    hold(book, 5.0)
    assert states(book)[0] == ("full:T1", "returned")  # nobody has seen that it was full
    hold(book, 2.5, FULL, site="third")
    assert [state for _, state in states(book)[:2]] == ["raised", "returned"]  # older, but it holds


def test_alarms_that_come_together_are_one_incident() -> None:
    book = AlarmBook()
    hold(book, 0.0, FULL)
    hold(book, 10.0, FULL, SENSOR)
    hold(book, 11.0, FULL, site="other")
    incidents = {(a.site, a.key): a.incident for a in book.all(12.0)}
    assert incidents["town", "full:T1"] == incidents["town", "sensor:depth"] != incidents["other", "full:T1"]
    hold(book, 20.0)
    hold(book, 1000.0, Condition("silent", "high", "no tick"))
    assert {a.key: a.incident for a in book.all(1000.0)}["silent"] not in incidents.values()


def test_after_the_clock_was_put_back_an_alarm_joins_no_incident_of_the_time_to_come() -> None:
    book = AlarmBook()
    hold(book, 90_000.0, FULL)
    hold(book, 90_010.0)
    hold(book, 3600.0, SENSOR)
    before, now = (alarm.incident for alarm in sorted(book.all(3600.0), key=lambda alarm: alarm.id))
    assert now != before


def test_a_shelved_alarm_is_last_and_comes_back_by_itself() -> None:
    book = AlarmBook()
    hold(book, 0.0, FULL, SENSOR)
    number = next(a.id for a in book.all(0.0) if a.key == "full:T1")
    alarm = book.shelve(number, "ana", "pump is being mended", 60.0, now_s=0.0)
    assert (alarm.shelved_by, alarm.shelved_for, alarm.shelved_until_s) == ("ana", "pump is being mended", 60.0)
    assert [key for key, _ in states(book, 59.0)] == ["sensor:depth", "full:T1"]
    assert [key for key, _ in states(book, 61.0)] == ["full:T1", "sensor:depth"]
    assert book.shelve(number, "ana", "again", 1e9, now_s=0.0).shelved_until_s == LONGEST_SHELF_S
    assert book.shelve(number, "ana", "", 0.0, now_s=1.0).shelved_until_s is None


def test_what_became_of_an_alarm_is_told_with_who_did_it() -> None:
    told: list[tuple[str, str | None]] = []
    book = AlarmBook(changed=lambda _, what, who: told.append((what, who)))
    hold(book, 0.0, FULL)
    book.acknowledge(1, "ana", 1.0)
    book.shelve(1, "ben", "pump is being mended", 60.0, 2.0)
    book.shelve(1, "eve", "", 0.0, 3.0)
    hold(book, 4.0)
    assert told == [
        ("raised", None),
        ("acknowledged", "ana"),
        ("shelved", "ben"),
        ("unshelved", "eve"),
        ("returned", None),
    ]


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "alarms.json"
    book = AlarmBook(path)
    hold(book, 1.0, FULL, SENSOR)
    book.acknowledge(1, "ana", 2.0)
    save(book)
    again = AlarmBook(path)
    assert again.all(3.0) == book.all(3.0)
    hold(again, 4.0, FULL, SENSOR, Condition("guard", "low", "often"))
    assert max(a.id for a in again.all(4.0)) == 3


@pytest.mark.parametrize("sites", [(), [("drainage", "theta")]])
def test_a_broken_file_does_not_stop_the_service_but_is_told_of_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sites: list[tuple[str, str]]
) -> None:
    path = tmp_path / "alarms.json"
    path.write_text("{")
    book = AlarmBook(path, sites=sites)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        f"alarms in {path} cannot be read (Invalid JSON"
    ], "told, once"
    assert (tmp_path / "alarms.json.broken").read_text() == "{"
    hold(book, 1.0, FULL)
    save(book)
    assert AlarmBook(path).all(1.0) == book.all(1.0)


def test_a_full_disk_does_not_stop_alarms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    book = AlarmBook(tmp_path / "gone" / "alarms.json", lambda alarm, *_: told.append(alarm.key))
    hold(book, 1.0, FULL)
    assert states(book) == [("full:T1", "raised")]
    assert told == ["full:T1"]
    save(book)
    save(book)
    assert caplog.text.count("they will not outlive this process") == 1
    (tmp_path / "gone").mkdir()
    save(book)
    assert "can be written again" in caplog.text
    assert book.unwritten() is None
    assert AlarmBook(tmp_path / "gone" / "alarms.json").all(1.0) == book.all(1.0)


def test_alarms_are_not_for_everybody_on_the_machine(tmp_path: Path) -> None:
    """They say who acknowledged, and why something was shelved."""
    book = AlarmBook(tmp_path / "alarms.json")
    hold(book, 1.0, FULL)
    before = os.umask(0)
    try:
        save(book)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "alarms.json").stat().st_mode) == 0o640


def test_what_is_not_there_cannot_be_seen_to() -> None:
    book = AlarmBook()
    with pytest.raises(NoSuchAlarm):
        book.acknowledge(7, "ana", 0.0)
    with pytest.raises(NoSuchAlarm):
        book.shelve(7, "ana", "", 60.0, 0.0)
