"""Episodes: when the agents of a world begin, and when their time is over."""

import math

import numpy as np
from numpy.typing import NDArray

from memfarm.envs import placement
from memfarm.envs.rules import Flags, Rules
from memfarm.errors import ActionError
from memfarm.kernels import hash_draws

_SEED, _EPISODE, _SPAWN = 1, 2, 3  # streams of a world's key


class Episodes(Rules):
    """Keys, steps and ends of the running episodes; what is drawn follows from a world's key and step alone."""

    def _draws(self, stream: int, what: NDArray[np.int64], index: NDArray[np.intp]) -> NDArray[np.uint64]:
        """A uint64 for each agent of `index`, from its world's key, the episode's step and `what` `(len(index),)`.

        Neither the order of agents nor the number of worlds changes it. Streams from 4 on are a subclass's own.
        """
        return hash_draws(self._world_draws(stream)[self.agents.copy[index]] ^ what.astype(np.uint64), 0)

    def _world_draws(self, stream: int) -> NDArray[np.uint64]:
        """A uint64 for each world `(worlds,)`, from its key and the episode's step."""
        if self._keys is None:
            raise ActionError("there is no episode yet; call reset() first")
        return hash_draws(self._keys + self._steps.astype(np.uint64), stream)

    def _count(self, died: Flags, resting: Flags) -> None:
        """Who ended with this step; `resting` worlds, which have just begun or stand still, do not count it."""
        if died.any():
            self.agents.alive &= ~died
            self._terminated |= died
        self._steps += ~resting
        full = np.greater_equal(self._steps, self.config.world.max_cycles, out=self._ended_worlds)
        if full.any():
            self._truncated |= np.repeat(full, self.agents_per_world) & ~self._terminated
        if self.agents_per_world == 1:
            self._ended_worlds |= self._terminated

    def _begin(self, chosen: Flags, worlds: Flags, keys: NDArray[np.uint64], keep: bool = False) -> None:
        """Give the `chosen` agents `(N,)` a new life, after `worlds`, all of whose agents they are, began anew.

        keep: the worlds keep what is in them.
        """
        if self._keys is None:
            self._keys = keys.copy()
        if worlds.any():
            if not keep:
                self.world.reset(worlds)
            np.copyto(self._keys, keys, where=worlds)
            self._steps[worlds] = 0
            self._ended_worlds &= ~worlds
        agents = self.agents
        index = np.flatnonzero(chosen)
        agents.alive[index] = False
        draws = self._draws(_SPAWN, self._slot[index], index)
        cells = placement.place(self.world, agents.copy[index], draws, agents, agents.alive)
        agents.y[index], agents.x[index] = cells
        agents.alive[index] = True
        agents.life[index] += 1
        self._terminated[index] = self._truncated[index] = False
        self._spawn(index)

    def _first_keys(self, seed: int) -> NDArray[np.uint64]:
        numbers = np.arange(self.worlds, dtype=np.uint64) + np.uint64(seed % 2**64)
        return hash_draws(numbers, _SEED)

    def _next_keys(self) -> NDArray[np.uint64]:
        if self._keys is None:
            raise ActionError("there is no episode yet; call reset() first")
        return hash_draws(self._keys, _EPISODE)

    def _align_clock(self) -> None:
        """Advance to where all grids' epochs begin, so that a seeded episode rounds as it does in a new environment."""
        epochs = [grid.epoch for grid in self.world.grids.values() if grid.epoch]
        self.world.advance(-self.world.tick % math.lcm(*epochs))
