"""memfarm's Forage as the peers are stepped: its batched door, its PettingZoo door, and a world written all over."""

from typing import Any

import numpy as np

from benchmarks.crop import fill
from benchmarks.foraging import Foragers
from benchmarks.steps import ParallelForagers


class Batched:
    """The batched door on the default hills, torch windows; who starves is born again."""

    def __init__(self, agents: int, side: int, radius: int, **arguments: Any) -> None:
        self.foragers = Foragers(agents, shape=(side, side), radius=radius, **arguments)

    @property
    def observation(self) -> Any:
        return self.foragers.last[0]

    @property
    def agents(self) -> int:
        return len(self.observation)

    def step(self) -> None:
        self.foragers.step()


class Written(Batched):
    """The same on a plain, every cell of every stored channel written."""

    def __init__(self, agents: int, side: int, radius: int) -> None:
        super().__init__(agents, side, radius, map={"kind": "flat"})
        fill(self.foragers.world, np.random.default_rng(0))


class Parallel:
    """The PettingZoo door; nobody starves, as the dead would leave it for good."""

    def __init__(self, agents: int, side: int, radius: int) -> None:
        self._foragers = ParallelForagers(agents, shape=(side, side), radius=radius)

    @property
    def observation(self) -> Any:
        return self._foragers.last[0]

    @property
    def agents(self) -> int:
        return len(self.observation)

    def step(self) -> None:
        self._foragers.step()
