"""Roles from the command line, against a service over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

import cityloop
from serving.client.admin import KEY
from serving.cluster.ports import free_ports
from serving.core.refusals import Busy
from tests.serving.plants import app_of, grid, served, service


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    sites = [grid(), grid().model_copy(update={"name": "other"})]
    with served(app_of(*(service(site) for site in sites)), free_ports(1)[0]) as url:
        yield url


def call(url: str, *words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cityloop.main(["policy", *words, "--url", url])
    return int(caught.value.code or 0)


def test_a_policy_is_promoted_at_one_site_and_rolled_back_at_all(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(url, "promote", "intersections/grid2x2", "--policy", "greedy", "--reason", "trial", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["intersections/grid2x2"]["in_charge"]["controller"] == "greedy"
    assert call(url, "show", "intersections", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {place: one["roles"]["champion"] for place, one in found.items()} == {
        "intersections/grid2x2": "greedy",
        "intersections/other": "max-pressure",
    }
    assert call(url, "rollback", "intersections/grid2x2", "--reason", "worse") == 0
    assert "max-pressure" in capsys.readouterr().out


def test_a_change_that_fails_half_way_says_how_far_it_got(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    shadow = ("shadow", "intersections/grid2x2", "--policy", "greedy", "--reason", "trial")
    assert call(url, *shadow) == 0
    capsys.readouterr()
    assert call(url, "promote", "all", "--reason", "fine") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "intersections/other: policy: there is no challenger to promote" in said
    assert said.endswith("(done before at intersections/grid2x2)")
    assert call(url, "rollback", "intersections/grid2x2", "--reason", "worse") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dismiss", "all"), "choose show, shadow"),
        (("promote", "all"), "--reason is missing"),
        (("show", "tides"), "choose all or intersections/grid2x2"),
        (("show", "intersections/grid9"), "site is 'grid9': choose grid2x2, other"),
        (("show", "tides/town"), "system is 'tides': choose intersections"),
        (("show", "intersections/grid2x2/J1"), "choose all or intersections/grid2x2"),
        (("demote", "all", "--reason", "x"), "there is no challenger"),
        (("promote", "all", "--policy", "oracle", "--reason", "x"), "'oracle' is unknown"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    url: str, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(url, *words) == 2
    assert said in capsys.readouterr().err


def test_a_site_named_in_full_is_asked_while_another_does_not_answer(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise Busy("service", None, "one of its processes does not answer: ask again")

    monkeypatch.setattr("serving.gateway.Gateway.summaries", silent)
    assert call(url, "show", "intersections/grid2x2", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)) == ["intersections/grid2x2"]
    assert call(url, "show", "all") == 2
    assert "service: one of its processes does not answer: ask again" in " ".join(capsys.readouterr().err.split())


def test_a_service_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"http://127.0.0.1:{free_ports(1)[0]}", "show", "all") == 2
    assert "no service answers" in capsys.readouterr().err


def test_without_a_key_it_is_said_where_to_put_one(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpx.Client.request", lambda *_, **__: httpx.Response(401, json={"error": {}}))
    assert call(url, "show", "all") == 2
    assert f"put a key that it accepts in {KEY}" in capsys.readouterr().err


def test_the_key_comes_from_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.client.admin import Admin

    monkeypatch.setenv(KEY, "secret")
    with Admin(url) as admin:
        assert admin._http.headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "url", ["http://", "http://127.0.0.1:x", "127.0.0.1", "http://a..b", "http://xn--", "http://a:80000"]
)
def test_an_address_that_is_none_is_one_sentence(capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert call(url, "show", "all") == 2
    assert "give an address such as" in capsys.readouterr().err


def test_a_key_that_can_be_none_is_one_sentence(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "schlüssel")
    assert call(url, "show", "all") == 2
    assert "copy it once more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "content"), [(404, {"error": "no"}), (500, []), (200, []), (200, {}), (200, {"systems": [1]})]
)
def test_another_service_at_the_address_is_one_sentence(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: int, content: object
) -> None:
    monkeypatch.setattr("httpx.Client.request", lambda *_, **__: httpx.Response(status, json=content))
    assert call(url, "show", "all") == 2
    assert "not as this service does" in capsys.readouterr().err
