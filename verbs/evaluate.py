"""``cityloop evaluate``, ``oracle``, ``referee`` and ``lines``: comparisons with rules, a bound, SUMO, fixed lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agents import POLICY, find_bundle, references
from agents.own import own
from agents.shipped import speaks_of
from envs import CityloopError, Scenario, get_system
from envs.core.machine.files import make_folder
from envs.core.site import Site
from envs.transit.scenarios import TransitScenario
from training.evaluation.results import Evaluation, UnwrittenError
from verbs import AsJson, NewFolder, ScenarioRef, Settings, chosen_scenario, scenario_of, variants
from verbs.tables import evaluation_table, figures_table, periods_table, standings_table
from verbs.terminal import Output, number, parse_settings, table


def evaluate(
    scenarios: Annotated[list[str], typer.Argument(help="SYSTEM/NAME or YAML files.", show_default=False)],
    controllers: Annotated[
        list[str] | None,
        typer.Option(
            "--controller", "-c", help="A name, a bundle's path or FILE.py:NAME (repeatable); the first is compared."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 20,
    split: Annotated[str, typer.Option(help="Which seeds: test, validation or train.")] = "test",
    processes: Annotated[
        int | None, typer.Option(min=1, help="Episodes played in parallel.", show_default="cores")
    ] = None,
    out: NewFolder = None,
    settings: Settings = None,
    each: Annotated[
        list[str] | None, typer.Option(metavar="KEY=A,B", help="Evaluate on each scenario with each of these settings.")
    ] = None,
    card: Annotated[bool, typer.Option("--card", help="Write the results on the first controller's card.")] = False,
    proven: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="With --card: sites that this vouches for, e.g. 'astlingen*'; * is any."),
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Run frozen controllers on the same seeds and compare them; on several scenarios, summarise how the first does."""
    output = Output(as_json)
    places = [place for ref in scenarios for place in variants(ref, settings, each)]
    _check_scenarios(places)
    system = places[0].system
    sites = {place.label: get_system(system).load_site(place) for place in places}
    ours = [POLICY] if any(find_bundle(POLICY, site) for site in sites.values()) else []
    names = controllers or [*ours, *references(system)]
    bundles = {label: None if own(names[0]) else find_bundle(names[0], site) for label, site in sites.items()}
    if card:
        _check_card(names[0], bundles.values(), sites.values(), settings)
    elif proven is not None:
        raise CityloopError(f"--proven is {proven!r} and nothing is written on a card: add --card")
    found = _evaluations(output, places, out, names, {"seeds": seeds, "split": split, "processes": processes})
    if card:
        from training.bundles.proof import write_cards

        write_cards(found, places, bundles, proven, output.say)
    if len(found) == 1:
        output.emit(_content(found, among=1))
        return
    output.show(standings_table(found))
    pair = get_system(system).trade
    if pair is not None and len(scenarios) == 1:
        from training.evaluation.report import write_trade

        folder = out or found[0].out
        assert folder is not None  # every evaluation is saved here
        picture = write_trade(found, pair, folder)
        output.say(f"{pair[1]} against {pair[0]}: {picture}")
    output.emit(_content(found, among=len(found)))


def _check_scenarios(places: Sequence[Scenario]) -> None:
    """Check that scenarios can be evaluated together.

    Raises:
        CityloopError: if they are of several systems, or two have the same label.
    """
    if any(place.system != places[0].system for place in places):
        raise CityloopError("scenarios of several systems have no controllers in common: evaluate them one by one")
    labels = [place.label for place in places]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise CityloopError(f"two scenarios are called {twice!r}: give each once, or a name of its own")


def _check_card(
    controller: str, bundles: Iterable[Path | None], sites: Iterable[Site], settings: list[str] | None
) -> None:
    """Check before the evaluation, which may take hours, that its results can be written on a card.

    Args:
        controller: the first controller, as given.
        bundles: folder of its bundle at every site; None: it is no bundle there.
        sites: the evaluated sites.
        settings: changes by ``--set``.

    Raises:
        CityloopError: if the controller is no bundle, its folder is not writable, a site bears the name of another one
            that ships, or a changed setting would not appear on the card.
    """
    folders = set(bundles)
    if None in folders:
        raise CityloopError(f"--card is for bundles, and the first controller is {controller!r}: give a bundle's path")
    for folder in folders - {None}:
        assert folder is not None
        make_folder(folder.parent, "folder of the bundle")
    taken = [site.name for site in sites if not speaks_of(site.name, site)]
    if taken:
        raise CityloopError(f"--card: {taken[0]} is the name of another place, which ships: give this one another name")
    unnamed = [key for key in parse_settings(settings) if key != "regime"]
    if unnamed:
        raise CityloopError(
            f"--card would not tell that {unnamed[0]} is changed: use --each, which names what it changes"
        )


