"""The service as a file for ``serve deploy``, for a Ray cluster that somebody else runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from envs.core.errors import CityloopError
from envs.core.machine.files import write_whole
from serving.build import Plan
from serving.cluster.ray_cluster import SETTINGS
from serving.cluster.replica import application, user_config
from serving.cluster.shards import shards_of
from serving.config import ServiceConfig


def build(arguments: dict[str, Any]) -> Any:
    """The application of one shard, named by the file's ``import_path``.

    Args:
        arguments: ``{"config": a resolved `ServiceConfig`, "shard": the application's name}``.

    Raises:
        CityloopError: if they do not fit.
    """
    unknown = set(arguments) - {"config", "shard"}
    if unknown or not isinstance(arguments.get("config"), dict):
        raise CityloopError("args of the application: give config and shard, as `cityloop serve --write-config` does")
    shards = {shard.name: shard for shard in shards_of(Plan.make(ServiceConfig.make(arguments["config"])))}
    if arguments.get("shard") not in shards:
        raise CityloopError(f"args.shard is {arguments.get('shard')!r}: choose {', '.join(shards)}")
    return application(shards[arguments["shard"]])


def serve_config(config: ServiceConfig) -> dict[str, Any]:
    """Content of the file; roles are in ``user_config``, so that changing them there restarts nothing.

    Raises:
        CityloopError: if something cannot be served, or not on somebody else's cluster.
    """
    _check_deployable(config)
    plan = Plan.make(config)
    resolved = config.model_dump(mode="json", exclude={"defaults"})
    applications = [
        {
            "name": shard.name,
            "route_prefix": shard.route,
            "import_path": "serving.cluster.deploy:build",
            "args": {"config": resolved, "shard": shard.name},
            "deployments": [{"name": shard.name, "user_config": user_config(shard)}],
        }
        for shard in shards_of(plan)
    ]
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": config.host, "port": config.port},  # Ray's own default is every interface
        "applications": applications,
    }


def _check_deployable(config: ServiceConfig) -> None:
    """Refuse settings that such a cluster would ignore silently: keys would travel in the clear."""
    if config.tls is not None:
        raise CityloopError(
            f"tls.certificate is {str(config.tls.certificate)!r}: Ray's own proxy does not encrypt; leave tls away, "
            "listen on loopback, and let what stands in front encrypt"
        )
    if config.grpc_port is not None:
        raise CityloopError(
            f"grpc_port is {config.grpc_port}: only `cityloop serve` itself listens for gRPC; leave it away"
        )


def write_serve_config(config: ServiceConfig, path: Path) -> None:
    """Write the file, for its owner alone, headed by the environment variables that every node needs.

    Raises:
        CityloopError: if something cannot be served, not on somebody else's cluster, or the file not be written.
    """
    head = (
        "# Made by `cityloop serve --write-config`; take it with `serve deploy`. See serving/cluster/README.md.\n"
        "# In the environment of every node, before `ray start`:\n"
    )
    head += "".join(f"# export {name}={value}\n" for name, value in SETTINGS.items())
    text = head + yaml.safe_dump(serve_config(config), sort_keys=False)
    try:
        write_whole(path, text.encode(), private=True)  # the URL of a database may hold a password
    except OSError as error:
        raise CityloopError(f"{path} cannot be written ({error.strerror}): choose another file") from None
