"""Environments of a few shards, for their tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
from gymnasium.vector import AutoresetMode

from memfarm.envs import ShardedVectorEnv, forage_v0
from memfarm.envs.forage import Forage

AGENTS, GROUP, ACTIONS = 24, 3, 6
NEXT, SAME, NEVER = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
WORLD = {"agents_per_world": GROUP, "shape": (20, 24), "radius": 2, "max_cycles": 23, "food_energy": 0.6}
Make = Callable[[int], Any]


def maker(**arguments: Any) -> Make:
    """A make_env that is pickled by value: a worker that unpickles it does not import this module."""
    given = {**WORLD, **arguments}

    def make_env(num_envs: int) -> Any:

        return forage_v0.batched(num_envs, **given)

    make_env.__module__ = "__main__"
    return make_env


def bare(num_envs: int) -> Forage:
    """No windows: the agents' own state."""
    return Forage({"world": {"shape": (20, 24), "max_cycles": 23}}, worlds=num_envs // GROUP, agents_per_world=GROUP)


def sharded(make_env: Make, shards: int, num_envs: int = AGENTS, **arguments: Any) -> ShardedVectorEnv:
    return ShardedVectorEnv(make_env, num_envs, shards, agents_per_world=GROUP, **arguments)


def assert_same(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, tuple):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, np.ndarray) and one.dtype == object:
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{n}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert one.tobytes() == other.tobytes(), where
    else:
        assert one == other, where


def alive(pids: tuple[int, ...]) -> list[int]:
    """Those that run: an orphan that has ended waits for the system's own first process to say so."""
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
