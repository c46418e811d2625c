"""The batched door: `gymnasium.make_vec("memfarm/Forage-v0", num_envs=N)`."""

from typing import Any, Final, Literal

from gymnasium.vector import AutoresetMode

from memfarm.envs.base import GridEnv
from memfarm.envs.doors.arguments import configure
from memfarm.envs.doors.perception import Perception, perceive
from memfarm.envs.options import checked_count
from memfarm.envs.rules import Config
from memfarm.errors import ConfigError

_OWN: Final = ("num_envs", "agents_per_world", "tensor", "device", "dtype", "copy", "threads", "autoreset_mode")


def make_batched(
    environment: type[GridEnv],
    num_envs: int = 1,
    *,
    agents_per_world: int = 1,
    tensor: Literal["numpy", "torch"] = "numpy",
    device: str = "cpu",
    dtype: str = "float32",
    copy: bool = True,
    threads: int = 1,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
    config: Config | None = None,
    **arguments: Any,
) -> Perception:
    """A vector environment of `num_envs` agents in `num_envs / agents_per_world` worlds that sees windows.

    With `memory=True` among the arguments it remembers as well, and observations are dicts: see `MemoryObservation`.

    tensor, device, dtype, copy, threads: as for `WindowObservation`. autoreset_mode: Gymnasium's, or its value.
    max_episode_steps: Gymnasium's name for a limit that `max_cycles` is cut to. config, arguments: the environment's.
    Raises ConfigError, and what the environment and the wrapper raise.
    """
    count, group = checked_count("num_envs", num_envs), checked_count("agents_per_world", agents_per_world)
    if count % group:
        raise ConfigError(f"num_envs must be a multiple of agents_per_world={group}, got {count}")
    settings = configure(environment, config, arguments, (*_OWN, "max_episode_steps", "render_mode"))
    if max_episode_steps is not None:
        limit = min(settings.world.max_cycles, checked_count("max_episode_steps", max_episode_steps))
        settings = settings.with_overrides({"world.max_cycles": limit})
    env = environment(
        settings,
        worlds=count // group,
        agents_per_world=group,
        autoreset_mode=autoreset_mode,
        render_mode=render_mode,
    )
    try:
        return perceive(env, tensor=tensor, device=device, dtype=dtype, copy=copy, threads=threads)
    except BaseException:
        env.close()
        raise
