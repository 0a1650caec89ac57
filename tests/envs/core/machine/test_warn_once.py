"""Warnings about a user's files are logged once."""

import logging
import multiprocessing

from envs.core.machine import warn_once as module

LOGGER = logging.getLogger("envs.test")


def test_it_is_said_once_of_a_file(tmp_path, caplog):
    for name in ("a", "a", "b"):
        module.warn_once(LOGGER, tmp_path / name, "100 % wrong")
    assert [record.message for record in caplog.records] == ["100 % wrong"] * 2


def test_processes_that_a_command_starts_do_not_say_it_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "parent_process", multiprocessing.current_process)
    module.warn_once(LOGGER, tmp_path, "wrong")
    assert not caplog.records
