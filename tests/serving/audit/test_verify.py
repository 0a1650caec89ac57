"""A log that was touched says so: whatever single thing is done to it, verifying finds it, and where."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs import CityloopError
from serving.audit import AuditLog, AuditSettings
from serving.audit.chain import seal
from serving.audit.tail import recover
from serving.audit.verify import LogReport, verify
from tests.serving.audit.events import change, decision, shadowed

SMALL = AuditSettings(segment_mb=0.008, compress=False)

BRAINPOOL = """-----BEGIN EC PRIVATE KEY-----
MFQCAQEEFElISu2O79R45LN3fEJHVgi8CsL2oAsGCSskAwMCCAEBAaEsAyoABImx
H4YfSfkmyAjbb4gMYR+aGwmMRR6Oz0UXHQxkL83u+6T4hiK0sqw=
-----END EC PRIVATE KEY-----
"""
"""A key on a curve (brainpoolP160r1) that the library for keys does not know, nor every openssl."""


def write(folder: Path, count: int = 30, how: AuditSettings = SMALL) -> Path:
    log = AuditLog(folder, how)
    for k in range(count):
        log.record(decision(k))
        if k % 10 == 0:
            log.record(change())
            log.record(shadowed(k))
            assert log.flush()  # so that it may rotate
    log.close()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole") / "audit")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def files(folder: Path) -> list[Path]:
    return sorted((folder / "chain-0").glob("*.jsonl"))


def copied(whole: Path, bench: Path) -> Path:
    shutil.rmtree(bench / "audit", ignore_errors=True)
    return Path(shutil.copytree(whole, bench / "audit"))


def edited(whole: Path, bench: Path, edit: Callable[[list[list[bytes]]], None]) -> LogReport:
    """What is found after an edit of the segments' lines."""
    folder = copied(whole, bench)
    lines = [path.read_bytes().splitlines(keepends=True) for path in files(folder)]
    edit(lines)
    for path, content in zip(files(folder), lines, strict=True):
        path.write_bytes(b"".join(content))
    return verify(folder)


def test_a_log_that_nobody_touched_is_whole(whole: Path) -> None:
    report = verify(whole)
    assert report.ok, report.all_problems
    (chain,) = report.chains
    assert chain.segments > 2
    lines = sum(path.read_bytes().count(b"\n") for path in files(whole))
    assert (chain.first, chain.head.n) == (1, lines)
    assert not chain.gaps
    assert not chain.notes


SLOW_START = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.data())
@SLOW_START
def test_any_byte_that_is_another_is_found(whole: Path, bench: Path, data: st.DataObject) -> None:
    folder = copied(whole, bench)
    path = data.draw(st.sampled_from(files(folder)))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert not verify(folder).ok


@given(st.data())
@SLOW_START
def test_any_bytes_that_are_missing_or_put_in_are_found(whole: Path, bench: Path, data: st.DataObject) -> None:
    folder = copied(whole, bench)
    path = data.draw(st.sampled_from(files(folder)))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.integers(-400, 400).filter(bool))
    if more > 0:
        changed = content[:at] + data.draw(st.sampled_from([b" ", b"0", b"\n", b"{}"])) * more + content[at:]
    else:
        changed = content[:at] + content[at - more :]
    path.write_bytes(changed)
    assert not verify(folder).ok


@given(st.data())
@SLOW_START
def test_any_record_that_is_deleted_moved_or_doubled_is_found(whole: Path, bench: Path, data: st.DataObject) -> None:
    def edit(lines: list[list[bytes]]) -> None:
        segment = data.draw(st.sampled_from(lines))
        at = data.draw(st.integers(0, len(segment) - 1))
        match data.draw(st.sampled_from(["delete", "move", "double"])):
            case "delete":
                del segment[at]
            case "double":
                data.draw(st.sampled_from(lines)).append(segment[at])
            case "move":
                line = segment.pop(at)
                other = data.draw(st.sampled_from(lines))
                to = data.draw(st.integers(0, len(other)).filter(lambda k: other is not segment or k != at))
                other.insert(to, line)

    assert not edited(whole, bench, edit).ok


@given(st.data())
@SLOW_START
def test_wherever_the_end_is_cut_off_the_anchor_shows_it(whole: Path, bench: Path, data: st.DataObject) -> None:
    folder = copied(whole, bench)
    paths = files(folder)
    k = data.draw(st.integers(0, len(paths) - 1))
    content = paths[k].read_bytes()
    paths[k].write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    for path in paths[k + 1 :]:
        path.unlink()
    assert not verify(folder).ok


