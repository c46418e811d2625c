"""A step of foragers in NumPy, for `memfarm.reference`: walk, eat, leave trails, live or die, look around."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memfarm.reference_grid import Grid
from memfarm.reference_walkers import Array, Ints

_EAT = 5  # the action; 1 to 4 are steps
_ADD, _MAX = 1, 2  # how to scatter

Int64s = NDArray[np.int64]
Float32s = NDArray[np.float32]


def forage_walk(
    ground: Grid,
    blocked: int,
    price: int,
    below: float,
    food: Grid,
    fields: Grid | None,
    trails: int,
    copy: Ints,
    y: Ints,
    x: Ints,
    actions: Int64s,
    live: Array,
    alive: Array,
    energy: Float32s,
    keys: NDArray[np.uint64],
    living: float,
    effort: float,
    to_y: Ints,
    to_x: Ints,
    spent: Float32s,
) -> tuple[Int64s, Int64s]:
    """`Grid.walk`, from y and x to `to_y` and `to_x`; what it costs; tiles that the step's writes will be first in.

    spent: `living` for who is live, and `effort` times what the cell that it came to reads in the lane `price`.
    The tiles are those of `food` under who eats, and those of `fields` under who is live; where no trails are left
    (a negative lane) only under who has `energy` for no more than this, and may die.
    """
    to_y[...], to_x[...] = y, x
    paid = ground.walk(blocked, price, below, copy, to_y, to_x, actions, live, alive, keys)
    np.add(live * np.float32(living), np.float32(effort) * paid.astype(np.float32), out=spent)
    eats = live & (actions == _EAT)
    leaves = live if trails >= 0 else live & (energy <= spent)
    return (
        food.missing(copy[eats], to_y[eats], to_x[eats]),
        np.zeros(0, np.int64) if fields is None else fields.missing(copy[leaves], to_y[leaves], to_x[leaves]),
    )


def forage_eat(
    food: Grid,
    lane: int,
    fields: Grid | None,
    trails: int,
    copy: Ints,
    y: Ints,
    x: Ints,
    actions: Int64s,
    live: Array,
    bite: float,
    energy: float,
    eaten: Float32s,
) -> None:
    """`Grid.take` for who is live and eats, `energy` times that in `eaten`, else 0; then 1 into the lane `trails`."""
    eats = live & (actions == _EAT)
    taken = np.empty(int(np.count_nonzero(eats)))
    food.take(lane, copy[eats], y[eats], x[eats], np.full(len(taken), bite), taken)
    eaten[...] = 0
    eaten[eats] = energy * taken
    if fields is not None and trails >= 0:
        _leave(fields, trails, _MAX, copy[live], y[live], x[live])


def _leave(fields: Grid, lane: int, how: int, copy: Ints, y: Ints, x: Ints) -> None:
    fields.scatter(lane, copy, y, x, np.ones(len(copy)), how, fields.lanes[lane].low, fields.lanes[lane].high)


def forage_settle(
    fields: Grid | None,
    heat: int,
    copy: Ints,
    y: Ints,
    x: Ints,
    live: Array,
    eaten: Float32s,
    spent: Float32s,
    energy: Float32s,
    hp: Float32s,
    most: float,
    weight: float,
    penalty: float,
) -> tuple[Float32s, NDArray[np.bool_], int]:
    """Add up `energy`, in place, up to `most`, and its share `hp`; rewards, who of the live has none, and how many.

    Where they die 1 is added to the lane `heat`, if that is not negative.
    """
    change = eaten - spent
    np.minimum(energy + change, np.float32(most), out=energy, where=live)
    died = live & ~(energy > 0)
    energy[died] = 0
    np.divide(energy, np.float32(most), out=hp)
    reward = np.float32(weight) * change
    reward[died] -= np.float32(penalty)
    if fields is not None and heat >= 0:
        _leave(fields, heat, _ADD, copy[died], y[died], x[died])
    return reward, died, int(np.count_nonzero(died))


def forage_look(
    ground: Grid,
    blocked: int,
    below: float,
    food: Grid,
    lane: int,
    copy: Ints,
    y: Ints,
    x: Ints,
    alive: Array,
    masks: NDArray[np.bool_],
) -> None:
    """Which of staying, the four steps and eating would do something, into `masks` bool `(N, 6)`."""
    masks[:, 0] = True
    ground.neighbours(blocked, copy, y, x, alive, below, masks[:, 1:_EAT])
    masks[:, _EAT] = (food.read_at(lane, copy, y, x) > 0) & alive


def first_beyond(actions: Int64s, live: Array, choices: int) -> int:
    """The first entry of who is live that is not in [0, choices), -1 if none."""
    beyond: NDArray[Any] = np.flatnonzero(live & ((actions < 0) | (actions >= choices)))
    return int(beyond[0]) if beyond.size else -1
