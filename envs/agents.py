"""Agents as arrays: where they are, whether they live, and how well."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True, eq=False)
class Agents:
    """All agents of a batch of worlds, one entry an agent; the arrays are the environment's own, not copies.

    Agent n lives in world n // agents_per_world; an agent that is not alive stands nowhere.
    """

    copy: NDArray[np.int32]  # (N,) the world it lives in
    y: NDArray[np.int32]  # (N,) row
    x: NDArray[np.int32]  # (N,) column
    alive: NDArray[np.bool_]  # (N,)
    hp: NDArray[np.float32]  # (N,) in [0, 1]
    team: NDArray[np.int32]  # (N,) 0 or more: agents of one team are allies, in their world
    goal: NDArray[np.int32]  # (N, 2) row and column of a cell of its own to go to; -1 where it has none
    life: NDArray[np.int64]  # (N,) lives begun: another number is another life, whose memory begins empty

    @classmethod
    def unborn(cls, worlds: int, agents_per_world: int) -> Self:
        """Room for `worlds * agents_per_world` agents, none of them alive."""
        count = worlds * agents_per_world
        return cls(
            copy=np.repeat(np.arange(worlds, dtype=np.int32), agents_per_world),
            y=np.zeros(count, np.int32),
            x=np.zeros(count, np.int32),
            alive=np.zeros(count, np.bool_),
            hp=np.zeros(count, np.float32),
            team=np.zeros(count, np.int32),
            goal=np.full((count, 2), -1, np.int32),
            life=np.zeros(count, np.int64),
        )

    def __len__(self) -> int:
        return len(self.copy)


def cell_keys(
    copy: NDArray[np.int32], y: NDArray[np.int32], x: NDArray[np.int32], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """One int64 `(N,)` for every cell of every world, 0 or more: what `placement` compares. A new array."""
    keys = copy.astype(np.int64)
    keys *= shape[0]
    keys += y
    keys *= shape[1]
    keys += x
    return keys
