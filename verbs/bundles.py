"""``cityloop export``, ``calibrate``, ``sign``, ``teach`` and ``travel-times``: what a service or a fleet relies on,
made from runs and simulations.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from agents import load_policy
from envs import CityloopError
from envs.core.machine.files import write_text
from envs.dampers.scenarios import DampersScenario
from envs.transit.scenarios import TransitScenario
from verbs import OUT, AsJson, ScenarioRef, Settings, command_line, scenario_of, variants
from verbs.terminal import Output, number, table


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
    out: Annotated[Path | None, typer.Option(*OUT, help="The bundle's folder.")] = None,
    name: Annotated[str | None, typer.Option(help="The policy's name.")] = None,
    update: Annotated[
        int | None, typer.Option(min=0, help="Another kept policy, by its update.", show_default="the best")
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Write a run's best validated policy as a bundle (ONNX and JSON)."""
    output = Output(as_json)
    if not run.is_dir():
        raise CityloopError(f"run folder {run} does not exist: give one that `cityloop train` made")
    with output.quiet():
        from training.bundles.export import export as write_bundle

        bundle = write_bundle(run, out, name, update)
    output.say(f"bundle: {bundle}\nnext: {shlex.join(['cityloop', 'check', str(bundle)])}")
    output.emit({"bundle": str(bundle)})


def calibrate(
    controller: Annotated[str, typer.Argument(help="A bundle's folder; with -o any controller.", show_default=False)],
    scenarios: Annotated[list[str], typer.Argument(help="SYSTEM/NAME or YAML files.", show_default=False)],
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Episodes per scenario, each to fit, to set thresholds and to measure.",
            show_default="6, or 6000 ticks",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(help="Share of healthy ticks that may raise a false alarm.")] = 1e-3,
    out: Annotated[Path | None, typer.Option(*OUT, help="A file for sensors' limits, instead of the bundle.")] = None,
    settings: Settings = None,
    each: Annotated[
        list[str] | None, typer.Option(metavar="KEY=A,B", help="Calibrate on each scenario with each of these.")
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Note in a bundle what its policy sees in healthy episodes, so that services know when it sees something else."""
    output = Output(as_json)
    places = [place for ref in scenarios for place in variants(ref, settings, each)]
    command = command_line(sys.argv[1:])
    with output.quiet(), output.bar("calibrating") as show:
        from training.bundles.calibrate import calibrate as fit_envelope

        found = fit_envelope(
            controller,
            places,
            episodes,
            rate,
            out,
            command,
            lambda done, total: show(done / total, f"{done} of {total} parts of the work"),
        )
    rows = [(label, found.fitted[label], f"{share:.5f}") for label, share in found.measured.items()]
    output.show(table("envelope", ("scenario", "episodes", "false alarms a tick, on other seeds"), rows, numbers=1))
    output.say(f"written to {out or controller}")
    output.emit({"written": str(out or controller), "rate": rate, "fitted": found.fitted, "measured": found.measured})


def sign(
    bundle: Annotated[Path, typer.Argument(help="A policy bundle's folder.", show_default=False)],
    key: Annotated[Path, typer.Option(help="Private key (PEM): openssl genpkey -algorithm ed25519 -out city.pem")],
    as_json: AsJson = None,
) -> None:
    """Vouch for a bundle with an Ed25519 key; a service with trusted_keys takes no other bundles."""
    from agents.signing import sign as vouch

    output = Output(as_json)
    load_policy(bundle)
    public = vouch(bundle, key)
    output.say(f"signed; for the service's configuration: trusted_keys: [{public}]")
    output.emit({"bundle": str(bundle), "key": public})


def teach(
    scenario: ScenarioRef,
    out: Annotated[
        Path | None, typer.Option(*OUT, help="The monitor's file.", show_default="beside the site's shipped policy")
    ] = None,
    motions: Annotated[int, typer.Option(min=2, help="Simulated motions, half of them for the threshold.")] = 1200,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Teach a monitor what the storeys of a healthy simulated building are like."""
    output = Output(as_json)
    place = scenario_of(DampersScenario, scenario, settings)
    with output.quiet(), output.bar("teaching") as show:
        from agents.monitors.storeys.teach import destination, learn

        path = destination(place, out)
        monitor = learn(place, motions, lambda done, total: show(done / total, f"{done} of {total} motions"))
        monitor.save(path)
    learned, threshold = monitor.learned.windows
    output.say(f"{path}: learned from {learned} windows, threshold from {threshold}")
    output.emit({"written": str(path), "windows": {"learned": learned, "threshold": threshold}})


def travel_times(
    scenario: ScenarioRef,
    out: Annotated[Path, typer.Option(*OUT, help="The file of times.", show_default=False)],
    seeds: Annotated[int, typer.Option(min=1, help="How many of the training seeds.")] = 3,
    flow: Annotated[float, typer.Option(min=0, max=5, help="Traffic, relative to the route files.")] = 1.0,
    processes: Annotated[int, typer.Option(min=1, help="Simulations run in parallel.")] = 1,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Measure in SUMO how long a fleet's streets take with traffic on them. Takes minutes per seed."""
    output = Output(as_json)
    place = scenario_of(TransitScenario, scenario, settings)
    with output.quiet():
        from envs.transit.referee.measure import measure

        found = measure(place, seeds, flow, processes)
        write_text(out, found.model_dump_json() + "\n")
    delay_s, stop_s = (sum(values) / len(values) for values in (found.delay_s, found.stop_s))
    figures = {
        "turns": len(found.delay_s),
        "turns driven": found.driven,
        "mean delay of a turn (s)": delay_s,
        "mean delay of a stop (s)": stop_s,
        "left out (share)": found.unexplained,
    }
    rows = [(name, number(value)) for name, value in figures.items()]
    output.show(table(f"{place.ref}: travel times", ("what", "value"), rows, numbers=1))
    output.say(f"written to {out}; speed by {found.slot_s / 60:g} minutes: {' '.join(map(str, found.speed))}")
    output.emit(figures | {"written": str(out), "speed": list(found.speed)})
