"""Keeps Ray and HAProxy off the network.

The service's own port is bound to where it was asked for. Beside it Ray opens a dozen ports on all interfaces; one of
them, of every Serve replica, unpickles whatever is sent to it without asking who sends. Ray 2.60 has settings for some
of them only, so what it lacks is set here, in the driver before Ray starts and in each worker process as it starts.
"""

from __future__ import annotations

import re
from typing import Any

LOOPBACK = "127.0.0.1"

BINDS = 3
"""Ports that HAProxy's template opens beside that of HTTP: metrics, statistics, gRPC."""


def confine_cluster() -> None:
    """Make the cluster that this process will start use loopback as its address; call before `ray.init`."""
    from ray._private import ray_constants

    # What Ray does on systems whose firewall would ask about every port: all of its servers listen on loopback.
    ray_constants.ENABLE_RAY_CLUSTER = False


def confine_worker() -> None:
    """Bind what this worker process will open to loopback: a `worker_process_setup_hook`.

    Raises:
        RuntimeError: if this version of Ray Serve is not the one that this was written for.
    """
    from ray._common import tls_utils
    from ray.serve._private import default_impl, haproxy, haproxy_templates, replica

    # gRPC is not encrypted, and would listen where HTTP does.
    anywhere = r"(?m)^(\s*bind )(?:\*?|\{\{ config\.grpc_frontend_host \}\}):"
    template, changes = re.subn(anywhere, rf"\g<1>{LOOPBACK}:", haproxy_templates.HAPROXY_CONFIG_TEMPLATE)
    if changes != BINDS or replica.add_port_to_grpc_server is not tls_utils.add_port_to_grpc_server:
        raise RuntimeError("this version of Ray Serve binds its ports elsewhere: cluster/loopback.py must be adapted")
    haproxy.HAPROXY_CONFIG_TEMPLATE = haproxy_templates.HAPROXY_CONFIG_TEMPLATE = template

    def add_port(server: Any, address: str) -> Any:
        return tls_utils.add_port_to_grpc_server(server, address.replace("[::]", LOOPBACK))

    def add_address(server: Any, address: str) -> None:
        server.add_insecure_port(address.replace("[::]", LOOPBACK))

    replica.add_port_to_grpc_server = add_port
    default_impl.add_grpc_address = add_address
