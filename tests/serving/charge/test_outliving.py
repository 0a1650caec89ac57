"""Roles and commands by hand outlive the process; a configuration that changed wins over them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from agents import make_controller
from envs import CityloopError
from envs.core.site import Site
from serving.build import Plan
from serving.charge.roles import Roles
from serving.charge.state import StateStore
from serving.config import ServiceConfig
from serving.core.events import SiteChange
from serving.gateway import Gateway
from serving.operations import configure
from serving.tick.sites import SiteService
from tests.serving.bundles import bundle
from tests.serving.operators import BASE, Book, Clock, ask, change, failing, http, put
from tests.serving.plants import GRID, Stub, body_of, service, tick_of


def test_roles_and_hands_outlive_the_process(site: Site, tmp_path: Path) -> None:
    clock, agent = Clock(), site.agents[0]

    def start() -> TestClient:
        return http(service(site, store=StateStore(tmp_path, site), clock=clock))

    client = start()
    assert change(client, "promote", policy="greedy").json()["saved"]
    assert put(client, agent).json()["saved"]
    client = start()
    answer = ask(client, site, 0)
    assert (answer["controller"], answer["overridden"]) == ("greedy", {agent: "roadworks"})
    assert change(client, "rollback").json()["roles"]["champion"] == "max-pressure"


def test_a_hand_that_expired_does_not_hold_again_where_the_clock_is_put_back(site: Site, tmp_path: Path) -> None:
    clock = Clock()
    one = service(site, store=StateStore(tmp_path, site), clock=clock)
    client = http(one)
    put(client, site.agents[0])
    clock.now_s += 3600.0
    assert ask(client, site, 0)["overridden"] == {}
    assert ask(client, site, 1)["overridden"] == {}
    one.close()
    clock.now_s -= 3600.0
    assert ask(http(service(site, store=StateStore(tmp_path, site), clock=clock)), site, 0)["overridden"] == {}


def test_the_configuration_holds_again_once_it_changes(site: Site, tmp_path: Path) -> None:
    change(http(service(site, store=StateStore(tmp_path, site))), "promote", policy="greedy")
    other = service(site, Stub("other"), store=StateStore(tmp_path, site))
    assert other.standing.crew.roles.champion == "other"
    assert other.standing.crew.roles.former == ("max-pressure", "greedy")


def test_what_people_did_outlives_what_a_deployment_asked_for_while_it_ran(site: Site, tmp_path: Path) -> None:
    """A new process is started with the roles of the application's arguments, and told those of its `user_config`."""
    asked = Roles(champion="max-pressure", challenger="greedy")

    def start(**arguments: Any) -> SiteService:
        one = service(site, store=StateStore(tmp_path, site), **arguments)
        asyncio.run(configure(one, asked))
        return one

    one = start()
    assert one.standing.crew.roles.challenger == "greedy"
    change(http(one), "promote", policy="greedy")
    for _ in range(2):
        one = start()
        assert one.standing.crew.roles == asked.promote("greedy")
    other = start(controller=Stub("other"))  # other arguments win, and then what the deployment asks for
    assert (other.standing.crew.roles.champion, other.standing.crew.roles.challenger) == ("max-pressure", "greedy")


