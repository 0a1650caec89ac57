"""Actions: sampling in numpy agrees with scores in torch, and requests lie in the plants' action space."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.distributions import Categorical, Independent, Normal

from agents.networks import NOT_ALLOWED
from training.actions import LOG_STD_RANGE, ActionCodec

BOX = spaces.Box(np.array([-2.0, 0.0]), np.array([6.0, 100.0]), dtype=np.float64)
SPACES = {
    "discrete": spaces.Discrete(5),
    "several": spaces.MultiDiscrete([3, 2, 4]),
    "box": BOX,
    "tuple": spaces.Tuple((spaces.Discrete(3), BOX, spaces.MultiDiscrete([2, 2]))),
    "dict": spaces.Dict(mode=spaces.Discrete(3), rest=spaces.Tuple((BOX, spaces.Discrete(2)))),
}
# What each part of a network's outputs is: options of a choice, or minus the number of numbers.
PARTS = {
    "discrete": [5],
    "several": [3, 2, 4],
    "box": [-2],
    "tuple": [3, -2, 2, 2],
    "dict": [3, -2, 2],
}


@pytest.fixture(params=SPACES)
def name(request):
    return request.param


def drawn(name, rows=400, seed=0):
    codec, rng = ActionCodec(SPACES[name]), np.random.default_rng(seed)
    inputs = (2 * rng.standard_normal((rows, 3, codec.inputs))).astype(np.float32)
    return codec, inputs, *codec.sample(inputs, rng)


def reference(name, inputs, actions):
    """Log-probability and entropy by torch's own distributions."""
    logp, entropy, at, column = 0.0, 0.0, 0, 0
    inputs, actions = torch.from_numpy(inputs).double(), torch.from_numpy(actions).double()
    for part in PARTS[name]:
        if part > 0:
            distribution = Categorical(logits=inputs[..., at : at + part])
            value, at, column = actions[..., column], at + part, column + 1
        else:
            width = -part
            mean, log_std = inputs[..., at : at + width], inputs[..., at + width : at + 2 * width]
            distribution = Independent(Normal(mean, log_std.clamp(*LOG_STD_RANGE).exp()), 1)
            value, at, column = actions[..., column : column + width], at + 2 * width, column + width
        logp, entropy = logp + distribution.log_prob(value), entropy + distribution.entropy()
    return logp, entropy


def test_sizes(name):
    codec, _, actions, logp = drawn(name)
    assert codec.inputs == sum(part if part > 0 else -2 * part for part in PARTS[name])
    assert codec.width == sum(1 if part > 0 else -part for part in PARTS[name])
    assert actions.shape == (400, 3, codec.width)
    assert logp.shape == (400, 3)
    assert actions.dtype == np.float32


