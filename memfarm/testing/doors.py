"""The doors of an environment, as its contract opens them."""

from typing import Any, ClassVar

import gymnasium
from gymnasium.vector import VectorEnv


class Doors:
    """Three makers, each given the doors' keyword arguments; a test class of yours writes them."""

    ending: ClassVar[dict[str, Any]] = {"max_cycles": 40}
    """Arguments under which random agents see the ends of several episodes in 100 steps."""

    def make_batched(self, num_envs: int, **arguments: Any) -> VectorEnv[Any, Any, Any]:
        """The batched door: takes `agents_per_world` and `autoreset_mode` too, returns NumPy windows."""
        raise NotImplementedError

    def make_single(self, **arguments: Any) -> gymnasium.Env[Any, Any]:
        """The door of one agent."""
        raise NotImplementedError

    def make_parallel(self, **arguments: Any) -> Any:
        """The PettingZoo door: takes `agents` too."""
        raise NotImplementedError
