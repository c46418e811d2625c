"""Forage's doors: `parallel_env`, `env`, `raw_env` for PettingZoo, `Single` and `batched` for Gymnasium."""

from typing import Any, ClassVar

from pettingzoo.utils.conversions import parallel_to_aec
from pettingzoo.utils.env import AECEnv
from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper

from memfarm.envs.doors.batched import make_batched
from memfarm.envs.doors.parallel import ParallelGridEnv
from memfarm.envs.doors.perception import Perception
from memfarm.envs.doors.single import SingleEnv
from memfarm.envs.forage import Forage

environment = Forage


class Single(SingleEnv):
    """Forage with one agent; what it is, `Forage` says. `gymnasium.make("memfarm/Forage-v0")` makes it."""

    environment = Forage
    metadata: dict[str, Any] = {**SingleEnv.metadata, "name": Forage.NAME}  # noqa: RUF012 - as gymnasium.Env has it


class parallel_env(ParallelGridEnv):
    """Forage with many agents, all acting at once; what it is, `Forage` says."""

    environment = Forage
    metadata: ClassVar[dict[str, Any]] = {**ParallelGridEnv.metadata, "name": Forage.NAME}


def raw_env(**arguments: Any) -> AECEnv[Any, Any, Any]:
    """Forage with many agents, acting in turn (all moves are made when the last has spoken), nothing enforced."""
    return parallel_to_aec(parallel_env(**arguments))


def env(**arguments: Any) -> AECEnv[Any, Any, Any]:
    """Forage with many agents, acting in turn, with PettingZoo's checks of order and of actions."""
    return OrderEnforcingWrapper(AssertOutOfBoundsWrapper(raw_env(**arguments)))


def batched(num_envs: int = 1, **arguments: Any) -> Perception:
    """Forage as a Gymnasium vector environment; `make_batched` has the arguments."""
    return make_batched(Forage, num_envs, **arguments)
