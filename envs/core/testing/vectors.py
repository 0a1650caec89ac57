"""Contract checks of `envs.core.vector.Vector`, for plants in processes and for a system's own arrays."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import closing
from zlib import crc32

import numpy as np

from envs.core.errors import CityloopError
from envs.core.rollout import draw_requests
from envs.core.testing.errors import need
from envs.core.vector import Batch, Vector


def check_vector(make: Callable[[int], Vector], steps: int) -> int:
    """Run plants with random allowed requests, and check the properties that a trainer relies on.

    Args:
        make: seed → plants; it is called twice.
        steps: number of steps; half as many follow from a saved state.

    Returns:
        Number of episodes that ended.

    Raises:
        ContractError: if a property does not hold.
    """
    with closing(make(0)) as plants:
        _refuses(plants)
        played = _play(plants, plants.reset(), steps)
        saved = pickle.loads(pickle.dumps(plants.get_state()))
        rest = _play(plants, played[-1], steps // 2)
        need(_same(_play(plants, plants.reset(), steps), played), "plants do not repeat themselves after a reset")
        plants.close()
    with closing(make(9)) as other:
        batch = other.set_state(saved)
        need(np.array_equal(batch.observation, played[-1].observation), "a state leads to another observation")
        need(_same(_play(other, batch, steps // 2), rest), "plants go on from a state otherwise than from where it was")
    return sum(int(batch.done.sum()) for batch in played)


def _refuses(plants: Vector) -> None:
    """Check that requests are refused before the first episode, and in another shape."""
    shape = (plants.num_envs, plants.agents, *(plants.action_space.shape or ()))
    need(_refused(plants, np.zeros(shape)), "requests are taken before the first episode")
    plants.reset()
    need(_refused(plants, np.zeros((plants.num_envs, plants.agents + 1))), "requests for too many agents are taken")


def _refused(plants: Vector, requests: np.ndarray) -> bool:
    try:
        plants.send(requests)
    except CityloopError:
        return True
    return False


def _play(plants: Vector, batch: Batch, steps: int) -> list[Batch]:
    """Batches of the given number of steps with random requests."""
    out = []
    for _ in range(steps):
        plants.send(_requests(plants, batch))
        batch = copy.deepcopy(plants.receive())  # plants may reuse the arrays
        _check(plants, batch)
        out.append(batch)
    return out


def _requests(plants: Vector, batch: Batch) -> np.ndarray:
    """Random allowed requests, derived from the observations, so that any difference between two runs spreads."""
    rng = np.random.default_rng(crc32(batch.observation.tobytes()))
    mask = plants.layout.unflatten(batch.observation).get("action_mask")
    lead = (plants.num_envs, plants.agents)
    return draw_requests(plants.action_space, None if mask is None else mask > 0, lead, rng)


def _check(plants: Vector, batch: Batch) -> None:
    """Check shapes and types, and that indicators come exactly when an episode ends."""
    count = plants.num_envs
    rows = {"observation": (plants.agents, plants.layout.size), "state": plants.state_shape}
    for name, row in rows.items():
        for part in (name, f"last_{name}"):
            values = getattr(batch, part)
            good = values.dtype == np.float32 and values.shape == (count, *row)
            need(good, f"{part} is {values.dtype} {values.shape}, not float32 {(count, *row)}")
            need(np.isfinite(values if part == name else values[batch.done]).all(), f"{part} is not finite")
    need(batch.reward.shape == (count, plants.agents), f"the reward has shape {batch.reward.shape}")
    need(np.isfinite(batch.reward).all(), "the reward is not finite")
    need(batch.done.dtype == bool and batch.done.shape == (count,), "done is not one bool a plant")
    need(batch.interventions.shape == (count,), "interventions are not one number a plant")
    need([bool(kpis) for kpis in batch.kpis] == batch.done.tolist(), "indicators come otherwise than as episodes end")


def _same(some: list[Batch], others: list[Batch]) -> bool:
    return all(
        np.array_equal(one.observation, other.observation)
        and np.array_equal(one.state, other.state)
        and np.array_equal(one.reward, other.reward)
        and np.array_equal(one.done, other.done)
        and one.kpis == other.kpis
        for one, other in zip(some, others, strict=True)
    )
