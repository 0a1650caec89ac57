"""The command line: one verb a function, each thin around the library call of the same name.

Results for people are tables; ``--json`` makes them data. What the user gave and cannot be used ends in one sentence
and exit code 2, an interruption in 130, checks that fail in 1. Heavy libraries are imported where needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from typer.core import TyperGroup

import envs
from agents import POLICY, fallback_name, find_bundle, references, rules, shipped_policies
from agents.shipped import proven_of
from envs import CityloopError, Scenario, get_system, load_scenario
from training.settings import ALGORITHMS
from training.tables import evaluation_table, figures_table, standings_table, trials_table
from training.terminal import STDOUT, Output, json_option, number, parse_settings, table
from verbs import AsJson, ScenarioRef, Settings, chosen_scenario, command_line
from verbs import audit as audit_verbs
from verbs import demo as demo_verbs
from verbs import keys as keys_verbs
from verbs import service as service_verbs


class Verbs(TyperGroup):
    """Turns what the user may cause into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except CityloopError as error:
            if os.environ.get("CITYLOOP_TRACE"):
                raise
            print(f"Error: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Verbs,
    help="Cityloop: train, evaluate and serve cooperative policies that close the control loops of a city.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command("list", epilog="Example: cityloop list --json")
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
    """Which policy decides where, and who does elsewhere."""
    places = [(pattern, name) for name, sites in proven.items() for pattern, fine in sites.items() if fine]
    told = [f"{name} at {pattern}" for pattern, name in places if pattern != "*"]
    anywhere = [name for pattern, name in places if pattern == "*"]
    return "; ".join([*told, f"{(anywhere or [fallback_name(system)])[0]} {'elsewhere' if told else 'anywhere'}"])


def _description(ref: str) -> str:
    try:
        return load_scenario(ref).description
    except CityloopError as error:
        return f"not available: {error}"


@app.command(epilog="Example: cityloop train intersections/cologne8 intersections/town1 --each regime=engineer,resco")
def train(
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="SYSTEM/NAME or YAML files, for one policy; not with --resume.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so much time.", show_default="30")] = None,
    iterations: Annotated[int | None, typer.Option(help="Stop after so many updates.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, exploration and episodes.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Plants of each scenario simulated at a time.", show_default="the system's")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "--output", "-o", help="A new folder instead of one under runs/.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a run, from its folder.")] = None,
    algo: Annotated[
        str, typer.Option(help="mappo or ippo (PPO in RLlib), backprop, evolution, or sb3; see the README.")
    ] = "mappo",
    settings: Settings = None,
    each: Annotated[
        list[str] | None, typer.Option(metavar="KEY=A,B", help="Train on each scenario with each of these settings.")
    ] = None,
    hyper: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Change a training setting.")] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B", help="Try each value of a training setting; KEY=low:high, log:low:high: draw."),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Trials of a sweep that draws.", show_default="8")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Trials of a sweep at a time.")] = 1,
    as_json: AsJson = None,
) -> None:
    """Train a policy; the best on validation seeds is kept. TensorBoard events lie in the run's folder."""
    output = Output(as_json)
    if (not scenarios) == (resume is None):
        raise CityloopError("give either scenarios to train on, or a run's folder with --resume")
    if algo not in ALGORITHMS:
        raise CityloopError(f"--algo is {algo!r}: choose {', '.join(ALGORITHMS)}")
    if resume is not None and not resume.is_dir():
        raise CityloopError(f"run folder {resume} does not exist: give one that `cityloop train` made")
    places = [place for ref in scenarios or () for place in _variants(chosen_scenario(ref, settings), each)]
    common: dict[str, Any] = {
        "minutes": minutes,
        "iterations": iterations,
        "seed": seed,
        "out": out,
    }
    if workers is not None:
        common["workers"] = workers
    common["command"] = command_line(sys.argv[1:])
    if sweep:
        if resume or algo == "sb3":
            raise CityloopError("--sweep starts trials of its own: it goes neither with --resume nor with --algo sb3")
        more = parse_settings(hyper) | {"algorithm": algo}
        _sweep(output, places, sweep, samples=samples, parallel=parallel, **common, **more)
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the learner's threads shall not spin while plants compute
    with output.quiet(), output.training() as common["on_progress"]:
        if algo == "sb3":
            if resume or hyper or len(places) > 1:
                raise CityloopError("--resume, --hyper and several scenarios are not for sb3: it is a plain reference")
            run = import_module("training.reference").train_reference(places[0], **common)
        else:
            more = parse_settings(hyper) | {"algorithm": algo}
            run = import_module("training.train").train(places, **common, resume=resume, **more)
    output.say(f"run: {run}\nnext: cityloop export {run}    tensorboard --logdir {run}")
    output.emit({"run": str(run)})


