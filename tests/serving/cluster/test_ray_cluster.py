"""Starting and stopping Ray where it does not do as it should: one sentence each, and nothing left behind."""

from __future__ import annotations

import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envs import CityloopError
from serving.build import Plan
from serving.cluster.ports import free_ports
from serving.cluster.ray_cluster import Cluster, check_processes, check_ray, hear_ray, refusal_in
from tests.serving.test_serve import config


class Lost(Exception):
    """Stands for Ray's own errors."""


def test_ray_does_not_take_the_signal_that_stops_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own the process printed traces, or aborted, where it was to say that it was stopped."""
    begun: list[str] = []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def init(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    served = SimpleNamespace(start=lambda **_: begun.append("serve"))
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, serve=served, is_initialized=lambda: False))
    monkeypatch.setattr("serving.cluster.ray_cluster.confine_cluster", lambda: None)
    monkeypatch.setattr("serving.cluster.ray_cluster.hear_ray", lambda _: None)
    monkeypatch.setattr("serving.cluster.ray_cluster.check_processes", lambda: None)
    before = signal.signal(signal.SIGTERM, stop)
    one = Cluster(config(port=free_ports(1)[0]))
    try:
        one._start()
        assert signal.getsignal(signal.SIGTERM) is stop
        assert begun == ["serve"]
    finally:
        signal.signal(signal.SIGTERM, before)
        monkeypatch.undo()
        one.close()


def test_what_ray_tells_is_a_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was a line of Ray's own, in colours, also where every line of the log is JSON."""
    spec = find_spec("ray")
    assert spec is not None
    (folder,) = spec.submodule_search_locations or ()
    source = (Path(folder) / "_private" / "worker.py").read_text()
    assert re.search(r"def listen_error_messages\(.*?\n +print_to_stdstream\($", source, re.DOTALL | re.MULTILINE)
    worker = SimpleNamespace(print_to_stdstream=None)
    monkeypatch.setitem(sys.modules, "ray._private", SimpleNamespace(worker=worker))
    one = Cluster(config(port=free_ports(1)[0]))
    hear_ray(one._tell_of_ray)
    told = {"lines": ["A worker died"], "pid": "raylet", "is_err": False}
    worker.print_to_stdstream(told, ignore_prefix=False)
    one.close()
    worker.print_to_stdstream(told, ignore_prefix=False)  # that the controller ended, which was told to
    assert caplog.messages == ["Ray: A worker died"]
    assert capsys.readouterr().out == ""


class Stuck:
    """A Ray whose processes never come to anything."""

    class exceptions:
        class RayError(Exception):
            pass

        class GetTimeoutError(RayError):
            pass

    def __init__(self, controller: bool) -> None:
        self._controller, self.ended, self.waited_s = controller, False, list[float]()

    def remote(self, **_: object) -> Any:
        return lambda job: SimpleNamespace(remote=lambda: job)

    def get_actor(self, *_: object, **__: object) -> Any:
        if not self._controller:
            raise ValueError
        return SimpleNamespace(check_alive=SimpleNamespace(remote=lambda: None))

    def get(self, _: object, timeout: float) -> None:
        self.waited_s.append(timeout)
        raise self.exceptions.GetTimeoutError

    def is_initialized(self) -> bool:
        return True

    def shutdown(self) -> None:
        self.ended = True


class Failing(Stuck):
    """A Ray that does not start, or whose processes end as they begin."""

    serve = None

    def __init__(self, starts: bool) -> None:
        super().__init__(controller=False)
        self._starts = starts

    def is_initialized(self) -> bool:
        return self._starts

    def init(self, **_: object) -> None:
        if not self._starts:
            raise Exception("The current node timed out during startup.")  # noqa: TRY002

    def get(self, _: object, timeout: float) -> None:
        raise self.exceptions.RayError("The worker died unexpectedly while executing this task.")


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        (False, r"did not start \(The current node timed out during startup\): the machine is too busy"),
        (True, r"did not start \(The worker died .* this task\): try again"),  # or Ray is of another version
    ],
)
def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch, starts: bool, words: str) -> None:
    monkeypatch.setitem(sys.modules, "ray", Failing(starts))
    monkeypatch.setattr("serving.cluster.ray_cluster.confine_cluster", lambda: None)
    monkeypatch.setattr("serving.cluster.ray_cluster.hear_ray", lambda _: None)
    one = Cluster(config(port=free_ports(1)[0]))
    try:
        with pytest.raises(CityloopError, match=words):
            one._start()
    finally:
        monkeypatch.undo()
        one.close()


