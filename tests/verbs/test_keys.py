"""``cityloop keys`` for people and programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cityloop
from serving.access.entry import Access
from serving.access.principal import AccessSettings, Role
from serving.core.refusals import Unauthenticated


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cityloop.main(["keys", *words])
    return int(caught.value.code or 0)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "keys.json")


def test_a_key_from_its_making_to_its_end(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("create", "plc", "--role", "act", "--system", "drainage", "--site", "estuary", "--expires", "90d")
    assert call(*words, "--file", file) == 0
    told = capsys.readouterr()
    token = told.out.strip()
    assert told.out == f"{token}\n", "the key alone, so that it can be put where it is needed"
    assert token not in told.err
    access = Access(AccessSettings(keys=Path(file)))
    assert access.identify({"x-api-key": token}).may(Role.ACT, "drainage", "estuary")

    assert call("list", "--file", file, "--json") == 0
    (key,) = json.loads(capsys.readouterr().out)["keys"]
    assert (key["name"], key["accepted"], key["revoked"]) == ("plc", True, None)
    assert key["grants"] == [{"role": "act", "system": "drainage", "site": "estuary"}]
    assert "hash" not in key

    assert call("revoke", "plc", "--file", file) == 0
    with pytest.raises(Unauthenticated):
        access.identify({"x-api-key": token})
    assert call("list", "--file", file) == 0
    assert "revoked" in capsys.readouterr().out


def test_several_roles_and_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("create", "ada", "--grant", "operate:drainage", "--grant", "read:*/*", "--file", file, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["key"].startswith("cl_")
    assert content["grants"] == [
        {"role": "operate", "system": "drainage", "site": "*"},
        {"role": "read", "system": "*", "site": "*"},
    ]


def test_a_file_with_a_key_is_for_its_owner_alone(file: str, tmp_path: Path) -> None:
    made = tmp_path / "made.json"
    assert call("create", "ada", "--file", file, "--json", str(made)) == 0
    assert json.loads(made.read_text())["key"].startswith("cl_")
    assert made.stat().st_mode & 0o077 == 0


def test_a_key_reads_and_ends_unless_told_otherwise(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("create", "ada", "--file", file, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert [grant["role"] for grant in content["grants"]] == ["read"]
    assert content["expires"] is not None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("create", "a", "--role", ""), "choose read, act, operate, administer"),
        (("create", "a", "--role", "king"), "choose read, act, operate, administer"),
        (("create", "a", "--expires", "soon"), "give hours, days, weeks or years"),
        (("create", "a", "--expires", "0d"), "give hours"),
        (("create", "a", "--expires", "999y"), "give hours"),
        (("create", "a b"), "cannot be a key's"),
        (("create", "a", "--site", "a/b"), "site"),
        (("create", "a", "--role", "read", "--grant", "read:*/*"), "--role is 'read', and --grant says"),
        (("create", "a", "--system", "*", "--grant", "read:*/*"), "--system is '*', and --grant says"),
        (("create", "a", "--site", "estuary", "--grant", "read:*/*"), "--site is 'estuary', and --grant says"),
        (("revoke", "nobody"), "cannot be read"),
        (("list",), "cannot be read"),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(
    file: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    if words[0] == "revoke":
        sentence = "there is none"
    assert call(*words, "--file", file) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("create", "a", "--file", str(tmp_path / "nowhere" / "keys.json")) == 2
    assert "make it first" in capsys.readouterr().err
