"""Which tiles of a grid a batch of cells, windows, or a rectangle lies in."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from memfarm.arrays import Cells

Index = NDArray[np.int64]


class Tiling:
    """The tiles of a grid by their numbers: indices into (copies, TY, TX) laid flat, in no order, some twice.

    shape: (height, width) in cells; side: of a tile; wrap: whether windows go on past the edges.
    """

    def __init__(self, shape: tuple[int, int], side: int, wrap: bool) -> None:
        self._shape: Final = shape
        self._side: Final = side
        self._wrap: Final = wrap
        self._rows: Final = -(-shape[0] // side)
        self._columns: Final = -(-shape[1] // side)

    def of_cells(self, where: Cells) -> Index:
        """The tiles that the cells lie in, `(N,)`."""
        copy, y, x = (axis.astype(np.int64) for axis in where)
        tiles: Index = (copy * self._rows + y // self._side) * self._columns + x // self._side
        return tiles

    def of_windows(self, where: Cells, radius: int) -> Index:
        """The tiles that windows around the cells lie in; beyond a wall, those at the edge."""
        copy, y, x = where
        rows, columns = self._along(y, radius, self._shape[0]), self._along(x, radius, self._shape[1])
        first = copy.astype(np.int64)[:, None, None] * self._rows
        tiles: Index = ((first + rows[:, :, None]) * self._columns + columns[:, None, :]).reshape(-1)
        return tiles

    def _along(self, at: NDArray[np.int32], radius: int, size: int) -> Index:
        """The tiles of one axis that windows reach, `(N, K)`: of cells so close together that none lies between."""
        short = size % self._side or self._side  # the last tile of an axis, which a wrapped window may run over
        step = short if self._wrap else self._side
        offsets = np.append(np.arange(-radius, radius, step), radius)
        cells = at.astype(np.int64)[:, None] + offsets
        inside: Index = cells % size if self._wrap else cells.clip(0, size - 1)
        return inside // self._side

    def of_rectangle(self, copy: int, bounds: tuple[int, int, int, int]) -> Index:
        """The tiles of a rectangle (y0, y1, x0, x1) inside the world."""
        y0, y1, x0, x1 = bounds
        down = np.arange(y0 // self._side, -(-y1 // self._side))
        across = np.arange(x0 // self._side, -(-x1 // self._side))
        tiles: Index = ((copy * self._rows + down[:, None]) * self._columns + across).reshape(-1)
        return tiles
