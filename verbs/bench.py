"""``cityloop bench``: throughput and latency, compared with a peer or a bare baseline."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Annotated

import typer

from envs import CityloopError
from verbs import AsJson
from verbs.terminal import Output, number, table

BENCHES = {
    "intersections": ("training.bench.intersections", "bench_intersections"),
    "drainage": ("training.bench.drainage", "bench_drainage"),
    "dampers": ("training.bench.dampers", "bench_dampers"),
    "laws": ("training.bench.laws", "bench_laws"),
    "monitor": ("training.bench.monitor", "bench_monitor"),
    "storeys": ("training.bench.storeys", "bench_storeys"),
    "transit": ("training.bench.transit", "bench_transit"),
    "cordeau": ("training.bench.cordeau", "bench_cordeau"),
    "training": ("training.bench.training", "bench_training"),
    "serving": ("serving.bench.ticks", "bench_serving"),
    "alarms": ("serving.bench.alarms", "bench_alarms"),
    "console": ("serving.bench.console", "bench_console"),
    "loop": ("serving.bench.loop", "bench_loop"),
    "audit": ("serving.bench.audit", "bench_audit"),
    "soak": ("serving.bench.soak", "bench_soak"),
    "fuzz": ("serving.bench.fuzz", "bench_fuzz"),
    "checks": ("serving.bench.checks", "bench_checks"),
}
"""Name → module and function, which gives ``{"bench", "ratios", "figures"}``."""


def bench(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BENCHES)}.", show_default=False)],
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="How long the clients of serving ask, or a soak test takes.", show_default="60, 1800"),
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Measure throughput or latency side by side with a peer or a bare floor."""
    if name not in BENCHES:
        raise CityloopError(f"bench {name!r} is unknown: choose {', '.join(BENCHES)}")
    output = Output(as_json)
    module, function = BENCHES[name]
    if seconds is not None and name not in ("serving", "soak"):
        raise CityloopError(f"--seconds is for serving and soak, not for {name}: leave it out")
    if seconds is not None and not math.isfinite(seconds):
        raise CityloopError(f"--seconds is {seconds:g}: give a time that ends")
    more = {} if seconds is None else {"seconds": seconds}
    with output.quiet():
        found = getattr(import_module(module), function)(**more)
    for title in ("ratios", "figures"):
        rows = [(label, number(value)) for label, value in found[title].items()]
        output.show(table(f"{found['bench']}: {title}", ("what", "value"), rows, numbers=1))
    output.emit(found)
