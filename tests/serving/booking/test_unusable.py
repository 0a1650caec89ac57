"""A database that cannot be written any more: nothing is booked, nothing is lost, and it is said at once."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from envs import CityloopError
from serving.booking import connection
from serving.booking import desk as desks
from serving.booking import store as stores
from serving.booking.desk import Desk
from serving.booking.store import CHECK_BYTES, BookingStore, StoreUnusable
from serving.booking.tables import TABLES
from tests.serving.booking.databases import of_sqlite
from tests.serving.booking.desks import VEHICLES, Client, desk, reassigned, refusal, settings_of, three_zones

pytestmark = of_sqlite

WHY = "attempt to write a readonly database"


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path, reassigned()) as found:
        yield found


@contextmanager
def read_only(one: Desk) -> Iterator[None]:
    """As on a disk that is full or was mounted anew: what is there can be read, and that is all."""
    engine, state = one._store._engine, "on"

    def pragma(connection: sql.engine.interfaces.DBAPIConnection, *_: object) -> None:
        connection.cursor().execute(f"PRAGMA query_only = {state}")

    sql.event.listen(engine, "checkout", pragma)
    yield
    state = "off"


def test_who_books_is_told_to_come_again_and_then_gets_the_same_trip(one: Desk) -> None:
    client = Client(one)
    before = client.book(0.0, "0", "3").json()
    with read_only(one):
        refused = client.book(10.0, "1", "4", request_id="mine")
        cancelled = client.cancel(before["id"], 11.0)
        again = client.book(12.0, "0", "3", request_id="r1").json()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["error"]["field"] == "database"
    assert WHY not in refused.text, "that is for whoever keeps the service, and its health"
    assert cancelled.status_code == 503
    assert again == before, "what was answered once is answered again"
    booked = client.book(20.0, "1", "4", request_id="mine")
    assert booked.status_code == 200
    planned = {stop["booking"] for row in client.get("vehicles").json()["vehicles"] for stop in row["plan"]}
    assert planned == {before["id"], booked.json()["id"]}


def test_drivers_still_get_the_plans_that_were_written(one: Desk) -> None:
    """Blue should take over from red after a minute; as that cannot be written, red comes, as was promised."""
    client = Client(one)
    client.event(0.0, "blue", "breakdown")
    booked = client.book(1.0, "4", "2").json()
    client.event(2.0, "blue", "back", corner="5")
    with read_only(one):
        assert client.post("quotes", 60.0, **{"from": "0", "to": "1"}).status_code == 200
        assert client.get(f"bookings/{booked['id']}").json()["vehicle"] == "red"
        assert client.get("vehicles/red").json()["plan"][0]["booking"] == booked["id"]
    client.post("quotes", 120.0, **{"from": "0", "to": "1"})
    assert client.get(f"bookings/{booked['id']}").json()["vehicle"] == "blue"


def test_health_says_so_until_it_can_be_written(one: Desk) -> None:
    client, told = Client(one), {"transit/street": f"nothing can be booked ({WHY})"}
    with read_only(one):
        assert client.http.get("/readyz").status_code == 200, "nobody has tried"
        client.book(0.0, "0", "3")
        ready, health = client.http.get("/readyz"), client.http.get("/healthz")
        assert (ready.status_code, ready.json()["faults"]) == (503, told)
        assert (health.status_code, health.json()["status"], health.json()["sites"]) == (200, "degraded", told)
    assert client.http.get("/readyz").status_code == 200
    assert client.http.get("/healthz").json()["status"] == "ok"


def test_a_database_that_is_gone_is_missed_by_readers_too(one: Desk, tmp_path: Path) -> None:
    client = Client(one)
    booked = client.book(0.0, "0", "3").json()
    one._store._engine.dispose()  # as when its server ends every connection
    (tmp_path / "b.db").rename(tmp_path / "away.db")
    (tmp_path / "b.db").mkdir()
    for answer in (client.get("vehicles"), client.get(f"bookings/{booked['id']}"), client.book(1.0, "1", "4")):
        assert answer.status_code == 503
    assert "was moved, removed or replaced" in client.http.get("/readyz").json()["faults"]["transit/street"]
    (tmp_path / "b.db").rmdir()
    (tmp_path / "away.db").rename(tmp_path / "b.db")
    assert client.get(f"bookings/{booked['id']}").json() == booked
    assert client.http.get("/readyz").status_code == 200


def test_a_look_leaves_nothing_behind(one: Desk) -> None:
    with read_only(one):
        Client(one).book(0.0, "0", "3")
    revision = one._store.revision()
    assert one.check() is None
    assert one._store.revision() == revision
    with one._store._engine.connect() as db:
        assert db.execute(sql.text("SELECT count(*) FROM transit_answers")).scalar_one() == 0


@of_sqlite
def test_a_database_is_closed_to_others(tmp_path: Path) -> None:
    """Bookings say who needs a wheelchair, and where from and to."""
    before = os.umask(0o022)
    try:
        with desk(tmp_path) as one:
            Client(one).book(0.0, "1", "4")
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.db*")}
    finally:
        os.umask(before)
    assert modes
    assert set(modes.values()) == {0o640}, modes


def test_a_file_that_is_damaged_cannot_be_used(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        client = Client(one)
        assert client.book(0.0, "1", "4").status_code == 200
        one.close()  # what was written is in the file itself
        path = tmp_path / "b.db"
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
        assert client.book(1.0, "1", "4").status_code == 503
        assert client.get("vehicles").status_code == 503
        assert "malformed" in str(one.fault)


def test_what_is_written_to_see_whether_anything_can_be_fits_into_any_database() -> None:
    """The text of MySQL has the least room: two bytes tell its length."""
    assert CHECK_BYTES < 2**16


def test_nothing_is_booked_in_a_file_that_nobody_finds_again(one: Desk, tmp_path: Path) -> None:
    """SQLite would go on writing to a file that has been moved away, until the service ends."""
    client, aside = Client(one), tmp_path / "aside"
    assert client.book(0.0, "0", "3").status_code == 200
    file = one._store._file
    assert file is not None
    file.rename(aside)
    refused, ready = client.book(10.0, "1", "4", request_id="mine"), client.http.get("/readyz")
    assert (refused.status_code, ready.status_code) == (503, 503)
    assert f"{file} was moved, removed or replaced" in ready.json()["faults"]["transit/street"]
    file.write_bytes(aside.read_bytes())
    assert client.book(20.0, "1", "4", request_id="mine").status_code == 503, "that is not the file either"
    aside.replace(file)
    assert client.book(30.0, "1", "4", request_id="mine").status_code == 200
    assert client.http.get("/readyz").status_code == 200


def test_where_a_server_hangs_one_waits_and_all_others_are_told(one: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """They all waited as long as it hung, and health was well."""
    client, commit = Client(one), BookingStore.commit
    reached, answers = threading.Event(), threading.Event()

    def hang(store: BookingStore, *what: Any) -> int:
        reached.set()
        assert answers.wait(60.0)
        return commit(store, *what)

    monkeypatch.setattr(BookingStore, "commit", hang)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.book, 0.0, "0", "3", request_id="first")
        try:
            assert reached.wait(60.0)
            monkeypatch.setattr(desks, "WAIT_S", 0.0)
            for other in (client.book(1.0, "1", "4", request_id="other"), client.get("vehicles")):
                assert (other.status_code, other.headers["retry-after"]) == (503, "5")
                assert other.json()["error"]["mend"].startswith("a request before this one has not come to an end")
            ready, health = client.http.get("/readyz"), client.http.get("/healthz")
            assert (ready.status_code, health.json()["status"]) == (503, "degraded")
            assert "nothing can be booked (a request has not come to an end for " in ready.text
        finally:
            answers.set()
        assert first.result().status_code == 200
    monkeypatch.undo()
    assert client.book(2.0, "1", "4", request_id="other").status_code == 200
    assert client.http.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://a@b/c", {"connect_timeout": 10, "tcp_user_timeout": 10_000}),
        ("postgresql+psycopg://a@b/c?connect_timeout=3", {"tcp_user_timeout": 10_000}),
        ("mysql+pymysql://a@b/c?read_timeout=3", {"connect_timeout": 10, "write_timeout": 10}),
        ("sqlite:///b.db", {"timeout": 10}),
        ("oracle+oracledb://a@b/c", {}),
    ],
)
def test_drivers_are_told_how_long_to_wait_where_a_url_does_not_say(url: str, told: dict[str, int]) -> None:
    assert connection.patience(sql.make_url(url)) == told


def test_two_processes_may_create_the_tables_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each found a table missing that the other had just created, and one of them ended."""
    url, create = f"sqlite:///{tmp_path / 'b.db'}", TABLES.create_all
    names = iter([table.name for table in TABLES.sorted_tables[:3]])

    def behind(engine: sql.Engine) -> None:
        """Create, but see those tables as missing that another process creates meanwhile."""
        if name := next(names, None):
            TABLES.tables[name].create(engine)
            TABLES.tables[name].create(engine)
        create(engine)

    monkeypatch.setattr(TABLES, "create_all", behind)
    store = BookingStore(url, "street")
    assert store.revision() == 0
    store.close()


