"""Set-up of each of Ray's worker processes as it starts.

Most of them are Ray's own and decide nothing, and a service starts, or replaces a dead proxy, only when several have
started one after the other. So this module imports little.
"""

from __future__ import annotations

from serving.cluster.loopback import confine_worker
from serving.cluster.proxy import set_up_proxy


def set_up_worker() -> None:
    """Confine this process and set its HAProxy up: a `worker_process_setup_hook`."""
    confine_worker()
    set_up_proxy()
