"""Signed tokens: what is accepted, by which keys. Numbers in brackets are those of the OWASP API list of 2023."""

from __future__ import annotations

import base64
import hmac
import json
import os
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import get_default_algorithms

from envs.core.errors import CityloopError
from serving.access.entry import Access
from serving.access.principal import AccessSettings, JwtSettings, Role
from serving.core.refusals import Unauthenticated
from tests.serving.access.test_access import Clock, bearer

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
            {"sub": "ada\n"},
            {"sub": "\ud800"},
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

    def test_a_short_key_holds_no_other_in_force(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The set was refused as a whole, so a key that a provider had taken out of it was still accepted."""
        (old, _), (new, _), file = pair("RS256"), pair("RS256"), tmp_path / "jwks.json"
        short: Any = rsa.generate_private_key(65537, 1024)
        small = json.loads(get_default_algorithms()["RS256"].to_jwk(short.public_key())) | {"kid": "small"}
        file.write_text(json.dumps({"keys": [public_jwk("RS256", old, kid="1")]}))
        access = tokens_of(tmp_path, algorithm="RS256", key_file=file)
        file.write_text(json.dumps({"keys": [small, public_jwk("RS256", new, kid="2")]}))
        assert access.identify(bearer(signed(key=new, algorithm="RS256"))).name == "jwt:dispatch"
        for key in (old, short):
            with pytest.raises(Unauthenticated):
                access.identify(bearer(signed(key=key, algorithm="RS256")))
        assert f"key of tokens {file}: one of 1024 bits is passed over" in caplog.text
        assert access.problem is None

    @pytest.mark.parametrize(
        ("more", "word"), [({"more": "x" * (1 << 20)}, "larger than 1 MiB"), ({}, "a JWK Set of 101 keys: give 100")]
    )
    def test_a_request_waits_for_no_file_without_end(self, tmp_path: Path, more: dict[str, str], word: str) -> None:
        private, file = pair("EdDSA")[0], tmp_path / "jwks.json"
        one = public_jwk("EdDSA", private)
        file.write_text(json.dumps({"keys": [one]}))
        access = tokens_of(tmp_path, algorithm="EdDSA", key_file=file)
        file.write_text(json.dumps({"keys": (1 if more else 101) * [one]} | more))
        assert access.identify(bearer(signed(key=private, algorithm="EdDSA"))).name == "jwt:dispatch"
        assert word in str(access.problem)
        file.unlink()
        os.mkfifo(file)
        assert "is no regular file" in str(access.problem)

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