def _sweep(output: Output, places: Sequence[Scenario], items: Sequence[str], **options: Any) -> None:
    def on_progress(done: int, total: int, best: float) -> None:
        show(done / total, f"{done} of {total} trials, best score {best:.4g}")

    with output.quiet(), output.bar("sweeping") as show:
        folder, trials = import_module("training.sweep").sweep(places, items, on_progress=on_progress, **options)
    output.show(trials_table(trials))
    output.say(f"best: {trials[0].run}\nnext: cityloop export {trials[0].run}    tensorboard --logdir {folder}")
    output.emit({"sweep": str(folder), "trials": [vars(trial) for trial in trials], "best": vars(trials[0])})


def _variants(scenario: Scenario, each: Sequence[str] | None) -> list[Scenario]:
    """A scenario with every combination of the values of ``--each``, told apart by their names."""
    places = [scenario]
    for key, values in parse_settings(each).items():
        changes = [{key: yaml.safe_load(choice)} for choice in str(values).split(",")]
        places = [_variant(place, change) for place in places for change in changes]
    return places


def _variant(scenario: Scenario, change: dict[str, Any]) -> Scenario:
    changed = scenario.override(dict(change))
    if changed.label != scenario.label or changed == scenario:
        return changed
    suffix = "-".join(f"{key.rpartition('.')[2]}{value}" for key, value in change.items())
    return changed.override({"name": f"{changed.name}-{suffix}"})


