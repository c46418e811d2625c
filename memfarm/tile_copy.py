"""A grid's tiles as they are at one moment, copied piece by piece while the grid goes on being written.

Copy on write by tile, in user space: before its writer changes a tile that has not been copied yet, it puts the bytes
aside. So the copying thread never sees a later moment, and the writer never waits for the disk.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memfarm import sparse_copy, storage
from memfarm.arrays import Cells
from memfarm.live_tiles import Index, Outline, Stock
from memfarm.tiling import Tiling

_PIECE: Final = 1 << 18  # bytes that are copied under the lock, some 50 µs
_ASIDE: Final = 1 << 26  # bytes that wait in memory for the copying thread, at most

Bytes = NDArray[np.uint8]


class TileCopy:
    """The live tiles of a grid, as they are now, for one thread to write into a file.

    The grid's writer calls `before_...` ahead of every change of tiles, until the copy is `over`; what is first
    written later is not part of it. Resets touch no tile, and need no call. Whoever makes a copy sees to its `end`.
    """

    def __init__(self, stock: Stock, shape: tuple[int, int], wrap: bool) -> None:
        tiles, stamps, _ = stock.arrays.values()
        self.outline: Final = Outline.of(stock)
        self._tiling: Final = Tiling(shape, tiles.shape[3], wrap)
        self._tiles: Bytes = tiles.reshape(stamps.size, -1).view(np.uint8)
        self._together: Final = max(1, _PIECE // self._tiles.shape[1])
        layout = {"pending": ((stamps.size,), np.dtype(np.bool_))}
        self._pending: NDArray[np.bool_] = storage.create(layout, "ram", None).arrays["pending"]  # as sparse as stamps
        self._pending[self.outline.index] = True
        self._aside: deque[tuple[Index, Bytes]] = deque()
        self._aside_bytes = 0
        self._changed = threading.Condition()
        self._over = False
        self._process: Final = os.getpid()
        self._target = self._start = -1

    @property
    def over(self) -> bool:
        """Whether nothing needs to be put aside any more; so in a forked child, where no thread copies."""
        return self._over or self._process != os.getpid()

    # --- the writer's side

    def before_cells(self, where: Cells) -> None:
        """Put aside what lies in the tiles of the cells."""
        self._before(self._tiling.of_cells(where))

    def before_windows(self, where: Cells, radius: int) -> None:
        """Put aside what lies in the tiles of windows around the cells."""
        self._before(self._tiling.of_windows(where, radius))

    def before_rectangle(self, copy: int, bounds: tuple[int, int, int, int]) -> None:
        """Put aside what lies in the tiles of a rectangle."""
        self._before(self._tiling.of_rectangle(copy, bounds))

    def before_all(self) -> None:
        """Put aside all that there is: nothing of the grid is needed any more."""
        self._before(self.outline.index)
        with self._changed:
            self._tiles = self._tiles[:0].copy()

    def wait(self) -> None:
        """Wait until it is over."""
        while not self.over:
            with self._changed:
                if not self._over:
                    self._changed.wait()

    def _before(self, tiles: Index) -> None:
        with self._changed:
            if self._over:
                return
            found = np.unique(tiles[self._pending[tiles]])
        for start in range(0, len(found), self._together):
            self._put_aside(found[start : start + self._together])

    def _put_aside(self, tiles: Index) -> None:
        with self._changed:
            while self._aside_bytes > _ASIDE and not self._over:
                self._changed.wait()
            if self._over:
                return
            left, values = self._taken(tiles)
            self._aside.append((left, values))
            self._aside_bytes += values.nbytes
            self._pending[left] = False

    def _taken(self, tiles: Index) -> tuple[Index, Bytes]:
        """Those of the tiles that are still to be copied, and a copy of their bytes; under the lock."""
        left = tiles[self._pending[tiles]]
        return left, self._tiles.take(left, axis=0)

    # --- the thread's side

    def into(self, target: int, start: int) -> None:
        """Have the tiles written to their places in the open file `target`, the first one at byte `start`."""
        self._target, self._start = target, start

    def pieces(self) -> Iterator[None]:
        """Write all tiles, and stop after each piece; at the end the copy is over. Raises OSError."""
        index = self.outline.index
        for first in range(0, len(index), self._together):
            with self._changed:
                left, values = self._taken(index[first : first + self._together])
                self._pending[left] = False
            self._put(left, values)
            yield
        self.put_aside_tiles()
        self.end()

    def put_aside_tiles(self) -> None:
        """Write what the writer has put aside until now. Raises OSError."""
        while self._aside:
            with self._changed:
                tiles, values = self._aside.popleft()
                self._aside_bytes -= values.nbytes
                self._changed.notify_all()
            self._put(tiles, values)

    def _put(self, tiles: Index, values: Bytes) -> None:
        runs = sparse_copy.runs_of(tiles, values.shape[1])
        sparse_copy.write_runs(values.reshape(-1), runs, self._target, self._start)

    def end(self) -> None:
        """Let go of the grid, whether all was copied or not. Twice is fine."""
        with self._changed:
            self._over = True
            self._tiles, self._pending = self._tiles[:0].copy(), np.empty(0, np.bool_)
            self._aside.clear()
            self._changed.notify_all()
