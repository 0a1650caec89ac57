"""``cityloop serve``, ``policy`` and ``control``: a service, the choice of its controllers, and a simulated plant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import envs
from agents import POLICY, meaning, shipped_policies
from agents.shipped import evaluated_at
from envs import CityloopError, get_system, load_scenario
from verbs import AsJson, ScenarioRef, Settings, chosen_scenario
from verbs.terminal import Output, flat, number, table

if TYPE_CHECKING:
    from serving.config import ServiceConfig

DEFAULT_SERVED = "intersections/cologne8"
"""Scenarios that are served if none is named and no policy ships."""


def serve(
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="Scenarios, or site JSON files; else where shipped policies were tried.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file that says all of this and more; see serving/README.md.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="The controller in charge: a name, or a bundle's path.", show_default=POLICY)
    ] = None,
    fallback: Annotated[
        str | None, typer.Option(help="The controller that answers when the one in charge cannot.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.", show_default="8000")] = None,
    deadline_ms: Annotated[
        float | None,
        typer.Option(min=1, help="Time for a decision before the fallback answers.", show_default="100"),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder for state that outlives the service.", show_default="runs/service")
    ] = None,
    audit: Annotated[Path | None, typer.Option(help="Folder of the audit log.", show_default="STATE/audit")] = None,
    keys: Annotated[
        Path | None, typer.Option(help="The file of `cityloop keys`: who may do what.", show_default="everybody may")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of loopback for gRPC.", show_default="none")
    ] = None,
    log: Annotated[str | None, typer.Option(help="Format of the log: json or text.", show_default="text")] = None,
    shards: Annotated[
        str | None,
        typer.Option(
            help="One process for all sites (one), each system (system) or each site (site).", show_default="one"
        ),
    ] = None,
    write_config: Annotated[
        Path | None, typer.Option(metavar="SERVE.yaml", help="Serve nothing: write a file for `serve deploy`.")
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Serve decisions over HTTP with Ray Serve, until interrupted."""
    defaults = {"champion": policy, "fallback": fallback, "deadline_ms": deadline_ms}
    changes = {"host": host, "port": port, "state": state, "shards": shards, "grpc_port": grpc_port, "log": log}

    def read() -> ServiceConfig:
        return _config_of(config, scenarios, _given(defaults), _given(changes), audit, keys)

    if write_config is not None:  # another process reads it, with another working directory
        from serving.cluster.deploy import write_serve_config

        write_serve_config(read().in_folder(Path.cwd()), write_config)
        Output(as_json).emit({"config": str(write_config)})
        return
    from serving.run import serve as run

    run(read(), as_json=as_json is not None, again=read)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _config_of(
    config: Path | None,
    scenarios: Sequence[str] | None,
    defaults: Mapping[str, Any],
    changes: dict[str, Any],
    audit: Path | None,
    keys: Path | None,
) -> ServiceConfig:
    """The configuration of a file, or of scenarios, with what options change.

    Args:
        config: the file.
        scenarios: to be served; none: `_served_by_default`.
        defaults: settings of every site, not with a file.
        changes: options that are settings of the service.
        audit: folder of the audit log.
        keys: file of keys.

    Raises:
        CityloopError: if something is wrong, or does not go together.
    """
    from serving.config import ServiceConfig

    if config is not None:
        if scenarios or defaults:
            raise CityloopError("--config says what is served and by whom: leave scenarios and their options away")
        found = ServiceConfig.load(config)
    else:
        found = ServiceConfig.make({"defaults": defaults, "sites": scenarios or _served_by_default()})
        changes = {"state": Path("runs/service")} | changes
        audit = audit or changes["state"] / "audit"
    if audit is not None:
        changes["audit"] = (found.audit.model_dump() if found.audit else {}) | {"folder": audit.absolute()}
    if keys is not None:
        changes["access"] = {**found.access.model_dump(), "keys": keys}
    return found.changed(**changes)


