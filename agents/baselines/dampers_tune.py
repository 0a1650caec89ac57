"""Tunes dampers' laws on training motions, under good conditions: ``python -m agents.baselines.dampers_tune REF…``

A random search, then a closer one about the best, for the least median of the headline indicator. All laws meet the
same motions. Writes ``dampers_tuned.json``; other sites' numbers stay.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.baselines.dampers import LAWS, TUNED
from agents.baselines.dampers_shared import Fixed
from envs.core.registry import load_scenario
from envs.core.world import Controller
from envs.dampers.block import Block
from envs.dampers.guard import DampersGuard
from envs.dampers.scenarios import DampersScenario
from envs.dampers.site import DampersSite, load_site

MOTIONS, WIDE, CLOSE = 32, 24, 16
"""Training motions, and trials of either search."""

RANGES: dict[str, tuple[float, float]] = {
    "full": (0.02, 1.0),
    "gain": (0.05, 3.0),
    "leak_s": (0.5, 5.0),
    "velocity": (0.01, 100.0),
    "accel": (0.01, 30.0),
    "effort": (1e-4, 10.0),
    "lead_ms": (1.0, 40.0),
    "level": (0.02, 1.0),
}
"""Number → where it is sought, evenly in its logarithm."""


def play(block: Block, controller: Controller, seeds: Sequence[int]) -> list[dict[str, float]]:
    """Indicators of an episode of each seed, all at once; the controller must read ``(E, k)``.

    All are played on the stiffness and the delay of the first (see `Block`): where stiffness varies, give one alone.
    """
    controller.reset()
    guard = DampersGuard(block.site)
    block.begin(seeds)
    while not block.done:
        asked = controller.act(block.readings, {})[..., 0]
        block.step(guard.limit(block.readings, asked)[0])
    return block.kpis()


def tune(scenario: DampersScenario, motions: int = MOTIONS, wide: int = WIDE, close: int = CLOSE) -> dict[str, Any]:
    """The best numbers of every law: law → number → value."""
    good = {"delay_ms": 0, "dropout": 0, "noise": 1, "dead": 0, "stiffness": 0}
    scenario = scenario.override({"variety": good})
    site = load_site(scenario)
    block = Block(scenario, site, np.float32)
    seeds = range(scenario.seeds.train.first, scenario.seeds.train.first + motions)

    def score(controller: Controller) -> float:
        return float(np.median([kpis["j"] for kpis in play(block, controller, seeds)]))

    found: dict[str, Any] = {}
    makers = {"fixed": ({"level": 0.3}, lambda numbers: Fixed("fixed", site, numbers["level"]))}
    for kind in LAWS:
        makers[kind.name] = (kind.DEFAULTS, lambda numbers, kind=kind: kind(site, numbers))  # type: ignore[misc]
    for name, (defaults, make) in makers.items():
        rng = np.random.default_rng(0)
        best, numbers = score(make(defaults)), dict(defaults)
        for k in range(wide + close):
            trial = _near(numbers, rng) if k >= wide else _anywhere(defaults, rng)
            reached = score(make(trial))
            if reached < best:
                best, numbers = reached, trial
        found[name] = {key: float(f"{value:.4g}") for key, value in numbers.items()}
        print(f"{scenario.ref} {name}: {best:.4f} with {found[name]}", file=sys.stderr)
    return found


def _anywhere(numbers: dict[str, float], rng: np.random.Generator) -> dict[str, float]:
    return {key: float(np.exp(rng.uniform(*np.log(RANGES[key])))) for key in numbers}


def _near(numbers: dict[str, float], rng: np.random.Generator) -> dict[str, float]:
    moved = {key: value * float(np.exp(0.25 * rng.standard_normal())) for key, value in numbers.items()}
    return {key: float(np.clip(value, *RANGES[key])) for key, value in moved.items()}


def main(refs: Sequence[str]) -> None:
    """Tune on every scenario and write what was found."""
    for ref in refs:
        scenario = load_scenario(ref)
        assert isinstance(scenario, DampersScenario)
        site: DampersSite = load_site(scenario)
        numbers = tune(scenario)
        content = json.loads(TUNED.read_text()) if TUNED.is_file() else {}
        TUNED.write_text(json.dumps(content | {site.name: numbers}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
