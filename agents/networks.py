"""The torch modules that are trained: a policy that fits any plant of its system, and a critic for training only.

Nothing here knows RLlib; `training.module` wraps these. Observations come as named parts (see `Features.shapes`) with
any leading dimensions: ``(rows, …)`` where agents of several sites are decided for at once, padded with zeros to a
common size (which may not change a decision); ``(B, N, …)`` where learning keeps the agents of one plant together, so
that a critic sees all of them, and layers across agents are possible.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.baselines.drainage import TUNED
from envs.drainage.features import GATE_FEATURES
from envs.intersections.features import APPROACH_FEATURES, STAGE_FEATURES
from envs.transit.features import ZONE_FEATURES

Parts = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
NOT_ALLOWED = -1e9
"""Logit of an action that is masked."""

LENGTH, QUEUE, ARRIVALS, INSIDE = (APPROACH_FEATURES.index(k) for k in ("length", "queue", "arrivals", "inside"))
EXISTS, CURRENT, GREEN, CROSSED = (STAGE_FEATURES.index(k) for k in ("exists", "current", "green", "crossed"))


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between and after."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers)


class InContext(nn.Module):
    """A linear layer over items and what they have in common, with ReLU.

    The same as a layer over each item with the context appended, but the context is multiplied once for all items.

    Args:
        item: features of an item.
        context: features of what the items share.
        width: outputs.
    """

    def __init__(self, item: int, context: int, width: int):
        super().__init__()
        self.item = nn.Linear(item, width)
        self.context = nn.Linear(context, width, bias=False)

    def forward(self, items: Tensor, context: Tensor) -> Tensor:
        """``(…, K, width)`` from items ``(…, K, item)`` and context ``(…, context)``."""
        return torch.relu(self.item(items) + self.context(context).unsqueeze(-2))


class StageEncoder(nn.Module):
    """Approaches and stages of a junction → an embedding of each stage and of the junction.

    Each approach is encoded alike and summed over the stages that serve it, so neither the number nor the order of
    approaches and stages matters (a deep set over a bipartite graph).

    Args:
        shapes: the observation's parts.
        width: of every hidden layer.
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
        approaches = self.approach(rows) * (rows[..., LENGTH : LENGTH + 1] > 0)  # padding has no length
        served = torch.matmul(serves.flatten(-3, -2), approaches).unflatten(-2, (-1, 2)).flatten(-2)
        everything = approaches.sum(dim=-2)
        context = torch.cat([everything, parts["junction"]], dim=-1)
        exists = stages[..., EXISTS : EXISTS + 1]
        embedded = self.after(self.stage(torch.cat([served, stages], dim=-1), context)) * exists
        pooled = embedded.sum(dim=-2) / exists.sum(dim=-2)
        return embedded, torch.cat([everything, pooled], dim=-1)


class PolicyNetwork(nn.Module):
    """Base of the policy networks: observation parts → what `training.actions` reads as actions; masked logits, say.

    Attributes:
        DIMS: part name → a name for every size that may differ from site to site, None for those that may not.
        ACROSS: whether it has layers across the agents of a plant (attention, say). Then it always gets them together,
            ``(…, N, …)``; else rows of several plants may be mixed, which is quicker.
    """

    DIMS: Mapping[str, tuple[str | None, ...]]
    ACROSS: ClassVar[bool] = False


class StagePolicy(PolicyNetwork):
    """Scores every green stage of a junction; the highest is asked for.

    A learned share of the plain demand of a stage is added to the scores: standing and arriving vehicles that it
    serves, with more weight those that were cut off inside the junction, less those that it would keep there while
    others cross their path. Vehicles that stand inside although their stage is green count against it, more so the
    longer it is: they hold each other, and another stage lets them go. So an untrained policy already serves the
    longest queue instead of gridlocking the network.

    Args:
        shapes: the observation's parts.
        outputs: not needed: there is one a stage.
        width: of every hidden layer.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {
        "approaches": ("approaches", None),
        "stages": ("stages", None),
        "serves": ("stages", None, "approaches"),
        "junction": (None,),
        "action_mask": ("stages",),
    }

    def __init__(self, shapes: Shapes, outputs: int = 0, width: int = 64):
        super().__init__()
        self.encoder = StageEncoder(shapes, width)
        self.hidden = InContext(width, 2 * width, width)
        self.score = nn.Linear(width, 1)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)
        self.prior = nn.Parameter(torch.tensor([4.0, 2.0, 1.0, 5.0, 5.0, 30.0]))

    def forward(self, parts: Parts) -> Tensor:
        """Logits ``(…, S)``; a masked stage has -1e9."""
        stages, junction = self.encoder(parts)
        scores = self.score(self.hidden(stages, junction)).squeeze(-1) + self._demand(parts)
        return torch.where(parts["action_mask"] > 0.5, scores, torch.full_like(scores, NOT_ALLOWED))

    def _demand(self, parts: Parts) -> Tensor:
        approaches, stages = parts["approaches"], parts["stages"]
        waiting = torch.stack([approaches[..., QUEUE] + approaches[..., ARRIVALS], approaches[..., INSIDE]], dim=-1)
        served = torch.matmul(parts["serves"], waiting.unsqueeze(-3))  # (…, S, 2, 2): protected or not; waiting, inside
        current, weight = stages[..., CURRENT], self.prior
        outside = weight[0] * served[..., 0, 0] + weight[1] * served[..., 1, 0] + weight[2] * current
        freed = weight[3] * (1.0 - current) * served[..., 0, 1]  # who must give way inside is not freed by green
        held = weight[5] * stages[..., GREEN] * served[..., 1].sum(dim=-1)  # only the current one has an age of green
        return outside + freed - held - weight[4] * stages[..., CROSSED]


class StageCritic(nn.Module):
    """Values of all junctions of a network, each from its own observation and, if central, the network's state.

    Args:
        shapes: the observation's parts.
        columns: columns of the network's state.
        width: of every hidden layer.
        central: whether the network's state is seen.
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
        return self.value(self.hidden(junctions, _pooled(self.network, state))).squeeze(-1)


