"""TorchRL: a native EnvBase over the batched door, every agent one element of the batch.

    from torchrl.envs.utils import check_env_specs
    from memfarm.trainers.torchrl import GridTorchEnv

    env = GridTorchEnv(num_envs=1024, agents_per_world=256, device="cpu")
    check_env_specs(env)
    env.rollout(100, break_when_any_done=False)

TorchRL's own `PettingZooWrapper(forage_v0.parallel_env(...), use_mask=True, done_on_any=False)` works as well: one
world, agents in a group, the dead masked. It speaks to each agent by name, which costs time an agent; this does not.
"""

from typing import Any, Final

import torch
from gymnasium.vector import AutoresetMode
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from memfarm.errors import ConfigError
from memfarm.trainers.doors import batched_door


class GridTorchEnv(EnvBase):  # type: ignore[misc]  # TorchRL is not there when memfarm is checked
    """A batch of agents as a TorchRL environment of `batch_size` `(num_envs,)`; only who is done is reset.

    num_envs, agents_per_world, device: as for `gymnasium.make_vec`. environment: its id. arguments: the environment's.

    "observation": windows, float32 `(num_envs, C, S, S)` in [0, 1] on `device`, new memory each step. "action": int64
    `(num_envs,)`. "action_mask": bool `(num_envs, actions)`, which `torchrl.envs.ActionMask` reads. "reward", "done",
    "terminated", "truncated": `(num_envs, 1)`. A dead agent that is reset gets a new life in its world; a world begins
    anew when all its agents are reset. Raises ConfigError, ActionError.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        agents_per_world: int = 1,
        device: str = "cpu",
        environment: str = "memfarm/Forage-v0",
        **arguments: Any,
    ) -> None:
        fixed = {"tensor", "autoreset_mode", "dtype"} & arguments.keys()
        if fixed:
            raise ConfigError(
                f"TorchRL wants float32 tensors and resets by itself, got {sorted(fixed)}; leave them out"
            )
        self._door: Final = batched_door(
            environment,
            num_envs,
            agents_per_world=agents_per_world,
            tensor="torch",
            device=device,
            autoreset_mode=AutoresetMode.DISABLED,
            **arguments,
        )
        super().__init__(device=torch.device(device), batch_size=torch.Size([num_envs]))
        self._next_seed: int | None = None
        self._describe(num_envs)

    def _describe(self, count: int) -> None:
        window: tuple[int, ...] = tuple(self._door.single_observation_space.shape or ())
        space: Any = self._door.single_action_space
        actions, batch, device = int(space.n), (count,), self.device
        self.observation_spec = Composite(
            observation=Bounded(0.0, 1.0, (*batch, *window), device, torch.float32),
            action_mask=Binary(actions, (*batch, actions), device, torch.bool),
            shape=batch,
        )
        self.action_spec = Categorical(actions, batch, device, torch.int64)
        self.reward_spec = Unbounded((*batch, 1), device, torch.float32)
        flags = {name: Binary(1, (*batch, 1), device, torch.bool) for name in ("done", "terminated", "truncated")}
        self.done_spec = Composite(flags, shape=batch)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        options: dict[str, Any] = {}
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        if chosen is not None:
            options["reset_mask"] = chosen.reshape(self.batch_size).cpu().numpy()
        windows, infos = self._door.reset(seed=self._next_seed, options=options)
        self._next_seed = None
        return self._told({"observation": windows, "action_mask": self._tensor(infos["action_mask"] > 0)})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        windows, rewards, terminated, truncated, infos = self._door.step(tensordict["action"])
        over, late = self._tensor(terminated)[:, None], self._tensor(truncated)[:, None]
        return self._told(
            {
                "observation": windows,
                "action_mask": self._tensor(infos["action_mask"] > 0),
                "reward": self._tensor(rewards)[:, None].float(),
                "terminated": over,
                "truncated": late,
                "done": over | late,
            }
        )

    def _told(self, entries: dict[str, Tensor]) -> TensorDictBase:
        return TensorDict(entries, batch_size=self.batch_size, device=self.device)

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _set_seed(self, seed: int | None) -> None:
        self._next_seed = seed

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the worlds; twice is fine."""
        self._door.close()
        super().close(raise_if_closed=False)
