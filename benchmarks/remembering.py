"""What it costs that 1,000 agents remember a 4096 x 4096 world, each for itself: against dense maps, against none."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks import disk, resident
from benchmarks.foraging import Foragers
from benchmarks.rows import Goal, Row
from benchmarks.timing import in_turns
from memfarm import layout
from memfarm.memory import AgentMemory
from memfarm.wrappers import MemoryObservation

AGENTS: Final = 1_000
SIDE: Final = 4096
STEPS: Final = 200
_MB: Final = 1e6


def rows(agents: int = AGENTS, side: int = SIDE, steps: int = STEPS, seconds: float = 6.0) -> Iterator[Row]:
    """Disk and RAM that the memories took after `steps` steps, and what a step takes with them and without."""
    shape, name = (side, side), f"{side}-n{agents}"
    without, remembering = Foragers(agents, shape=shape), Foragers(agents, shape=shape)
    of_the_world = _grown(without, steps)
    remembering.env = MemoryObservation(remembering.env)
    taken = [of_all - alone for of_all, alone in zip(_grown(remembering, steps), of_the_world, strict=True)]
    times = in_turns({"with": remembering.step, "without": without.step}, seconds=seconds, least=20)
    memory = _memory(remembering)
    dense = agents * side**2 * 4
    kinds = ("on the disk", "anonymous RAM", "mapped RAM, which the system can take back")
    for id_, kind, ours in zip(("disk", "anonymous", "mapped"), kinds, taken, strict=True):
        yield Row(
            id=f"remember-{id_}[{name}]",
            what=f"{len(memory.channels)} channels and overviews after {steps} steps, {kind}",
            unit="MB",
            ours=ours / _MB,
            versus="one dense float32 layer an agent",
            baseline=dense / _MB,
            ratio=ours / dense,
        )
    side_of_tile = _side_of_tile(memory)
    cells = memory.grid.stats().live * side_of_tile**2
    yield Row(
        id=f"remember-known[{name}]",
        what=f"disk for each cell of the {side_of_tile} x {side_of_tile} tiles that were seen into",
        unit="B/cell",
        ours=taken[0] / cells,
        versus=f"{len(memory.channels)} dense float32 layers",
        baseline=4.0 * len(memory.channels),
        ratio=taken[0] / cells / (4 * len(memory.channels)),
    )
    yield Row(
        id=f"remember-step[{name}]",
        what="a Forage step with windows, memories and overviews",
        unit="ms",
        ours=times["with"].median * 1e3,
        versus="the same without memory",
        baseline=times["without"].median * 1e3,
        ratio=times["with"].over(times["without"]),
        goal=Goal("ratio", most=2.5),
        spread=times["with"].spread,
    )
    remembering.close()
    without.close()


def _grown(foragers: Foragers, steps: int) -> tuple[int, ...]:
    """What `steps` steps add, in bytes: unnamed files on the disk, anonymous RAM, mapped RAM."""
    start = disk.taken_by_scratch(), resident.anonymous(), resident.mapped()
    foragers.walk(steps)
    end = disk.taken_by_scratch(), resident.anonymous(), resident.mapped()
    return tuple(after - before for before, after in zip(start, end, strict=True))


def _memory(foragers: Foragers) -> AgentMemory:
    if not isinstance(foragers.env, MemoryObservation):
        raise TypeError(f"memory=True must lead to a MemoryObservation, got {type(foragers.env).__name__}")
    return foragers.env.memory


def _side_of_tile(memory: AgentMemory) -> int:
    grid = memory.grid
    return layout.tile_side(layout.lane_count(len(grid.channels)), np.dtype(grid.dtype).itemsize)
