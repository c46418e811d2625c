"""Stable-Baselines3 on the batched door: every agent is one of SB3's environments, all stepped in one call.

from stable_baselines3 import PPO
from memfarm.trainers.sb3 import GridVecEnv

venv = GridVecEnv(num_envs=256, agents_per_world=64)
PPO("MlpPolicy", venv, seed=0).learn(100_000)
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from memfarm.errors import ConfigError
from memfarm.trainers.doors import batched_door


class GridVecEnv(VecEnv):  # type: ignore[misc]  # SB3 is not there when memfarm is checked
    """A batch of agents as a Stable-Baselines3 VecEnv; deaths are ends of episodes, and a new life begins at once.

    num_envs, agents_per_world: as for `gymnasium.make_vec`. environment: its id. arguments: the environment's.

    Observations are NumPy windows, float32 `(num_envs, S, S, C)` in [0, 1], new memory each step. An episode's last
    window is `infos[n]["terminal_observation"]`; `infos[n]["episode"]` has its return "r" and its length "l", so that
    VecMonitor is not needed. `action_masks()` is bool `(num_envs, actions)`, as sb3-contrib's MaskablePPO asks for it.
    `seed(s)` counts from the next reset on. Raises ConfigError, ActionError.
    """

    def __init__(
        self, num_envs: int, *, agents_per_world: int = 1, environment: str = "memfarm/Forage-v0", **arguments: Any
    ) -> None:
        fixed = {"tensor", "autoreset_mode", "device"} & arguments.keys()
        if fixed:
            raise ConfigError(f"SB3 wants NumPy and new lives at once, got {sorted(fixed)}; leave them out")
        self._door: Final = batched_door(
            environment,
            num_envs,
            agents_per_world=agents_per_world,
            autoreset_mode=AutoresetMode.SAME_STEP,
            **arguments,
        )
        self.render_mode = arguments.get("render_mode")
        self._masks: NDArray[np.bool_] = np.zeros((num_envs, 0), np.bool_)
        self._actions: NDArray[Any] = np.zeros(num_envs, np.int64)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        super().__init__(num_envs, self._door.single_observation_space, self._door.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin all episodes anew: the first windows. `reset_infos` is a list of empty dicts."""
        windows, infos = self._door.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._masks = infos["action_mask"] > 0
        self._returns[:] = 0.0
        self._lengths[:] = 0
        first: NDArray[np.float32] = windows
        return first

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep `actions` `(num_envs,)` for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step with the actions kept: windows, rewards `(num_envs,)`, dones `(num_envs,)`, a dict an agent."""
        windows, rewards, terminated, truncated, infos = self._door.step(self._actions)
        self._masks = infos["action_mask"] > 0
        self._returns += rewards
        self._lengths += 1
        dones: NDArray[np.bool_] = terminated | truncated
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for n in np.flatnonzero(dones):
            told[n] = {
                "terminal_observation": infos["final_obs"][n],
                "TimeLimit.truncated": bool(truncated[n]),
                "episode": {"r": float(self._returns[n]), "l": int(self._lengths[n])},
            }
        self._returns[dones] = 0.0
        self._lengths[dones] = 0
        return windows, rewards.astype(np.float32), dones, told

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions would do something now, bool `(num_envs, actions)`."""
        return self._masks

    def close(self) -> None:
        """Close the worlds; twice is fine."""
        self._door.close()

    def get_images(self) -> list[NDArray[np.uint8] | None]:
        """One frame a world."""
        frames: Any = self._door.render()
        return list(frames or ())

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """False for each: no environment of a batch is wrapped by itself."""
        return [False for _ in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the batch, once for each of `indices`. Raises AttributeError where it has none."""
        if not hasattr(self, attr_name):
            raise AttributeError(f"the batch has no {attr_name!r}")
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not for a batch: its environments are rows of arrays."""
        raise ConfigError(f"environments of a batch have no attributes of their own, got {attr_name!r}; pass arguments")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Sequence[Any]:
        """Of single environments' methods only `action_masks`: a row for each of `indices`."""
        if method_name != "action_masks":
            raise ConfigError(f"environments of a batch have no methods of their own, got {method_name!r}")
        return [self._masks[n] for n in self._get_indices(indices)]
