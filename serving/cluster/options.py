"""Options of Ray Serve for each process of the service."""

from __future__ import annotations

from typing import Any

from serving.core.wire import MAX_LOOPS
from serving.watch.streams import MAX_SUBSCRIBERS

QUEUE = 64
"""Requests that may wait for a process, or be under way in it: beyond, Ray Serve itself refuses."""


def options() -> dict[str, Any]:
    """Options of Ray Serve for a shard."""
    return {
        "num_replicas": 1,  # a site's state has one owner; and every change of replicas makes HAProxy reload
        "ray_actor_options": {"num_cpus": 0.5},
        # A subscriber of events, or a loop, counts as a request all the time.
        "max_ongoing_requests": QUEUE + MAX_SUBSCRIBERS + MAX_LOOPS,
        "max_queued_requests": QUEUE,
        "backpressure_config": {"status_code": 503, "retry_after_s": 1.0},
        "max_surge_percent": 100,  # a new version is ready before the old one goes
        "health_check_period_s": 5.0,
        "health_check_timeout_s": 10.0,
        "max_constructor_retry_count": 3,
        "graceful_shutdown_timeout_s": 5.0,
        "graceful_shutdown_wait_loop_s": 0.1,
        "logging_config": quiet(),
    }


def quiet() -> dict[str, Any]:
    """Logging of errors alone, not of every request."""
    return {"log_level": "WARNING", "enable_access_log": False}
