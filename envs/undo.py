"""A step that finds no room on the disk has not happened: what it changed before its first write is put back."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import StorageError

if TYPE_CHECKING:
    from memfarm.envs.base import GridEnv


class Undo:
    """A context around a step's rules: a StorageError leaves agents, episodes and reset counts as they were.

    That is all there is to undo where an environment reserves (`World.reserve`) before it writes. Once the clock has
    moved the tick is there to stay, and nothing is put back.
    """

    def __init__(self, env: "GridEnv") -> None:
        self._env = env
        self._arrays: list[NDArray[Any]] = []
        self._before: list[NDArray[Any]] = []

    def __enter__(self) -> None:
        env = self._env
        self._tick = env.world.tick
        self._arrays = list(env.state_arrays().values())
        if len(self._before) != len(self._arrays):  # the first time, and when there are keys
            self._before = [np.empty_like(array) for array in self._arrays]
        for array, before in zip(self._arrays, self._before, strict=True):
            np.copyto(before, array)
        self._resets = [(grid, grid.resets()) for grid in env.world.grids.values() if grid.writable]
        self._events = env.world.sparse.state() if env.world.sparse.names else None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, StorageError) or self._env.world.tick != self._tick:
            return
        for array, before in zip(self._arrays, self._before, strict=True):
            array[...] = before
        for grid, resets in self._resets:
            grid.put_resets(resets)
        if self._events is not None:
            self._env.world.sparse.set_state(self._events)