def test_a_file_that_is_missing_is_found(whole: Path, bench: Path) -> None:
    for k in range(len(files(whole))):
        folder = copied(whole, bench)
        files(folder)[k].unlink()
        assert not verify(folder).ok


@pytest.mark.parametrize("name", ["a\0b", "../../etc", "b" * 400, "", 7])
@pytest.mark.parametrize(("kind", "field"), [("site", "sha256"), ("bundle", "kept")])
def test_a_record_that_names_nothing_that_is_kept_stops_nothing(
    tmp_path: Path, kind: str, field: str, name: object
) -> None:
    log = AuditLog(tmp_path, SMALL)
    log.close()
    (path,) = files(tmp_path)
    _, line = seal(recover(tmp_path / "chain-0").head, kind, {"at_s": 1.0, field: name})
    path.write_bytes(path.read_bytes() + line)
    found = [one.what for one in verify(tmp_path).all_problems]
    assert all("kept" in what for what in found)
    assert bool(found) == (kind == "site" or bool(name))


def test_it_says_where(whole: Path, bench: Path) -> None:
    def alter(lines: list[list[bytes]]) -> None:
        lines[1][3] = lines[1][3].replace(b'"stage":1', b'"stage":2')

    def remove(lines: list[list[bytes]]) -> None:
        del lines[1][3:5]

    def swap(lines: list[list[bytes]]) -> None:
        lines[1][3:5] = lines[1][4:2:-1]

    number = len(files(whole)[0].read_bytes().splitlines()) + 4
    problem = edited(whole, bench, alter).all_problems[0]
    assert (problem.chain, problem.segment, problem.record) == ("chain-0", files(whole)[1].name, number)
    assert f"record {number} or record {number - 1} before it was altered" in problem.what
    problem = edited(whole, bench, remove).all_problems[0]
    assert f"records {number} to {number + 1} are missing" in problem.what
    what = [problem.what for problem in edited(whole, bench, swap).all_problems]
    assert f"record {number} is missing before record {number + 1}" in what[0]
    assert f"record {number} stands after record {number + 1}" in what[1]


def test_a_chain_written_anew_differs_from_its_anchor(whole: Path, bench: Path) -> None:
    folder = copied(whole, bench)
    anchor = (folder / "chain-0" / "anchor.json").read_bytes()
    head = verify(folder).chains[0].head.hash.hex()
    shutil.rmtree(folder)
    write(folder, 40)  # longer, and right in itself
    assert verify(folder).ok
    (bench / "kept.json").write_bytes(anchor)
    problems = verify(folder, bench / "kept.json").all_problems
    assert [re.sub(r"\d+", "N", one.what) for one in problems] == [
        "record N is not the one that an anchor has seen: the chain was written anew"
    ]
    assert "no record has the hash" in verify(folder, heads=[head]).all_problems[0].what


