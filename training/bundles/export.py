"""Export of a run's best validated policy as a bundle: an ONNX model, checked against the policy, and a card."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from agents.card import Bounds, PolicyCard, Training
from agents.networks import PolicyNetwork
from agents.policy import Policy, check_target, write_bundle
from agents.shipped import CARD
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.machine.files import read_json
from envs.core.registry import get_system
from envs.core.scenario import NAME, Scenario, read_yaml
from envs.core.site import Site
from training.actions import ActionCodec
from training.tracking.config import read_config
from training.tracking.stored import hashes_of
from training.validate import kept
from training.weights import load_network

LOGGER = logging.getLogger(__name__)

Shapes = Mapping[str, tuple[int, ...]]

OPSET = 18
TOLERANCE = 1e-4
"""Largest allowed difference of a logit between the torch policy and its export, on random observations.

Where a logit is beyond 1, it is a share of it: rounding grows with it."""

PROBES = 64
"""Number of random batches on which an export is checked."""


def export(run: str | Path, out: str | Path | None = None, name: str | None = None, update: int | None = None) -> Path:
    """Write the bundle of a run's best policy, or of another that it kept.

    Args:
        run: folder of a run.
        out: folder of the bundle; default: ``<run>/policy``.
        name: name of the policy; default: that of the scenario, or ``generalist`` if there are several.
        update: number of the update after which the policy was validated; None: the best policy.

    Returns:
        The bundle's folder.

    Raises:
        CityloopError: if the run has no such policy, or the export decides differently from the policy.
    """
    if name is not None and not re.fullmatch(NAME, str(name)):
        raise CityloopError(f"--name is {name!r}: use letters, digits, dots, dashes and underscores")
    run = Path(run)
    weights, facts = kept(run, update)
    folder = Path(out) if out is not None else run / "policy"
    if folder.exists() and folder.samefile(Path.cwd()):
        raise CityloopError(f"{folder} is the folder that you are in, and the bundle takes its place: give a new one")
    check_target(folder.absolute())
    config = read_yaml(run / "config.yaml")
    settings, scenarios = read_config(config, str(run))
    scenario = scenarios[0]
    with closing(make_loop(scenario)) as loop:
        site, shapes, outputs = loop.site, loop.layout.shapes, ActionCodec(loop.action_space).inputs
    policy = load_network(config["network"], settings.width, weights, shapes, outputs)
    content = to_onnx(policy, shapes)
    name = name or (scenario.name if len(scenarios) == 1 else "generalist")
    card = _card(run, config, scenarios, name, shapes, policy.DIMS, facts, site)
    with tempfile.TemporaryDirectory() as work:
        draft = Path(work) / card.name
        write_bundle(draft, content, card)
        difference = largest_difference(policy, Policy.load(draft), shapes)
        if difference > TOLERANCE:
            raise CityloopError(
                f"the export of {run} decides otherwise than its policy (logits differ: {difference:g})"
            )
    older = (folder / CARD).is_file()
    write_bundle(folder, content, card)
    if older:
        LOGGER.warning("an older bundle in %s was replaced, with what its card told of it", folder)
    return folder


class _Positional(torch.nn.Module):
    """Wrapper that takes the observation's parts as positional arguments, as ONNX needs them."""

    def __init__(self, policy: PolicyNetwork, names: list[str]):
        super().__init__()
        self.policy, self.names = policy, names

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        return self.policy(dict(zip(self.names, parts, strict=True)))


