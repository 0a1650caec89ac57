"""A PettingZoo environment in a process of its own, for tests that step two at a time: one simulator a process."""

from envs import parallel_env
from envs.core.machine.children import CONTEXT, start_child


def _serve(pipe, scenario):
    env = parallel_env(scenario, seed=0)
    try:
        while True:
            verb, arguments = pipe.recv()
            pipe.send((getattr(env, verb)(**arguments), list(env.agents)))
    except EOFError:
        pass
    finally:
        env.close()


class RemoteEnv:
    """The parts of a parallel environment that PettingZoo's seed test uses."""

    def __init__(self, scenario):
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = start_child(_serve, theirs, scenario)
        theirs.close()
        local = parallel_env(scenario)
        self._actions = {agent: local.action_space(agent) for agent in local.possible_agents}
        self._observations = {agent: local.observation_space(agent) for agent in local.possible_agents}
        self.agents = []

    def action_space(self, agent):
        return self._actions[agent]

    def observation_space(self, agent):
        return self._observations[agent]

    def _ask(self, verb, **arguments):
        self._pipe.send((verb, arguments))
        assert self._pipe.poll(60)
        answer, self.agents = self._pipe.recv()
        return answer

    def reset(self, seed):
        return self._ask("reset", seed=seed)

    def step(self, actions):
        return self._ask("step", actions=actions)

    def close(self):
        self._pipe.close()
        self._process.join(10)
        assert self._process.exitcode == 0
