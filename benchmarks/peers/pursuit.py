"""PettingZoo's own pursuit, through its PettingZoo door: agents who hunt 30 evaders that move at random."""

from typing import Any, Final

from pettingzoo.sisl import pursuit_v5

from benchmarks.peers import drawn

_FOREVER: Final = 1_000_000_000


class Parallel:
    """The pursuers are the agents; evaders take time and are not counted."""

    def __init__(self, agents: int, side: int, radius: int) -> None:
        self._env = pursuit_v5.parallel_env(
            x_size=side, y_size=side, n_pursuers=agents, obs_range=2 * radius + 1, max_cycles=_FOREVER
        )
        self._last: Any = self._env.reset(seed=0)
        names = self._env.possible_agents
        self._actions = drawn.dicts(names, self._env.action_space(names[0]).n)

    @property
    def observation(self) -> Any:
        return self._last[0]

    @property
    def agents(self) -> int:
        return len(self._env.agents)

    def step(self) -> None:
        self._last = self._env.step(next(self._actions))
