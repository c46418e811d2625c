"""Where the checks of docs/seeds.md register, and the small worlds that they look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from memfarm.config import MemmapConfig
from memfarm.envs import forage_v0
from memfarm.world import World
from memfarm.wrappers.window_observation import WindowObservation

ROOT = Path(__file__).parents[1]
Check = Callable[[Path], None]
CHECKS: dict[str, Check] = {}


def check(*keys: str) -> Callable[[Check], Check]:
    """Make a function of a temporary folder the check of the rows `keys`, each of which has one."""

    def add(function: Check) -> Check:
        assert not CHECKS.keys() & set(keys)
        CHECKS.update(dict.fromkeys(keys, function))
        return function

    return add


def world(folder: Path | None = None, **settings: Any) -> World:
    directory = None if folder is None else str(folder)
    return World((40, 56), memmap=MemmapConfig(directory=directory, **settings), seed=3)


def forage(**arguments: Any) -> WindowObservation:
    arguments = {"num_envs": 4, "agents_per_world": 4, "shape": (24, 24), "map": {"kind": "flat"}, **arguments}
    env = forage_v0.batched(**arguments)
    assert isinstance(env, WindowObservation)
    return env
