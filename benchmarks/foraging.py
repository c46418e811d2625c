"""Forage as the benchmarks play it: the batched door, agents who act at random, and a map that is an open plain."""

import itertools
from pathlib import Path
from typing import Any, Final

import gymnasium
import numpy as np

import memfarm
from memfarm import terrain
from memfarm.envs.base import GridEnv
from memfarm.world import World

ID: Final = "memfarm/Forage-v0"
FOREVER: Final = 1_000_000_000
"""`max_cycles` of what is measured: no step is one that begins an episode."""

_DRAWN: Final = 64  # batches of actions, taken in turn
_WARM_UP: Final = 50  # steps, until trails and deaths are what they stay

gymnasium.register_envs(memfarm)


class Foragers:
    """One world of `agents` in the batched door, after `warm_up` steps; `arguments` are the door's own."""

    def __init__(self, agents: int, *, warm_up: int = _WARM_UP, **arguments: Any) -> None:
        self.env = gymnasium.make_vec(
            ID, num_envs=agents, agents_per_world=agents, tensor="torch", max_cycles=FOREVER, **arguments
        )
        core = self.env.unwrapped
        if not isinstance(core, GridEnv):
            raise TypeError(f"the batched door must lead to a GridEnv, got {type(core).__name__}")
        self.core: Final = core
        draws = np.random.default_rng(0).integers(0, len(core.ACTIONS), (_DRAWN, agents))
        self._actions = itertools.cycle(draws)
        self.last: Any = self.env.reset(seed=0)
        self.walk(warm_up)

    @property
    def world(self) -> World:
        """The one world they are in."""
        return self.core.world

    def step(self) -> None:
        """A whole step, windows included; the last one's observation is kept alive, as a trainer would."""
        self.last = self.env.step(next(self._actions))

    def step_without_windows(self) -> None:
        """A step of the rules alone: what comes back is the agents' own state."""
        self.core.step(next(self._actions))

    def walk(self, steps: int) -> None:
        """So many whole steps."""
        for _ in range(steps):
            self.step()

    def close(self) -> None:
        """Close the environment and its world."""
        self.last = None
        self.env.close()


def plain_map(folder: Path, side: int) -> str:
    """Make a map where every cell reads its fill: an open plain, a few pages of the disk whatever its side."""
    World((side, side), path=folder).close()
    return str(folder)


def hilly_map(folder: Path, side: int) -> str:
    """Make a map of the seeded hills that Forage has where nothing else is said."""
    ground = terrain.from_recipe({"kind": "noise", "shape": [side, side], "seed": 0})
    World((side, side), path=folder, terrain=ground).close()
    return str(folder)
