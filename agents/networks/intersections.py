"""Networks of junctions, which choose the next green stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from agents.networks.pieces import NOT_ALLOWED, InContext, Parts, PolicyNetwork, Shapes, mlp, pooled
from envs.intersections.features import (
    ARRIVALS,
    CROSSED,
    CURRENT,
    EXISTS,
    GREEN_AGE,
    INSIDE,
    KNOWN,
    LENGTH,
    NEAR,
    QUEUE,
    VEHICLES,
)


class StageEncoder(nn.Module):
    """Approaches and stages of a junction → an embedding of each stage and of the junction.

    All approaches share an encoder, and their encodings are summed for every stage that serves them, so neither the
    number nor the order of approaches and stages matters (a deep set over a bipartite graph).

    Args:
        shapes: shapes of the observation's parts.
        width: width of every hidden layer.
    """

    def __init__(self, shapes: Shapes, width: int):
        super().__init__()
        self.approach = mlp(shapes["approaches"][-1], width, width)
        self.stage = InContext(2 * width + shapes["stages"][-1], width + shapes["junction"][-1], width)
        self.after = mlp(width, width)

    def forward(self, parts: Parts) -> tuple[Tensor, Tensor]:
        """Embeddings ``(…, S, width)`` of the stages and ``(…, 2 width)`` of the junction."""
        stages, serves = parts["stages"], parts["serves"]
        rows = parts["approaches"]
        approaches = self.approach(rows) * (rows[..., LENGTH : LENGTH + 1] > 0)  # padding has length zero
        served = torch.matmul(serves.flatten(-3, -2), approaches).unflatten(-2, (-1, 2)).flatten(-2)
        everything = approaches.sum(dim=-2)
        context = torch.cat([everything, parts["junction"]], dim=-1)
        exists = stages[..., EXISTS : EXISTS + 1]
        embedded = self.after(self.stage(torch.cat([served, stages], dim=-1), context)) * exists
        pooled = embedded.sum(dim=-2) / exists.sum(dim=-2)
        return embedded, torch.cat([everything, pooled], dim=-1)


class StagePolicy(PolicyNetwork):
    """Scores of all green stages of a junction; the stage with the highest score is requested.

    A learned multiple of the plain demand of a stage is added to its score. Demand counts standing and arriving
    vehicles that the stage serves, with a higher weight for those that were cut off inside the junction, less those
    that it would keep there while others cross their path. Vehicles that stand inside although their stage is green
    count against the stage, the more the longer it has been green: they block each other, and another stage releases
    them. So an untrained policy already serves the longest queue instead of gridlocking the network.

    Where each approach must wait for all stages but its own (`exclusive`), every change of stage costs all the more. So
    the present stage is preferred there while the junction is full, by weights that are learned, too.

    Args:
        shapes: shapes of the observation's parts.
        outputs: not used: there is one output per stage.
        width: width of every hidden layer.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {
        "approaches": ("approaches", None),
        "stages": ("stages", None),
        "serves": ("stages", None, "approaches"),
        "junction": (None,),
        "action_mask": ("stages",),
    }
    ADDED: ClassVar[tuple[str, ...]] = ("hold",)

    def __init__(self, shapes: Shapes, outputs: int = 0, width: int = 64):
        super().__init__()
        self.encoder = StageEncoder(shapes, width)
        self.hidden = InContext(width, 2 * width, width)
        self.score = nn.Linear(width, 1)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)
        self.prior = nn.Parameter(torch.tensor([4.0, 2.0, 1.0, 5.0, 5.0, 30.0]))
        self.hold: nn.Parameter | None = nn.Parameter(torch.tensor([4.0, 2.0, 1 / 2, 1 / 3]))

    def forward(self, parts: Parts) -> Tensor:
        """Logits ``(…, S)``; a masked stage has -1e9."""
        stages, junction = self.encoder(parts)
        scores = self.score(self.hidden(stages, junction)).squeeze(-1) + self._demand(parts)
        if self.hold is not None:
            scores = scores + self._preference(parts, self.hold)
        return torch.where(parts["action_mask"] > 0.5, scores, torch.full_like(scores, NOT_ALLOWED))

    def _demand(self, parts: Parts) -> Tensor:
        approaches, stages = parts["approaches"], parts["stages"]
        waiting = torch.stack([approaches[..., QUEUE] + approaches[..., ARRIVALS], approaches[..., INSIDE]], dim=-1)
        served = torch.matmul(parts["serves"], waiting.unsqueeze(-3))  # (…, S, 2, 2): protected or not; waiting, inside
        current, weight = stages[..., CURRENT], self.prior
        outside = weight[0] * served[..., 0, 0] + weight[1] * served[..., 1, 0] + weight[2] * current
        freed = weight[3] * (1.0 - current) * served[..., 0, 1]  # green does not free those who must give way inside
        green = stages[..., GREEN_AGE]  # 0 but for the current stage
        held = weight[5] * green * served[..., 1].sum(dim=-1)
        return outside + freed - held - weight[4] * stages[..., CROSSED]

    def _preference(self, parts: Parts, weight: Tensor) -> Tensor:
        """Added to the score of the present stage, 0 for others, ``(…, S)``: the fuller, and the more that it serves.

        The weights are the preference in nats, the standing vehicles for each approach from which it begins, the share
        of it that each further one brings, and the share that each vehicle near the present stage's stop lines brings.
        """
        nats, begins, by_standing, by_near = weight
        approaches, serves, current = parts["approaches"], parts["serves"], parts["stages"][..., CURRENT]
        everywhere = approaches.sum(dim=-2)
        standing = VEHICLES * everywhere[..., QUEUE] / everywhere[..., KNOWN].clamp(min=1.0)
        full = ((standing - begins) * by_standing).clamp(0.0, 1.0)
        shown = (serves.sum(dim=-2) * current.unsqueeze(-1)).sum(dim=-2)
        near = VEHICLES * (shown * approaches[..., NEAR]).sum(dim=-1)
        used = (near * by_near).clamp(0.0, 1.0)
        return (nats * exclusive(serves) * full * used).unsqueeze(-1) * current


