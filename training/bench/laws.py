"""``cityloop bench laws``: the dampers' policy beside every law, under every condition that laws are tuned for.

Test motions, all at once. Under a condition laws have the numbers tuned for good conditions, and those tuned for it
where somebody did (``LAW@CONDITION``); the policy is held against the best of all of them, by its median there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents import POLICY, make_controller
from agents.baselines.dampers import CONDITIONS, PASSIVE, TUNABLE, tuned
from agents.dampers_play import play
from envs.core.registry import load_scenario
from envs.core.statistics import compare
from envs.dampers.assembly import load_site
from envs.dampers.block import Block
from envs.dampers.scenarios import Conditions, DampersScenario

TOGETHER = 300
"""Buildings that are simulated at once, about: more would fill the memory."""

GOOD = "good"
"""Nothing is wrong."""

Rows = list[dict[str, float]]


def bench_laws(ref: str = "dampers/jansen", motions: int = 50) -> dict[str, Any]:
    """Measure the policy against the laws.

    Args:
        ref: of a building with dampers.
        motions: test motions.

    Returns:
        ``{"bench", "ratios", "figures"}``: where the policy stands, and every controller's median and worst.
    """
    scenario = load_scenario(ref)
    assert isinstance(scenario, DampersScenario)
    site = load_site(scenario)
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    for condition in (GOOD, *CONDITIONS):
        names = [POLICY, *(kind.name for kind in PASSIVE), *TUNABLE]
        names += [f"{law}@{condition}" for law in TUNABLE if tuned(site, law, condition)]
        wrong = Conditions.model_validate(CONDITIONS.get(condition, {}))
        found = episodes(scenario, names, scenario.seeds.test.take(motions), wrong)
        values = {name: [row["j"] for row in rows] for name, rows in found.items()}
        for name in sorted(names, key=lambda name: float(np.median(values[name]))):
            figures[f"{condition}: {name}: median"] = float(np.median(values[name]))
            figures[f"{condition}: {name}: worst"] = max(values[name])
            figures[f"{condition}: {name}: overloaded"] = sum(row["overloaded"] for row in found[name])
        ratios |= {f"{condition}: {what}": value for what, value in _stand(values).items()}
    return {"bench": "laws", "ratios": ratios, "figures": figures}


def episodes(
    scenario: DampersScenario, names: Sequence[str], seeds: Sequence[int], conditions: Conditions
) -> dict[str, Rows]:
    """Indicators of an episode of each seed, for each controller."""
    site = load_site(scenario)
    sets = [[seed] for seed in seeds] if conditions.stiffness else [list(seeds)]  # which each block has one of
    block, found = Block(scenario, site, conditions=conditions), {name: Rows() for name in names}
    for one in sets:
        for some in np.array_split(names, -(-len(names) * len(one) // TOGETHER)):
            controllers = [make_controller(name, site) for name in some.tolist()]
            for name, rows in zip(some.tolist(), play(block, controllers, one), strict=True):
                found[name] += rows
    return found


def _stand(values: dict[str, list[float]]) -> dict[str, float]:
    """Where the policy stands beside the law with the least median."""
    policy, laws = values[POLICY], {name: row for name, row in values.items() if name != POLICY}
    law = min(laws, key=lambda name: float(np.median(laws[name])))
    beside, label = compare(policy, laws[law]), f"policy / {law}"
    return {
        f"{label}, median": beside.ratio,
        f"{label}, largest": float(np.max(np.divide(policy, laws[law]))),
        f"{label}, worst of each": max(policy) / max(laws[law]),
        f"{label}, wins": beside.wins / len(policy),
    }