def _evaluations(
    output: Output, places: Sequence[Scenario], out: Path | None, names: Sequence[str], options: dict[str, Any]
) -> list[Evaluation]:
    """Evaluate one scenario after the other under a common progress bar, and show the results.

    Raises:
        CityloopError: naming the scenario, if there are several, or the folder that cannot be written.
    """
    found: list[Evaluation] = []
    try:
        with output.quiet(), output.bar("evaluating") as show:
            from training import evaluate as run_episodes

            for k, place in enumerate(places):

                def on_progress(done: int, total: int, k: int = k, place: Scenario = place) -> None:
                    show((k + done / total) / len(places), f"{place.label}: {done} of {total} episodes")

                folder = out if out is None or len(places) == 1 else out / place.label
                with _named(place, among=len(places)):
                    found.append(run_episodes(place, names, out=folder, on_progress=on_progress, **options))
    except UnwrittenError as error:  # its results are shown, too, and are in the JSON
        found.append(error.evaluation)
        output.emit(_content(found, among=len(places)))
        raise
    finally:  # also before an error or an interruption, which may come hours after the first of them
        for evaluation in found:
            _show(output, evaluation)
    return found


@contextmanager
def _named(place: Scenario, among: int) -> Iterator[None]:
    """Name a scenario, if it is one of several, in an error in its evaluation."""
    try:
        yield
    except CityloopError as error:
        if among == 1 or isinstance(error, UnwrittenError):  # this names the scenario's folder
            raise
        raise CityloopError(f"{place.label}: {error}") from error


def _content(found: Sequence[Evaluation], among: int) -> dict[str, Any]:
    """The verb's JSON: an evaluation, or several of them."""
    if among == 1:
        return found[0].to_json()
    return {"evaluations": [evaluation.to_json() for evaluation in found]}


def _show(output: Output, evaluation: Evaluation) -> None:
    output.show(evaluation_table(evaluation))
    if evaluation.periods():
        output.show(periods_table(evaluation))
    if evaluation.policy is not None:
        output.say(f"{POLICY!r} at {evaluation.label}: {evaluation.policy}")
    if evaluation.out is not None:
        output.say(f"rows, plots and TensorBoard events: {evaluation.out}")


def oracle(
    scenario: ScenarioRef,
    seeds: Annotated[int, typer.Option(min=1, help="How many of the test seeds.")] = 1,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of search for each seed.")] = 300,
    controllers: Annotated[
        list[str] | None,
        typer.Option(
            "--controller",
            "-c",
            help="Controller to start the search from (repeatable).",
            show_default="the quick rules",
        ),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Search for the best that gates could reach if rain and tide were known. Takes minutes per episode."""
    output = Output(as_json)
    place = chosen_scenario(scenario, settings)
    with output.quiet(), output.bar("searching") as show:
        from training.drainage.oracle import oracle as search

        found = search(
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


def referee(
    scenario: ScenarioRef,
    controller: Annotated[str, typer.Option("--controller", "-c", help="The controller that decides.")] = "reactive",
    seeds: Annotated[int, typer.Option(min=1, help="How many of the test seeds.")] = 1,
    flow: Annotated[float, typer.Option(min=0, max=5, help="Other traffic, relative to the route files.")] = 0.7,
    beside: Annotated[
        list[str] | None, typer.Option(help="SUMO's greedy, greedyShared or drtOnline.", show_default="the first two")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Simulations run in parallel.")] = 1,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Let SUMO drive a fleet under the same dispatch, and under its own dispatchers. Takes minutes per seed."""
    output = Output(as_json)
    place = scenario_of(TransitScenario, scenario, settings)
    with output.quiet():
        from training.transit.referee import STOCK
        from training.transit.referee import referee as play

        found = play(place, controller, seeds, flow, beside or STOCK, processes)
    title = f"{place.ref}, traffic {flow:g}"
    output.show(figures_table(title, found["rows"]))
    output.show(figures_table(f"{title}: what the mean wait is made of, in seconds", found["waits"]))
    output.show(figures_table(f"{title}: what SUMO's vehicles drove from stop to stop, beside the plan", found["legs"]))
    apart = ", ".join(f"{name} {100 * value:+.1f} %" for name, value in found["apart"].items())
    output.say(f"the same dispatch in SUMO against ours: {apart}")
    output.emit(found)


def lines(
    scenario: ScenarioRef,
    seeds: Annotated[int, typer.Option(min=1, help="Training days to design on, and test days to compare on.")] = 5,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """Compare a fleet, from door to door, with the best fixed lines that the same vehicles could drive."""
    output = Output(as_json)
    place = scenario_of(TransitScenario, scenario, settings)
    with output.quiet():
        from training.transit.lines import compare

        found = compare(place, seeds)
    rows = [(name, number(value)) for name, value in found.items()]
    output.show(table(f"{place.ref}: fixed lines and the fleet", ("what", "value"), rows, numbers=1))
    output.emit(found)
