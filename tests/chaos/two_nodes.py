"""A service over two Ray nodes of this machine, a process for each site. SIGUSR1 kills the second, SIGTERM ends all.

``python -m tests.chaos.two_nodes CONFIG``, with the configuration as JSON; says what `tests.serving.running` waits for,
and on which node each site's process runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from queue import SimpleQueue
from typing import Any

from serving.build import Plan
from serving.cluster.loopback import confine_cluster
from serving.cluster.options import quiet
from serving.cluster.ray_cluster import OBJECT_STORE_BYTES, Cluster
from serving.cluster.replica import application
from serving.cluster.shards import shards_of
from serving.cluster.worker import set_up_worker
from serving.config import ServiceConfig

NODE = {"num_cpus": 4, "object_store_memory": OBJECT_STORE_BYTES}


def main(content: dict[str, Any]) -> None:
    told = SimpleQueue[int]()
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda number, _: told.put(number))
    config = ServiceConfig.make(content)
    settings = Cluster(config)
    settings.configure()
    os.environ["RAY_AUTH_MODE"] = "disabled"  # `cluster_utils` starts its nodes without a token
    try:
        serve_on_two_nodes(config, settings, told)
    finally:
        settings.close()


def serve_on_two_nodes(config: ServiceConfig, settings: Cluster, told: SimpleQueue[int]) -> None:
    import ray
    from ray import cluster_utils, serve

    confine_cluster()
    nodes = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    second = nodes.add_node(**NODE)
    ray.init(nodes.address, runtime_env={"worker_process_setup_hook": set_up_worker}, log_to_driver=False)
    serve.start("HeadOnly", {"host": config.host, "port": config.port}, logging_config=quiet())
    plan = Plan.make(config)
    for shard in shards_of(plan):
        serve.run(application(shard), name=shard.name, route_prefix=shard.route)
    settings.wait_until_ready(plan)
    print(json.dumps({"url": config.url, "nodes": nodes_of_shards(), "second": second.node_id}), flush=True)
    while told.get() == signal.SIGUSR1:
        nodes.remove_node(second, allow_graceful=False)
    serve.shutdown()
    ray.shutdown()
    nodes.shutdown()


def nodes_of_shards() -> dict[str, str]:
    """Shard → the node that its process runs on."""
    import ray
    from ray.serve._private.api import _get_global_client

    details = ray.get(_get_global_client()._controller.get_serve_instance_details.remote())
    return {
        name: replica["node_id"]
        for name, app in details["applications"].items()
        for deployment in app["deployments"].values()
        for replica in deployment["replicas"]
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
