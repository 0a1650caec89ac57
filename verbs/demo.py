"""``cityloop demo``: a whole city on one machine, for demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(
            help="SYSTEM/NAME, or YAML files.",
            show_default="intersections/cologne8 drainage/astlingen dampers/jansen transit/hcmc",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the service, on loopback.")] = 8000,
    pace: Annotated[float, typer.Option(min=0.01, help="How many times as fast as one decision a second.")] = 1.0,
    state: Annotated[Path, typer.Option(help="Folder for state that outlives the demo.")] = Path("runs/demo"),
) -> None:
    """Serve sites, each driven by its simulator, with the console open on it; until Ctrl-C."""
    from serving.demo import SCENARIOS
    from serving.demo import demo as run

    run(scenarios or SCENARIOS, port=port, pace=pace, state=state)