class GatePolicy(PolicyNetwork):
    """How far each gate opens: a law on levels with a learned correction, as a multiple of its static setting.

    The law starts as the tuned one that operators may use (`agents.baselines.drainage.LevelLaw`), so an untrained
    policy already is as good as that. Every gate is looked at alone and alike: one policy fits any number of gates.

    Args:
        shapes: the observation's parts.
        outputs: not needed: a mean and the logarithm of a standard deviation.
        width: of the hidden layers.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {"gate": (None,)}
    STATIC: ClassVar[int] = GATE_FEATURES.index("static")
    BEYOND: ClassVar[float] = 0.1
    """What is left of a mean beyond shut and open: enough to learn the way back, too little to get lost."""

    def __init__(self, shapes: Shapes, outputs: int = 2, width: int = 64):
        super().__init__()
        self.law = nn.Linear(shapes["gate"][-1], 1)
        a, b, c, d, e, f = TUNED
        nn.init.zeros_(self.law.weight)
        nn.init.constant_(self.law.bias, a + c * d - e * f)
        with torch.no_grad():
            unheard = {"below_exists": -c * d, "below_known": c * d}  # nothing is said of a level that is not heard
            for name, weight in {"above_mean": b, "below_fill": -c, "fill": e, **unheard}.items():
                self.law.weight[0, GATE_FEATURES.index(name)] = weight
        self.hidden = mlp(shapes["gate"][-1], width, width)
        self.more = nn.Linear(width, 1)
        nn.init.normal_(self.more.weight, std=0.01)
        nn.init.zeros_(self.more.bias)
        self.log_std = nn.Parameter(torch.tensor(-1.5))

    def forward(self, parts: Parts) -> Tensor:
        """Mean and log standard deviation ``(…, 2)``; the mean in units of `training.actions`: -1 shut, 1 open."""
        gates = parts["gate"]
        static = gates[..., self.STATIC : self.STATIC + 1]
        setting = static * self.law(gates) + static.clamp(min=0.1) * self.more(self.hidden(gates))
        within = setting.clamp(0.0, 1.0)
        mean = 2.0 * (within + self.BEYOND * (setting - within)) - 1.0
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)


class DamperPolicy(PolicyNetwork):
    """The voltage of each damper, from what it feels itself and what the dampers beside it say.

    Every damper is looked at alike: one policy fits any number of them, in any building. Untrained, it holds about a
    third of full voltage, which no building minds.

    Args:
        shapes: the observation's parts.
        outputs: not needed: a mean and the logarithm of a standard deviation.
        width: of the hidden layers.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {"damper": (None,), "neighbours": (None,)}
    BEYOND: ClassVar[float] = 0.1
    """What is left of a mean beyond none and full: enough to learn the way back, too little to get lost."""

    def __init__(self, shapes: Shapes, outputs: int = 2, width: int = 64):
        super().__init__()
        size = shapes["damper"][-1] + shapes["neighbours"][-1]
        self.hidden = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.level = nn.Linear(width, 1)
        nn.init.normal_(self.level.weight, std=0.01)
        nn.init.constant_(self.level.bias, -0.35)
        self.log_std = nn.Parameter(torch.tensor(-1.0))

    def forward(self, parts: Parts) -> Tensor:
        """Mean and log standard deviation ``(…, 2)``; the mean in units of `training.actions`: -1 none, 1 full."""
        seen = torch.cat([parts["damper"], parts["neighbours"]], dim=-1)
        mean = self.level(self.hidden(seen))
        within = mean.clamp(-1.0, 1.0)
        mean = within + self.BEYOND * (mean - within)
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)


