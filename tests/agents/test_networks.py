"""One policy for any junction: the order and the number of stages and lanes, and padding, must not matter."""

import numpy as np
import pytest
import torch

from agents.baselines.drainage import LevelLaw
from agents.networks import (
    NOT_ALLOWED,
    DamperPolicy,
    FlatCritic,
    FlatPolicy,
    GatePolicy,
    InContext,
    StageCritic,
    StagePolicy,
)
from agents.networks.intersections import ARRIVALS, LENGTH, QUEUE, exclusive
from envs.core.env import make_loop
from envs.dampers.features import FRAME_FEATURES
from envs.drainage.features import GATE_FEATURES
from envs.intersections.features import (
    APPROACH_FEATURES,
    CURRENT,
    EXISTS,
    JUNCTION_FEATURES,
    KNOWN,
    NEAR,
    STAGE_FEATURES,
    VEHICLES,
)


def shapes(approaches=6, stages=4):
    """Parts of a junction's observation."""
    return {
        "approaches": (approaches, len(APPROACH_FEATURES)),
        "stages": (stages, len(STAGE_FEATURES)),
        "serves": (stages, 2, approaches),
        "junction": (len(JUNCTION_FEATURES),),
        "action_mask": (stages,),
    }


def numbers(rows, sizes, seed=0):
    """Random parts ``(rows, …)`` of junctions whose approaches and stages all exist and are allowed."""
    rng = np.random.default_rng(seed)
    parts = {name: torch.from_numpy(rng.random((rows, *size)).astype(np.float32)) for name, size in sizes.items()}
    parts["stages"][..., STAGE_FEATURES.index("exists")] = 1.0
    parts["approaches"][..., LENGTH] += 0.1
    parts["action_mask"].fill_(1.0)
    return parts


def padded(parts, approaches=3, stages=2):
    """The same junctions at a site whose largest one has more approaches and stages."""
    pad = torch.nn.functional.pad
    return {
        "approaches": pad(parts["approaches"], (0, 0, 0, approaches)),
        "stages": pad(parts["stages"], (0, 0, 0, stages)),
        "serves": pad(parts["serves"], (0, approaches, 0, 0, 0, stages)),
        "junction": parts["junction"],
        "action_mask": pad(parts["action_mask"], (0, stages)),
    }


@pytest.fixture
def parts():
    return numbers(5, shapes())


@pytest.fixture
def policy():
    torch.manual_seed(0)
    policy = StagePolicy(shapes())
    torch.nn.init.normal_(policy.score.weight)  # as if trained: else the plain demand hides what the layers do
    return policy.eval()


@pytest.fixture
def critic():
    torch.manual_seed(0)
    return StageCritic(shapes(), columns=6)


def test_order_of_approaches_does_not_matter(policy, parts):
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    other = parts | {"approaches": parts["approaches"][:, order], "serves": parts["serves"][..., order]}
    torch.testing.assert_close(policy(parts), policy(other))


def test_order_of_stages_only_reorders_the_scores(policy, parts):
    order = torch.tensor([2, 3, 1, 0])
    other = parts | {name: parts[name][:, order] for name in ("stages", "serves", "action_mask")}
    torch.testing.assert_close(policy(parts)[:, order], policy(other))


def test_padding_does_not_matter(policy, parts):
    logits = policy(padded(parts))
    torch.testing.assert_close(logits[:, :4], policy(parts))
    assert (logits[:, 4:] == NOT_ALLOWED).all()


def test_rows_do_not_depend_on_each_other(policy, parts):
    together = policy(parts)
    for k in range(5):
        torch.testing.assert_close(policy({name: part[k : k + 1] for name, part in parts.items()})[0], together[k])


def test_leading_dimensions_are_free(policy, critic, parts):
    grouped = {name: part.unflatten(0, (1, 5)) for name, part in parts.items()}
    torch.testing.assert_close(policy(grouped), policy(parts).unflatten(0, (1, 5)))
    state = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(critic(grouped, state[None]), critic(parts, state)[None])


@pytest.mark.parametrize("part", ["approaches", "stages", "serves", "junction"])
def test_every_part_is_seen(policy, critic, parts, part):
    other = parts | {part: parts[part].clone()}
    other[part][..., -1] += 0.5
    assert not torch.allclose(policy(parts), policy(other))
    state = torch.zeros(2, 6)
    assert not torch.allclose(critic(parts, state), critic(other, state))


