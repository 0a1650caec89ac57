"""Validation: greedy episodes of a policy network on validation seeds, and the best weights so far kept on disk."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from envs.core.scenario import Scenario
from envs.core.vector import VectorEnv
from training.tracking import write_bytes, write_json

PLANTS = 4
"""Validation episodes that run at once."""


class Validator:
    """Keeps plants for validation, and the best policy.

    Args:
        scenario: what is trained on; the first seeds of its ``validation`` split are used.
        seeds: episodes a validation.
        kpi: what the score is: its mean over the episodes, lower is better.
        folder: where the best weights go.
    """

    def __init__(self, scenario: Scenario, seeds: int, kpi: str, folder: Path):
        self.scenario, self.seeds, self.kpi, self.folder = scenario, seeds, kpi, folder
        self.best = float("inf")
        self.plants = VectorEnv(scenario, min(PLANTS, seeds))

    def __call__(self, policy: torch.nn.Module, facts: Mapping[str, float]) -> dict[str, float]:
        """Validate a policy and keep it if it is the best so far.

        Args:
            policy: observation parts → logits.
            facts: written beside the weights, e.g. the iteration.

        Returns:
            The mean of every indicator.
        """
        rows = self._episodes(policy)
        means = {kpi: float(np.mean([row[kpi] for row in rows])) for kpi in rows[0]}
        if means[self.kpi] < self.best:
            self.best = means[self.kpi]
            keep_weights(self.folder, policy, {**facts, "validation": means})
        return means

    def _episodes(self, policy: torch.nn.Module) -> list[dict[str, float]]:
        layout, rows = self.plants.loop.layout, []
        first = self.scenario.seeds.validation.first
        for start in range(0, self.seeds, self.plants.num_envs):
            batch = self.plants.reset(seed=first + start)
            while not batch.done.any():
                with torch.no_grad():
                    flat = torch.from_numpy(batch.observation.reshape(-1, layout.size))
                    actions = policy(layout.unflatten(flat)).argmax(dim=-1).numpy()
                batch = self.plants.step(actions.reshape(batch.observation.shape[:2]))
            rows += batch.kpis
        return rows[: self.seeds]

    def close(self) -> None:
        """Stop the plants."""
        self.plants.close()


def keep_weights(folder: Path, policy: torch.nn.Module, facts: Mapping[str, object]) -> None:
    """Write a policy's plain weights (``weights.npz``, no pickle) and facts (``best.json``) into a folder."""
    buffer = io.BytesIO()
    arrays = {name: value.detach().cpu().numpy() for name, value in policy.state_dict().items()}
    np.savez(buffer, **arrays)
    write_bytes(folder / "weights.npz", buffer.getvalue())
    write_json(folder / "best.json", facts)
