"""Configurations of small services, in one process or in several."""

from __future__ import annotations

from typing import Any

from serving.build import Plan
from serving.config import ServiceConfig
from tests.serving.plants import GRID

SITES = [GRID, "intersections/grid3x3", "drainage/theta"]


def config(**changes: Any) -> ServiceConfig:
    defaults = {"champion": "max-pressure"}
    return ServiceConfig.make({"sites": [GRID], "defaults": defaults} | changes)


def three(shards: str) -> Plan:
    sites = [{"site": ref, "champion": "static" if ref.startswith("drainage") else "max-pressure"} for ref in SITES]
    return Plan.make(config(sites=sites, shards=shards))
