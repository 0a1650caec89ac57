"""RLlib's PPO learner, with two figures more: how far an update moves the policy, and how often its clip bites."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns

APPROX_KL, CLIP_FRACTION = "approx_kl", "clip_fraction"


class WatchedLearner(PPOTorchLearner):
    """Logs `APPROX_KL` and `CLIP_FRACTION` beside the losses."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """RLlib's loss; the figures are taken on the way."""
        with torch.no_grad():
            distribution = self.module[module_id].unwrapped().get_train_action_dist_cls()
            now = distribution.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS]).logp(batch[Columns.ACTIONS])
            change = now - batch[Columns.ACTION_LOGP]
            change = change[batch[Columns.LOSS_MASK]] if Columns.LOSS_MASK in batch else change
            ratio = change.exp()
            figures = {
                # The low-variance estimator (r - 1) - log r of Schulman's note on approximating KL divergence.
                APPROX_KL: (ratio - 1 - change).mean(),
                CLIP_FRACTION: ((ratio - 1).abs() > config.clip_param).float().mean(),
            }
        self.metrics.log_dict(figures, key=module_id, window=1)
        return super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
