"""Doors by an environment's id, as trainers want them: with what is wrong said before workers start."""

import importlib
from typing import Any

import gymnasium

from memfarm.envs.doors.parallel import ParallelGridEnv
from memfarm.envs.doors.perception import Perception
from memfarm.envs.doors.registry import ENVIRONMENTS
from memfarm.errors import ConfigError, did_you_mean


def parallel_door(name: str, **arguments: Any) -> ParallelGridEnv:
    """The PettingZoo door of the environment registered as `name`. Raises ConfigError."""
    if name not in ENVIRONMENTS:
        raise ConfigError(f"there is no environment {name!r}; {did_you_mean(name, ENVIRONMENTS)}")
    env: ParallelGridEnv = importlib.import_module(ENVIRONMENTS[name]).parallel_env(**arguments)
    return env


def batched_door(name: str, num_envs: int, **arguments: Any) -> Perception:
    """The batched door of the environment registered as `name`, with windows only. Raises ConfigError."""
    if name not in ENVIRONMENTS:
        raise ConfigError(f"there is no environment {name!r}; {did_you_mean(name, ENVIRONMENTS)}")
    if arguments.get("memory"):
        raise ConfigError("a trainer's batched door hands out windows, got memory=True; use the PettingZoo door")
    env: Any = gymnasium.make_vec(name, num_envs=num_envs, **arguments)
    door: Perception = env
    return door
