"""Tianshou on the batched door: every agent is one of Tianshou's environments, all stepped in one call.

    from tianshou.data import Collector, VectorReplayBuffer
    from memfarm.trainers.tianshou import GridVectorEnv

    envs = GridVectorEnv(num_envs=256, agents_per_world=64)
    Collector(algorithm, envs, VectorReplayBuffer(65536, 256)).collect(n_step=256 * 32, reset_before_collect=True)

Tianshou's own `PettingZooEnv` ends the episode with the first death; here it ends that agent's own.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from tianshou.env import BaseVectorEnv

from memfarm.errors import ActionError, ClosedError, ConfigError
from memfarm.trainers.doors import batched_door

_SHARED: Final = ("action_space", "metadata", "observation_space", "spec")


class GridVectorEnv(BaseVectorEnv):  # type: ignore[misc]  # Tianshou is not there when memfarm is checked
    """A batch of agents as Tianshou's vector environment: no workers, one call a step.

    num_envs, agents_per_world: as for `gymnasium.make_vec`. environment: its id. arguments: the environment's.

    Observations are NumPy windows, float32 `(M, S, S, C)` in [0, 1], new memory each step; `info["action_mask"]` is
    int8 `(actions,)`. Only who is done is reset: a dead agent to a new life in its world. The agents of the batch act
    together, so collect with `n_step=`: `n_episode=` steps ever fewer of them. Raises ConfigError, ActionError,
    ClosedError.
    """

    def __init__(
        self, num_envs: int, *, agents_per_world: int = 1, environment: str = "memfarm/Forage-v0", **arguments: Any
    ) -> None:
        fixed = {"tensor", "autoreset_mode", "device"} & arguments.keys()
        if fixed:
            raise ConfigError(f"Tianshou wants NumPy and resets by itself, got {sorted(fixed)}; leave them out")
        # Not the base's own __init__: it makes a worker an environment.
        self.door: Final = batched_door(
            environment,
            num_envs,
            agents_per_world=agents_per_world,
            autoreset_mode=AutoresetMode.DISABLED,
            **arguments,
        )
        self.env_num = self.wait_num = num_envs
        self.workers: list[Any] = []
        self.waiting_id: list[int] = []
        self.ready_id = list(range(num_envs))
        self.is_async = False
        self.is_closed = False
        self._seed: int | None = None

    def reset(
        self, env_id: int | Sequence[int] | NDArray[Any] | None = None, **kwargs: Any
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Begin anew with the agents `env_id` (None: all); their first windows and infos."""
        index = self._index(env_id)
        mask = np.zeros(self.env_num, np.bool_)
        mask[index] = True
        options = {**(kwargs.get("options") or {}), "reset_mask": mask}
        seed = kwargs.get("seed", self._seed)
        self._seed = None
        windows, infos = self.door.reset(seed=seed, options=options)
        return windows[index], self._infos(index, infos)

    def step(
        self,
        action: Any,
        id: int | Sequence[int] | NDArray[Any] | None = None,  # noqa: A002 - Tianshou's name for it
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], NDArray[Any]]:
        """Let all agents act once: windows, rewards, terminated, truncated, infos, all in the order of `id`."""
        index = self._index(id)
        if len(np.unique(index)) != self.env_num:
            raise ActionError(
                f"the {self.env_num} agents of a batch act together, got actions for {len(index)} of them; "
                "collect with n_step, a multiple of num_envs"
            )
        actions = np.zeros(self.env_num, np.int64)
        actions[index] = np.asarray(action)
        windows, rewards, terminated, truncated, infos = self.door.step(actions)
        told = self._infos(index, infos)
        return windows[index], rewards[index], terminated[index], truncated[index], told

    def seed(self, seed: int | list[int] | None = None) -> list[list[int] | None]:
        """Have the next reset begin world w with `seed + w`; of a list the first counts."""
        self._seed = seed[0] if isinstance(seed, list) else seed
        return [None if self._seed is None else [self._seed + n] for n in range(self.env_num)]

    def get_env_attr(self, key: str, id: int | Sequence[int] | NDArray[Any] | None = None) -> list[Any]:  # noqa: A002
        """A space, the metadata or the spec, which all agents share, once for each of `id`."""
        if key not in _SHARED:
            raise ConfigError(f"agents of a batch share {', '.join(_SHARED)}, got {key!r}; see `door`")
        single = {"action_space": "single_action_space", "observation_space": "single_observation_space"}
        return [getattr(self.door, single.get(key, key))] * len(self._index(id))

    def set_env_attr(self, key: str, value: Any, id: Any = None) -> None:  # noqa: A002
        """Not for a batch: its agents are rows of arrays."""
        raise ConfigError(f"agents of a batch have no attributes of their own, got {key!r}; pass arguments")

    def render(self, **kwargs: Any) -> list[Any]:
        """One frame a world."""
        return list(self.door.render() or ())

    def close(self) -> None:
        """Close the worlds; twice is fine."""
        self.door.close()
        self.is_closed = True

    def _index(self, ids: int | Sequence[int] | NDArray[Any] | None) -> NDArray[np.intp]:
        if self.is_closed:
            raise ClosedError("this GridVectorEnv is closed; make a new one")
        return np.arange(self.env_num) if ids is None else np.atleast_1d(np.asarray(ids, np.intp))

    def _infos(self, index: NDArray[np.intp], infos: dict[str, Any]) -> NDArray[Any]:
        masks = infos["action_mask"]
        return np.array([{"env_id": int(n), "action_mask": masks[n]} for n in index])
