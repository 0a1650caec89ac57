"""Who is let in, and where: keys, tokens, roles, rates. Numbers in brackets are those of the OWASP API list of 2023."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from envs.core.errors import CityloopError
from serving.access.entry import BEARER, Access
from serving.access.keys import create_key, load_keys, revoke_key
from serving.access.limits import Buckets, too_deep
from serving.access.principal import ANYBODY, AccessSettings, Grant, JwtSettings, Role
from serving.refusals import Limited, Unauthenticated

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

    @pytest.mark.parametrize(
        ("name", "word"), [("", "name"), ("a b", "name"), ("anonymous", "name"), ("plc", "revoke")]
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


SECRET = b"0123456789abcdef0123456789abcdef"
CLAIMS: dict[str, Any] = {
    "sub": "dispatch",
    "aud": "cityloop",
    "nbf": 1_000_000_000,
    "exp": 1_000_003_600,
    "grants": [{"role": "operate", "system": "transit"}],
}


def secret_file(folder: Path, content: bytes = SECRET, mode: int = 0o600) -> Path:
    path = folder / f"{content[:5].decode()}-{mode:o}"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def tokens_of(folder: Path, now: float = 1e9 + 60, **more: Any) -> Access:
    content: dict[str, Any] = {"algorithm": "HS256", "key_file": secret_file(folder)} | more
    return Access(AccessSettings(jwt=JwtSettings(**content)), now=Clock(now))


def signed(claims: dict[str, Any] | None = None, key: Any = SECRET, algorithm: str = "HS256", **more: Any) -> str:
    return jwt.encode((claims or CLAIMS) | more, key, algorithm)


def pair(kind: str) -> tuple[bytes, bytes]:
    if kind == "EdDSA":
        private: Any = ed25519.Ed25519PrivateKey.generate()
    else:
        private = ec.generate_private_key(ec.SECP384R1()) if kind == "ES384" else rsa.generate_private_key(65537, 2048)
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


class TestTokens:
    def test_a_token_lets_in_where_its_grants_say(self, tmp_path: Path) -> None:
        principal = tokens_of(tmp_path).authenticate(bearer(signed()))
        assert principal.name == "jwt:dispatch"
        assert principal.may(Role.OPERATE, "transit", "hcmc")
        assert not principal.may(Role.READ, "drainage", "estuary")

    @pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
    def test_public_keys(self, tmp_path: Path, algorithm: str) -> None:
        private, public = pair(algorithm)
        (tmp_path / "public.pem").write_bytes(public)
        access = tokens_of(tmp_path, algorithm=algorithm, key_file=tmp_path / "public.pem")
        assert access.identify(bearer(signed(key=private, algorithm=algorithm))).name == "jwt:dispatch"
        # Confusion: the public key, which everybody has, as the secret of another algorithm.
        forged = _by_hand({"alg": "HS256", "typ": "JWT"}, CLAIMS, public)
        with pytest.raises(Unauthenticated):
            access.identify(bearer(forged))

    @pytest.mark.parametrize("alg", ["none", "None", "nOnE", "HS512", "RS256"])
    def test_what_a_token_says_of_its_algorithm_counts_for_nothing(self, tmp_path: Path, alg: str) -> None:  # (API2)
        for secret in (b"", SECRET):
            with pytest.raises(Unauthenticated):
                tokens_of(tmp_path).identify(bearer(_by_hand({"alg": alg, "typ": "JWT"}, CLAIMS, secret)))

    @pytest.mark.parametrize(
        "change",
        [
            {"exp": 1_000_000_040},
            {"nbf": 1_000_000_100},
            {"exp": 1_000_000_000 + 2 * 86_400},
            {"exp": None},
            {"exp": "soon"},
            {"exp": float("inf")},
            {"exp": float("nan")},
            {"nbf": None},
            {"aud": "another"},
            {"aud": None},
            {"sub": None},
            {"sub": "x" * 65},
            {"grants": []},
            {"grants": None},
            {"grants": [{"role": "god"}]},
            {"grants": [{"role": "act", "site": "?"}]},
            {"grants": [{"role": "act", "more": 1}]},
            {"grants": "administer"},
        ],
        ids=str,
    )
    def test_what_lacks_or_does_not_fit_is_refused(self, tmp_path: Path, change: dict[str, Any]) -> None:  # (API2)
        claims = {key: value for key, value in (CLAIMS | change).items() if value is not None}
        with pytest.raises(Unauthenticated):
            tokens_of(tmp_path).identify(bearer(_by_hand({"alg": "HS256"}, claims, SECRET)))

    def test_another_secret_is_refused(self, tmp_path: Path) -> None:  # (API2)
        with pytest.raises(Unauthenticated):
            tokens_of(tmp_path).identify(bearer(signed(key=SECRET[::-1])))

    def test_the_issuer_counts_if_it_is_configured(self, tmp_path: Path) -> None:
        access = tokens_of(tmp_path, issuer="https://city.example")
        assert access.identify(bearer(signed(iss="https://city.example"))).name == "jwt:dispatch"
        for more in ({}, {"iss": "https://else.example"}):
            with pytest.raises(Unauthenticated):
                access.identify(bearer(signed(**more)))

    def test_keys_that_do_not_suit_are_refused_at_the_start(self, tmp_path: Path) -> None:
        _, public = pair("EdDSA")
        pem = tmp_path / "public.pem"
        pem.write_bytes(public)
        pem.chmod(0o600)
        curve = secret_file(tmp_path, pair("ES384")[1])
        tokens_of(tmp_path, algorithm="ES384", key_file=curve)
        with pytest.raises(CityloopError, match="another kind"):  # it would let in nobody, without a word
            tokens_of(tmp_path, algorithm="ES256", key_file=curve)
        for algorithm, path, word in (
            ("HS256", pem, "random secret"),
            ("RS256", pem, "another kind"),
            ("HS256", secret_file(tmp_path, b"short"), "at least 32"),
            ("RS256", secret_file(tmp_path, b"no key"), "no public key"),
            ("HS256", tmp_path / "nothing", "cannot be read"),
            ("EdDSA", tmp_path / "nothing", "cannot be read"),
        ):
            with pytest.raises(CityloopError, match=word):
                tokens_of(tmp_path, algorithm=algorithm, key_file=path)
        with pytest.raises(CityloopError, match="chmod 600"):
            tokens_of(tmp_path, key_file=secret_file(tmp_path, mode=0o644))


def public_jwk(algorithm: str, private: bytes, **more: Any) -> dict[str, Any]:
    """The public half of a key, as a provider's JWK Set has it."""
    suits: Any = get_default_algorithms()[algorithm]
    return json.loads(suits.to_jwk(suits.prepare_key(private).public_key())) | more


