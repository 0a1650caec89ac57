"""``cityloop list``, ``site`` and ``check``: the available systems, the data of a site, and contract checks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import envs
from agents import POLICY, fallback_name, rules, shipped_policies
from agents.shipped import proven_of
from envs import CityloopError, get_system, load_scenario
from envs.core.machine.files import write_text
from verbs import OUT, AsJson, ScenarioRef, Settings, chosen_scenario
from verbs.terminal import STDOUT, Output, table, verdict


def list_(as_json: AsJson = None) -> None:
    """Show systems, scenarios, controllers and shipped policies."""
    out = Output(as_json)
    systems = [get_system(name) for name in envs.SYSTEMS]
    scenarios = {f"{system.name}/{name}": system for system in systems for name in system.scenario_names}
    policies = {system.name: list(shipped_policies(system.name)) for system in systems}
    controllers = {name: [*rules(name), POLICY] for name in policies}
    proven = {name: {one: proven_of(folder) for one, folder in shipped_policies(name).items()} for name in policies}
    content = {
        "systems": [system.name for system in systems],
        "scenarios": list(scenarios),
        "controllers": controllers,
        "policies": [f"{name}/{policy}" for name, shipped in policies.items() for policy in shipped],
        "proven": {f"{name}/{policy}": where for name, shipped in proven.items() for policy, where in shipped.items()},
        "fallbacks": {name: fallback_name(name) for name in policies},
    }
    if as_json != STDOUT:
        out.show(table("Systems", ("system", "what it is"), [(s.name, s.description) for s in systems]))
        out.show(table("Scenarios", ("scenario", "what it is"), [(ref, _description(ref)) for ref in scenarios]))
        rows = [(name, ", ".join(names), _meanings(name, proven[name])) for name, names in controllers.items()]
        out.show(table("Controllers", ("system", "controllers", f"{POLICY!r} means"), rows))
        out.say(f"{POLICY!r} is a shipped policy where it was shown to be no worse than the system's rule of practice.")
    out.emit(content)


def _meanings(system: str, proven: dict[str, dict[str, bool]]) -> str:
    """The sites at which a shipped policy decides, and the rule that decides elsewhere."""
    places = [(pattern, name) for name, sites in proven.items() for pattern, fine in sites.items() if fine]
    told = [f"{name} at {pattern}" for pattern, name in places if pattern != "*"]
    anywhere = [name for pattern, name in places if pattern == "*"]
    return "; ".join([*told, f"{(anywhere or [fallback_name(system)])[0]} {'elsewhere' if told else 'anywhere'}"])


def _description(ref: str) -> str:
    try:
        return load_scenario(ref).description
    except CityloopError as error:
        return f"not available: {error}"


def site(
    scenario: ScenarioRef,
    out: Annotated[Path | None, typer.Option(*OUT, help="The file to write.", show_default="none")] = None,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Extract what is fixed about a place as JSON, so that it can be served without its network files."""
    output = Output(as_json)
    place = chosen_scenario(scenario, settings)
    found = get_system(place.system).load_site(place)
    if out is None:
        if as_json is None:
            print(found.model_dump_json(indent=1))
        output.emit(found.model_dump(mode="json"))
        return
    write_text(out, found.model_dump_json(indent=1) + "\n")
    output.say(f"site {found.name}, agents: {len(found.agents)}, hash {found.hash}, written to {out}")
    output.emit({"site": str(out), "hash": found.hash, "agents": list(found.agents)})


def check(
    target: Annotated[str, typer.Argument(help="A scenario (SYSTEM/NAME or YAML), a bundle's folder, or a system.")],
    as_json: AsJson = None,
) -> None:
    """Run contract and safety checks; exit code 1 if one fails."""
    output = Output(as_json)
    with output.quiet():
        from training.check import check as run_checks

        checks = run_checks(target)
    ok = all(each.ok for each in checks)
    rows = [(each.name, verdict(each.ok, "ok", "FAILED"), each.detail) for each in checks]
    output.show(table(target, ("check", "", "what was seen"), rows))
    output.emit({"ok": ok, "checks": [vars(each) for each in checks]})
    if not ok:
        raise typer.Exit(1)
