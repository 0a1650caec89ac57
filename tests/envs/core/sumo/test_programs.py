"""SUMO on a machine without the libraries that its wheels lack: the error says what to install."""

import pytest

from envs import CityloopError
from envs.core.sumo import programs

LOADER = "error while loading shared libraries: libatomic.so.1: cannot open shared object file: No such file"


def program(folder, said):
    path = folder / "netgenerate"
    path.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 127\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_without_a_library_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "sumo_binary", lambda name: program(tmp_path, f"{name}: {LOADER}"))
    with pytest.raises(CityloopError, match=r"^libatomic\.so\.1 is missing .*: .*apt install .*libatomic1"):
        programs.run_sumo_program("netgenerate")


def test_a_program_that_fails_otherwise_has_the_last_word(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "sumo_binary", lambda name: program(tmp_path, "Error: no such street"))
    with pytest.raises(CityloopError, match=r"^netgenerate failed: Error: no such street$"):
        programs.run_sumo_program("netgenerate")


def test_the_library_without_another_says_what_to_install(monkeypatch):
    def failing(name):
        raise ImportError("libX11.so.6: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(programs, "import_module", failing)
    with pytest.raises(CityloopError, match=r"^libX11\.so\.6 is missing on this machine: .*apt install .*libx11-6"):
        programs.load_libsumo()
