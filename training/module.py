"""The policy and critic of a system as an RLlib module: shared by all agents, central critic, masked actions (MAPPO).

The critic belongs to training alone: runners and bundles are built without it.
"""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule

from agents.networks import CRITICS, NETWORKS
from envs.core.loop import Layout


class CooperativeModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """One agent's row is its flat observation followed by the network's flat state.

    ``model_config``: ``network`` (a name in `agents.networks.NETWORKS`), ``shapes`` (the observation's parts),
    ``state_shape`` and ``width``.
    """

    def setup(self) -> None:
        """Build the networks; without the critic where only inference is wanted."""
        config = self.model_config
        self.layout = Layout({name: tuple(shape) for name, shape in config["shapes"].items()})
        self.policy = NETWORKS[config["network"]](self.layout.shapes, width=config["width"])
        if not self.inference_only:
            columns = config["state_shape"][1]
            self.critic = CRITICS[config["network"]](self.layout.shapes, columns, width=config["width"])

    def get_non_inference_attributes(self) -> list[str]:
        """What runners need not have."""
        return ["critic"]

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        parts = self.layout.unflatten(batch[Columns.OBS][..., : self.layout.size])
        return {Columns.ACTION_DIST_INPUTS: self.policy(parts)}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Values ``(B,)`` for generalised advantage estimation."""
        rows = batch[Columns.OBS]
        parts = self.layout.unflatten(rows[..., : self.layout.size])
        state = rows[..., self.layout.size :].reshape(-1, *self.model_config["state_shape"])
        return self.critic(parts, state)
