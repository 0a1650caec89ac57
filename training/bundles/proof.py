"""Results of an evaluation on a bundle's card: its figures, and whether the policy does harm.

Harm means to be worse, on test seeds, than the rule of practice that would decide otherwise, the system's fallback: to
have a higher mean, or to fail in more episodes where the mean says nothing of it (`System.failure_in_kpi`). The card
records every evaluated site by name. A wider claim, such as ``*`` for any site, must be requested; it is refused if the
evaluation does not support it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from agents.policy import Policy, add_results
from agents.shipped import fallback_name
from envs.core.errors import CityloopError
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from envs.core.statistics import Summary
from training.evaluation.results import Evaluation


def write_cards(
    evaluations: Sequence[Evaluation],
    places: Sequence[Scenario],
    bundles: Mapping[str, Path | None],
    proven: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Write results and verdicts of every evaluation on the card of its first controller.

    Args:
        evaluations: results of `training.evaluate`.
        places: scenario of each evaluation.
        bundles: label of a scenario → folder of the first controller's bundle.
        proven: pattern of site names that all evaluations together support; None: each supports its own site.
        say: called with a sentence for every verdict that is not recorded, and the reason.

    Raises:
        CityloopError: if the evaluations do not support the pattern, and then nothing is written; or if a bundle cannot
            be written.
    """
    verdicts = {evaluation.label: no_worse(evaluation) for evaluation in evaluations}
    if proven is not None:
        for folder in {path for path in bundles.values() if path is not None}:
            _check(proven, Policy.load(folder), [place for place in places if bundles[place.label] == folder], verdicts)
    noted: dict[tuple[Path, str], bool] = {}
    for evaluation, place in zip(evaluations, places, strict=True):
        bundle, verdict = bundles[evaluation.label], verdicts[evaluation.label]
        assert bundle is not None
        if verdict is None:
            say(f"{place.label}: whether it does harm is not noted, as {_unshown(evaluation, place.system)}")
        else:
            if _fails_more(evaluation):
                say(f"{place.label}: noted as worse than {fallback_name(place.system)}, as {_failures(evaluation)}")
            # Several settings of one site: no worse under each of them.
            key = bundle, proven if proven is not None else place.name
            noted[key] = noted.get(key, True) and verdict
        mine = {site: fine for (path, site), fine in noted.items() if path == bundle}
        plants = {place.name: get_system(place.system).load_site(place).plant_hash} if place.name in mine else {}
        add_results(bundle, evaluation.for_card(), mine, plants)


def no_worse(evaluation: Evaluation) -> bool | None:
    """Whether the first controller's mean on test seeds is at most the fallback's, and so are its failures.

    Failures count apart only where the mean says nothing of them (`System.failure_in_kpi`).

    None if there is no verdict: other seeds, no other controller beside the fallback, or an indicator that is zero in
    all episodes of both.
    """
    rule = fallback_name(evaluation.scenario.partition("/")[0])
    first = next(iter(evaluation.controllers))
    if evaluation.split != "test" or rule not in evaluation.controllers or first == rule:
        return None
    if _fails_more(evaluation):
        return False
    mine, theirs = evaluation.controllers[first].summary, evaluation.controllers[rule].summary
    return None if _idle(mine) and _idle(theirs) else mine.mean <= theirs.mean


def _fails_more(evaluation: Evaluation) -> bool:
    """Whether the first controller failed in more episodes than the fallback, and its mean does not count that."""
    system = get_system(evaluation.scenario.partition("/")[0])
    rule = evaluation.controllers.get(fallback_name(system.name))
    mine = next(iter(evaluation.controllers.values()))
    return rule is not None and not system.failure_in_kpi and mine.failures > rule.failures


def _failures(evaluation: Evaluation) -> str:
    """How often the first controller and the fallback failed."""
    rule = fallback_name(evaluation.scenario.partition("/")[0])
    mine, theirs = next(iter(evaluation.controllers.values())).failures, evaluation.controllers[rule].failures
    return f"it failed in {mine} of {len(evaluation.seeds)} episodes, {rule} in {theirs}"


def _idle(summary: Summary) -> bool:
    return summary.mean == summary.worst == 0.0


def _unshown(evaluation: Evaluation, system: str) -> str:
    """Reason why an evaluation gives no verdict."""
    rule = fallback_name(system)
    if evaluation.split == "test" and rule in evaluation.controllers and next(iter(evaluation.controllers)) != rule:
        return f"{evaluation.kpi} was 0 throughout, of {rule} too: take seeds on which something happens"
    return f"that takes test seeds and -c {rule}"


def _check(proven: str, policy: Policy, places: Sequence[Scenario], verdicts: Mapping[str, bool | None]) -> None:
    """Refuse an unsupported claim: worse at a site, a site without verdict, or only training sites evaluated."""
    for place in places:
        if not fnmatchcase(place.name, proven):
            raise CityloopError(f"--proven is {proven!r} and {place.name} is none of these: leave it out")
        if verdicts[place.label] is None:
            raise CityloopError(
                f"--proven is {proven!r} and nothing was shown at {place.label}: use test seeds on which something "
                f"happens, and add -c {fallback_name(place.system)}"
            )
        if not verdicts[place.label]:
            raise CityloopError(
                f"--proven is {proven!r} and {policy.name} was worse than {fallback_name(place.system)} at "
                f"{place.label}: claim less"
            )
    trained = policy.card.training.scenarios
    if any(mark in proven for mark in "*?[") and all(f"{place.system}/{place.label}" in trained for place in places):
        raise CityloopError(
            f"--proven is {proven!r} and {policy.name} was trained at all of these: add one that is new"
        )
