"""A crowd of agents for tests of kernels: no two alive ones on a cell, the dead anywhere."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Crowd:
    """Up to 60 agents in `copies` worlds of `shape`, drawn from `rng`.

    key: (copy * height + y) * width + x of where each was put. copy, y, x: int32; a dead one may lie elsewhere since.
    alive, live: bool; who is live is alive. keys: uint64, one a copy, for draws.
    """

    def __init__(self, rng: np.random.Generator, copies: int, shape: tuple[int, int]) -> None:
        height, width = shape
        cells = copies * height * width
        count = int(rng.integers(0, min(cells, 60) + 1))
        self.key: Array = rng.permutation(cells)[:count]
        rows, x = np.divmod(self.key, width)
        copy, y = np.divmod(rows, height)
        self.copy, self.y, self.x = (axis.astype(np.int32) for axis in (copy, y, x))
        self.alive: Array = rng.random(count) < 0.8
        if count and rng.random() < 0.5:  # the dead lie anywhere, also where somebody stands
            dead = np.flatnonzero(~self.alive)
            self.y[dead], self.x[dead] = self.y[0], self.x[0]
        self.live: Array = self.alive & (rng.random(count) < 0.9)
        self.keys: Array = rng.integers(0, 2**64, copies, dtype=np.uint64)
