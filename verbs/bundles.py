"""``cityloop export``, ``calibrate`` and ``sign``: the steps from a run to a bundle that a service can trust."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from agents import load_policy
from envs import CityloopError
from verbs import OUT, AsJson, Settings, command_line, variants
from verbs.terminal import Output, table


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
        from training.export import export as write_bundle

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
        from training.calibrate import calibrate as fit_envelope

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
