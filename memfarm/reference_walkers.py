"""Agents on the ground, for `memfarm.reference`: who wins a contested cell, who walks where, what keys draw."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ints = NDArray[np.integer[Any]]

_WAYS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Rows and columns that a step north, south, west and east leads on."""


def contest(wanted: NDArray[np.int64], priority: NDArray[np.uint64], occupied: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Let one entry win each wanted cell (a key; negative wants nothing) that is not occupied: bool `(N,)`, new.

    The highest priority wins, and of equals the lowest index.
    """
    order = np.lexsort((np.arange(len(wanted)), ~priority, wanted))
    first = np.ones(len(wanted), np.bool_)
    first[1:] = wanted[order][1:] != wanted[order][:-1]
    wins = np.zeros(len(wanted), np.bool_)
    wins[order] = first
    return wins & (wanted >= 0) & ~np.isin(wanted, occupied)


def _splitmix64(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One draw of SplitMix64 (Steele, Lea, Flood 2014, the finaliser of Stafford's Mix13)."""
    key = key + np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def hash_draws(keys: NDArray[np.uint64], stream: int) -> NDArray[np.uint64]:
    """Draw one uint64 for each key and stream: `splitmix64(splitmix64(key) ^ stream * golden)`. A new array."""
    return _splitmix64(_splitmix64(keys) ^ np.uint64((stream * 0x9E3779B97F4A7C15) % 2**64))


class Walkers:
    """A grid as the ground of agents at cells `(copy, y, x)` inside the world."""

    height: int
    width: int
    wrap: bool

    @abstractmethod
    def read_at(self, lane: int, copy: Ints, y: Ints, x: Ints) -> Array:
        """What one lane of the cells reads, in the value dtype `(N,)`; new."""

    def _keys(self, copy: Ints, y: Ints, x: Ints) -> NDArray[np.int64]:
        keys: NDArray[np.int64] = (copy.astype(np.int64) * self.height + y) * self.width + x
        return keys

    def _open(self, lane: int, below: float, copy: Ints, y: Ints, x: Ints) -> tuple[Array, Ints, Ints]:
        """Whether cells are there and read less than `below`, and y and x where they are (wrapped, or 0)."""
        if self.wrap:
            y, x = y % self.height, x % self.width
        inside = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        y, x = np.where(inside, y, 0), np.where(inside, x, 0)
        return inside & (self.read_at(lane, copy, y, x).astype(np.float64) < below), y, x

    def neighbours(self, lane: int, copy: Ints, y: Ints, x: Ints, alive: Array, below: float, out: Array) -> None:
        """Whether the cell north, south, west, east of each is there, below the limit, and free: bool `(N, 4)`."""
        taken = self._keys(copy, y, x)[alive]
        for way, (dy, dx) in enumerate(_WAYS):
            free, to_y, to_x = self._open(lane, below, copy, y + dy, x + dx)
            out[:, way] = alive & free & ~np.isin(self._keys(copy, to_y, to_x), taken)

    def walk(
        self,
        blocked: int,
        price: int,
        below: float,
        copy: Ints,
        y: Ints,
        x: Ints,
        heading: Ints,
        live: Array,
        alive: Array,
        keys: NDArray[np.uint64],
    ) -> Array:
        """Let agents walk, y and x in place; what the cells they came to read in the lane `price`, else 0: `(N,)`.

        heading: 1 to 4 is north, south, west, east; who is not `live`, and any other heading, stays. A step needs a
        cell below the limit in the lane `blocked` and free of who is `alive`; of several who want it the highest draw
        goes, the first of equals. Draws come from the `keys` of the copies and the cell that is left.
        """
        index = np.flatnonzero(live & (heading >= 1) & (heading <= len(_WAYS)))
        copies, way = copy[index], np.array(_WAYS, np.int32)[heading[index] - 1]
        free, to_y, to_x = self._open(blocked, below, copies, y[index] + way[:, 0], x[index] + way[:, 1])
        wanted = np.where(free, self._keys(copies, to_y, to_x), -1)
        left = y[index].astype(np.int64) * self.width + x[index]
        draws = hash_draws(keys[copies] ^ left.astype(np.uint64), 0)
        wins = contest(wanted, draws, self._keys(copy, y, x)[alive])
        went = index[wins]
        y[went], x[went] = to_y[wins], to_x[wins]
        reached = self.read_at(price, copy[went], y[went], x[went])
        paid = np.zeros(len(copy), reached.dtype)
        paid[went] = reached
        return paid

    def place(
        self,
        lane: int,
        below: float,
        copy: Ints,
        draws: NDArray[np.uint64],
        their_copy: Ints,
        their_y: Ints,
        their_x: Ints,
        alive: Array,
        rounds: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
        """Draw a cell for each newcomer: y, x int32 `(N,)`, and bool `(N,)`, who got one; the others have y = x = 0.

        In every round those who have none draw one, and get it if it reads less than `below`, nobody of the others who
        is `alive` stands there, and none of them has it; of several who want it the highest draw, the first of equals.
        """
        occupied = self._keys(their_copy, their_y, their_x)[alive]
        y, x = np.zeros(len(copy), np.int32), np.zeros(len(copy), np.int32)
        placed = np.zeros(len(copy), np.bool_)
        for attempt in range(1, rounds + 1):
            left = np.flatnonzero(~placed)
            cells = hash_draws(draws[left], attempt)
            ys = ((cells >> np.uint64(32)) % np.uint64(self.height)).astype(np.int32)
            xs = ((cells & np.uint64(0xFFFFFFFF)) % np.uint64(self.width)).astype(np.int32)
            free, _, _ = self._open(lane, below, copy[left], ys, xs)
            wanted = np.where(free, self._keys(copy[left], ys, xs), -1)
            wins = contest(wanted, draws[left], occupied)
            y[left[wins]], x[left[wins]] = ys[wins], xs[wins]
            placed[left[wins]] = True
            occupied = np.concatenate([occupied, wanted[wins]])
            if placed.all():
                break
        return y, x, placed
