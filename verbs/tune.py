"""``cityloop tune``: parameters of the rules, a command per system, on training seeds alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any, Literal

import typer

from envs.dampers.scenarios import DampersScenario
from envs.drainage.scenarios import DrainageScenario
from envs.transit.scenarios import TransitScenario
from verbs import AsJson, ScenarioRef, Settings, scenario_of
from verbs.terminal import Output, number, table

app = typer.Typer(help="Tune the parameters of rules on training seeds.", no_args_is_help=True)

Laws = Annotated[list[str] | None, typer.Option("--law", "-l", help="A law (repeatable).", show_default="all")]


def _show(output: Output, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of tuned settings, and JSON; parameters in one column."""
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    cells = [[_cell(value) for value in row.values()] for row in plain]
    output.show(table(title, tuple(plain[0]), cells))
    output.emit({"rows": plain})


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner:.4g}" for key, inner in value.items())
    return number(value)


@app.command("dampers", epilog="Example: cityloop tune dampers dampers/jansen --law lqg --condition delay")
def dampers(
    scenario: ScenarioRef,
    law: Laws = None,
    condition: Annotated[
        list[str] | None, typer.Option(help="Tune for a disturbed plant (repeatable).", show_default="none")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Search a building's parameters of the laws, and keep them in agents/baselines/dampers_tuned.json."""
    output = Output(as_json)
    place = scenario_of(DampersScenario, scenario, settings)
    with output.quiet(), output.bar("tuning") as show:
        from training.tuning.dampers import tune

        rows = tune(place, law or (), condition or (), lambda done, total: show(done / total, f"{done} of {total}"))
    _show(output, f"{place.ref}: laws, median j on training motions", rows)


@app.command("drainage", epilog="Example: cityloop tune drainage drainage/estuary --law pi")
def drainage(scenario: ScenarioRef, law: Laws = None, settings: Settings = None, as_json: AsJson = None) -> None:
    """Search a network's parameters of the laws, and keep them in agents/baselines/drainage_tuned.json."""
    output = Output(as_json)
    place = scenario_of(DrainageScenario, scenario, settings)
    with output.quiet(), output.bar("tuning") as show:
        from training.tuning.drainage import tune

        rows = tune(place, law or (), lambda done, total: show(done / total, f"{done} of {total} laws"))
    _show(output, f"{place.ref}: laws, overflow relative to the storm", rows)


@app.command("transit", epilog="Example: cityloop tune transit transit/nyc2015 --seeds 60")
def transit(
    scenario: ScenarioRef,
    what: Annotated[
        Literal["insertion", "standby", "urgency"],
        typer.Option(help="Insertion's weights and the period of rebalancing; standby vehicles; urgency of a wait."),
    ] = "insertion",
    seeds: Annotated[int, typer.Option(min=1, help="How many of the training seeds.")] = 40,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Try settings of the rules, and show them, the least waiting last; nothing is changed."""
    output = Output(as_json)
    place = scenario_of(TransitScenario, scenario, settings)
    with output.quiet(), output.bar("tuning") as show:
        from training.tuning.transit import STANDBY_MODELS, URGENCY_RULES, tune, tune_standby

        def on_progress(done: int, total: int) -> None:
            show(done / total, f"{done} of {total} settings")

        days = place.seeds.train.take(seeds)
        if what == "insertion":
            rows = tune(place, days, on_progress=on_progress)
        else:
            rows = tune_standby(place, days, STANDBY_MODELS if what == "standby" else URGENCY_RULES, on_progress)
    _show(output, f"{place.ref}: {what}, means over {seeds} training days", rows)
