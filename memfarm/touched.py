"""What of a grid may have changed since somebody last asked, for a copy of it elsewhere."""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from memfarm.arrays import Cells
from memfarm.tiling import Index, Tiling

_SCANNED: Final = 64  # tiles that are looked through in the time that one is sorted
_CELLS: Final = 64  # noted cells a tile of the grid, from which on whole tiles are noted

NO_TILES: Final[Index] = np.zeros(0, np.int64)


class Change(NamedTuple):
    """What is to be read again."""

    tiles: Index  # (M,) indices into (copies, TY, TX) laid flat, sorted, each once: with their stamps
    cells: Index  # (K,) indices into (copies, TY, TX, side, side) laid flat, some twice, some in those tiles


class Changes(Protocol):
    """Says what of a grid is to be read again."""

    def take(self) -> Change | None:
        """What may have changed since the last call; None: anything, as at the first call."""

    def forget(self) -> None:
        """Have the next `take()` say anything."""


class Touched:
    """The changes of a grid that this process writes: its `Room` calls `before_...` ahead of every one.

    A write into a tile of the current epoch changes the cells that are written; into another, the tile.

    shape: (height, width) in cells; side: of a tile; wrap: whether windows go on past the edges; tiles: how many there
    are, in all copies. current: which tiles `(N,)` are live and of the current epoch, bool `(N,)`.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        side: int,
        wrap: bool,
        tiles: int,
        current: Callable[[Index], NDArray[np.bool_]],
    ) -> None:
        self._tiling: Final = Tiling(shape, side, wrap)
        self._side: Final = side
        self._current: Final = current
        self._marked: Final[NDArray[np.bool_]] = np.zeros(tiles, np.bool_)
        self._tiles: list[Index] = []
        self._cells: list[Index] = []
        self._count = 0  # of the cells
        self._any = True

    def before_cells(self, where: Cells) -> None:
        """Note the cells, or their tiles."""
        if self._any:
            return
        tiles = self._tiling.of_cells(where)
        current = self._current(tiles)
        self._note(tiles[~current])
        _, y, x = where
        cells = (tiles * self._side**2 + y % self._side * self._side + x % self._side)[current]
        if self._cells and np.array_equal(cells, self._cells[-1]):
            return  # who reserved for them now writes them
        self._cells.append(cells)
        self._count += len(cells)
        if self._count > _CELLS * len(self._marked):
            self._note(np.concatenate(self._cells) // self._side**2)
            self._cells, self._count = [], 0

    def before_windows(self, where: Cells, radius: int) -> None:
        """Note the tiles of windows around the cells."""
        self._note(self._tiling.of_windows(where, radius))

    def before_rectangle(self, copy: int, bounds: tuple[int, int, int, int]) -> None:
        """Note the tiles of a rectangle."""
        self._note(self._tiling.of_rectangle(copy, bounds))

    def before_all(self) -> None:
        """Note that anything may change."""
        self._any = True

    def _note(self, tiles: Index) -> None:
        new = tiles[~self._marked[tiles]]
        if new.size:
            self._marked[new] = True
            self._tiles.append(new)

    def take(self) -> Change | None:
        """What was noted since the last call; None: anything. Costs what was noted."""
        if sum(map(len, self._tiles)) * _SCANNED > len(self._marked):
            tiles = np.flatnonzero(self._marked)
        else:
            tiles = np.unique(np.concatenate([NO_TILES, *self._tiles]))
        self._marked[tiles] = False
        found = None if self._any else Change(tiles, np.concatenate([NO_TILES, *self._cells]))
        self._tiles, self._cells, self._count, self._any = [], [], 0, False
        return found

    def forget(self) -> None:
        """Have the next `take()` say anything."""
        self._any = True


class Followed:
    """The changes of a grid that this process only reads: none while its writer's sequence number stands still.

    sequence: reads that number.
    """

    def __init__(self, sequence: Callable[[], int]) -> None:
        self._sequence: Final = sequence
        self._last: int | None = None

    def take(self) -> Change | None:
        """Nothing where nothing was written since the last call; None: anything."""
        before, self._last = self._last, self._sequence()
        return Change(NO_TILES, NO_TILES) if before == self._last else None

    def forget(self) -> None:
        """Have the next `take()` say anything."""
        self._last = None
