"""Signatures of bundles: only those of trusted keys over every file are accepted."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents import load_policy
from agents.policy import add_results
from agents.signing import SIGNATURE, sign
from envs import CityloopError
from envs.core.machine.files import DRAFT
from tests.serving.bundles import bundle


def pem(path: Path, key: Ed25519PrivateKey | rsa.RSAPrivateKey | None = None) -> Path:
    key = key or Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def refusal(path: Path, trusted: list[str]) -> str:
    with pytest.raises(CityloopError) as error:
        load_policy(path, trusted=trusted)
    return str(error.value)


def test_only_what_a_trusted_key_signed_is_loaded(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    mine, other = pem(tmp_path / "mine.pem"), pem(tmp_path / "other.pem")
    theirs = sign(bundle(tmp_path / "another"), other)
    assert "is not signed" in refusal(path, [theirs])
    key = sign(path, mine)
    assert load_policy(path, trusted=[theirs, key]).name == "tiny"
    assert "not among the trusted keys" in refusal(path, [theirs])
    assert "not among the trusted keys" in refusal(path, [])
    assert load_policy(path).name == "tiny"


@pytest.mark.parametrize("name", ["policy.onnx", "policy.json", "CARD.md", "more.txt"])
def test_whatever_is_altered_afterwards_voids_it(tmp_path: Path, name: str) -> None:
    path = bundle(tmp_path / "tiny")
    key = sign(path, pem(tmp_path / "key.pem"))
    file = path / name
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b"\n")
    assert "altered since it was signed" in refusal(path, [key])


def test_a_signature_that_could_not_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mine = bundle(tmp_path / "tiny"), pem(tmp_path / "mine.pem")
    key, before = sign(path, mine), (path / SIGNATURE).read_bytes()
    seen: list[str] = []

    def full(file: int) -> None:
        seen.append(refusal(path, []))  # whoever loads it meanwhile sees the signature before
        assert load_policy(path, trusted=[key]).name == "tiny"
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(CityloopError, match="cannot be written"):
            sign(path, pem(tmp_path / "other.pem"))
    assert seen
    assert (path / SIGNATURE).read_bytes() == before
    (path / f".{SIGNATURE}.1.abcd{DRAFT}").write_text("half")  # of a process that was killed
    assert load_policy(path, trusted=[sign(path, mine)]).name == "tiny"


def test_a_signature_of_another_bundle_or_of_nothing_is_none(tmp_path: Path) -> None:
    path, other = bundle(tmp_path / "tiny"), bundle(tmp_path / "other", name="other")
    key_file = pem(tmp_path / "key.pem")
    key = sign(other, key_file)
    (path / SIGNATURE).write_bytes((other / SIGNATURE).read_bytes())
    assert "altered since" in refusal(path, [key])
    for content in ("", "{}", f'{{"key": "{key}", "signature": "?"}}'):
        (path / SIGNATURE).write_text(content)
        refusal(path, [key])


def test_a_bundle_that_is_gone_is_not_called_unsigned(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory): give a bundle's folder" in refusal(tmp_path / "gone", [])


def test_changing_a_bundle_removes_its_signature(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    key = sign(path, pem(tmp_path / "key.pem"))
    add_results(path, {"test": 1.0})
    assert "is not signed" in refusal(path, [key])


def test_a_key_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    with pytest.raises(CityloopError, match="openssl genpkey"):
        sign(path, tmp_path / "absent.pem")
    (tmp_path / "text.pem").write_text("key")
    with pytest.raises(CityloopError, match="no private key"):
        sign(path, tmp_path / "text.pem")
    with pytest.raises(CityloopError, match="no Ed25519 key"):
        sign(path, pem(tmp_path / "rsa.pem", rsa.generate_private_key(65537, 2048)))
    assert "no Ed25519 public key" in refusal(path, ["abc"])