class TestTokenKeys:
    """A provider's JWK Set: several keys, of which one takes another's place while tokens of both are about."""

    def test_tokens_of_both_keys_count_while_both_are_in_the_set(self, tmp_path: Path) -> None:
        (old, _), (new, _), (strange, _) = pair("EdDSA"), pair("EdDSA"), pair("EdDSA")
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": [public_jwk("EdDSA", old, kid="1")]}))
        access = tokens_of(tmp_path, algorithm="EdDSA", key_file=file)

        def lets_in(private: bytes, kid: str | None) -> bool:
            headers = None if kid is None else {"kid": kid}
            token = jwt.encode(CLAIMS, private, "EdDSA", headers=headers)
            try:
                return access.identify(bearer(token)).name == "jwt:dispatch"
            except Unauthenticated:
                return False

        assert lets_in(old, "1")
        assert not lets_in(new, "2")
        both = {"keys": [public_jwk("EdDSA", old, kid="1"), public_jwk("EdDSA", new, kid="2")]}
        file.write_text(json.dumps(both))
        assert lets_in(old, "1")
        assert lets_in(new, "2")
        assert lets_in(new, None)  # who names none is tried with each
        assert not lets_in(new, "1")
        assert not lets_in(new, "3")
        assert not lets_in(strange, None)
        file.write_text(json.dumps({"keys": both["keys"][1:]}))
        assert not lets_in(old, "1")
        file.write_text("{")  # spoilt: what it held before holds
        assert lets_in(new, "2")
        assert "jwks.json is no JWK Set: Invalid JSON" in str(access.problem)
        file.unlink()
        assert not lets_in(new, "2")
        assert "is gone" in str(access.problem)

    def test_keys_for_something_else_are_passed_over(self, tmp_path: Path) -> None:
        private, _ = pair("RS256")
        file = tmp_path / "jwks.json"
        keys = [
            public_jwk("EdDSA", pair("EdDSA")[0]),
            public_jwk("RS256", pair("RS256")[0], use="enc"),
            public_jwk("RS256", pair("RS256")[0], alg="RS512"),
            {"kty": "of tomorrow"},
            public_jwk("RS256", private, use="sig", alg="RS256"),
        ]
        file.write_text(json.dumps({"keys": keys}))
        access = tokens_of(tmp_path, algorithm="RS256", key_file=file)
        assert access.identify(bearer(signed(key=private, algorithm="RS256"))).name == "jwt:dispatch"
        file.write_text(json.dumps({"keys": keys[:-1]}))
        with pytest.raises(CityloopError, match="without a key for RS256"):
            tokens_of(tmp_path, algorithm="RS256", key_file=file)

    def test_sets_that_do_not_suit_are_refused_at_the_start(self, tmp_path: Path) -> None:
        private: Any = ed25519.Ed25519PrivateKey.generate()
        whole = json.loads(get_default_algorithms()["EdDSA"].to_jwk(private))
        small = rsa.generate_private_key(65537, 1024).public_key()
        file = tmp_path / "jwks.json"
        for algorithm, content, word in (
            ("EdDSA", {}, "keys: Field required"),
            ("EdDSA", {"keys": 1}, "no JWK Set: keys"),
            ("EdDSA", {"keys": []}, "without a key for EdDSA"),
            ("EdDSA", {"keys": [whole]}, "a private key"),
            ("RS256", {"keys": [json.loads(get_default_algorithms()["RS256"].to_jwk(small))]}, "1024 bits"),
        ):
            file.write_text(json.dumps(content))
            with pytest.raises(CityloopError, match=word):
                tokens_of(tmp_path, algorithm=algorithm, key_file=file)


def _by_hand(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    body = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
    return f"{body}.{part(hmac.digest(secret, body.encode(), 'sha256')) if secret else ''}"


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
