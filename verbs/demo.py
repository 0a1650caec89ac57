"""``cityloop demo`` and ``riders``: a whole city on one machine, and a simulated day against its booking service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from envs.transit.scenarios import TransitScenario
from verbs import AsJson, Settings, scenario_of
from verbs.terminal import Output, flat, number, table


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


def riders(
    scenario: Annotated[str, typer.Argument(help="transit/NAME, or the path of a YAML file.")] = "transit/hcmc",
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="How much of the day is played.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the day's requests.")] = 0,
    vehicles: Annotated[int | None, typer.Option(help="Their number.", show_default="the scenario's")] = None,
    slower: Annotated[
        float, typer.Option(min=0, help="Streets take up to this share longer than the service thinks.")
    ] = 0.0,
    controller: Annotated[
        str, typer.Option("--controller", "-c", help="Who says where vehicles without riders stand by.")
    ] = "policy",
    stay: Annotated[bool, typer.Option("--stay", help="Vehicles without riders stay where they are.")] = False,
    rest_min: Annotated[float, typer.Option(help="Length of every driver's break; 0: none.")] = 0.0,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Let simulated riders and drivers use a booking service over HTTP, and check every promise that it makes."""
    output = Output(as_json)
    place = scenario_of(TransitScenario, scenario, settings)
    with output.quiet(), output.bar("playing") as show:
        from serving.bench.riders.play import play

        found = play(
            *(place, hours, seed, slower, vehicles, None if stay else controller, rest_min),
            show=lambda now_s: show(min(now_s / (3600 * hours), 1.0), f"{now_s / 60:.0f} min of the day"),
        )
    rows = [(name, number(value)) for name, value in flat(found)]
    output.show(table(f"{place.ref}: {hours:g} h over HTTP, seed {seed}", ("what", "value"), rows, numbers=1))
    output.emit(found)