def served(*stages):
    """The part ``serves`` of stages as SUMO writes them, a letter for each approach: ``(1, S, 2, L)``."""
    return torch.tensor([[[[float(letter == kind) for letter in stage] for kind in "Gg"] for stage in stages]])


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (("Grr", "rGr", "rrG"), 1.0),
        (("Grr", "rGr", "rrG", "rrr"), 1.0),  # padding, or people who cross by themselves
        (("GGr", "rrG"), 0.0),  # only two
        (("GGr", "rGr", "rrG"), 0.0),  # the second approach is green in two
        (("Grr", "rGr", "rrg"), 0.0),  # the third gives way
    ],
)
def test_stages_are_exclusive_where_no_approach_is_green_in_two_of_them(stages, expected):
    assert exclusive(served(*stages)).tolist() == [expected]


@pytest.mark.parametrize(
    ("standing", "near", "nats"), [(1.9, 9.0, 0.0), (3.0, 9.0, 2.0), (9.0, 1.5, 2.0), (9.0, 0.0, 0.0), (9.0, 9.0, 4.0)]
)
def test_a_full_junction_prefers_its_stage_while_those_it_serves_are_near(policy, standing, near, nats):
    """Where its stages are exclusive, and nowhere else."""
    parts = {name: torch.zeros_like(part) for name, part in numbers(1, shapes(approaches=4, stages=3)).items()}
    parts["approaches"][0, :, LENGTH] = 1.0
    parts["approaches"][0, :3, KNOWN] = 1.0  # the fourth does not hear
    parts["approaches"][0, :3, QUEUE] = standing / VEHICLES
    parts["approaches"][0, 1, NEAR] = near / VEHICLES
    parts["stages"][..., EXISTS], parts["stages"][0, 1, CURRENT] = 1.0, 1.0
    parts["action_mask"][:] = 1.0
    for stages, expected in ((("Grrr", "rGrr", "rrGG"), nats), (("Grrr", "GGrr", "rrGG"), 0.0)):
        parts["serves"] = served(*stages)
        scores = policy(parts)
        with torch.no_grad():
            usual, policy.hold[0] = float(policy.hold[0]), 0.0
            added = (scores - policy(parts))[0].tolist()
            policy.hold[0] = usual
        assert added == pytest.approx([0.0, expected, 0.0], abs=1e-5)


def test_a_masked_stage_is_never_the_best(policy):
    parts = numbers(200, shapes())
    parts["action_mask"] = (torch.rand((200, 4), generator=torch.Generator().manual_seed(1)) > 0.6).float()
    parts["action_mask"][:, 2] = 1.0
    best = policy(parts).argmax(dim=1)
    assert parts["action_mask"][torch.arange(200), best].all()


def test_untrained_policy_serves_the_longest_queue():
    policy = StagePolicy(shapes())
    parts = {name: torch.zeros_like(part) for name, part in numbers(2, shapes()).items()}
    parts["stages"][..., STAGE_FEATURES.index("exists")] = 1.0
    parts["approaches"][..., LENGTH] = 1.0
    parts["action_mask"].fill_(1.0)
    parts["approaches"][0, 1, QUEUE] = 2.0  # twenty vehicles stand on approach 1
    parts["approaches"][1, 2, ARRIVALS] = 2.0  # twenty vehicles come to approach 2
    parts["serves"][0, 3, 0, 1] = 1.0
    parts["serves"][1, 0, 0, 2] = 1.0
    assert policy(parts).argmax(dim=1).tolist() == [3, 0]


def test_critic_does_not_depend_on_the_order_of_the_states_rows(critic, parts):
    state = torch.rand(7, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(critic(parts, state), critic(parts, state.flip(0)))


def test_critic_does_not_depend_on_padding(critic, parts):
    state = torch.rand(7, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(critic(padded(parts), state), critic(parts, state))


def test_critic_gives_each_agent_of_each_plant_its_value(critic):
    parts = {name: part.unflatten(0, (3, 4)) for name, part in numbers(12, shapes()).items()}
    state = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))
    values = critic(parts, state)
    assert values.shape == (3, 4)
    for plant in range(3):
        alone = critic({name: part[plant] for name, part in parts.items()}, state[plant])
        torch.testing.assert_close(values[plant], alone)


FLAT = {"level": (3,), "valves": (2, 2), "action_mask": (4,)}