def exclusive(serves: Tensor) -> Tensor:
    """1 where each approach has its green in one stage alone, of three or more, and never gives way; else 0: ``(…)``.

    So it is where every arm has a stage of its own (split phases), and where left turns with lanes of their own have.

    Args:
        serves: the part ``serves`` of the observation, ``(…, S, 2, L)``.
    """
    green = (serves > 0.0).to(serves.dtype)
    most = green.sum(dim=-3).amax(dim=-1)  # stages of one approach: protected, permissive
    stages = green[..., 0, :].amax(dim=-1).sum(dim=-1)
    return ((stages > 2.0) & (most[..., 0] <= 1.0) & (most[..., 1] <= 0.0)).to(serves.dtype)


class StageCritic(nn.Module):
    """Values of all junctions of a network, each from its own observation and, if central, the network's state.

    Args:
        shapes: shapes of the observation's parts.
        columns: number of columns of the network's state.
        width: width of every hidden layer.
        central: whether the critic gets the network's state.
    """

    def __init__(self, shapes: Shapes, columns: int, width: int = 64, central: bool = True):
        super().__init__()
        self.encoder = StageEncoder(shapes, width)
        self.network = mlp(columns, width) if central else None
        self.hidden = InContext(2 * width, 2 * width if central else 1, width)
        self.value = nn.Sequential(mlp(width, width), nn.Linear(width, 1))

    def forward(self, parts: Parts, state: Tensor) -> Tensor:
        """Values ``(…, N)`` from parts ``(…, N, …)`` and state ``(…, N, columns)``."""
        _, junctions = self.encoder(parts)
        return self.value(self.hidden(junctions, pooled(self.network, state))).squeeze(-1)
