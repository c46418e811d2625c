"""Read this to understand how cells are stored and how they age: the `Grid` of `memfarm.reference`.

Reading works on whole batches at once. Writing goes in turns: every entry that is the first of its cell, then every
second one, and so on, which is the order of the batch wherever that can be told apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memfarm.reference_walkers import Walkers

Array = NDArray[Any]
Ints = NDArray[np.integer[Any]]

SET, ADD, MAX = 0, 1, 2

ARITHMETIC: Final[dict[str, type[np.floating[Any]]]] = {
    "float16": np.float32,
    "float32": np.float32,
    "float64": np.float64,
    "uint8": np.float32,
    "int32": np.float64,
}
"""The type that a storage dtype is computed in."""

_HALF_MAX: Final = 65504.0


@lru_cache(maxsize=65536)
def compose(alpha: float, beta: float, ticks: int) -> tuple[float, float]:
    """The map `v -> A * v + B * k` of `ticks` ticks of `v -> alpha * v + beta * k`, in float64: (A, B)."""
    scale, shift = 1.0, 0.0
    while ticks > 0:
        if ticks & 1:
            scale, shift = scale * alpha, alpha * shift + beta
        alpha, beta = alpha * alpha, alpha * beta + beta
        ticks >>= 1
    return (0.0 if abs(scale) < 1e-37 else scale), shift


def bound(value: Array, low: Any, high: Any) -> Array:
    """`max(value, low)`, then `min(…, high)`; on a tie, of zeros too, and for NaN the bound itself. A new array."""
    value = np.where(value > low, value, low)
    return np.where(value < high, value, high)


def turns(keys: Ints) -> Iterator[Ints]:
    """Split a batch so that no key repeats in a turn: the indices of all first occurrences, then all second ones."""
    if np.unique(keys).size == keys.size:
        yield np.arange(keys.size)
        return
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    lengths = np.diff(starts, append=keys.size)
    for turn in range(lengths.max()):
        yield order[starts[lengths > turn] + turn]


@dataclass(frozen=True, slots=True)
class Lane:
    """One channel of a grid: its law, its range, and what it reads where nothing is stored."""

    alpha: float
    beta: float
    floor: float
    capacity: float
    low: float
    high: float
    fill: float
    outside: float
    static: bool


class Cells(NamedTuple):
    """Where a batch of cells lies, and how much time has passed over each of them."""

    copy: Ints
    y: Ints
    x: Ints
    at: tuple[Any, ...]  # index into tiles, the lane apart
    live: NDArray[np.bool_]  # whether the tile holds anything, else the cell is `fill`
    ages: Ints  # (U,) the distinct numbers of ticks since what is stored was true
    age: Ints  # index into ages, of each cell


class Grid(Walkers):
    """Read and write the cells of one grid, in the very arrays it is given.

    tiles: `(copies, TY, TX, side, side, lanes)` in a storage dtype. stamps: uint64 `(copies, TY, TX)`.
    copies: int64 `(copies, 2)`, `[resets, reset_tick]`. epoch: ticks, 0 where all lanes are static.
    """

    def __init__(
        self,
        tiles: Array,
        stamps: NDArray[np.uint64],
        copies: NDArray[np.int64],
        lanes: Sequence[Mapping[str, Any]],
        height: int,
        width: int,
        wrap: bool,
        epoch: int,
    ) -> None:
        self.tiles, self.stamps, self.copies = tiles, stamps, copies
        self.lanes = [Lane(**lane) for lane in lanes]
        self.height, self.width, self.wrap, self.epoch = height, width, wrap, epoch
        self.side = tiles.shape[3]
        self.real = ARITHMETIC[tiles.dtype.name]
        self.tick = 0
        self._capacity_of: dict[int, tuple[Grid, int]] = {}

    def link(self, lane: int, source: "Grid", source_lane: int) -> None:
        """Bound and feed `lane` by the cells of a static lane of `source`."""
        self._capacity_of[lane] = (source, source_lane)

    def set_tick(self, tick: int) -> None:
        """Move the clock; nothing is touched."""
        self.tick = tick

    @property
    def _now(self) -> int:
        """The current epoch."""
        return self.tick // self.epoch if self.epoch else 0

    def _stored_copy(self, copy: Ints) -> Ints:
        """The copies that are meant: a grid with one copy serves every index."""
        return np.zeros_like(copy) if len(self.copies) == 1 else copy

    def cells(self, copy: Ints, y: Ints, x: Ints) -> Cells:
        """Find cells by coordinates inside the world, of any shapes that broadcast together."""
        copy = self._stored_copy(copy)
        tile = (copy, y // self.side, x // self.side)
        stamp = self.stamps[tile]
        live = (stamp >> np.uint64(32)).astype(np.int64) == self.copies[copy, 0]
        if self.epoch:
            written = ((stamp & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1) * self.epoch
            ages, age = np.unique(self.tick - np.where(live, written, self.copies[copy, 1]), return_inverse=True)
        else:
            ages, age = np.zeros(1, np.int64), np.zeros(live.shape, np.int64)
        return Cells(copy, y, x, (*tile, y % self.side, x % self.side), live, ages, age.reshape(live.shape))

    def capacity(self, lane: int, cells: Cells) -> Array:
        """The upper bound of the cells of a lane, in the arithmetic type: one number, or one for each cell."""
        if lane in self._capacity_of:
            source, source_lane = self._capacity_of[lane]
            return source.decode(source_lane, source.cells(cells.copy, cells.y, cells.x)).astype(self.real)
        spec = self.lanes[lane]
        return np.asarray(spec.high if spec.static else spec.capacity, self.real)

    def _stored(self, lane: int, cells: Cells) -> Array:
        """What lies in the cells of a lane, 0 where their tile is not live: that may be a hole, and is not touched."""
        stored = np.zeros(cells.live.shape, self.tiles.dtype)
        at = (axis[cells.live] for axis in np.broadcast_arrays(*cells.at))
        stored[cells.live] = self.tiles[(*at, lane)]
        return stored

    def decode(self, lane: int, cells: Cells) -> Array:
        """What the cells of a lane are worth now, in the arithmetic type. A copy."""
        spec, real, high = self.lanes[lane], self.real, self.capacity(lane, cells)
        stored = self._stored(lane, cells).astype(real)
        if self.tiles.dtype == np.uint8:
            stored = stored * real((spec.high - spec.low) / 255) + real(spec.low)
        if spec.static:
            return np.where(cells.live, bound(stored + real(0), real(spec.low), high), real(spec.fill))
        maps = np.array([compose(spec.alpha, spec.beta, int(ticks)) for ticks in cells.ages]).reshape(-1, 2)
        value = np.where(cells.live, stored, real(spec.fill)) * maps[:, 0].astype(real)[cells.age]
        if lane in self._capacity_of:
            value = value + maps[:, 1].astype(real)[cells.age] * high
        else:
            value = value + (maps[:, 1] * spec.capacity).astype(real)[cells.age]
        value = bound(value, real(0), high)
        return np.where(value < real(spec.floor), real(0), value)

    def encode(self, lane: int, cells: Cells, value: Array, high: Array) -> None:
        """Store values (in the arithmetic type) into current tiles; `high` is the cells' `capacity`."""
        spec, real = self.lanes[lane], self.real
        value = bound(value, real(spec.low if spec.static else 0), high)
        if not spec.static:
            scale, shift = compose(spec.alpha, spec.beta, self.tick % self.epoch)
            grown = real(shift) * high if lane in self._capacity_of else real(shift * spec.capacity)
            value = (value - grown) / real(scale)
        if self.tiles.dtype == np.float16:
            value = bound(value, real(-_HALF_MAX), real(_HALF_MAX))
        elif self.tiles.dtype == np.uint8:
            value = np.rint((value - real(spec.low)) * real(255 / (spec.high - spec.low)))
            value = bound(value, real(0), real(255))
        elif self.tiles.dtype == np.int32:
            value = np.rint(value)
        self.tiles[(*cells.at, lane)] = value.astype(self.tiles.dtype)

    def _make_current(self, copy: Ints, y: Ints, x: Ints) -> None:
        """Materialise every tile that these cells lie in and that is not live or not of this epoch."""
        tile = np.broadcast_arrays(self._stored_copy(copy), y // self.side, x // self.side)
        fresh = (self.copies[tile[0], 0] << 32 | (self._now + 1)).astype(np.uint64)
        stale = self.stamps[tuple(tile)] != fresh
        for one, ty, tx in np.unique(np.stack([axis[stale] for axis in tile], axis=-1), axis=0):
            self._rebase(int(one), int(ty), int(tx))

    def _rebase(self, copy: int, ty: int, tx: int) -> None:
        """Read the whole tile, write it again at the current tick, and stamp it."""
        y = np.arange(ty * self.side, min((ty + 1) * self.side, self.height))[:, None]
        x = np.arange(tx * self.side, min((tx + 1) * self.side, self.width))
        cells = self.cells(np.asarray(copy), y, x)
        values = [(self.decode(lane, cells), self.capacity(lane, cells)) for lane in range(len(self.lanes))]
        self.tiles[copy, ty, tx] = 0
        self.stamps[copy, ty, tx] = (int(self.copies[copy, 0]) << 32) | (self._now + 1)
        for lane, (value, high) in enumerate(values):
            self.encode(lane, cells, value, high)

    def _hand_out(self, lane: int, cells: Cells) -> Array:
        value = self.decode(lane, cells)
        return np.rint(value) if self.tiles.dtype == np.int32 else value

    def gather(self, lane: int, copy: Ints, y: Ints, x: Ints, out: Array) -> None:
        """Read one value a cell into `out`, value dtype `(N,)`."""
        out[...] = self.read_at(lane, copy, y, x)

    def read_at(self, lane: int, copy: Ints, y: Ints, x: Ints) -> Array:
        """The same, new, in the value dtype."""
        value = self._hand_out(lane, self.cells(copy, y, x))
        return value.astype(np.int32) if self.tiles.dtype == np.int32 else value

    def scatter(
        self,
        lane: int,
        copy: Ints,
        y: Ints,
        x: Ints,
        values: Array,
        how: int,
        low: float,
        high: float,
    ) -> None:
        """Set, add to, or raise cells, in batch order; float64 `(N,)` values, combined and clipped in float64."""
        self._make_current(copy, y, x)
        for turn in self._turns(copy, y, x):
            cells = self.cells(copy[turn], y[turn], x[turn])
            old, new = self.decode(lane, cells).astype(np.float64), values[turn].astype(np.float64)
            if how == ADD:
                new = old + new
            elif how == MAX:
                new = np.where(new > old, new, old)
            self.encode(lane, cells, bound(new, low, high).astype(self.real), self.capacity(lane, cells))

    def take(self, lane: int, copy: Ints, y: Ints, x: Ints, amount: Array, out: Array) -> None:
        """Take at most `amount` (float64) from each cell, in batch order; `out` (float64) is what there was to take."""
        self._make_current(copy, y, x)
        for turn in self._turns(copy, y, x):
            cells = self.cells(copy[turn], y[turn], x[turn])
            old = self.decode(lane, cells).astype(np.float64)
            out[turn] = np.where(amount[turn] < old, amount[turn], old)
            self.encode(lane, cells, (old - out[turn]).astype(self.real), self.capacity(lane, cells))

    def _turns(self, copy: Ints, y: Ints, x: Ints) -> Iterator[Ints]:
        return turns((self._stored_copy(copy).astype(np.int64) * self.height + y) * self.width + x)

    def read(self, copy: int, y0: int, x0: int, lanes: Ints, out: Array) -> None:
        """Read a rectangle inside the world into `out`, value dtype `(h, w, L)`."""
        cells = self._rectangle(copy, y0, x0, out.shape)
        for column, lane in enumerate(lanes):
            out[..., column] = self._hand_out(int(lane), cells)

    def write(self, copy: int, y0: int, x0: int, lanes: Ints, values: Array) -> None:
        """Write a rectangle inside the world from `values`, value dtype `(h, w, L)`."""
        cells = self._rectangle(copy, y0, x0, values.shape)
        self._make_current(cells.copy, cells.y, cells.x)
        for column, lane in enumerate(lanes):
            value = values[..., column].astype(self.real)
            self.encode(int(lane), cells, value, self.capacity(int(lane), cells))

    def _rectangle(self, copy: int, y0: int, x0: int, shape: tuple[int, ...]) -> Cells:
        return self.cells(np.asarray(copy), y0 + np.arange(shape[0])[:, None], x0 + np.arange(shape[1]))

    def window_cells(self, copy: Ints, y: Ints, x: Ints, radius: int) -> tuple[Array, Ints, Ints, Ints]:
        """Windows around cells: whether each of their cells is inside, and copy, y, x, all `(N, S, S)`.

        A wrapped world wraps; beyond a wall y and x are those of the nearest cell inside.
        """
        offset = np.arange(-radius, radius + 1)
        wy, wx = np.broadcast_arrays((y[:, None] + offset)[:, :, None], (x[:, None] + offset)[:, None, :])
        whose = np.broadcast_to(copy[:, None, None], wy.shape)
        if self.wrap:
            return np.ones(wy.shape, np.bool_), whose, wy % self.height, wx % self.width
        inside = (wy >= 0) & (wy < self.height) & (wx >= 0) & (wx < self.width)
        return inside, whose, wy.clip(0, self.height - 1), wx.clip(0, self.width - 1)

    def stamp_windows(
        self,
        lanes: Ints,
        copy: Ints,
        y: Ints,
        x: Ints,
        radius: int,
        values: NDArray[np.float32],
        how: int,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        seen: NDArray[np.bool_] | None = None,
    ) -> None:
        """Write windows `(N, S, S, L)`: window by window, row by row, a `scatter` of their cells inside the world.

        seen: bool `(N, S, S)`, the cells that are written; None: all.
        """
        inside, *where = self.window_cells(copy, y, x, radius)
        inside = inside if seen is None else inside & seen
        copy, y, x = (axis[inside] for axis in where)
        for c, lane in enumerate(lanes):
            self.scatter(int(lane), copy, y, x, values[..., c][inside], how, float(low[c]), float(high[c]))

    def settle(self) -> int:
        """Make every live tile of an older epoch current; how many there were."""
        live = (self.stamps >> np.uint64(32)).astype(np.int64) == self.copies[:, 0, None, None]
        older = (self.stamps & np.uint64(0xFFFFFFFF)).astype(np.int64) != self._now + 1
        stale = np.argwhere(live & older)
        for copy, ty, tx in stale:
            self._rebase(int(copy), int(ty), int(tx))
        return len(stale)

    def missing(self, copy: Ints, y: Ints, x: Ints) -> NDArray[np.int64]:
        """Flat indices, over (copies, TY, TX), of these cells' tiles that were never written: sorted, each once."""
        tile = np.ravel_multi_index((self._stored_copy(copy), y // self.side, x // self.side), self.stamps.shape)
        tiles: NDArray[np.int64] = np.unique(tile).astype(np.int64)
        missing: NDArray[np.int64] = tiles[self.stamps.reshape(-1)[tiles] == 0]
        return missing

    def missing_windows(
        self, copy: Ints, y: Ints, x: Ints, radius: int, seen: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """The same of the tiles that `stamp_windows` would write."""
        inside, *where = self.window_cells(copy, y, x, radius)
        inside = inside if seen is None else inside & seen
        copy, y, x = (axis[inside] for axis in where)
        return self.missing(copy, y, x)