def test_a_policy_that_is_gone_does_not_keep_the_service_from_starting(site: Site, tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    change(http(service(site, store=StateStore(tmp_path / "state", site))), "promote", policy=str(path))
    (path / "policy.onnx").write_bytes(b"altered")
    one = service(site, store=StateStore(tmp_path / "state", site))
    assert one.in_charge.controller == "max-pressure"


def test_other_roles_at_a_start_are_told_as_every_change_is(site: Site, tmp_path: Path) -> None:
    """Who decides is another one than people left in charge, so the audit log says by whom, and why."""
    path, book = bundle(tmp_path / "tiny"), Book()

    def start(**more: Any) -> SiteService:
        return service(site, store=StateStore(tmp_path / "state", site), sinks=[book], **more)

    change(http(start()), "promote", policy=str(path))
    start()
    assert book.changes() == [("anonymous", "promote")], "what holds on is no change"
    (path / "policy.onnx").write_bytes(b"altered")
    start()
    start(controller=Stub("other"))
    assert book.changes()[1:] == [("service", "configure"), ("configuration", "configure")]
    _, spoilt, asked = book.of(SiteChange)
    assert "policy.onnx was altered" in spoilt.reason
    assert (spoilt.detail["before"]["champion"], spoilt.detail["after"]["champion"]) == (str(path), "max-pressure")
    assert spoilt.detail["bundles"] == {"max-pressure": None}
    assert asked.detail["after"]["champion"] == "other"


def test_what_a_start_decides_is_kept_at_once(site: Site, tmp_path: Path) -> None:
    """Else each start decides it anew, and where the file is changed back, what was void holds again unseen."""
    book = Book()

    def start(champion: str, at: Site = site) -> SiteService:
        return service(at, make_controller(champion, at), store=StateStore(tmp_path, at), sinks=[book])

    one = http(start("max-pressure"))
    change(one, "promote", policy="greedy")
    put(one, site.agents[0])
    start("webster")
    start("webster")
    assert book.changes()[2:] == [("configuration", "configure")]
    assert start("max-pressure").standing.crew.roles == Roles(
        champion="max-pressure", former=("max-pressure", "greedy", "webster")
    )
    start("max-pressure", site.model_copy(update={"regime": "resco"}))
    assert start("max-pressure").standing.overrides.now() == {}


def test_a_look_at_what_would_be_served_keeps_nothing(tmp_path: Path) -> None:
    Plan.make(ServiceConfig.make({"state": tmp_path, "sites": [GRID]})).gateway(restore=False).close()
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_fails_half_way_leaves_what_was_saved(site: Site, tmp_path: Path) -> None:
    """The process before goes on, and by what is saved."""

    def content(champion: str, other: str) -> dict[str, Any]:
        sites = [{"site": GRID, "champion": champion}, {"site": "intersections/cologne1", "champion": other}]
        return {"state": tmp_path, "sites": sites}

    Plan.make(ServiceConfig.make(content("max-pressure", "max-pressure"))).gateway().close()
    saved = StateStore(tmp_path, site).load()
    assert saved is not None
    with pytest.raises(CityloopError, match="'nobody' is unknown"):
        Plan.make(ServiceConfig.make(content("greedy", "nobody"))).gateway()
    assert StateStore(tmp_path, site).load() == saved


def test_a_start_that_fails_at_its_end_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Desk:
        def close(self) -> None:
            closed.append("desk")

    def fail(_: SiteService) -> None:
        raise CityloopError("its first change cannot be told")

    monkeypatch.setattr("serving.build.open_desks", lambda *_: {"hcmc": Desk()})
    monkeypatch.setattr(SiteService, "begin", fail)
    with pytest.raises(CityloopError, match="first change"):
        Plan.make(ServiceConfig.make({"state": tmp_path, "sites": [GRID]})).gateway()
    assert closed == ["desk"]


def test_who_is_out_of_charge_stays_so_as_long_as_the_champion_is_the_same(site: Site, tmp_path: Path) -> None:
    def start(policy: Stub, **more: Any) -> SiteService:
        return service(site, policy, store=StateStore(tmp_path, site), rollback={"errors": 0}, **more)

    policy = Stub("policy")
    one = start(policy)
    policy.then = failing
    one.act(body_of(tick_of(site)))
    one.close()
    assert start(Stub("policy"), challenger=Stub("other")).degraded == one.degraded is not None
    assert start(Stub("policy"), challenger=Stub("other"), roles={"mode": "canary"}).degraded is None
    assert start(Stub("another")).degraded is None


def test_what_people_did_holds_where_all_of_it_has_been_moved(site: Site, tmp_path: Path) -> None:
    here, there, book = tmp_path / "here", tmp_path / "there", Book()

    def start(folder: Path) -> SiteService:
        config = ServiceConfig.load(folder / "city.yaml")
        assert config.state is not None
        one = SiteService.open(site, config.sites[0], store=StateStore(config.state, site), sinks=[book])
        one.begin()
        return one

    for name in ("first", "second", "third"):
        bundle(here / name)
    (here / "city.yaml").write_text(
        f"state: state\nsites: [{{site: {GRID}, champion: ./first, challenger: ./second}}]\n"
    )
    change(http(start(here)), "promote", policy=str(here / "third"))
    shutil.copytree(here, there)  # as from a backup: what was here may be here still
    roles = start(there).standing.crew.roles
    assert (roles.champion, roles.challenger, roles.former) == (
        str(there / "third"),
        str(there / "second"),
        (str(there / "first"),),
    )
    assert book.changes() == [("anonymous", "promote")]
    assert start(here).standing.crew.roles.champion == str(here / "third")
    shutil.rmtree(there / "third")
    assert start(there).standing.crew.roles.champion == str(here / "third"), "where it was it can be had still"


def roles_at(site: Site, config: ServiceConfig) -> tuple[str, ...]:
    """The champion of a service that starts by a configuration, and those before it, without their folders."""
    one = SiteService.open(site, config.sites[0], store=StateStore(config.state, site))
    one.begin()
    roles = one.standing.crew.roles
    return tuple(Path(ref).name for ref in (roles.champion, *roles.former))


def test_a_path_from_the_root_that_leads_to_the_old_place_asks_for_the_same(site: Site, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    bundle(here / "first")
    (here / "city.yaml").write_text(f"state: state\nsites: [{{site: {GRID}, champion: {here / 'first'}}}]\n")
    config = ServiceConfig.load(here / "city.yaml")
    one = SiteService.open(site, config.sites[0], store=StateStore(config.state, site))
    one.begin()
    change(http(one), "promote", policy="greedy")
    shutil.copytree(here, there)  # and what was here stays
    assert roles_at(site, ServiceConfig.load(there / "city.yaml")) == ("greedy", "first")


def test_a_bundle_that_was_known_by_its_bare_name_asks_for_the_same(site: Site, tmp_path: Path) -> None:
    """As before relative paths in the configuration were made whole for bare names, too."""
    bundle(tmp_path / "mine")
    (tmp_path / "city.yaml").write_text(f"state: state\nsites: [{{site: {GRID}, champion: mine}}]\n")
    config = ServiceConfig.load(tmp_path / "city.yaml")
    assert roles_at(site, config) == ("mine",)
    one = SiteService.open(site, config.sites[0], store=StateStore(config.state, site))
    change(http(one), "promote", policy="greedy")
    file = tmp_path / "state" / "sites" / "intersections" / "grid2x2.json"
    content = orjson.loads(file.read_bytes().replace(str(tmp_path / "mine").encode(), b"mine"))
    assert content.pop("folder") == str(tmp_path / "state")
    file.write_bytes(orjson.dumps(content))
    assert roles_at(site, config) == ("greedy", "mine")


def test_a_link_to_the_folder_is_no_other_folder(site: Site, tmp_path: Path) -> None:
    real, link = tmp_path / "data" / "city", tmp_path / "srv"
    bundle(real / "mine")
    link.symlink_to(tmp_path / "data")
    text = f"state: {link / 'city' / 'state'}\nsites: [{{site: {GRID}, champion: greedy}}]\n"
    (real / "city.yaml").write_text(text)
    config = ServiceConfig.load(link / "city" / "city.yaml")
    one = SiteService.open(site, config.sites[0], store=StateStore(config.state, site))
    change(http(one), "promote", policy=str(link / "city" / "mine"))
    other = tmp_path / "other"
    (tmp_path / "data").rename(other)
    (other / "city" / "city.yaml").write_text(text.replace(str(link), str(other)))
    assert roles_at(site, ServiceConfig.load(other / "city" / "city.yaml")) == ("mine", "greedy")


def test_a_state_from_before_it_was_noted_where_it_lies_is_read(site: Site, tmp_path: Path) -> None:
    change(http(service(site, store=StateStore(tmp_path, site))), "promote", policy="greedy")
    file = tmp_path / "sites" / "intersections" / "grid2x2.json"
    content = orjson.loads(file.read_bytes())
    assert content.pop("folder") == str(tmp_path)
    file.write_bytes(orjson.dumps(content))
    assert service(site, store=StateStore(tmp_path, site)).standing.crew.roles.champion == "greedy"
    assert orjson.loads(file.read_bytes())["folder"] == str(tmp_path)


def test_a_state_file_that_is_none_is_one_sentence(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "sites" / "intersections" / "grid2x2.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(CityloopError, match=r"cannot be used \(.*\): correct it, or move the file away"):
        service(site, store=StateStore(tmp_path, site))


def test_a_disk_that_refuses_is_said_and_the_hand_holds(site: Site, tmp_path: Path, monkeypatch: Any) -> None:
    client = http(service(site, store=StateStore(tmp_path, site)))
    saved = StateStore(tmp_path, site).load()

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.charge.state.os.replace", refuse)
    assert put(client, site.agents[0]).json()["saved"] is False
    assert ask(client, site, 0)["overridden"] == {site.agents[0]: "roadworks"}
    assert [file.name for file in (tmp_path / "sites" / "intersections").iterdir()] == ["grid2x2.json"]
    assert StateStore(tmp_path, site).load() == saved


@pytest.mark.parametrize("again", ["tick", "check", "end"])
def test_what_a_full_disk_refused_is_written_once_there_is_room(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """Not only with the next change: else what a person has ended would hold again after a restart."""
    one = service(site, store=StateStore(tmp_path, site))
    client = http(one)
    assert put(client, site.agents[0]).json()["saved"]

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("serving.charge.state.os.replace", refuse)
        full.setattr("serving.charge.keeping.AGAIN_S", 1e9)
        assert client.delete(f"{BASE}/overrides").json()["saved"] is False
        ask(client, site, 0)
        assert client.get("/readyz").json()["faults"] == {one.ref: "its state cannot be saved"}
    if again != "end":
        monkeypatch.setattr("serving.charge.keeping.AGAIN_S", 0.0)
        if again == "tick":
            ask(client, site, 1)
        else:  # where no plant asks any more: no tick would come before the site is ready
            asyncio.run(Gateway([one]).check())
        one._keeper._writer.submit(lambda: None).result()
        assert client.get("/readyz").status_code == 200
    else:
        one.close()
    saved = StateStore(tmp_path, site).load()
    assert saved is not None
    assert saved.overrides == {}
