"""One policy for any junction: the order and the number of stages and lanes, and padding, must not matter."""

import numpy as np
import pytest
import torch

from agents.networks import NOT_ALLOWED, CentralCritic, FlatPolicy, StagePolicy

SHAPES = {"approaches": (6, 11), "stages": (4, 7), "serves": (4, 2, 6), "action_mask": (4,)}


def parts(agents=5, approaches=6, stages=4, seed=0):
    rng = np.random.default_rng(seed)
    out = {
        "approaches": rng.random((agents, approaches, 11)),
        "stages": rng.random((agents, stages, 7)),
        "serves": rng.random((agents, stages, 2, approaches)),
        "action_mask": np.ones((agents, stages)),
    }
    out["stages"][..., 0] = 1.0
    return {name: torch.from_numpy(part.astype(np.float32)) for name, part in out.items()}


@pytest.fixture
def policy():
    torch.manual_seed(0)
    return StagePolicy(SHAPES).eval()


def test_order_of_approaches_does_not_matter(policy):
    p = parts()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    q = p | {"approaches": p["approaches"][:, order], "serves": p["serves"][..., order]}
    torch.testing.assert_close(policy(p), policy(q))


def test_order_of_stages_only_reorders_the_scores(policy):
    p = parts()
    order = torch.tensor([2, 3, 1, 0])
    q = p | {name: p[name][:, order] for name in ("stages", "serves", "action_mask")}
    torch.testing.assert_close(policy(p)[:, order], policy(q))


def test_padding_does_not_matter(policy):
    p = parts()
    wide = {
        "approaches": torch.nn.functional.pad(p["approaches"], (0, 0, 0, 3)),
        "stages": torch.nn.functional.pad(p["stages"], (0, 0, 0, 2)),
        "serves": torch.nn.functional.pad(p["serves"], (0, 3, 0, 0, 0, 2)),
        "action_mask": torch.nn.functional.pad(p["action_mask"], (0, 2)),
    }
    logits = policy(wide)
    torch.testing.assert_close(logits[:, :4], policy(p))
    assert (logits[:, 4:] == NOT_ALLOWED).all()


def test_a_masked_stage_is_never_the_best(policy):
    p = parts(agents=200)
    p["action_mask"] = (torch.rand((200, 4), generator=torch.Generator().manual_seed(1)) > 0.6).float()
    p["action_mask"][:, 2] = 1.0
    best = policy(p).argmax(dim=1)
    assert p["action_mask"][torch.arange(200), best].all()


def test_untrained_policy_serves_the_longest_queue(policy):
    p = parts(agents=1)
    p["approaches"].zero_()
    p["approaches"][..., 8] = 1.0  # every approach exists
    p["approaches"][0, 1, 2] = 2.0  # twenty vehicles stand on approach 1
    p["serves"].zero_()
    p["serves"][0, 3, 0, 1] = 1.0  # stage 3 serves it
    p["stages"][..., 1:] = 0.0
    assert policy(p).argmax() == 3


def test_critic_does_not_depend_on_the_order_of_junctions():
    torch.manual_seed(0)
    critic = CentralCritic(SHAPES, columns=6)
    state = torch.rand(5, 7, 6)
    torch.testing.assert_close(critic(parts(), state), critic(parts(), state.flip(1)))


def test_flat_policy_masks():
    p = parts()
    p["action_mask"][:, 1] = 0.0
    assert (FlatPolicy(SHAPES)(p)[:, 1] == NOT_ALLOWED).all()