def test_a_head_that_somebody_kept_shows_that_the_end_was_cut_off(whole: Path, bench: Path) -> None:
    folder = copied(whole, bench)
    head = verify(folder).chains[0].head.hash.hex()
    assert verify(folder, heads=[head]).ok
    (folder / "chain-0" / "anchor.json").unlink()
    last = files(folder)[-1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    report = verify(folder)
    assert report.ok
    assert "if the end was cut off, nothing here shows it" in report.chains[0].notes[0]
    assert not verify(folder, heads=[head]).ok


def test_a_chain_that_is_missing_is_known_to_anchors_elsewhere(tmp_path: Path) -> None:
    how = SMALL.model_copy(update={"anchors": tmp_path / "elsewhere"})
    first, second = AuditLog(tmp_path / "audit", how), AuditLog(tmp_path / "audit", how)
    for log in (first, second):
        log.record(decision())
        log.close()
    assert len(verify(tmp_path / "audit", tmp_path / "elsewhere").chains) == 2
    shutil.rmtree(tmp_path / "audit" / "chain-1")
    (problem,) = verify(tmp_path / "audit", tmp_path / "elsewhere").all_problems
    assert problem.chain == "chain-1"
    assert "the chain is missing" in problem.what


def test_a_signed_anchor_cannot_be_made_without_the_key(tmp_path: Path) -> None:
    keys = []
    for name in ("log.pem", "other.pem"):
        keys.append(tmp_path / name)
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", keys[-1]], check=True)
    public = tmp_path / "public.pem"
    subprocess.run(["openssl", "pkey", "-in", keys[0], "-pubout", "-out", public], check=True)
    folder = write(tmp_path / "audit", how=SMALL.model_copy(update={"key": keys[0]}))
    assert verify(folder, key=public).ok
    assert verify(folder, key=keys[0]).ok
    assert "not signed by that key" in verify(folder, key=keys[1]).all_problems[0].what
    anchor = folder / "chain-0" / "anchor.json"
    anchor.write_bytes(anchor.read_bytes().replace(b'"n":', b'"n":1'))
    assert "not signed by that key" in verify(folder, key=public).all_problems[0].what
    anchor.write_bytes(anchor.read_bytes().replace(b'"n":', b'"n":100000000000000000000'))
    with pytest.raises(CityloopError, match="is none"):
        verify(folder, key=public)
    curve = tmp_path / "curve.pem"
    curve.write_text(BRAINPOOL)
    for path in (anchor, curve):
        with pytest.raises(CityloopError, match="holds no Ed25519 key: give the public half"):
            verify(folder, key=path)


def test_an_anchor_that_was_taken_away_with_the_end_is_missed(tmp_path: Path) -> None:
    """Whoever cannot sign an anchor could still remove it, and what it had seen: the log was called whole."""
    key, elsewhere = tmp_path / "log.pem", tmp_path / "elsewhere"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    how = SMALL.model_copy(update={"key": key, "anchors": elsewhere})
    first, second = AuditLog(tmp_path / "audit", how), AuditLog(tmp_path / "audit", how)
    for log in (first, second):
        log.record(decision())
        log.close()
    assert verify(tmp_path / "audit", elsewhere, key=key).ok
    (elsewhere / "chain-0.json").unlink()
    for more in ({"anchors": elsewhere, "key": key}, {"anchors": elsewhere}):
        (problem,) = verify(tmp_path / "audit", **more).all_problems
        assert (problem.chain, problem.what[:21]) == ("chain-0", "its anchor is missing")
    assert verify(tmp_path / "audit", elsewhere / "chain-1.json").ok, "one anchor is asked about one chain"


def test_the_check_in_the_readme_checks(whole: Path, bench: Path) -> None:
    text = (Path(__file__).parents[3] / "serving" / "audit" / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (block,) = [block for block in blocks if "bytes.fromhex" in block]
    first = bench / "first.jsonl"
    for content, code in (
        (files(whole)[0].read_bytes(), 0),
        (files(whole)[0].read_bytes().replace(b"champ", b"chimp"), 1),
    ):
        first.write_bytes(content)
        done = subprocess.run([sys.executable, "-c", block, first], capture_output=True, check=False)
        assert done.returncode == code


def test_compressed_segments_are_checked_alike(whole: Path, bench: Path) -> None:
    folder = copied(whole, bench)
    for path in files(folder)[:-1]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert verify(folder).chains[0].head == verify(whole).chains[0].head
    assert verify(folder).ok
    packed = sorted((folder / "chain-0").glob("*.gz"))[1]
    content = gzip.decompress(packed.read_bytes())
    packed.write_bytes(gzip.compress(content.replace(b'"stage":1', b'"stage":2', 1)))
    assert not verify(folder).ok
    packed.write_bytes(gzip.compress(content)[:-20])
    assert "cannot be read to its end" in verify(folder).all_problems[0].what


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"heads": ["abc"]}, "head 'abc' is no hash"),
        ({"anchors": Path("/nowhere")}, "anchor /nowhere does not exist"),
        ({"key": Path("/nowhere")}, "key file /nowhere cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused(whole: Path, arguments: dict, sentence: str) -> None:
    with pytest.raises(CityloopError, match=sentence):
        verify(whole, **arguments)


def test_where_there_is_no_log_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(CityloopError, match="holds no audit log"):
        verify(tmp_path)
    (tmp_path / "chain-0").mkdir()  # whose files and anchor somebody deleted
    with pytest.raises(CityloopError, match="holds no record, nor an anchor that saw one"):
        verify(tmp_path)
    (tmp_path / "anchor.json").write_text("{}")
    with pytest.raises(CityloopError, match="is none"):
        verify(write(tmp_path / "audit"), tmp_path / "anchor.json")
