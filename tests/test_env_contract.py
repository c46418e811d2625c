from importlib import import_module
from typing import Any

import gymnasium
import pytest
from gymnasium.vector import VectorEnv

from memfarm.envs.doors.registry import ENVIRONMENTS
from memfarm.testing import EnvContract


@pytest.mark.parametrize("module", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
class TestEveryEnvironment(EnvContract):
    """Every registered environment, through the doors of its module."""

    @pytest.fixture(autouse=True)
    def _doors_of(self, module: str) -> None:
        self.module = module

    def make_batched(self, num_envs: int, **arguments: Any) -> VectorEnv[Any, Any, Any]:
        env: VectorEnv[Any, Any, Any] = import_module(self.module).batched(num_envs, **arguments)
        return env

    def make_single(self, **arguments: Any) -> gymnasium.Env[Any, Any]:
        env: gymnasium.Env[Any, Any] = import_module(self.module).Single(**arguments)
        return env

    def make_parallel(self, **arguments: Any) -> Any:
        return import_module(self.module).parallel_env(**arguments)
