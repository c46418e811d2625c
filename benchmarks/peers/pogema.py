"""POGEMA's grid without obstacles, where reaching a target ends nothing: all agents stay."""

from typing import Any, Final

from pogema import GridConfig, pogema_v0

from benchmarks.peers import drawn

_FOREVER: Final = 1_000_000_000


class Lists:
    """Its own interface: a list of actions in, a list of windows out."""

    def __init__(self, agents: int, side: int, radius: int) -> None:
        config = GridConfig(
            num_agents=agents,
            size=side,
            density=0.0,
            obs_radius=radius,
            on_target="nothing",
            max_episode_steps=_FOREVER,
            seed=0,
        )
        self._env = pogema_v0(config)
        self._last: Any = self._env.reset(seed=0)
        self._actions = drawn.lists(agents, int(self._env.action_space.n))

    @property
    def observation(self) -> Any:
        return self._last[0]

    @property
    def agents(self) -> int:
        return len(self.observation)

    def step(self) -> None:
        self._last = self._env.step(next(self._actions))