@app.command(
    epilog="Example: cityloop evaluate intersections/cologne8 -c policy -c actuated --seeds 30 --json out.json"
)
def evaluate(
    scenarios: Annotated[list[str], typer.Argument(help="SYSTEM/NAME or YAML files.", show_default=False)],
    controllers: Annotated[
        list[str] | None,
        typer.Option("--controller", "-c", help="A controller or a bundle's path (repeatable); the first is compared."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many of the split's seeds.")] = 20,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    processes: Annotated[int | None, typer.Option(min=1, help="Episodes at a time.", show_default="cores")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "--output", "-o", help="A new folder instead of one under runs/.")
    ] = None,
    settings: Settings = None,
    each: Annotated[
        list[str] | None, typer.Option(metavar="KEY=A,B", help="Evaluate on each scenario with each of these settings.")
    ] = None,
    card: Annotated[bool, typer.Option("--card", help="Write on the first controller's card what it reached.")] = False,
    proven: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="With --card: sites that this vouches for, e.g. 'astlingen*'; * is any."),
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Run frozen controllers on the same seeds and compare them; on several scenarios, sum up how the first stands."""
    output = Output(as_json)
    places = [place for ref in scenarios for place in _variants(chosen_scenario(ref, settings), each)]
    system = places[0].system
    if any(place.system != system for place in places):
        raise CityloopError("scenarios of several systems have no controllers in common: evaluate them one by one")
    ours = [POLICY] if any(find_bundle(POLICY, system, place.name) for place in places) else []
    names = controllers or [*ours, *references(system)]
    bundles = {place.label: find_bundle(names[0], system, place.name) for place in places}
    if card and None in bundles.values():
        raise CityloopError(f"--card is for bundles, and the first controller is {names[0]!r}: give a bundle's path")
    if proven is not None and not card:
        raise CityloopError(f"--proven is {proven!r} and nothing is written on a card: add --card")
    unnamed = [key for key in parse_settings(settings) if key != "regime"]
    if card and unnamed:
        raise CityloopError(
            f"--card would not tell that {unnamed[0]} is changed: use --each, which names what it changes"
        )
    found = []
    with output.quiet(), output.bar("evaluating") as show:
        for k, place in enumerate(places):

            def on_progress(done: int, total: int, k: int = k, place: Scenario = place) -> None:
                show((k + done / total) / len(places), f"{place.label}: {done} of {total} episodes")

            folder = out if out is None or len(places) == 1 else out / place.label
            more = {"seeds": seeds, "split": split, "processes": processes, "out": folder, "on_progress": on_progress}
            found.append(import_module("training.evaluate").evaluate(place, names, **more))
    if card:
        import_module("training.proof").write_cards(found, places, bundles, proven, output.say)
    for evaluation in found:
        output.show(evaluation_table(evaluation))
        if evaluation.policy is not None:
            output.say(f"{POLICY!r} at {evaluation.label}: {evaluation.policy}")
        output.say(f"rows, plots and TensorBoard events: {evaluation.out}")
    if len(found) == 1:
        output.emit(found[0].to_json())
        return
    output.show(standings_table(found))
    pair = get_system(system).trade
    if pair is not None and len(scenarios) == 1:
        picture = import_module("training.report").write_trade(found, pair, out or found[0].out)
        output.say(f"{pair[1]} against {pair[0]}: {picture}")
    output.emit({"evaluations": [evaluation.to_json() for evaluation in found]})


@app.command(epilog="Example: cityloop oracle drainage/astlingen-oct2000 --json oracle.json")
def oracle(
    scenario: ScenarioRef,
    seeds: Annotated[int, typer.Option(min=1, help="How many of the test seeds.")] = 1,
    rounds: Annotated[int, typer.Option(min=0, help="How long to search, for each seed.")] = 300,
    controllers: Annotated[
        list[str] | None,
        typer.Option("--controller", "-c", help="What to begin with (repeatable).", show_default="the quick rules"),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Search for what gates could reach if rain and tide were known: the best found. Takes minutes an episode."""
    output = Output(as_json)
    place = chosen_scenario(scenario, settings)
    with output.quiet(), output.bar("searching") as show:
        found = import_module("training.oracle").oracle(
            place,
            place.seeds.test.take(seeds),
            rounds,
            controllers or (),
            lambda done, total: show(done / total, f"{done} of {total} rounds"),
        )
    kpi = get_system(place.system).headline(place)
    rows = [(str(row["seed"]), f"{row[kpi]:,.1f}") for row in found["rows"]]
    output.show(table(f"{place.ref}: oracle", ("seed", kpi), rows, numbers=1))
    output.emit(found)


@app.command(epilog="Example: cityloop referee transit/ingolstadt -c reactive --flow 0.7")
def referee(
    scenario: ScenarioRef,
    controller: Annotated[str, typer.Option("--controller", "-c", help="Who decides.")] = "reactive",
    seeds: Annotated[int, typer.Option(min=1, help="How many of the test seeds.")] = 1,
    flow: Annotated[float, typer.Option(min=0, max=5, help="Traffic around, relative to the route files.")] = 0.7,
    beside: Annotated[
        list[str] | None, typer.Option(help="SUMO's greedy, greedyShared or drtOnline.", show_default="the first two")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Simulations at a time.")] = 1,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Let SUMO drive a fleet under the same dispatch, and under its own dispatchers. Takes minutes a seed."""
    output = Output(as_json)
    place = chosen_scenario(scenario, settings)
    if place.system != "transit":
        raise CityloopError(f"scenario {place.ref} is of {place.system}: the referee plays transit")
    with output.quiet():
        room = import_module("training.referee")
        found = room.referee(place, controller, seeds, flow, beside or room.STOCK, processes)
    title = f"{place.ref}, traffic {flow:g}"
    output.show(figures_table(title, found["rows"]))
    output.show(figures_table(f"{title}: what the mean wait is made of, in seconds", found["waits"]))
    output.show(figures_table(f"{title}: what SUMO's vehicles drove from stop to stop, beside the plan", found["legs"]))
    apart = ", ".join(f"{name} {100 * value:+.1f} %" for name, value in found["apart"].items())
    output.say(f"the same dispatch in SUMO against ours: {apart}")
    output.emit(found)


@app.command(epilog="Example: cityloop export runs/intersections/cologne8/mappo/20260101-120000-s0 -o my-policy")
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "--output", "-o", help="The bundle's folder.")] = None,
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
        bundle = import_module("training.export").export(run, out, name, update)
    output.say(f"bundle: {bundle}\nnext: cityloop check {bundle}")
    output.emit({"bundle": str(bundle)})


@app.command(epilog="Example: cityloop bench intersections --json")
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="A system, cordeau, monitor, storeys, training, serving, loop, audit, alarms, console, soak, fuzz or "
            "checks.",
            show_default=False,
        ),
    ],
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="How long serving's clients ask, or a soak takes.", show_default="60, 1800"),
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Measure throughput or latency side by side with a peer or a bare floor."""
    benches = {
        "intersections": ("training.bench.intersections", "bench_intersections"),
        "drainage": ("training.bench.drainage", "bench_drainage"),
        "dampers": ("training.bench.dampers", "bench_dampers"),
        "monitor": ("training.bench.monitor", "bench_monitor"),
        "storeys": ("training.bench.storeys", "bench_storeys"),
        "transit": ("training.bench.transit", "bench_transit"),
        "cordeau": ("training.bench.cordeau", "bench_cordeau"),
        "training": ("training.bench.training", "bench_training"),
        "serving": ("serving.bench.ticks", "bench_serving"),
        "alarms": ("serving.alarms.bench", "bench_alarms"),
        "console": ("serving.console.bench", "bench_console"),
        "loop": ("serving.bench.loop", "bench_loop"),
        "audit": ("serving.audit.bench", "bench_audit"),
        "soak": ("serving.bench.soak", "bench_soak"),
        "fuzz": ("serving.bench.fuzz", "bench_fuzz"),
        "checks": ("serving.checks.bench", "bench_checks"),
    }
    if name not in benches:
        raise CityloopError(f"bench {name!r} is unknown: choose {', '.join(benches)}")
    output = Output(as_json)
    module, function = benches[name]
    if seconds is not None and name not in ("serving", "soak"):
        raise CityloopError(f"--seconds is for serving and soak, not for {name}")
    more = {} if seconds is None else {"seconds": seconds}
    with output.quiet():
        found = getattr(import_module(module), function)(**more)
    for title in ("ratios", "figures"):
        rows = [(label, number(value)) for label, value in found[title].items()]
        output.show(table(f"{found['bench']}: {title}", ("what", "value"), rows, numbers=1))
    output.emit(found)


@app.command(
    epilog="Example: cityloop calibrate my-policy intersections/cologne8 my-city.yaml --each regime=engineer,resco"
)
def calibrate(
    controller: Annotated[str, typer.Argument(help="A bundle's folder; with -o any controller.", show_default=False)],
    scenarios: Annotated[list[str], typer.Argument(help="SYSTEM/NAME or YAML files.", show_default=False)],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Of each kind and scenario.", show_default="6, or 6000 ticks")
    ] = None,
    rate: Annotated[float, typer.Option(help="False alarms a healthy tick may raise.")] = 1e-3,
    out: Annotated[
        Path | None, typer.Option("--out", "--output", "-o", help="A file for sensors' limits, instead of the bundle.")
    ] = None,
    settings: Settings = None,
    each: Annotated[
        list[str] | None, typer.Option(metavar="KEY=A,B", help="Calibrate on each scenario with each of these.")
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Note in a bundle what its policy sees in healthy episodes, so that services know when it sees something else."""
    output = Output(as_json)
    places = [place for ref in scenarios for place in _variants(chosen_scenario(ref, settings), each)]
    command = command_line(sys.argv[1:])
    with output.quiet(), output.bar("calibrating") as show:
        found = import_module("training.calibrate").calibrate(
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


@app.command(epilog="Example: cityloop sign my-policy --key city.pem")
def sign(
    bundle: Annotated[Path, typer.Argument(help="A policy bundle's folder.", show_default=False)],
    key: Annotated[Path, typer.Option(help="Private key (PEM): openssl genpkey -algorithm ed25519 -out city.pem")],
    as_json: AsJson = None,
) -> None:
    """Vouch for a bundle with an Ed25519 key; a service with trusted_keys takes no other bundles."""
    from agents import load_policy
    from agents.signing import sign as vouch

    output = Output(as_json)
    load_policy(bundle)
    public = vouch(bundle, key)
    output.say(f"signed; for the service's configuration: trusted_keys: [{public}]")
    output.emit({"bundle": str(bundle), "key": public})


@app.command(epilog="Example: cityloop check my-city.yaml")
def check(
    target: Annotated[str, typer.Argument(help="A scenario (SYSTEM/NAME or YAML), a bundle's folder, or a system.")],
    as_json: AsJson = None,
) -> None:
    """Run contract and safety checks; exit code 1 if one fails."""
    output = Output(as_json)
    with output.quiet():
        checks = import_module("training.check").check(target)
    ok = all(each.ok for each in checks)
    rows = [(each.name, "[green]ok[/]" if each.ok else "[red]FAILED[/]", each.detail) for each in checks]
    output.show(table(target, ("check", "", "what was seen"), rows))
    output.emit({"ok": ok, "checks": [vars(each) for each in checks]})
    if not ok:
        raise typer.Exit(1)


@app.command(epilog="Example: cityloop site my-city.yaml -o my-city.json")
def site(
    scenario: ScenarioRef,
    out: Annotated[
        Path | None, typer.Option("--out", "--output", "-o", help="The file to write.", show_default="none")
    ] = None,
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
    from training.tracking import write_text

    write_text(out, found.model_dump_json(indent=1) + "\n")
    output.say(f"site {found.name}, agents: {len(found.agents)}, hash {found.hash}, written to {out}")
    output.emit({"site": str(out), "hash": found.hash, "agents": list(found.agents)})


app.command(epilog=service_verbs.SERVE_EXAMPLE)(service_verbs.serve)
app.command(epilog=service_verbs.POLICY_EXAMPLE)(service_verbs.policy)
app.command(epilog=service_verbs.CONTROL_EXAMPLE)(service_verbs.control)
app.add_typer(audit_verbs.app, name="audit")
app.command(epilog=demo_verbs.EXAMPLE)(demo_verbs.demo)
app.command(epilog=audit_verbs.REPLAY_EXAMPLE)(audit_verbs.replay)
app.add_typer(keys_verbs.app, name="keys")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    app(args=json_option(sys.argv[1:] if arguments is None else arguments), prog_name="cityloop")


if __name__ == "__main__":
    main()
