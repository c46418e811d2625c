"""Where agents come into a world: distinct free walkable cells, drawn from the world's own key."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from memfarm.envs.agents import Agents, cell_keys
from memfarm.errors import ConfigError
from memfarm.kernels import hash_draws
from memfarm.world import World

_ROUNDS: Final = 64
_BAND: Final = 1 << 20  # cells looked at together
WALKABLE_BELOW: Final = 0.5
"""A cell is walkable where OBSTACLES is below this."""

Cells = tuple[NDArray[np.int32], NDArray[np.int32]]


def require_room(world: World, agents: int) -> None:
    """Raise ConfigError where the ground has fewer than `agents` walkable cells. Looks no further than needed."""
    found = 0
    height, width = world.shape
    rows = max(1, _BAND // width)
    for y0 in range(0, height, rows):
        ground = world.grid_of("OBSTACLES").read("OBSTACLES", y0, min(y0 + rows, height), 0, width)
        found += int(np.count_nonzero(ground < WALKABLE_BELOW))
        if found >= agents:
            return
    raise _no_room(agents, found)


def place(
    world: World,
    copy: NDArray[np.int32],
    draws: NDArray[np.uint64],
    others: Agents,
    alive: NDArray[np.bool_],
) -> Cells:
    """A free cell for each of N newcomers: rows and columns int32 `(N,)`, no two the same in one world.

    copy: `(N,)`, the worlds they come into. draws: uint64 `(N,)`, each newcomer's own; all that the cells depend on.
    others: M agents, on whose cells there is no room where they are `alive` `(M,)`.

    Newcomers draw cells until each has one nobody else has, all worlds at once; whoever has none after 64 rounds
    gets one from a list of what is free. Raises ConfigError where a world has no room.
    """
    ground = world.grid_of("OBSTACLES")
    standing = others.copy, others.y, others.x
    y, x, placed = ground.place("OBSTACLES", WALKABLE_BELOW, copy, draws, standing, alive, _ROUNDS)
    if placed.all():
        return y, x
    left = np.flatnonzero(~placed)
    occupied = np.concatenate(
        [
            cell_keys(copy[placed], y[placed], x[placed], world.shape),
            cell_keys(others.copy[alive], others.y[alive], others.x[alive], world.shape),
        ]
    )
    for w in np.unique(copy[left]):
        mine = left[copy[left] == w]
        y[mine], x[mine] = _from_list(world, int(w), draws[mine], occupied)
    return y, x


def _from_list(world: World, copy: int, draws: NDArray[np.uint64], occupied: NDArray[np.int64]) -> Cells:
    """Cells from the list of all that are free in one world: exact, at the price of reading the whole ground."""
    height, width = world.shape
    ground = world.grid_of("OBSTACLES")
    rows = max(1, _BAND // width)
    bands = [
        np.flatnonzero(ground.read("OBSTACLES", y0, min(y0 + rows, height), 0, width) < WALKABLE_BELOW) + y0 * width
        for y0 in range(0, height, rows)
    ]
    free = np.setdiff1d(np.concatenate(bands), occupied - copy * height * width, assume_unique=True)
    if free.size < len(draws):
        raise _no_room(len(draws), free.size)
    chosen = free[np.argsort(hash_draws(free.astype(np.uint64) ^ draws[0], 0), kind="stable")[: len(draws)]]
    y, x = np.divmod(chosen, width)
    return y.astype(np.int32), x.astype(np.int32)


def _no_room(agents: int, free: int) -> ConfigError:
    return ConfigError(
        f"a world needs a free walkable cell for each of its agents, got {free} cells for {agents}; "
        "use fewer agents, a larger shape, or a map with fewer obstacles"
    )
