"""Read this to understand the compiled kernels: the same names, the same bytes, in plain NumPy.

The format and the order of every operation are those of docs/design/0001-grids-and-lazy-time.md. `Grid` is in
`memfarm.reference_grid`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memfarm.reference_grid import Array, Grid, Ints

__all__ = ["Grid", "Windows", "contest", "fence", "first_outside", "hash_draws"]


class Windows:
    """Cut the windows of a batch of agents, columns of any grids side by side, into one float32 array."""

    def __init__(
        self,
        grids: Sequence[Grid],
        columns: Sequence[tuple[int, int]],
        radius: int,
        scale: NDArray[np.float32],
        shift: NDArray[np.float32],
        visibility: tuple[int, int] | None,
        hidden: Sequence[bool],
    ) -> None:
        self.grids, self.columns, self.radius = list(grids), list(columns), radius
        self.scale, self.shift = scale, shift
        self.visibility, self.hidden = visibility, list(hidden)

    def observe(
        self,
        copy: Ints,
        y: Ints,
        x: Ints,
        out: NDArray[np.float32],
        centres: Sequence[tuple[int, NDArray[np.float32]]],
        points: Sequence[tuple[int, Ints, Ints, Ints, NDArray[np.float32], bool, Ints | None]],
        threads: int,
    ) -> None:
        """Write the windows around `(copy, y, x)` into `out`, float32 `(N, S, S, C)`; `threads` is not used."""
        insides = [grid.window_cells(copy, y, x, self.radius) for grid in self.grids]
        found = [grid.cells(*where) for grid, (_, *where) in zip(self.grids, insides, strict=True)]

        def seen(index: int, lane: int) -> Array:
            grid, inside = self.grids[index], insides[index][0]
            outside = grid.real(grid.lanes[lane].outside)
            return np.where(inside, grid.decode(lane, found[index]), outside).astype(np.float32)

        visible = np.float32(1) if self.visibility is None else seen(*self.visibility)
        for c, (index, lane) in enumerate(self.columns):
            out[..., c] = 0
            if index >= 0:
                value = seen(index, lane) * self.scale[c] + self.shift[c]
                out[..., c] = value * visible if self.hidden[c] else value
        for c, *where, values, skip_centre, sought in points:
            inside, own, cell_y, cell_x = insides[0]
            window = (inside, own if sought is None else sought[:, None, None], cell_y, cell_x)
            painted, value = self._painted(window, where, values, skip_centre)
            value = value * visible if self.hidden[c] else value
            out[..., c] = np.where(painted & (value > out[..., c]), value, out[..., c])
        for c, values in centres:
            out[:, self.radius, self.radius, c] = values

    def _painted(
        self, window: tuple[Array, Ints, Ints, Ints], where: list[Any], values: Array, skip_centre: bool
    ) -> tuple[Array, Array]:
        """Which cells of the windows hold a point, and the largest value there, both `(N, S, S)`."""
        height, width = self.grids[0].height, self.grids[0].width
        inside, *cell = window
        key, point_key = ((a[0].astype(np.int64) * height + a[1]) * width + a[2] for a in (cell, where))
        if not point_key.size:
            return np.zeros(inside.shape, np.bool_), np.zeros(inside.shape, np.float32)
        order = np.lexsort((values, point_key))
        last = np.searchsorted(point_key[order], key, side="right") - 1
        painted = inside & (last >= 0) & (point_key[order][last] == key)
        if skip_centre:
            painted[:, self.radius, self.radius] = False
        return painted, values[order][last]


def first_outside(copy: Ints, y: Ints, x: Ints, copies: int, height: int, width: int) -> int:
    """The first entry of a batch of coordinates that lies outside the grid, -1 if none."""
    inside = (copy >= 0) & (copy < copies) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    outside = np.flatnonzero(~inside)
    return int(outside[0]) if outside.size else -1


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


def fence() -> None:
    """Order memory accesses before and after: here the interpreter's own calls are far enough apart for x86-64."""
