"""Atomic replacement of files, caching of results by file, and error messages of records."""

import ctypes
import os
from pathlib import Path

import pytest

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen
from envs.core.machine.files import exchange, kept, read_json, write_bytes, write_json, write_text


class Pipe(Frozen):
    """A record."""

    length_m: float


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "state.json"
    write_bytes(path, b"old, and longer")
    write_bytes(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_replaced_stays(tmp_path):
    taken = tmp_path / "taken"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_bytes(taken, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_what_has_no_name_is_no_file(path):
    with pytest.raises(IsADirectoryError):
        write_bytes(Path(path), b"new")


def test_what_cannot_be_written_is_named_as_it_was_asked_for(tmp_path):
    path = tmp_path / "gone" / "site.json"
    with pytest.raises(FileNotFoundError) as error:
        write_bytes(path, b"new")
    assert error.value.filename == str(path)


@pytest.fixture(params=["at once", "one after the other"])
def two_folders(request, tmp_path, monkeypatch):
    if request.param != "at once":
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: None)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)
    return tmp_path / "one", tmp_path / "other"


def test_folders_change_names(two_folders, tmp_path):
    one, other = two_folders
    exchange(one, other)
    assert [(folder / "who").read_text() for folder in two_folders] == ["other", "one"]
    assert set(tmp_path.iterdir()) == {one, other}


def test_folders_that_cannot_change_names_stay(two_folders, tmp_path):
    one, other = two_folders
    with pytest.raises(FileNotFoundError):
        exchange(one, tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "gone", other)
    assert [(folder / "who").read_text() for folder in two_folders] == ["one", "other"]
    assert set(tmp_path.iterdir()) == {one, other}


def test_what_was_read_is_kept_until_the_file_is_changed(tmp_path):
    asked = []

    @kept(lambda path, times=1: (path,))
    def read(path, times=1):
        """Words."""
        asked.append(path)
        return path.read_text() * times

    path = tmp_path / "words"
    path.write_text("a")
    assert [read(path), read(path), read(path, times=2), read(path, times=2)] == ["a", "a", "aa", "aa"]
    assert len(asked) == 2
    path.write_text("ab")
    assert [read(path), read(path, times=2)] == ["ab", "abab"]
    assert read.__doc__ == "Words."
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(path)


def test_a_record_is_read_back_or_refused_with_its_name(tmp_path):
    path = tmp_path / "pipe.json"
    Pipe(length_m=2.5).to_file(path)
    assert Pipe.from_file(path, "pipe") == Pipe(length_m=2.5)
    path.write_text("{}")
    with pytest.raises(CityloopError, match=r"pipe .*pipe.json: key 'length_m' is missing: add it"):
        Pipe.from_file(path, "pipe")
    with pytest.raises(CityloopError, match=r"pipe .*gone.json cannot be read \(No such file.*\): lay it anew"):
        Pipe.from_file(tmp_path / "gone.json", "pipe", "lay it anew")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_round_trip_and_refusal_of_nan(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"x": [1, 2.5, None]})
    assert read_json(tmp_path / "deep" / "a.json") == {"x": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", float("nan"))


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("{", "not valid JSON")])
def test_unreadable_json_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CityloopError, match=words):
        read_json(path)
