"""A service in several processes: every site has one, and the one in front speaks for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from serving.access.principal import ANYBODY
from serving.alarms.book import Alarm
from serving.cluster.shards import SILENT, Front, merge_expositions, shards_of
from serving.core.refusals import Busy, NotServed
from serving.gateway import Gateway
from tests.serving.sharded import three


@pytest.mark.parametrize(
    ("shards", "routes"),
    [
        ("one", ["/"]),
        ("system", ["/v1/intersections", "/v1/drainage", "/"]),
        ("site", ["/v1/intersections/grid2x2", "/v1/intersections/grid3x3", "/v1/drainage/theta", "/"]),
    ],
)
def test_every_site_has_one_shard(shards: str, routes: list[str]) -> None:
    found = shards_of(three(shards))
    assert [shard.route for shard in found] == routes
    assert sorted(site for shard in found for _, site in shard.plan.sites) == sorted(s for _, s in three("one").sites)
    assert found[-1].asks == {
        shard.name: tuple(f"{site.system}/{site.name}" for _, site in shard.plan.places()) for shard in found[:-1]
    }


def test_the_one_in_front_counts_what_it_answers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = three("site").part(()).gateway()
    front = Front(gateway, {"cityloop-a": ()})

    async def heard(method: str) -> dict[str, tuple[bytes, str]]:
        return {"cityloop-a": (b"# TYPE a gauge\na 1.0\n", "text/plain")}

    monkeypatch.setattr(front, "_heard", heard)
    assert front.metrics is not None
    try:
        front.metrics.answered("/v1/me", 401)
        told = asyncio.run(front.exposition())[0].decode()
    finally:
        gateway.close()
    assert 'a{shard="cityloop-a"} 1.0' in told
    assert 'cityloop_http_answers_total{shard="cityloop",route="/v1/me",status="401"} 1.0' in told


def test_a_shard_that_does_not_answer_is_told_of_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health, readiness and metrics of every site hung until it was replaced, and were cut off meanwhile."""

    from ray.exceptions import RayActorError

    async def well(method: str) -> Any:
        if method == "exposition":
            return b"# TYPE a gauge\na 1.0\n", "text/plain"
        return {"status": "ok", "sites": {"s/a": "ok"}, "audit": "ok", "faults": {}}

    async def hangs(_: str) -> None:
        await asyncio.Event().wait()

    async def dead(_: str) -> None:
        raise RayActorError

    class Handle:
        def __init__(self, answer: Callable[[str], Any]):
            self._answer = answer

        def __getattr__(self, method: str) -> Any:
            return SimpleNamespace(remote=lambda *_: self._answer(method))

    front = Front(Gateway([]), {"a": ("s/a",), "b": ("s/b",), "c": ("s/c",)})
    front._handles = [Handle(answer) for answer in (well, hangs, dead)]
    monkeypatch.setattr("serving.cluster.shards.ANSWERS_S", 0.01)
    silent = dict.fromkeys(("s/b", "s/c"), SILENT)
    told = asyncio.run(front.health())
    assert told == {"status": "degraded", "sites": {"s/a": "ok", **silent}, "audit": "ok", "access": "ok"}
    assert asyncio.run(front.ready()) == {"status": "unready", "faults": silent}
    assert asyncio.run(front.exposition())[0] == b'# TYPE a gauge\na{shard="a"} 1.0\n'
    for part in (front.summaries(), front.list_alarms(ANYBODY)):  # that would look like the whole
        with pytest.raises(Busy, match="one of its processes does not answer"):
            asyncio.run(part)


def test_alarms_are_seen_to_while_another_shard_hangs_or_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import RayActorError

    rang = Alarm(id=2, system="s", site="b", key="k", priority="low", text="", incident=2, raised_s=0.0)
    asked: list[tuple[str, str]] = []

    class Handle:
        def __init__(self, name: str, answer: Callable[[int], Any]):
            self._name, self._answer = name, answer

        def __getattr__(self, method: str) -> Any:
            async def remote(number: int, *_: Any) -> Any:
                asked.append((self._name, method))
                return await self._answer(number)

            return SimpleNamespace(remote=remote)

    async def well(number: int) -> Alarm | None:
        return rang if number == rang.id else None

    async def hangs(_: int) -> None:
        await asyncio.Event().wait()

    async def dead(_: int) -> None:
        raise RayActorError

    front = Front(Gateway([]), {"a": ("s/a",), "b": ("s/b",), "c": ("s/c",)})
    front._handles = [Handle("a", hangs), Handle("b", well), Handle("c", dead)]
    monkeypatch.setattr("serving.cluster.shards.ANSWERS_S", 0.01)
    assert asyncio.run(front.alarm(2)) == rang
    assert asyncio.run(front.acknowledge(2, "ana")) == rang
    assert asyncio.run(front.shelve(2, "ana", "seen to", 60.0)) == rang
    assert {one for one in asked if one[1] != "alarm"} == {("b", "acknowledge"), ("b", "shelve")}
    for part in (front.alarm(3), front.acknowledge(3, "ana"), front.shelve(3, "ana", "", 0.0)):
        with pytest.raises(Busy, match="one of its processes does not answer"):
            asyncio.run(part)
    front._handles = [Handle(name, well) for name in "abc"]
    with pytest.raises(NotServed):
        asyncio.run(front.acknowledge(3, "ana"))


def test_ray_s_controller_is_asked_once_where_the_shards_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be away: each request then held up the one in front for eight seconds."""
    asked: list[str] = []

    async def health() -> dict[str, Any]:
        return {"status": "ok", "sites": {}, "audit": "ok"}

    def find(name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(health=SimpleNamespace(remote=health))

    monkeypatch.setattr("ray.serve.get_app_handle", find)
    front = Front(Gateway([]), {"a": (), "b": ()})
    for _ in range(2):
        assert asyncio.run(front.health())["status"] == "ok"
    assert asked == ["a", "b"]


def test_metrics_of_shards_are_joined() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    text = '# HELP a what\n# TYPE a gauge\na 1.0\na{site="x}"} 2.0\n# HELP b what\n# TYPE b counter\nb_total{} 3.0\n'
    found = list(text_string_to_metric_families(merge_expositions({"one": text, "two": text})))
    samples = [(s.name, s.labels, s.value) for family in found for s in family.samples]
    assert samples == [
        ("a", {"shard": "one"}, 1.0),
        ("a", {"shard": "one", "site": "x}"}, 2.0),
        ("a", {"shard": "two"}, 1.0),
        ("a", {"shard": "two", "site": "x}"}, 2.0),
        ("b_total", {"shard": "one"}, 3.0),
        ("b_total", {"shard": "two"}, 3.0),
    ]