class ZonePolicy(PolicyNetwork):
    """Where a fleet's idle vehicles should stand, and how urgent a wait is: the rule of practice plus a correction.

    The first is the score of demand-proportional rebalancing (`agents.baselines.transit.Reactive`), which the features
    hold; the correction's last layer starts at zero, so an untrained policy is exactly that rule. Every zone is looked
    at alone and alike: one policy fits any number of zones.

    Args:
        shapes: the observation's parts.
        outputs: not needed: two means and the logarithms of two standard deviations.
        width: of the hidden layers.
    """

    DIMS: Mapping[str, tuple[str | None, ...]] = {"zone": (None,)}
    RULE: ClassVar[int] = ZONE_FEATURES.index("proportional")

    def __init__(self, shapes: Shapes, outputs: int = 4, width: int = 64):
        super().__init__()
        self.hidden = mlp(shapes["zone"][-1], width, width)
        self.correction = nn.Linear(width, 2)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        # A score's unit is a factor of e^8 on a zone's share: exploration has to be much finer than of the urgency.
        self.log_std = nn.Parameter(torch.tensor([-2.5, -1.5]))

    def forward(self, parts: Parts) -> Tensor:
        """Means and log standard deviations ``(…, 4)`` of score and urgency, both from -1 to 1."""
        zones = parts["zone"]
        rule = zones[..., self.RULE : self.RULE + 1]
        mean = torch.cat([rule, torch.zeros_like(rule)], dim=-1) + self.correction(self.hidden(zones))
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)


class FlatPolicy(PolicyNetwork):
    """A plain two-layer perceptron over the whole observation: fits one plant only, of any system.

    The shape of stable-baselines3's default policy, for the reference that guards the training path.

    Args:
        shapes: the observation's parts.
        outputs: numbers that the actions need (`training.actions`).
        width: of the hidden layers.
    """

    def __init__(self, shapes: Shapes, outputs: int, width: int = 64):
        super().__init__()
        size = sum(math.prod(shape) for shape in shapes.values())
        self.names = list(shapes)
        self.ranks = {name: len(shape) for name, shape in shapes.items()}
        self.DIMS = {name: (None,) * len(shape) for name, shape in shapes.items()}
        self.hidden = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.score = nn.Linear(width, outputs)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)

    def forward(self, parts: Parts) -> Tensor:
        """Outputs ``(…, outputs)``; a masked action has -1e9."""
        scores = self.score(self.hidden(_flat(parts, self.ranks)))
        if "action_mask" not in parts:
            return scores
        return torch.where(parts["action_mask"] > 0.5, scores, torch.full_like(scores, NOT_ALLOWED))


class FlatCritic(nn.Module):
    """Values of all agents of one plant, each from its whole observation and, if central, the plant's state.

    Args:
        shapes: the observation's parts.
        columns: columns of the plant's state.
        width: of the hidden layers.
        central: whether the plant's state is seen.
    """

    def __init__(self, shapes: Shapes, columns: int, width: int = 64, central: bool = True):
        super().__init__()
        self.ranks = {name: len(shape) for name, shape in shapes.items()}
        self.plant = mlp(columns, width) if central else None
        size = sum(math.prod(shape) for shape in shapes.values())
        self.hidden = InContext(size, 2 * width if central else 1, width)
        self.value = nn.Sequential(mlp(width, width), nn.Linear(width, 1))

    def forward(self, parts: Parts, state: Tensor) -> Tensor:
        """Values ``(…, N)`` from parts ``(…, N, …)`` and state ``(…, rows, columns)``."""
        return self.value(self.hidden(_flat(parts, self.ranks), _pooled(self.plant, state))).squeeze(-1)


def _flat(parts: Parts, ranks: Mapping[str, int]) -> Tensor:
    return torch.cat([parts[name].flatten(-rank) if rank > 1 else parts[name] for name, rank in ranks.items()], dim=-1)


def _pooled(encode: nn.Module | None, state: Tensor) -> Tensor:
    """The rows of a state as one vector whatever their number and order: mean and maximum; one zero without a state."""
    if encode is None:
        return state.new_zeros(*state.shape[:-2], 1)
    rows = encode(state)
    return torch.cat([rows.mean(dim=-2), rows.amax(dim=-2)], dim=-1)


NETWORKS: dict[str, Any] = {
    "stages": StagePolicy,
    "gates": GatePolicy,
    "dampers": DamperPolicy,
    "zones": ZonePolicy,
    "flat": FlatPolicy,
}
"""Policy networks by name."""

CRITICS: dict[str, Any] = {name: StageCritic if name == "stages" else FlatCritic for name in NETWORKS}
"""Policy network → the critic that goes with it."""

NETWORK_OF = {"intersections": "stages", "drainage": "gates", "dampers": "dampers", "transit": "zones"}
"""System → its policy network; ``flat`` for others."""
