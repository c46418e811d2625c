"""Stable-Baselines3 through SuperSuit: copies of a PettingZoo world, in worker processes if wanted, with deaths.

    from stable_baselines3 import PPO
    from memfarm.trainers.supersuit import supersuit_vec_env

    venv = supersuit_vec_env(copies=4, agents=16, processes=2)
    PPO("MlpPolicy", venv, seed=0).learn(100_000)

`memfarm.trainers.sb3` is the faster way, and knows a life's end; this is for what builds on SuperSuit's wrappers.
"""

from typing import Any

import supersuit
from numpy.typing import NDArray
from supersuit.vector.sb3_vector_wrapper import SB3VecEnvWrapper

from memfarm.envs.options import checked_count
from memfarm.trainers.doors import parallel_door


class SeededVecEnv(SB3VecEnvWrapper):  # type: ignore[misc]  # SuperSuit is not there when memfarm is checked
    """SuperSuit's wrapper for SB3, with a `seed` that works: SuperSuit 3.11's raises AttributeError."""

    def __init__(self, venv: Any) -> None:
        super().__init__(venv)
        self._seed: int | None = None

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Have the next reset begin the copies with `seed`, `seed` + 1 and so on."""
        self._seed = seed
        return [seed] * self.num_envs

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> NDArray[Any]:
        """Begin all worlds anew; the first windows `(num_envs, S, S, C)`."""
        windows, self.reset_infos = self.venv.reset(seed=self._seed if seed is None else seed, options=options)
        self._seed = None
        first: NDArray[Any] = windows
        return first

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Of worlds' attributes only `render_mode`, once for each agent; SuperSuit 3.11 tells none."""
        if attr_name != "render_mode":
            raise AttributeError(f"SuperSuit's copies tell their render_mode only, got {attr_name!r}")
        return [self.render_mode] * len(self._get_indices(indices))

    def close(self) -> None:
        """Close all worlds and worker processes."""
        self.venv.close()


def supersuit_vec_env(
    copies: int = 1, *, processes: int = 0, environment: str = "memfarm/Forage-v0", **arguments: Any
) -> SeededVecEnv:
    """`copies` worlds whose agents together are an SB3 VecEnv of `copies * agents` environments.

    processes: worker processes that share the copies; 0 or 1: none. arguments: those of the PettingZoo door.

    The dead see black and earn nothing until their world's episode ends, one step after its last agent did; an episode
    of SB3's is that whole stretch (`black_death_v3`). Raises ConfigError.
    """
    checked_count("copies", copies)
    env = supersuit.black_death_v3(parallel_door(environment, **arguments))
    rows = supersuit.pettingzoo_env_to_vec_env_v1(env)
    # copies are made by pickling, which passes a world's recipe, never its cells
    venv = supersuit.concat_vec_envs_v1(rows, copies, num_cpus=processes, base_class="gymnasium")
    env.close()
    venv.render_mode = env.render_mode  # which SuperSuit's process workers forget
    return SeededVecEnv(venv)