def _served_by_default() -> list[str]:
    """Scenarios at which ``policy`` means a shipped policy, among those on whose test seeds these were evaluated."""
    found = []
    for name in envs.SYSTEMS:
        evaluated = {ref for folder in shipped_policies(name).values() for ref in evaluated_at(folder)}
        system = get_system(name)
        for ref in [f"{name}/{place}" for place in system.scenario_names if f"{name}/{place}" in evaluated]:
            with suppress(CityloopError):  # the scenario's data are not on this machine
                if meaning(system.load_site(load_scenario(ref))).bundle is not None:
                    found.append(ref)
    return found or [DEFAULT_SERVED]


def policy(
    verb: Annotated[str, typer.Argument(help="show, shadow, canary, promote, demote or rollback.")],
    site: Annotated[str, typer.Argument(help="SYSTEM/SITE, all sites of a SYSTEM, or all.")],
    name: Annotated[
        str | None, typer.Option("--policy", help="A controller's name, or a bundle's path where the service runs.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of those sites on which a canary acts.", show_default="1.0"),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Let a canary begin within the current episode.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; recorded in the audit log.")] = None,
    url: Annotated[str, typer.Option(help="Where the service listens.")] = "http://127.0.0.1:8000",
    as_json: AsJson = None,
) -> None:
    """Show or change who decides at the sites of a running service. CITYLOOP_KEY holds the key, if one is needed."""
    from serving.client.admin import Admin
    from serving.operations import VERBS

    output = Output(as_json)
    if verb != "show" and verb not in VERBS:
        raise CityloopError(f"verb is {verb!r}: choose show, {', '.join(VERBS)}")
    if verb == "show":
        given = {"policy": name, "share": share, "now": now or None, "reason": reason}
        for option, value in given.items():
            if value is not None:
                raise CityloopError(f"--{option} does not go with show, which changes nothing: leave it away")
    elif not reason:
        raise CityloopError("--reason is missing: say why, it is kept in the audit log")
    with Admin(url) as admin:
        if verb == "show":
            found = admin.policies(site)
        else:
            body = {"policy": name, "share": 1.0 if share is None else share, "now": now, "reason": reason}
            found = admin.change(verb, site, body)
    rows = []
    for place, one in found.items():
        roles, charge = one["roles"], one["in_charge"]
        challenger = f"{roles['challenger']} ({roles['mode']})" if roles["challenger"] else "none"
        acts = charge["fallback"] if charge["out_of_charge"] else charge["controller"]
        rows.append((place, acts, roles["champion"], challenger, charge["out_of_charge"] or ""))
    output.show(table("Policies", ("site", "decides", "champion", "challenger", "out of charge because"), rows))
    output.emit(found)


def control(
    scenario: ScenarioRef,
    url: Annotated[str, typer.Option(help="Where the service listens.")] = "http://127.0.0.1:8000",
    seed: Annotated[int, typer.Option(min=0, help="The episode's seed.")] = 0,
    deadline_ms: Annotated[float, typer.Option(min=1, help="Time for an answer before the tick is missed.")] = 1000.0,
    after: Annotated[int, typer.Option(min=1, help="Missed ticks after which the local fallback decides.")] = 2,
    back: Annotated[int, typer.Option(min=1, help="Answered ticks after which the service decides again.")] = 3,
    key: Annotated[str | None, typer.Option(envvar="CITYLOOP_KEY", help="API key; better in the variable.")] = None,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Drive a plant (the simulator) through a running service."""
    output = Output(as_json)
    place = chosen_scenario(scenario, settings)
    ticks = 0

    def on_tick(*_: Any) -> None:
        nonlocal ticks
        ticks += 1
        show(ticks / place.decisions, f"tick {ticks} of {place.decisions}")

    with output.quiet(), output.bar("controlling") as show:
        from serving.client.control import control as drive

        found = drive(
            place, url=url, seed=seed, deadline_ms=deadline_ms, on_tick=on_tick, after=after, back=back, key=key
        )
    rows = [(key, number(value)) for key, value in flat(found)]
    output.show(table(f"{place.ref} driven by {url}, seed {seed}", ("what", "value"), rows, numbers=1))
    output.emit(found)
