"""Processor time by consumer: the clients, HAProxy, the processes that answer, and the rest of Ray."""

from __future__ import annotations

import os
import time

import numpy as np

from serving.cluster.processes import family, processor_s, title

WHO = ("clients", "HAProxy", "replica", "rest of Ray")


def spent_s() -> np.ndarray:
    """Processor seconds that this process and all that it started have spent so far, one number for each of `WHO`."""
    spent = dict.fromkeys(WHO, 0.0) | {"clients": time.process_time()}
    for pid in family(os.getpid()):
        spent[_who(title(pid))] += processor_s(pid)
    return np.array(list(spent.values()))


def _who(name: str) -> str:
    program = name.split(" ", 1)[0]
    if program.endswith("haproxy"):
        return "HAProxy"
    return "replica" if program.startswith("ray::ServeReplica:") else "rest of Ray"