def flat(*lead, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parts = {name: torch.rand((*lead, *size), generator=generator) for name, size in FLAT.items()}
    parts["action_mask"].fill_(1.0)
    return parts


@pytest.mark.parametrize("make", [StageCritic, FlatCritic])
def test_only_a_central_critic_sees_the_state(make):
    sizes, parts = (shapes(), numbers(5, shapes())) if make is StageCritic else (FLAT, flat(5))
    state = torch.rand(7, 6, generator=torch.Generator().manual_seed(0))
    for central in (True, False):
        torch.manual_seed(0)
        critic = make(sizes, columns=6, central=central)
        assert torch.equal(critic(parts, state), critic(parts, state + 1.0)) != central


def test_flat_policy_masks():
    parts = flat(5)
    parts["action_mask"][:, 1] = 0.0
    logits = FlatPolicy(FLAT, outputs=4)(parts)
    assert (logits[:, 1] == NOT_ALLOWED).all()
    assert (logits[:, [0, 2, 3]] != NOT_ALLOWED).all()


def test_flat_policy_gives_as_many_numbers_as_the_actions_need():
    sizes = {name: FLAT[name] for name in ("level", "valves")}
    parts = {name: flat(2, 3)[name] for name in sizes}
    assert FlatPolicy(sizes, outputs=7)(parts).shape == (2, 3, 7)


def test_flat_networks_read_every_number():
    torch.manual_seed(0)
    networks = [FlatPolicy(FLAT, outputs=4), lambda parts: FlatCritic(FLAT, columns=2)(parts, torch.zeros(1, 2))]
    for network in networks:
        for name in ("level", "valves"):
            torch.manual_seed(1)
            before = network(flat(1))
            for place in np.ndindex(FLAT[name]):
                parts = flat(1)
                parts[name][(0, *place)] += 0.5
                torch.manual_seed(1)
                assert not torch.allclose(before, network(parts))


def test_a_layer_in_context_is_one_over_items_with_the_context_appended():
    torch.manual_seed(0)
    layer = InContext(3, 2, 5)
    items, context = torch.rand(4, 6, 3), torch.rand(4, 2)
    joined = torch.cat([items, context[:, None].expand(4, 6, 2)], dim=-1)
    weight = torch.cat([layer.item.weight, layer.context.weight], dim=1)
    expected = torch.relu(torch.nn.functional.linear(joined, weight, layer.item.bias))
    torch.testing.assert_close(layer(items, context), expected)


def test_an_untrained_gate_policy_is_the_tuned_law():
    loop = make_loop("drainage/astlingen", duration_s=6 * 3600)
    law, policy = LevelLaw(loop.site), GatePolicy({"gate": (len(GATE_FEATURES),)})
    moved = 0.0
    try:
        loop.reset(0)
        done = False
        while not done:
            wanted = law.act(loop.readings, loop.observation)
            mean = policy({"gate": torch.from_numpy(loop.observation["gate"])})[..., :1].detach().numpy()
            np.testing.assert_allclose(np.clip((mean + 1) / 2, 0, 1), wanted, atol=0.03)
            moved += np.ptp(wanted)
            done = loop.step(wanted).done
    finally:
        loop.close()
    assert moved > 1


def test_an_untrained_gate_policy_keeps_near_the_plan_where_the_level_below_is_not_heard():
    gates = torch.zeros(3, len(GATE_FEATURES))
    columns = ["static", "known", "fill", "below_exists", "below_known", "below_fill"]
    values = torch.tensor([[0.4, 1, 0.8, 1, 0, 0], [0.4, 1, 0.8, 1, 1, 0.95], [0.4, 1, 0.8, 0, 0, 0]])
    gates[:, [GATE_FEATURES.index(name) for name in columns]] = values
    mean = GatePolicy({"gate": (len(GATE_FEATURES),)})({"gate": gates})[:, 0].detach()
    unheard, near_full, nothing_below = ((mean + 1) / 2).tolist()
    assert unheard == pytest.approx(near_full, abs=0.02)
    assert nothing_below > 1, "what has nothing below counts as empty"


def test_a_gate_policy_explores_near_its_mean_and_finds_back_from_beyond_the_end():
    gates = torch.zeros(1, len(GATE_FEATURES))
    gates[:, GATE_FEATURES.index("static")] = 1.0
    mean, log_std = GatePolicy({"gate": (len(GATE_FEATURES),)})({"gate": gates.requires_grad_()}).unbind(-1)
    assert log_std.item() < -1
    assert 1.0 < mean.item() < 1.6, "the law asks for three times as much as there is"
    mean.sum().backward()
    assert gates.grad[0, GATE_FEATURES.index("below_fill")] < 0


def test_gates_are_looked_at_one_by_one():
    gates = torch.rand(4, len(GATE_FEATURES))
    policy = GatePolicy({"gate": (len(GATE_FEATURES),)})
    together, alone = policy({"gate": gates}), policy({"gate": gates[2:3]})
    assert torch.allclose(together[2], alone[0])


def test_dampers_are_decided_for_one_by_one_and_at_first_as_a_regulator_does():
    shapes = {"damper": (20,), "neighbours": (6,), "frame": (len(FRAME_FEATURES),)}
    policy = DamperPolicy(shapes, width=16).eval()
    parts = {name: torch.rand(3, 5, *shape) for name, shape in shapes.items()}
    together = policy(parts)
    alone = policy({name: part[1, 2:3] for name, part in parts.items()})
    torch.testing.assert_close(together[1, 2:3], alone)
    torch.testing.assert_close((together[..., 0] + 1) / 2, parts["frame"][..., DamperPolicy.RULE])
