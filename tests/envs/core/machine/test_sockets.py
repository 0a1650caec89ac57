"""Folders of sockets, whose paths are limited in length."""

import socket
import tempfile

import pytest

from envs.core.machine.sockets import LONGEST, SHORT, socket_folder


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_a_folder_is_left_for_a_short_one_where_a_socket_no_longer_fits(tmp_path, monkeypatch, more, fits):
    name = "s" * (LONGEST - len(str(tmp_path)) - 1 + more)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert socket_folder(name) == (str(tmp_path) if fits else SHORT)
    with socket.socket(socket.AF_UNIX) as one:
        if fits:
            one.bind(f"{tmp_path}/{name}")
        else:
            with pytest.raises(OSError, match="too long"):
                one.bind(f"{tmp_path}/{name}")


def test_a_folder_is_left_where_its_name_is_not_ascii(tmp_path, monkeypatch):
    """Ray did not start there: 'ascii' codec can't encode character."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "größe"))
    assert socket_folder("s") == SHORT
