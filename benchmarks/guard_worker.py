"""Calls each hot kernel on work that is the same in every run; `benchmarks.guard` counts their instructions.

Half of it is what usually lies around: tiles written just now, in an older epoch, and never.
"""

from typing import Any, Final

import numpy as np

from memfarm import _kernels, layout
from memfarm.channels import Channel, Decay, Regrow

AGENTS: Final = 2_000
RADIUS: Final = 5
CALLS: Final = 3
_SIDE: Final = 512
_TICK: Final = 20_000


def grid_of(channels: list[Channel], dtype: str, rng: np.random.Generator) -> Any:
    """A grid at tick `_TICK`: a third of its rows of tiles each old, new and never written."""
    tiles, stamps, resets = (
        np.zeros(size, kind) for size, kind in layout.segments("g", (_SIDE, _SIDE), len(channels), 1, dtype).values()
    )
    resets[:] = (1, 0)
    lanes = [layout.lane(channel) for channel in channels]
    grid = _kernels.Grid(tiles, stamps, resets, lanes, _SIDE, _SIDE, False, layout.epoch_length(channels, dtype))
    third = _SIDE // 3
    for tick, top in ((_TICK // 2, 0), (_TICK, third)):
        grid.set_tick(tick)
        values = rng.random((third, _SIDE, len(channels)), np.float32)
        grid.write(0, top, 0, np.arange(len(channels), dtype=np.int32), values)
    return grid


def main() -> None:
    rng = np.random.default_rng(0)
    ground = grid_of([Channel("OBSTACLES"), Channel("COST"), Channel("LIGHT"), Channel("CAPACITY")], "uint8", rng)
    food = grid_of([Channel("RESOURCES", Regrow(0.01, "CAPACITY"), fill=0.5)], "float32", rng)
    food.link(0, ground, 3)
    fields = grid_of([Channel(f"F{g}", Decay(g / 100)) for g in (85, 90, 92)], "float16", rng)
    copy = np.zeros(AGENTS, np.int32)
    y, x = (rng.integers(0, _SIDE, AGENTS, dtype=np.int32) for _ in range(2))
    columns = [(-1, 0), (-1, 0), (1, 0), (0, 0), (0, 1), (0, 2), (2, 1)]
    one, zero = np.ones(len(columns), np.float32), np.zeros(len(columns), np.float32)
    windows = _kernels.Windows([ground, food, fields], columns, RADIUS, one, zero, None, [False] * len(columns))
    side = 2 * RADIUS + 1
    out = np.empty((AGENTS, side, side, len(columns)), np.float32)
    energy, found, taken = rng.random(AGENTS, np.float32), np.empty(AGENTS, np.float32), np.empty(AGENTS)
    alive, amount = np.ones(AGENTS, np.bool_), np.full(AGENTS, 0.1)
    masks, actions = np.empty((AGENTS, 6), np.bool_), rng.integers(0, 6, AGENTS)
    keys, spent = rng.integers(0, 2**63, 1, dtype=np.uint64), np.empty(AGENTS, np.float32)
    here, moved = (copy, y, x), (y.copy(), x.copy())
    for _ in range(CALLS):
        windows.observe(copy, y, x, out, [(0, energy)], [(1, copy, y, x, energy, True, None)], 1)
        food.gather(0, copy, y, x, found)
        fields.scatter(1, copy, y, x, one.astype(np.float64).repeat(AGENTS)[:AGENTS], 2, 0.0, 1.0)
        food.take(0, copy, y, x, amount, taken)
        _kernels.forage_walk(
            ground, 0, 1, 0.5, food, fields, 1, *here, actions, alive, alive, energy, keys, 0.004, 0.003, *moved, spent
        )
        _kernels.forage_eat(food, 0, fields, 1, *here, actions, alive, 0.25, 0.15, found)
        _kernels.forage_look(ground, 0, 0.5, food, 0, *here, alive, masks)


if __name__ == "__main__":
    main()
