"""Resumable: an environment saved, put back, cloned and pickled."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from memfarm.envs.agents import Agents
from memfarm.envs.outlook import Outlook
from memfarm.envs.rules import Infos
from memfarm.envs.state import AgentsState
from memfarm.errors import ActionError
from memfarm.stateful import Saved, Whole

_OF_AGENTS: Final = [(f"agents.{field.name}", field.name) for field in fields(Agents) if field.name != "copy"]
"""Keys and names of what is kept of agents; which world they live in is another one in another batch."""


class Resumable(Saved, Outlook):
    """What `Saved` needs to know of agents and their episodes."""

    @property
    def started(self) -> bool:
        """Whether there was a `reset()`."""
        return self._keys is not None

    @property
    def generator(self) -> np.random.Generator | None:
        """The generator of unseeded resets; None before anything was drawn."""
        return self._np_random

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays of a state by name: the environment's own, not copies."""
        return {
            **{key: getattr(self.agents, name) for key, name in _OF_AGENTS},
            **({} if self._keys is None else {"keys": self._keys}),
            "steps": self._steps,
            "terminated": self._terminated,
            "truncated": self._truncated,
            "ended_worlds": self._ended_worlds,
            **{f"own.{name}": array for name, array in self.own_arrays().items()},
        }

    def check_finished(self) -> None:
        """Raise ActionError where a step has happened whose answer found no room: there is no state between the two."""
        if self._unfinished:
            raise ActionError("a step waits for room on the disk, got a save; call step() again first, with room")

    def begin_again(self, started: bool, generator: np.random.Generator | None) -> None:
        """Stand where a state was taken: before (not `started`) or after a first reset; its arrays come next."""
        self._unfinished.drop()
        self._keys = np.zeros(self.worlds, np.uint64) if started else None
        self._np_random = None
        if generator is not None:
            self.np_random = generator

    def whole(self) -> Whole:
        """World, and agents with their episodes: what a state is made of."""
        self._check_open()
        return Whole(self.world, {"agents": AgentsState(self)})

    def taking_part(self) -> NDArray[np.intp]:
        """The indices of the agents whose episode goes on."""
        return np.flatnonzero(self.started & ~(self._terminated | self._truncated))

    def look(self) -> tuple[Any, Infos]:
        """The agents' own state and the infos of this moment; new."""
        self._check_open()
        return self._own(), self._infos()

    def clone(self) -> Self:
        """A new environment in the same state, in scratch or memory: steps of one are nothing to the other."""
        self._check_open()
        clone: Self = self._maker()(world=self.world.fork())
        try:
            AgentsState(clone).put(AgentsState(self).take())
        except BaseException:
            clone.close()
            raise
        return clone

    @abstractmethod
    def _maker(self) -> Callable[..., Self]:
        """What makes a new environment like this one; takes a `world`."""
