"""Who is let in, and where: keys, tokens, roles, rates. Numbers in brackets are those of the OWASP API list of 2023."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.core.errors import CityloopError
from serving.access.entry import BEARER, Access
from serving.access.keys import TAKEN, KeyFile, create_key, load_keys, revoke_key
from serving.access.limits import Buckets
from serving.access.principal import ANYBODY, AccessSettings, Grant, Role
from serving.core.json_depth import too_deep
from serving.core.refusals import Limited, Unauthenticated

DRAINAGE = Grant(role=Role.ACT, system="drainage", site="estuary")


class Clock:
    def __init__(self, at: float = 1e9):
        self.at = at

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def key_of(file: Path, *grants: Grant, name: str = "plc", **more: Any) -> str:
    return create_key(file, name, grants or (DRAINAGE,), **more)[0]


def access_of(file: Path, **more: Any) -> Access:
    return Access(AccessSettings(keys=file), **more)


class TestKeys:
    def test_a_key_lets_in_where_its_role_says(self, file: Path) -> None:
        token = key_of(file)
        principal = access_of(file).authenticate(bearer(token))
        assert principal.name == "plc"
        assert principal.may(Role.ACT, "drainage", "estuary")
        assert principal.may(Role.READ, "drainage", "estuary")
        assert not principal.may(Role.OPERATE, "drainage", "estuary")
        assert not principal.may(Role.READ, "drainage", "harbour")  # (API1)
        assert not principal.may(Role.READ, "intersections", "estuary")  # (API1, API5)
        assert not principal.may(Role.READ)  # the service as a whole

    def test_every_way_to_send_it(self, file: Path) -> None:
        token, access = key_of(file), access_of(file)
        for headers in (
            bearer(token),
            {"authorization": f"bearer  {token} "},
            {"x-api-key": token},
            {"sec-websocket-protocol": f"cityloop.v1, {BEARER}{token}"},
        ):
            assert access.identify(headers).name == "plc"

    def test_one_key_is_sent_alone(self, file: Path) -> None:
        """By a second one it was open who asks."""
        token, other = key_of(file), key_of(file, name="other")
        access, offers = access_of(file), {"sec-websocket-protocol": f"cityloop.v1, {BEARER}{other}"}
        both = {"sec-websocket-protocol": f"cityloop.v1, {BEARER}{token}, {BEARER}{other}"}
        for headers in (
            bearer(token) | {"x-api-key": other},
            {"x-api-key": token} | offers,
            bearer(token) | offers,
            both,
        ):
            with pytest.raises(Unauthenticated, match="send one alone"):
                access.identify(headers)
        assert access.identify({"authorization": "Basic dXNlcg==", "x-api-key": other}).name == "other"

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda t: "",
            lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
            lambda t: t.replace(t[3:19], "0" * 16),
            lambda t: t + "A",
            lambda t: t.upper(),
            lambda t: "é" + t,
            lambda t: "x" * 100_000,
        ],
    )
    def test_any_other_is_unknown(self, file: Path, spoil: Callable[[str], str]) -> None:  # (API2)
        token, access = key_of(file), access_of(file)
        with pytest.raises(Unauthenticated) as caught:
            access.authenticate(bearer(spoil(token)))
        assert token not in str(caught.value)
        with pytest.raises(Unauthenticated):
            access.authenticate({"authorization": f"Basic {token}"})
        with pytest.raises(Unauthenticated):
            access.authenticate({})

    def test_the_file_holds_no_key_and_is_its_owners_alone(self, file: Path) -> None:
        token = key_of(file)
        text = file.read_text()
        assert token not in text
        assert token.split("_", 2)[2] not in text  # whose own characters may be "_", too
        assert file.stat().st_mode & 0o777 == 0o600
        assert json.loads(text)["keys"][0]["grants"] == [{"role": "act", "system": "drainage", "site": "estuary"}]
        file.chmod(0o640)
        with pytest.raises(CityloopError, match="chmod 600"):
            access_of(file)

    def test_two_keys_share_nothing(self, file: Path) -> None:
        one, other = key_of(file), key_of(file, name="other")
        keys = load_keys(file).keys
        assert keys[0].hash != keys[1].hash
        assert one[:19] != other[:19]

    def test_a_key_expires(self, file: Path) -> None:
        token = key_of(file, life_s=3600.0)
        ends = load_keys(file).keys[0].ends_s()
        now = Clock(ends - 1)
        access = access_of(file, now=now)
        assert access.identify(bearer(token)).name == "plc"
        now.at = ends
        with pytest.raises(Unauthenticated):
            access.identify(bearer(token))

    def test_revoking_and_making_reach_a_running_service(self, file: Path) -> None:
        token, access = key_of(file), access_of(file)
        principal = access.identify(bearer(token))
        assert access.same(bearer(token), principal)
        revoke_key(file, "plc")
        with pytest.raises(Unauthenticated):
            access.identify(bearer(token))
        assert not access.same(bearer(token), principal)
        assert access.identify(bearer(key_of(file))).name == "plc"  # the name is free again
        with pytest.raises(Unauthenticated):
            access.identify(bearer(token))

    def test_a_spoilt_file_keeps_the_last_keys_and_a_lost_one_none(self, file: Path) -> None:
        token, access = key_of(file), access_of(file)
        good = file.read_bytes()
        file.write_bytes(good[:-20])
        assert access.identify(bearer(token)).name == "plc"
        assert access.problem is not None
        file.unlink()
        with pytest.raises(Unauthenticated):
            access.identify(bearer(token))
        file.touch(0o600)
        file.write_bytes(good)
        assert access.identify(bearer(token)).name == "plc"
        assert access.problem is None

    def test_a_revoked_key_is_over_whatever_the_clock_says(self, tmp_path: Path) -> None:
        path, clock = tmp_path / "keys.json", Clock(time.time())
        token, _ = create_key(path, "gone", [Grant(role=Role.READ)])
        keys = KeyFile(path, clock)
        assert keys.principal(token)
        revoke_key(path, "gone")
        clock.at -= 3600.0
        assert keys.principal(token) is None

    def test_a_key_that_is_there_twice_is_refused(self, file: Path) -> None:
        """Of two rows of one id that somebody wrote by hand the revoked one could be lost."""
        key_of(file)
        kept = orjson.loads(file.read_bytes())
        file.write_bytes(orjson.dumps(kept | {"keys": 2 * kept["keys"]}))
        with pytest.raises(CityloopError, match=f"keys: several keys have the id {kept['keys'][0]['id']}"):
            access_of(file)

    def test_keys_that_have_ended_make_room_the_oldest_first(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that was full could neither be added to, nor revoked from, nor read at a start."""
        monkeypatch.setattr("serving.access.keys.MAX_BYTES", 4000, raising=False)
        standing, day_s = key_of(file, name="standing"), 86400.0
        for k in range(20):
            monkeypatch.setattr("serving.access.keys.time", SimpleNamespace(time=lambda k=k: k * day_s))
            token = key_of(file, name=f"plc-{k}", life_s=60.0)
        kept = [key.name for key in load_keys(file).keys]
        assert kept == ["standing", *(f"plc-{k}" for k in range(21 - len(kept), 20))]
        assert 5 < len(kept) < 15
        assert file.stat().st_size <= 4000
        access = access_of(file, now=Clock(19 * day_s))
        assert {access.identify(bearer(one)).name for one in (standing, token)} == {"standing", "plc-19"}

    def test_a_file_that_is_full_of_keys_in_force_stays_as_it_is(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for k in range(8):
            key_of(file, name=f"plc-{k}")
        before = file.read_bytes()
        monkeypatch.setattr("serving.access.keys.MAX_BYTES", len(before), raising=False)
        with pytest.raises(CityloopError, match="no room for another key beside 8: revoke some"):
            key_of(file, name="plc-8")
        assert file.read_bytes() == before
        revoke_key(file, "plc-3")
        assert access_of(file).identify(bearer(key_of(file, name="plc-8"))).name == "plc-8"

    def test_a_file_that_never_ends_or_is_too_large_is_refused(self, file: Path) -> None:
        token, access = key_of(file), access_of(file)
        whole = file.read_bytes()
        with file.open("r+b") as opened:
            opened.truncate((8 << 20) + 1)
        assert access.identify(bearer(token)).name == "plc"
        assert f"file of keys {file} is larger than 8 MiB: remove" in str(access.problem)
        file.unlink()
        os.mkfifo(file, 0o600)
        assert f"file of keys {file} is no regular file: give one" in str(access.problem)
        file.unlink()
        file.touch(0o600)
        file.write_bytes(whole)
        assert access.problem is None

    @pytest.mark.parametrize(
        ("name", "word"),
        [("", "name"), ("a b", "name"), *((name, "name") for name in TAKEN), ("plc", "revoke")],
    )
    def test_names_are_refused(self, file: Path, name: str, word: str) -> None:
        key_of(file)
        with pytest.raises(CityloopError, match=word):
            create_key(file, name, [DRAINAGE])

    def test_a_key_that_is_not_there_cannot_be_revoked(self, file: Path) -> None:
        key_of(file)
        with pytest.raises(CityloopError, match="there is plc"):
            revoke_key(file, "plcs")

    def test_an_error_names_the_field_but_no_content(self, file: Path) -> None:
        token = key_of(file)
        file.write_text(file.read_text().replace('"act"', f'"{token}"'))
        with pytest.raises(CityloopError, match="role") as caught:
            access_of(file)
        assert token not in str(caught.value)


@pytest.mark.parametrize("pattern", ["", "a/b", "?", "[a]", "a b", "x" * 101])
def test_a_pattern_is_a_name_or_stars(pattern: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        Grant(role=Role.READ, site=pattern)


@given(st.from_regex(r"\A[A-Za-z0-9_.-]{1,8}\Z"), st.sampled_from(list(Role)), st.sampled_from(list(Role)))
def test_roles_are_ordered_and_places_apart(name: str, held: Role, needed: Role) -> None:
    grant = Grant(role=held, system="drainage", site=f"{name}*")
    assert grant.covers(needed, "drainage", f"{name}x") == (held >= needed)
    assert not grant.covers(needed, "transit", name)
    assert not grant.covers(needed, "*", "*")
    assert not grant.covers(needed, "drainage", f"~{name}")


class TestRates:
    def test_a_caller_that_asks_too_often_waits_and_others_do_not(self, file: Path) -> None:  # (API4)
        fast, slow = key_of(file), key_of(file, name="slow", rate_s=2.0, burst=3.0)
        clock = Clock()
        access = access_of(file, clock=clock)
        for _ in range(3):
            access.authenticate(bearer(slow))
        with pytest.raises(Limited) as caught:
            access.authenticate(bearer(slow))
        assert (caught.value.status, caught.value.retry_after_s) == (429, pytest.approx(0.5))
        access.authenticate(bearer(fast))
        clock.at += 0.5
        access.authenticate(bearer(slow))

    def test_a_rate_of_its_own_bounds_what_comes_at_once(self, file: Path) -> None:
        slow = key_of(file, rate_s=2.0)  # the service's: 200 a second, 400 at once
        access = access_of(file, clock=Clock())
        for _ in range(4):
            access.authenticate(bearer(slow))
        with pytest.raises(Limited):
            access.authenticate(bearer(slow))

    @given(st.lists(st.floats(0, 0.3), max_size=200))
    def test_no_more_than_the_rate_in_the_long_run(self, gaps: list[float]) -> None:
        clock = Clock(0.0)
        buckets = Buckets(clock)
        granted = 0
        for gap in gaps:
            clock.at += gap
            granted += buckets.take("a", 10.0, 5.0) == 0.0
        assert granted <= 5 + 10 * clock.at + 1e-6

    def test_buckets_are_bounded(self) -> None:
        buckets = Buckets(Clock(), most=10)
        for k in range(1000):
            buckets.take(str(k), 1.0, 1.0)
        assert len(buckets._levels) == 10


class TestOpen:
    def test_everybody_may_everything_and_it_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        access = Access()
        access.announce()
        assert "the service is open" in caplog.text
        assert access.open
        assert access.authenticate({}) is ANYBODY
        assert ANYBODY.may(Role.ADMINISTER)


class TestDepth:
    @pytest.mark.parametrize(
        ("body", "deep"),
        [
            (b"{" * 17, True),
            (b"[" * 16, False),
            (b"[]" * 1000, False),
            (b'["' + b"[" * 1000 + b'"]', False),
            (rb'["\"' + b"[" * 1000 + b'"]', False),
            (b'["a"' + b"[" * 16, True),
            (b'"' + b"[" * 1000, False),  # not JSON: whoever parses it says so
            (b"", False),
        ],
    )
    def test_brackets_outside_of_strings_count(self, body: bytes, deep: bool) -> None:
        assert too_deep(body) == deep

    @given(st.recursive(st.text(max_size=5) | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=40))
    def test_against_the_depth_of_what_is_parsed(self, value: Any) -> None:
        def depth(one: Any) -> int:
            return 1 + max(map(depth, one), default=0) if isinstance(one, list) else 0

        assert too_deep(json.dumps(value).encode(), 3) == (depth(value) > 3)