def test_a_ray_that_begins_no_process_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where memory is nearly full, of which Ray Serve says nothing and waits for ever."""
    monkeypatch.setitem(sys.modules, "ray", Stuck(controller=False))
    with pytest.raises(CityloopError, match="has begun no process within 60 s: free memory"):
        check_processes()


@pytest.mark.parametrize("controller", [False, True])
def test_a_service_ends_without_a_controller_that_answers(monkeypatch: pytest.MonkeyPatch, controller: bool) -> None:
    stuck, asked = Stuck(controller), list[str]()
    monkeypatch.setitem(sys.modules, "ray", stuck)
    monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace(shutdown=lambda: asked.append("shutdown")))
    names = SimpleNamespace(SERVE_CONTROLLER_NAME="c", SERVE_NAMESPACE="s")
    monkeypatch.setitem(sys.modules, "ray.serve._private.constants", names)
    Cluster(config(port=free_ports(1)[0])).close()
    assert (stuck.ended, asked) == (True, [])


@pytest.mark.parametrize("module", ["ray", "ray.serve"])
def test_ctrl_c_may_break_off_the_import_of_ray(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """What it had imported by then cannot be imported once more."""

    def interrupt(_: Cluster) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("serving.cluster.ray_cluster.check_ray", lambda: None)
    monkeypatch.setattr(Cluster, "configure", lambda _: None)
    monkeypatch.setattr(Cluster, "_start", interrupt)
    monkeypatch.setitem(sys.modules, "ray", None if module == "ray" else SimpleNamespace(shutdown=lambda: None))
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with pytest.raises(KeyboardInterrupt):
        Cluster(config(port=free_ports(1)[0])).__enter__()


@pytest.mark.parametrize(("runs", "words"), [(True, "runs in this process already"), (False, "was imported before")])
def test_a_ray_that_came_first_is_one_sentence(monkeypatch: pytest.MonkeyPatch, runs: bool, words: str) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: runs))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(CityloopError, match=words):
        check_ray()
    if not runs:
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        check_ray()


@pytest.mark.parametrize("error", [TimeoutError("Proxies not available after 60s."), Lost("The actor died.")])
def test_a_ray_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise error

    fake = SimpleNamespace(serve=SimpleNamespace(run=run), exceptions=SimpleNamespace(RayError=Lost))
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("serving.cluster.replica.application", lambda shard: None)
    cluster = Cluster(config())
    try:
        with pytest.raises(CityloopError, match=r"cityloop did not begin \(.*\): try again"):
            cluster.run(Plan.make(config()))
    finally:
        cluster._guardian.dismiss()
        cluster._logs.close()
        cluster._own_folder.remove()


def test_after_an_update_that_fails_ray_serve_is_given_back_the_former_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gave up on the new one: a former process that died was never replaced."""
    deployed: list[Any] = []

    def run(app: Any, **_: Any) -> None:
        deployed.append(app)
        if len(deployed) == 2:
            raise TimeoutError("it does not begin")

    plan = Plan.make(config())
    monkeypatch.setattr("ray.serve.run", run)
    cluster = Cluster(config())
    try:
        cluster.run(plan)
        with pytest.raises(CityloopError, match="it does not begin"):
            cluster.run(plan.released())
    finally:
        cluster._guardian.dismiss()
        cluster._logs.close()
        cluster._own_folder.remove()
    first, new, again = (app._bound_deployment.version for app in deployed)
    assert first == again != new


def test_sites_come_and_go_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that go, once nobody asks for them; those that came, if another cannot."""
    there: set[str] = set()
    fails: list[str] = []

    def run(_: Any, name: str, **__: Any) -> None:
        there.add(name)
        if name in fails:
            raise TimeoutError("it does not begin")

    monkeypatch.setattr("ray.serve.run", run)
    monkeypatch.setattr("ray.serve.delete", there.remove)
    one, two, three = (f"intersections/{name}" for name in ("grid2x2", "cologne1", "cologne8"))
    names = {site: f"cityloop-{site.replace('/', '-')}" for site in (one, two, three)}

    def plan(*sites: str) -> Plan:
        return Plan.make(config(shards="site", sites=[{"site": site, "champion": "greedy"} for site in sites]))

    cluster = Cluster(config())
    try:
        cluster.run(plan(one, two))
        for bad, asked in ((three, (one, three)), (two, (three, two))):
            fails = [names[bad]]
            with pytest.raises(CityloopError, match="it does not begin"):
                cluster.run(plan(*asked))
            assert there == {"cityloop", names[one], names[two]}
        fails = []
        cluster.run(plan(two, three))
        assert there == {"cityloop", names[two], names[three]}
    finally:
        cluster._guardian.dismiss()
        cluster._logs.close()
        cluster._own_folder.remove()


def test_what_a_process_refuses_is_found_in_what_ray_says() -> None:
    said = "The deployment failed. Error:\nTraceback …\n  File …\n    raise CityloopError\n"
    found = refusal_in(said + "envs.core.errors.CityloopError: state file x: Invalid JSON; or move the file away\n")
    assert str(found) == "state file x: Invalid JSON; or move the file away"
    assert refusal_in(said + "KeyError: 'x'") is None, "our own mistakes keep their trace"
