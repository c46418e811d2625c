"""One worker on a large map: makes Forage, sees the whole map, steps, then stands still to be measured.

`python -m benchmarks.sharing_worker MAP AGENTS shared|own` prints one line of JSON when it stands still, and ends when
its stdin does. Imports what such a worker imports and no more.
"""

import json
import sys
from typing import Any

import gymnasium as gym
import numpy as np

import memfarm
from memfarm.world import World

_STEPS = 20
_BAND = 64  # rows read at a time


def main(folder: str, agents: int, ground: str) -> None:
    gym.register_envs(memfarm)
    env = _own(folder, agents) if ground == "own" else _make(agents, map=folder)
    world = env.unwrapped.world  # type: ignore[attr-defined]
    height, width = world.shape
    walls = 0.0
    for y in range(0, height, _BAND):  # cells are interleaved: one layer's cells lie on all pages
        walls += float(world.environmental.grid.read("OBSTACLES", y, min(y + _BAND, height), 0, width).sum())
    env.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(_STEPS):
        windows, *_ = env.step(random.integers(0, 6, agents))
    print(json.dumps({"torch": "torch" in sys.modules, "walls": walls, "kind": type(windows).__name__}), flush=True)
    sys.stdin.read()
    env.close()


def _make(agents: int, **arguments: Any) -> gym.vector.VectorEnv[Any, Any, Any]:
    return gym.make_vec("memfarm/Forage-v0", num_envs=agents, agents_per_world=agents, tensor="numpy", **arguments)


def _own(folder: str, agents: int) -> gym.vector.VectorEnv[Any, Any, Any]:
    """The same environment, its ground a copy of the map in memory of its own."""
    source = World.open(folder)
    config = {"memmap": {"use_for_environmental": False}}
    env = _make(agents, shape=source.shape, map={"kind": "flat"}, config=config)
    env.unwrapped.world.environmental.grid.put_tiles(source.environmental.grid.tiles())  # type: ignore[attr-defined]
    source.close()
    return env


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