def test_an_index_that_a_killed_process_did_not_create_is_made_up_for(tmp_path: Path) -> None:
    url, table = f"sqlite:///{tmp_path}/b.db", "transit_bookings"
    BookingStore(url, "transit/street").close()
    with closing(sqlite3.connect(tmp_path / "b.db")) as db:
        wanted = db.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
        assert wanted
        for (name,) in wanted:
            db.execute(f"DROP INDEX {name}")
    with closing(BookingStore(url, "transit/street")) as store:
        assert [(index["name"],) for index in sql.inspect(store._engine).get_indexes(table)] == wanted


def test_two_processes_may_begin_with_one_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, unlike = f"sqlite:///{tmp_path / 'b.db'}", stores.difference_of
    none = sql.select(TABLES.tables["transit_sites"]).where(sql.false())

    def other_began(engine: sql.Engine) -> None:
        monkeypatch.setattr(stores, "difference_of", unlike)
        BookingStore(url, "street").close()
        monkeypatch.setattr(BookingStore, "_mine", lambda *_: none)

    monkeypatch.setattr(stores, "difference_of", other_began)
    store = BookingStore(url, "street")
    assert store.revision() == 0
    store.close()


def test_tables_that_cannot_be_created_are_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "b.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE VIEW transit_stops AS SELECT 1")
    with pytest.raises(CityloopError, match=r"cannot be used .*transit_stops.*: give the URL of one that can"):
        BookingStore(f"sqlite:///{file}", "street")


