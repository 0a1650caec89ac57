"""Motions of one building, all at once and in this process, under one controller or several.

For hundreds of episodes: laws are tuned and compared with the policy (`training.bench.laws`), and monitors are trained
with it. An evaluation (`training.evaluate`) plays one after another, through the same block, features and guard; only
the noise of the sensors differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from agents.policy import Policy
from envs.core.readings import Readings
from envs.core.world import Controller
from envs.dampers.block import Block
from envs.dampers.features import DampersFeatures
from envs.dampers.guard import DampersGuard


def play(block: Block, controllers: Sequence[Controller], seeds: Sequence[int]) -> list[list[dict[str, float]]]:
    """Indicators of an episode of each seed, for each controller; see `drive`."""
    for _ in drive(block, controllers, seeds):
        pass
    found, count = block.kpis(), len(seeds)
    return [found[k * count : (k + 1) * count] for k in range(len(controllers))]


def drive(block: Block, controllers: Sequence[Controller], seeds: Sequence[int]) -> Iterator[Readings]:
    """Play an episode of each seed under each controller; readings before every decision, ``(E, …)``.

    Buildings stand controller by controller, seed by seed. All have the stiffness and the delay of the first seed (see
    `Block`): where these vary, give one seed alone.

    Args:
        block: not begun yet, or at an end.
        controllers: policies, or laws that read many buildings' columns.
        seeds: of the motions.
    """
    guard, features, count = DampersGuard(block.site), DampersFeatures(block.site), len(seeds)
    spans = [slice(k * count, (k + 1) * count) for k in range(len(controllers))]
    block.begin([*seeds] * len(controllers))
    for controller in controllers:
        controller.reset()
    while not block.done:
        seen = block.readings
        yield seen
        asked = [
            _asked(controller, {name: values[span] for name, values in seen.items()}, features)
            for controller, span in zip(controllers, spans, strict=True)
        ]
        block.step(guard.limit(seen, np.concatenate(asked))[0])


def _asked(controller: Controller, seen: Readings, features: DampersFeatures) -> np.ndarray:
    """Levels ``(E, d)``: a policy decides for each damper by itself, a law for rows of buildings."""
    if not isinstance(controller, Policy):
        return controller.act(seen, {})[..., 0]
    parts = features.columns(seen)
    rows = {name: part.reshape(-1, part.shape[-1]).astype(np.float32) for name, part in parts.items()}
    return controller.act(seen, rows).reshape(seen["level"].shape)
