"""MAgent2's battle of two teams on an open plain: its engine, and its PettingZoo door.

The rules are those of its `battle_v4`, but for the radius of the view, and that agents have so much health that none
dies: the number of agents stays. The engine's minimap is on, which makes seven channels of two teams.
"""

from typing import Any, Final

from magent2 import gridworld
from magent2.environments.magent_env import magent_parallel_env

from benchmarks.peers import drawn

_FOREVER: Final = 1_000_000_000
_TEAMS: Final = ("red", "blue")
_REWARDS: Final = (-1.0, 6.0)  # bounds of what a step may bring


class Engine:
    """A step as its manual has it: actions, step, rewards, who is alive, the dead cleared away, observations."""

    def __init__(self, agents: int, side: int, radius: int) -> None:
        self._engine = _battle(side, radius)
        self._engine.reset()
        _populate(self._engine, agents)
        self._handles = self._engine.get_handles()
        self._half = agents // len(_TEAMS)
        self._actions = drawn.batches(agents, self._engine.get_action_space(self._handles[0])[0])

    @property
    def agents(self) -> int:
        return sum(len(windows) for windows, _ in self.observation)

    def step(self) -> None:
        actions = next(self._actions)
        for handle, own in zip(self._handles, (actions[: self._half], actions[self._half :]), strict=True):
            self._engine.set_action(handle, own)
        self._engine.step()
        self._told = [(self._engine.get_reward(handle), self._engine.get_alive(handle)) for handle in self._handles]
        self._engine.clear_dead()
        self.observation: Any = [self._engine.get_observation(handle) for handle in self._handles]


class Parallel:
    """The PettingZoo door of MAgent2."""

    def __init__(self, agents: int, side: int, radius: int) -> None:
        self._env = _Door(agents, side, radius)
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


class _Door(magent_parallel_env):
    """MAgent2's door over `_battle`. It is not told of the minimap, whose channels it then hands out as they are.

    Told, it would add where the agent is, as two channels more.
    """

    def __init__(self, agents: int, side: int, radius: int) -> None:
        self._crowd = agents
        engine = _battle(side, radius)
        super().__init__(engine, engine.get_handles(), _TEAMS, side, _FOREVER, _REWARDS, False, False)

    def generate_map(self) -> None:
        """What the door calls at every reset."""
        _populate(self.env, self._crowd)


def _battle(side: int, radius: int) -> gridworld.GridWorld:
    """Two teams on `side` x `side` cells, nobody there yet."""
    config = gridworld.Config()
    config.set({"map_width": side, "map_height": side, "minimap_mode": True, "embedding_size": 10, "seed": 0})
    soldier = config.register_agent_type(
        "soldier",
        {
            "width": 1,
            "length": 1,
            "hp": 1_000_000_000,
            "speed": 2,
            "view_range": gridworld.CircleRange(radius),
            "attack_range": gridworld.CircleRange(1.5),
            "damage": 2,
            "kill_reward": 5,
            "step_recover": 0.1,
            "step_reward": -0.005,
            "dead_penalty": -0.1,
            "attack_penalty": -0.1,
        },
    )
    red, blue = (gridworld.AgentSymbol(config.add_group(soldier), index="any") for _ in _TEAMS)
    for one, other in ((red, blue), (blue, red)):
        config.add_reward_rule(gridworld.Event(one, "attack", other), receiver=one, value=0.2)
    return gridworld.GridWorld(config)


def _populate(engine: gridworld.GridWorld, agents: int) -> None:
    """Put half of `agents`, an even number, of each team anywhere."""
    for handle in engine.get_handles():
        engine.add_agents(handle, method="random", n=agents // len(_TEAMS))