def test_drawing_and_scoring_agree_with_torchs_distributions(name):
    codec, inputs, actions, logp = drawn(name)
    scored, entropy = codec.score(torch.from_numpy(inputs), torch.from_numpy(actions))
    expected = reference(name, inputs, actions)
    # An action is kept as float32: a narrow normal variable turns its rounding into 1e-5 standard deviations.
    np.testing.assert_allclose(scored.numpy(), expected[0].numpy(), rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(logp, expected[0].numpy(), rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(entropy.numpy(), expected[1].numpy(), rtol=1e-4, atol=1e-4)


def test_requests_lie_in_the_space(name):
    codec, _, actions, _ = drawn(name)
    requests = codec.requests(actions)
    space = SPACES[name]
    if name == "discrete":
        assert requests.dtype == np.int64
        assert requests.shape == actions.shape[:-1]
        assert all(space.contains(request) for request in requests.ravel())
        return
    assert requests.dtype == np.float64
    assert requests.shape == actions.shape
    assert all(space.contains(build(space, list(request))) for request in requests.reshape(-1, codec.width))


def build(space, numbers):
    """An element of a space from its numbers in order."""
    if isinstance(space, spaces.Discrete):
        return int(numbers.pop(0))
    if isinstance(space, spaces.MultiDiscrete | spaces.Box):
        return np.array([numbers.pop(0) for _ in range(space.shape[0])], dtype=space.dtype)
    if isinstance(space, spaces.Dict):
        return {key: build(part, numbers) for key, part in space.items()}
    return tuple(build(part, numbers) for part in space)


def test_numbers_are_in_units_of_half_the_range():
    actions = np.array([[-1.0, -1.0], [0.0, 0.5], [1.0, 1.0], [-7.0, 7.0]], dtype=np.float32)
    assert ActionCodec(BOX).requests(actions).tolist() == [[-2, 0], [2, 75], [6, 100], [-2, 100]]


def test_choices_are_not_scaled():
    codec = ActionCodec(SPACES["dict"])
    assert codec.requests(np.array([[2.0, 0.0, 0.0, 1.0]], dtype=np.float32)).tolist() == [[2, 2, 50, 1]]


@pytest.mark.parametrize("name", ["discrete", "several"])
def test_frequencies_are_probabilities(name):
    codec = ActionCodec(SPACES[name])
    logits = np.random.default_rng(1).standard_normal(codec.inputs).astype(np.float32)
    draws = 40_000
    actions, _ = codec.sample(np.broadcast_to(logits, (draws, codec.inputs)), np.random.default_rng(2))
    start = 0
    for column, options in enumerate(PARTS[name]):
        probability = torch.softmax(torch.from_numpy(logits[start : start + options]), 0).numpy()
        found = np.bincount(actions[:, column].astype(int), minlength=options) / draws
        np.testing.assert_allclose(found, probability, atol=4 * 0.5 / draws**0.5)  # four standard errors, at least
        start += options


def test_numbers_have_their_mean_and_spread():
    codec, draws = ActionCodec(BOX), 40_000
    inputs = np.array([0.3, -0.7, -1.0, 0.4], dtype=np.float32)
    actions, _ = codec.sample(np.broadcast_to(inputs, (draws, 4)), np.random.default_rng(3))
    std = np.exp(inputs[2:])
    np.testing.assert_array_less(np.abs(actions.mean(axis=0) - inputs[:2]), 4 * std / draws**0.5)
    np.testing.assert_allclose(actions.std(axis=0), std, rtol=0.02)


def test_a_masked_choice_is_never_drawn():
    codec, rng = ActionCodec(spaces.Discrete(4)), np.random.default_rng(4)
    logits = rng.standard_normal((20_000, 4)).astype(np.float32)
    allowed = rng.random((20_000, 4)) > 0.6
    allowed[~allowed.any(axis=1), 0] = True
    actions, logp = codec.sample(np.where(allowed, logits, np.float32(NOT_ALLOWED)), rng)
    assert allowed[np.arange(20_000), actions[:, 0].astype(int)].all()
    only = allowed.sum(axis=1) == 1
    np.testing.assert_array_equal(logp[only], 0.0)


def test_entropy_of_masked_choices_is_finite():
    logits = torch.tensor([[0.0, 0.0, NOT_ALLOWED]], requires_grad=True)
    _, entropy = ActionCodec(spaces.Discrete(3)).score(logits, torch.zeros(1, 1))
    entropy.sum().backward()
    assert entropy.item() == pytest.approx(np.log(2))
    assert torch.isfinite(logits.grad).all()


def test_the_best_action_is_the_most_probable(name):
    codec, inputs, actions, _ = drawn(name)
    best, outputs = torch.from_numpy(codec.best(inputs)), torch.from_numpy(inputs)
    assert best.shape == actions.shape
    assert (codec.score(outputs, best)[0] >= codec.score(outputs, torch.from_numpy(actions))[0] - 1e-5).all()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, np.inf, (2,)),
        spaces.Box(0.0, 1.0, (2, 2)),
        spaces.MultiBinary(3),
        spaces.Tuple((spaces.Discrete(2), spaces.Text(4))),
    ],
    ids=str,
)
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match="cannot be learned: give Discrete, bounded Box, or a mixture"):
        ActionCodec(space)


def test_choices_may_begin_anywhere():
    """Gymnasium lets a Discrete space start at another number than zero."""
    codec = ActionCodec(spaces.Discrete(3, start=5))
    assert codec.requests(np.array([[0.0], [2.0]], dtype=np.float32)).tolist() == [5, 7]
    mixed = ActionCodec(spaces.Tuple((spaces.Discrete(3, start=-1), BOX)))
    assert mixed.requests(np.array([[0.0, 0.0, 0.0]], dtype=np.float32)).tolist() == [[-1, 2, 50]]


def test_changes_are_other_choices_and_shares_of_a_range():
    before, after = np.array([[2.0], [2.0]]), np.array([[2.0], [0.0]])
    assert ActionCodec(spaces.Discrete(3)).changes(before, after).tolist() == [0.0, 1.0]
    before = np.array([[-1.0, 0.0], [-3.0, 5.0]])
    after = np.array([[1.0, 0.0], [-1.5, 1.0]])  # beyond the range counts as its end
    assert ActionCodec(BOX).changes(before, after).tolist() == [0.5, 0.0]
    both = ActionCodec(spaces.Tuple([spaces.Discrete(4), spaces.Box(0.0, 1.0, (1,))]))
    assert float(both.changes(np.array([1.0, -1.0]), np.array([3.0, 0.0]))) == 0.75
