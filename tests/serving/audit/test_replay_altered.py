"""What was altered in a log, or is missing from it, is found and named; nothing in a log breaks a replay."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import make_controller
from envs import CityloopError
from serving.audit import AuditLog, AuditSettings
from serving.audit.query import Wanted, recent
from serving.audit.replay import replay
from serving.audit.segments import list_segments
from serving.audit.verify import verify
from tests.serving.audit.logs import Logged, all_reproduced, run
from tests.serving.bundles import bundle
from tests.serving.plants import Stub, body_of, grid, service, tick_of, wish


def altered(folder: Path, edit: Callable[[bytes], bytes]) -> None:
    (segment,) = list_segments(folder / "chain-0")
    segment.path.write_bytes(edit(segment.path.read_bytes()))


def test_a_command_that_was_altered_is_found(logged: Logged) -> None:
    site = grid()
    run(logged.service(site), [body_of(tick_of(site) | {"tick": k}) for k in range(2)])
    logged.log.close()
    agent = site.agents[1]
    altered(
        logged.folder,
        lambda text: text.replace(f'"{agent}":{{"stage":0}}'.encode(), f'"{agent}":{{"stage":1}}'.encode(), 1),
    )
    (difference,) = logged.replay().differences
    assert (difference.record, difference.tick, difference.step) == (3, 0, "commands")
    assert difference.what == f'{agent}: recorded {{"stage":1}}, replayed {{"stage":0}}'


@pytest.mark.parametrize(
    ("old", "new", "step"),
    [
        (b'\\"green_s\\":[20.0', b'\\"green_s\\":[21.0', "readings"),
        (b'\\"green_s\\":[20.0', b'\\"green_s\\":[-1.0', "body"),
        (b'"requests":[0', b'"requests":[1', "requests"),
        (b'"interventions":[]', b'"interventions":[{}]', "interventions"),
        (b'"tick":0,"time_s"', b'"tick":5,"time_s"', "body"),
    ],
)
def test_whatever_is_altered_the_first_step_that_differs_is_named(
    logged: Logged, old: bytes, new: bytes, step: str
) -> None:
    site = grid()
    stub = Stub("max-pressure")
    one = logged.service(site, stub)
    stub.then = wish(site, 0)
    run(one, [body_of(tick_of(site, count_veh=[0.0] * len(site.axes["approach"])))])
    logged.log.close()
    assert logged.replay().ok
    altered(logged.folder, lambda text: text.replace(old, new, 1))
    (difference,) = logged.replay().differences
    assert difference.step == step


def test_an_altered_copy_of_a_bundle_is_found(logged: Logged, tmp_path: Path) -> None:
    site = grid()
    folder = bundle(tmp_path / "tiny")
    logged.log.keep_bundle(folder)
    run(logged.service(site, make_controller(str(folder), site)), [body_of(tick_of(site))])
    assert all_reproduced(logged.replay())
    (copy,) = (logged.folder / "kept" / "bundles").iterdir()
    card = copy / "policy.json"
    card.write_bytes(card.read_bytes().replace(b'"name":"tiny"', b'"name":"tony"').replace(b'"tiny"', b'"tony"'))
    (difference,) = logged.replay().differences
    assert difference.step == "bundle"
    assert "was altered" in difference.what
    found = replay(logged.folder, bundle=folder)  # the original still does
    assert found.ok


def test_a_site_that_is_gone_from_the_log_is_no_success(logged: Logged) -> None:
    run(logged.service(grid()), [body_of(tick_of(grid()))])
    logged.log.close()
    shutil.rmtree(logged.folder / "kept" / "sites")
    found = replay(logged.folder)
    assert (found.ok, found.different) == (False, 1)
    assert "the log's folder is not complete" in found.differences[0].what


def test_without_a_site_it_says_so(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    one = service(grid(), sinks=(log,))
    run(one, [body_of(tick_of(grid()))])
    one.close()
    log.close()
    assert replay(tmp_path).partly == {"the log does not hold its site": 1}
    with pytest.raises(CityloopError, match="no decision that fits"):
        replay(tmp_path, Wanted(site="elsewhere"))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short") / "audit"
    log = AuditLog(folder, AuditSettings(compress=False))
    one = service(grid(), sinks=(log,))
    log.keep_site(grid(), "max-pressure")
    run(one, [body_of(tick_of(grid()) | {"tick": k}) for k in range(2)])
    one.close()
    log.close()
    return folder


@pytest.mark.parametrize("name", ["origin", "sites", "bundles"])
def test_a_segment_that_begins_with_something_else_breaks_nothing(short: Path, name: str) -> None:
    (segment,) = list_segments(short / "chain-0")
    whole = segment.path.read_bytes()
    first, _, rest = whole.partition(b"\n")
    begin = first.index(b'"%s":' % name.encode()) + len(name) + 3
    try:
        segment.path.write_bytes(first[:begin] + b'9,"was":' + first[begin:] + b"\n" + rest)
        assert not verify(short).ok
        with suppress(CityloopError):
            replay(short)
    finally:
        segment.path.write_bytes(whole)


@pytest.mark.parametrize(("name", "value"), [("body", 5), ("body", None), ("source", ["champion"]), ("source", {})])
def test_a_field_of_another_type_breaks_nothing(short: Path, name: str, value: object) -> None:
    (segment,) = list_segments(short / "chain-0")
    whole = segment.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    record = orjson.loads(lines[2])
    assert record["kind"] == "decision"
    lines[2] = orjson.dumps(record | {name: value}, option=orjson.OPT_APPEND_NEWLINE)
    try:
        segment.path.write_bytes(b"".join(lines))
        assert not verify(short).ok
        found = replay(short)
        assert (found.decisions, found.ok) == (2, name != "body")
    finally:
        segment.path.write_bytes(whole)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_whatever_was_altered_nothing_breaks(short: Path, data: st.DataObject) -> None:
    (segment,) = list_segments(short / "chain-0")
    whole = segment.path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    size, put_in = (
        data.draw(st.integers(0, 30)),
        data.draw(st.sampled_from([b"", b"9", b"null", b"[]", b'"', b"e9", b"\n"])),
    )
    segment.path.write_bytes(whole[:at] + put_in + whole[at + size :])
    try:
        for look in (verify, replay, partial(recent, wanted=Wanted())):
            with suppress(CityloopError):
                look(short)
    finally:
        segment.path.write_bytes(whole)
