"""What the parts of a GridEnv share, and what a subclass says: the rules of an environment."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from memfarm.config import SimulationConfig
from memfarm.envs.agents import Agents
from memfarm.envs.overview import Overview
from memfarm.envs.spec import PlainSpec
from memfarm.errors import ClosedError
from memfarm.world import World
from memfarm.wrappers.unfinished import Unfinished

Flags = NDArray[np.bool_]
Infos = dict[str, Any]
Config = SimulationConfig | Mapping[str, Any] | str | PathLike[str]


class Rules(PlainSpec, VectorEnv[Any, Any, NDArray[Any]]):
    """The fields that `GridEnv` fills, and the methods that its subclass writes."""

    CONFIG: ClassVar[type[SimulationConfig]] = SimulationConfig
    NAME: ClassVar[str] = "grid_v0"
    AGENT: ClassVar[str] = "agent"  # what an agent is called, before its number
    ACTIONS: ClassVar[tuple[str, ...]]
    OWN: ClassVar[tuple[str, ...]]  # what `_own` tells, column by column
    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}  # noqa: RUF012 - VectorEnv's

    config: SimulationConfig
    worlds: int
    agents_per_world: int
    autoreset_mode: AutoresetMode
    world: World
    agents: Agents
    on_final: Callable[[NDArray[np.intp]], Any] | None
    _slot: NDArray[np.int64]  # (N,) the agents' places in their worlds
    _keys: NDArray[np.uint64] | None  # (worlds,) of the running episodes
    _steps: NDArray[np.int64]  # (worlds,) of the running episodes
    _terminated: Flags  # (N,)
    _truncated: Flags  # (N,)
    _ended_worlds: Flags  # (worlds,)
    _unfinished: Unfinished
    _overview: Overview

    @abstractmethod
    def _build(self) -> None:
        """Read `config` and make the agents' own arrays; called once, when the world is there."""

    @abstractmethod
    def _act(self, actions: NDArray[np.int64], live: Flags) -> None:
        """Carry out the actions of the agents that are `live`, and their deposits; both `(N,)`.

        What the step will write is to be reserved (`World.reserve`) before the first write.
        """

    @abstractmethod
    def _settle(self, live: Flags) -> tuple[NDArray[np.floating[Any]], Flags]:
        """After the clock has moved: the live agents' rewards (0 for the others) and who of them died, both `(N,)`."""

    @abstractmethod
    def _masks(self) -> Flags:
        """Which actions would do something now, bool `(N, actions)`; new."""

    @abstractmethod
    def _spawn(self, index: NDArray[np.intp]) -> None:
        """Make the agents at `index`, who have just been placed, newborn."""

    @abstractmethod
    def _own(self) -> NDArray[np.float32]:
        """The agents' own state, float32 `(N, len(OWN))` in [0, 1]; new."""

    def own_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the subclass that outlive a step, by name, with a row an agent or a world: part of its state.

        The arrays themselves, not copies: a state is put back by writing into them.
        """
        return {}

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError(f"this {type(self).__name__} is closed; make a new one")
