"""Read this to understand the compiled kernels: the same names, the same bytes, in plain NumPy.

The format and the order of every operation are those of docs/design/0001-grids-and-lazy-time.md. `Grid` is in
`memfarm.reference_grid`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memfarm.reference_foragers import first_beyond, forage_eat, forage_look, forage_settle, forage_walk
from memfarm.reference_grid import Array, Grid, Ints, bound
from memfarm.reference_walkers import hash_draws

__all__ = [
    "Grid",
    "Windows",
    "fence",
    "first_beyond",
    "first_outside",
    "forage_eat",
    "forage_look",
    "forage_settle",
    "forage_walk",
    "hash_draws",
    "narrow",
]


class Windows:
    """Cut the windows of a batch of agents, columns of any grids side by side, into one array."""

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
        out: Array,
        centres: Sequence[tuple[int, NDArray[np.float32]]],
        points: Sequence[tuple[int, Ints, Ints, Ints, NDArray[np.float32], bool, Ints | None]],
        threads: int,
    ) -> None:
        """Write the windows around `(copy, y, x)` into `out` `(N, S, S, C)`; `threads` is not used.

        out: float32, or what `narrow` rounds to.
        """
        windows = np.empty(out.shape, np.float32)
        insides = [grid.window_cells(copy, y, x, self.radius) for grid in self.grids]
        found = [grid.cells(*where) for grid, (_, *where) in zip(self.grids, insides, strict=True)]

        def seen(index: int, lane: int) -> Array:
            grid, inside = self.grids[index], insides[index][0]
            outside = grid.real(grid.lanes[lane].outside)
            return np.where(inside, grid.decode(lane, found[index]), outside).astype(np.float32)

        visible = np.float32(1) if self.visibility is None else seen(*self.visibility)
        for c, (index, lane) in enumerate(self.columns):
            windows[..., c] = 0
            if index >= 0:
                value = seen(index, lane) * self.scale[c] + self.shift[c]
                windows[..., c] = value * visible if self.hidden[c] else value
        for c, *where, values, skip_centre, sought in points:
            inside, own, cell_y, cell_x = insides[0]
            window = (inside, own if sought is None else sought[:, None, None], cell_y, cell_x)
            painted, value = self._painted(window, where, values, skip_centre)
            value = value * visible if self.hidden[c] else value
            windows[..., c] = np.where(painted & (value > windows[..., c]), value, windows[..., c])
        for c, values in centres:
            windows[:, self.radius, self.radius, c] = values
        narrow(windows, out)

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


def narrow(values: NDArray[np.float32], out: Array) -> None:
    """Round `values` into `out` of the same shape: float16, uint16 (the bits of bfloat16), uint8; float32 as it is.

    float16, bfloat16: the nearest, of two the even one; beyond the range infinity; a NaN quiet, the top of its bits
    kept. uint8: 255 times the value, within 0 and 255 (NaN: 0), then the nearest whole number, of two the even one.
    """
    bits, nan = values.view(np.uint32), np.isnan(values)
    high = (bits >> 16).astype(np.uint16)
    with np.errstate(over="ignore", invalid="ignore"):
        if out.dtype == np.float32:
            out[...] = values
        elif out.dtype == np.float16:
            quiet = (bits >> 13 & 0x3FF).astype(np.uint16) | (high & 0x8000) | 0x7E00
            out[...] = np.where(nan, quiet.view(np.float16), values.astype(np.float16))
        elif out.dtype == np.uint16:
            nearest = (bits.astype(np.uint64) + 0x7FFF + (high & 1)) >> 16
            out[...] = np.where(nan, high | 0x40, nearest)
        else:
            out[...] = np.rint(bound(values * np.float32(255), np.float32(0), np.float32(255)))


def first_outside(copy: Ints, y: Ints, x: Ints, copies: int, height: int, width: int) -> int:
    """The first entry of a batch of coordinates that lies outside the grid, -1 if none."""
    inside = (copy >= 0) & (copy < copies) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    outside = np.flatnonzero(~inside)
    return int(outside[0]) if outside.size else -1


def fence() -> None:
    """Order memory accesses before and after: here the interpreter's own calls are far enough apart for x86-64."""
