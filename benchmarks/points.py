"""Agents at single cells: what they read, take and leave there, against the same in NumPy on a row-major layer."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import numpy as np

from benchmarks import dense
from benchmarks.crop import STORED, fill
from benchmarks.rows import Row
from benchmarks.sizes import Sizes
from benchmarks.timing import in_turns
from memfarm.world import World

_CROWDS: Final = 8  # sets of cells taken in turn, so that no call finds the last one's cells in the cache
_BITE: Final = 1e-6  # so small that there is always something left
_TICKS: Final = 37

OPERATIONS: Final = {
    "gather": "layer[y, x]",
    "scatter": "layer[y, x] = values",
    "take": "np.minimum(layer[y, x], amount), then layer[y, x] -= it",
    "deposit": "layer[y, x] += values, np.minimum with the highest",
}
"""What is done at the cells -> the same in NumPy. No two agents of a crowd share a cell: NumPy would do it once."""


class Points:
    """A world with every cell written, and crowds of agents who reach for their cells in turn."""

    def __init__(self, side: int, agents: int) -> None:
        rng = np.random.default_rng(0)
        self.world: Final = World((side, side), seed=0, memmap=STORED)
        fill(self.world, rng)
        self.world.advance(_TICKS)
        where = [np.divmod(rng.choice(side**2, agents, replace=False), side) for _ in range(_CROWDS)]
        self.crowds: Final = [(y.astype(np.int32), x.astype(np.int32)) for y, x in where]
        self.values: Final = rng.random(agents)
        self._amount = np.full(agents, _BITE)
        self._turns = itertools.cycle(self.crowds)

    def gather(self) -> None:
        self.world.gather("RESOURCES", 0, *next(self._turns))

    def scatter(self) -> None:
        self.world.scatter("DAMAGE_HEAT", 0, *next(self._turns), self.values)

    def take(self) -> None:
        self.world.take("RESOURCES", 0, *next(self._turns), self._amount)

    def deposit(self) -> None:
        self.world.deposit_temporal_events("TRAILS", (*next(self._turns), self.values))

    def close(self) -> None:
        self.world.close()


def rows(sizes: Sizes) -> Iterator[Row]:
    """Each operation in one world, the clock standing still."""
    side, agents = sizes.step_side, sizes.crop_agents
    with dense.folder() as folder, closing(Points(side, agents)) as points:
        layer = dense.mapped_copy(points.world, ("RESOURCES",), folder)["RESOURCES"]
        for name, by_numpy in _by_numpy(layer, points).items():
            times = in_turns({"ours": getattr(points, name), "numpy": by_numpy}, seconds=sizes.seconds / 4)
            yield Row(
                id=f"{name}[{side}-n{agents}]",
                what=f"World.{'deposit_temporal_events' if name == 'deposit' else name}()",
                unit="ns/agent",
                ours=times["ours"].median * 1e9 / agents,
                versus=f"{OPERATIONS[name]}, np.memmap",
                baseline=times["numpy"].median * 1e9 / agents,
                ratio=times["ours"].over(times["numpy"]),
                spread=times["ours"].spread,
            )


def _by_numpy(layer: dense.Layer, points: Points) -> dict[str, Callable[[], object]]:
    turns = itertools.cycle(points.crowds)
    values = points.values.astype(np.float32)

    def gather() -> object:
        return layer[next(turns)]

    def scatter() -> None:
        layer[next(turns)] = values

    def take() -> object:
        where = next(turns)
        taken = np.minimum(layer[where], np.float32(_BITE))
        layer[where] -= taken
        return taken

    def deposit() -> None:
        where = next(turns)
        layer[where] = np.minimum(layer[where] + values, np.float32(1.0))

    return {"gather": gather, "scatter": scatter, "take": take, "deposit": deposit}