def to_onnx(policy: PolicyNetwork, shapes: Shapes) -> bytes:
    """The policy as an ONNX model: the observation's parts in, ``logits`` out, every padded size dynamic."""
    names = list(shapes)
    example = random_parts(policy, shapes, np.random.default_rng(0))
    dims = {name: torch.export.Dim(name, min=1) for name in {"agents"} | _dynamic(policy)}
    axes = tuple(
        {k: dims[dim] for k, dim in enumerate(("agents", *policy.DIMS[name])) if dim is not None} for name in names
    )
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            _Positional(policy, names),
            tuple(torch.from_numpy(example[name]) for name in names),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=(axes,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        path = Path(folder) / "policy.onnx"
        program.save(str(path), include_initializers=True, external_data=False)
        return _without_traces(path.read_bytes())


def _without_traces(content: bytes) -> bytes:
    """The model without torch's metadata of every node, which includes paths on this machine."""
    import onnx

    model = onnx.load_model_from_string(content)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model.SerializeToString()


def _dynamic(policy: PolicyNetwork) -> set[str]:
    return {dim for part in policy.DIMS.values() for dim in part if dim is not None}


def random_parts(policy: PolicyNetwork, shapes: Shapes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A random observation of random size; at least one action of every agent is allowed."""
    sizes = {dim: int(rng.integers(2, 12)) for dim in sorted({"agents"} | _dynamic(policy))}
    parts = {}
    for name, shape in shapes.items():
        size = [sizes["agents"]]
        size += [n if dim is None else sizes[dim] for n, dim in zip(shape, policy.DIMS[name], strict=True)]
        parts[name] = rng.random(size, dtype=np.float32)
    if "action_mask" in parts:
        mask = (parts["action_mask"] > 0.5).astype(np.float32)
        mask[np.arange(len(mask)), rng.integers(mask.shape[1], size=len(mask))] = 1.0
        parts["action_mask"] = mask
    return parts


def largest_difference(policy: PolicyNetwork, exported: Policy, shapes: Shapes, probes: int = PROBES) -> float:
    """The largest difference of a logit between a torch policy and its export, over random observations.

    Where a logit is beyond 1, as a share of it.
    """
    rng, worst = np.random.default_rng(1), 0.0
    for _ in range(probes):
        parts = random_parts(policy, shapes, rng)
        with torch.no_grad():
            wanted = policy({name: torch.from_numpy(part) for name, part in parts.items()}).numpy()
        apart = np.abs(exported.logits(parts) - wanted) / np.maximum(np.abs(wanted), 1.0)
        worst = max(worst, float(apart.max()))
    return worst


def _card(
    run: Path,
    config: Mapping[str, Any],
    scenarios: Sequence[Scenario],
    name: str,
    shapes: Shapes,
    dims: Mapping[str, tuple[str | None, ...]],
    best: Mapping[str, Any],
    site: Site,
) -> PolicyCard:
    first = scenarios[0]
    kpi = get_system(first.system).headline(first)
    validation = best.get("final_validation", best["validation"])
    before = config.get("start", {})
    return PolicyCard(
        system=first.system,
        name=name,
        observation={
            part: tuple(n if dim is None else None for n, dim in zip(shape, dims[part], strict=True))
            for part, shape in shapes.items()
        },
        readings=get_system(first.system).readings.describe(),
        bounds=_bounds(get_system(first.system).action_space(site)),
        training=Training(
            scenarios=before.get("scenarios", {}) | hashes_of(config, scenarios),
            seeds=f"{first.seeds.train.first} to {first.seeds.train.last}",
            decisions=before.get("decisions", 0) + best["agent_steps"],
            algorithm=config["algorithm"],
            command=f"{config['command'] or 'training.train.train'}\ncityloop export RUN --update {best['iteration']}",
        ),
        versions=read_json(run / "versions.json"),
        evaluation={f"validation: {kpi}, mean": {label: round(mean[kpi], 2) for label, mean in validation.items()}},
        created=datetime.now(UTC).date(),
    )


def _bounds(space: spaces.Space[Any]) -> Bounds | None:
    """Bounds of the numbers that an agent sets; None if the actions are choices.

    Raises:
        CityloopError: if the actions combine both, which a bundle cannot express.
    """
    if isinstance(space, spaces.Discrete):
        return None
    if isinstance(space, spaces.Box):
        return Bounds(low=tuple(space.low.tolist()), high=tuple(space.high.tolist()))
    raise CityloopError(f"a bundle holds choices or numbers, and this system's actions are {space}")