@pytest.mark.parametrize("error", [ValueError, TypeError, AttributeError, FileNotFoundError])
def test_what_a_driver_does_not_take_is_one_sentence_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def connect(*_: Any, **__: Any) -> None:
        raise error("connect_timeout is hidden")

    monkeypatch.setattr("sqlite3.dbapi2.connect", connect)
    monkeypatch.chdir(tmp_path)  # where the file is
    with pytest.raises(CityloopError, match=f"database sqlite:///b.db cannot be used .*, {error.__name__}") as caught:
        BookingStore("sqlite:///b.db?password=hidden", "street")
    assert "hidden" not in str(caught.value)


def test_an_id_that_no_database_looks_for_is_unknown(one: Desk) -> None:
    """PostgreSQL takes no text with NUL; it was a 500."""
    client = Client(one)

    def postgresql(*about: Any) -> None:
        if any("\0" in str(value) for value in about[3]):
            raise sql.exc.DataError("", None, Exception("PostgreSQL text fields cannot contain NUL (0x00) bytes"))

    sql.event.listen(one._store._engine, "before_cursor_execute", postgresql)
    for answer in (
        client.get("bookings/a%00b"),
        client.cancel("a%00b", 0.0),
        client.event(0.0, "red", "boarded", booking="a\0b"),
    ):
        assert refusal(answer)[:2] == (404, "booking")


def test_mysql_tells_ids_apart_that_differ_in_case_alone() -> None:
    """By its own rules a request ``A1`` was ``a1`` again: another rider's trip, or a refusal."""
    for table in TABLES.sorted_tables:
        assert "COLLATE utf8mb4_bin" in str(CreateTable(table).compile(dialect=mysql.dialect()))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("ALTER TABLE transit_bookings DROP COLUMN broken_down", "transit_bookings .*: it has no column broken_down"),
        ("ALTER TABLE transit_duties RENAME at TO place", "transit_duties .*: it has no column at"),
        ("CREATE TABLE transit_sent (site, duty, node, why TEXT NOT NULL)", "transit_sent .*: its column why must"),
    ],
)
def test_tables_of_another_version_are_one_sentence(tmp_path: Path, other: str, words: str) -> None:
    """As it begins, not at the first request; it was a trace, and a 500 at every booking."""
    with desk(tmp_path) as before:
        file = before._store._file
    assert file is not None
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP TABLE transit_sent")
        db.execute(other)
    with pytest.raises(CityloopError, match=f"cannot be used .its table {words}.*: give the URL of one that can"):
        Desk(three_zones(), settings_of(tmp_path))


def test_columns_that_need_not_be_given_may_stand_beside_ours(tmp_path: Path) -> None:
    with desk(tmp_path) as before:
        file = before._store._file
    assert file is not None
    with closing(sqlite3.connect(file)) as db:
        db.execute("ALTER TABLE transit_bookings ADD COLUMN tariff TEXT NOT NULL DEFAULT ''")
    with desk(tmp_path) as again:
        assert Client(again).book(0.0, "0", "3").status_code == 200


def test_a_database_that_goes_away_while_a_desk_opens_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(store: BookingStore) -> None:
        store._fail("the server is away")
        raise StoreUnusable

    monkeypatch.setattr(BookingStore, "load", load)
    with pytest.raises(CityloopError, match=r"cannot be used \(the server is away\): give"):
        Desk(three_zones(), settings_of(tmp_path))


def test_what_another_process_booked_from_a_vehicle_that_is_gone_is_the_services_fault(tmp_path: Path) -> None:
    """Of two processes in an update that takes a vehicle out, the old one books it once more: clients were told 422."""
    with desk(tmp_path) as old, desk(tmp_path, vehicles=VEHICLES[1:]) as new:
        client = Client(old)
        booked = client.book(0.0, "0", "1").json()
        assert booked["vehicle"] == "red"
        client.turn_to(new)
        client.sent = 100
        told = "vehicle 'red' has riders and is no longer in the settings: put it back"
        for answer in (client.book(1.0, "5", "4"), client.get("vehicles"), client.get(f"bookings/{booked['id']}")):
            assert (answer.status_code, answer.json()["error"]["mend"]) == (503, told)
        assert new.fault == f"nothing can be booked ({told})"
        client.turn_to(old)
        assert client.cancel(booked["id"], 2.0).json()["state"] == "cancelled"
        client.turn_to(new)
        assert client.book(3.0, "5", "4").json()["vehicle"] == "blue"
        assert new.fault is None
