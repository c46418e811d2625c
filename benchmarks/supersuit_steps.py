"""A step of Forage through SuperSuit's concat_vec_envs for each line that comes in; needs SuperSuit."""

import sys

import numpy as np
import supersuit

from memfarm.envs import forage_v0


def main(worlds: int, agents: int, side: int, radius: int) -> None:
    """Build `worlds` of `agents` each, say so, then step and say so for every line."""
    forever = 1_000_000_000
    # The dead leave the PettingZoo door for good, and SuperSuit wants all agents to stay.
    immortal = {"metabolism": 0.0, "terrain_weight": 0.0}
    env = forage_v0.parallel_env(agents=agents, shape=(side, side), radius=radius, max_cycles=forever, **immortal)
    vector = supersuit.concat_vec_envs_v1(
        supersuit.pettingzoo_env_to_vec_env_v1(env), worlds, num_cpus=2, base_class="gymnasium"
    )
    draws = np.random.default_rng(0).integers(0, 6, (64, worlds * agents))
    vector.reset(seed=0)
    print("built", flush=True)
    for number, _ in enumerate(sys.stdin):
        vector.step(draws[number % len(draws)])
        print("stepped", flush=True)
    vector.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
