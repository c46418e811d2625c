"""Room on the disk for the tiles of a grid, made before they are first written.

A tile with a stamp has blocks, one without may have none: nothing else is remembered, and that outlives the process.
"""

import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.arrays import Cells
from memfarm.kernels import Grid
from memfarm.reserve import Place
from memfarm.sparse_copy import runs_of, written
from memfarm.tile_copy import TileCopy
from memfarm.touched import NO_TILES, Touched

_PAGE: Final = 4096

Index = NDArray[np.int64]


class Room:
    """Sees to the disk under the tiles of one grid, and under their stamps.

    tiles, stamps: the grid's arrays. tiles_at, stamps_at: where they lie; None where nothing needs to be reserved.
    Every method raises StorageError where there is no room; no byte has changed then, and it can be called again.
    Every change of a tile passes here first, so that a snapshot that is being made keeps what it was (`copying`), and
    that who mirrors the tiles knows which to read again (`watch`).
    """

    def __init__(
        self, tiles: NDArray[Any], stamps: NDArray[np.uint64], tiles_at: Place | None, stamps_at: Place | None
    ) -> None:
        self._stamps = stamps
        self._tile_bytes: Final = tiles.nbytes // stamps.size
        self._side: Final[int] = tiles.shape[3]
        self._tiles_at = tiles_at
        self._stamps_at = stamps_at
        self.copying: TileCopy | None = None  # a snapshot that is being made of these tiles while they are written
        self._watching: list[weakref.ref[Touched]] = []
        self._last: Index = np.empty(0, np.int64)  # reserved last: who reserves for a step asks again as it writes
        self._ready: Final = np.zeros(-(-stamps.nbytes // _PAGE), np.bool_)  # pages of stamps that are reserved

    def close(self) -> None:
        """Let go of the files; nothing is reserved any more."""
        self.for_any()
        self._tiles_at = self._stamps_at = None
        self._stamps = np.empty((0, 1, 1), np.uint64)  # not a view: that would hold on to the map

    def watch(self, touched: Touched) -> None:
        """Tell `touched` of every change of tiles, as long as somebody keeps it."""
        self._watching = [*(known for known in self._watching if known() is not None), weakref.ref(touched)]

    def _told(self) -> Iterator[TileCopy | Touched]:
        """Who is to know of a change before it is made."""
        if self.copying is not None and self._goes_on(self.copying):
            yield self.copying
        for reference in self._watching:
            touched = reference()
            if touched is not None:
                yield touched

    def for_cells(self, kernel: Grid, where: Cells) -> None:
        """Reserve for the tiles that the cells lie in."""
        self.for_missing(NO_TILES if self._tiles_at is None else kernel.missing(*where), lambda: where)

    def for_missing(self, tiles: Index, where: Callable[[], Cells]) -> None:
        """The same for cells whose tiles that were never written a kernel has found: `tiles`, sorted, each once.

        where: called for the cells if anybody wants to be told of them.
        """
        for told in self._told():
            told.before_cells(where())
        self.for_tiles(tiles)

    def for_windows(self, kernel: Grid, where: Cells, radius: int, seen: NDArray[np.bool_] | None = None) -> None:
        """Reserve for the tiles that windows around the cells write; seen: bool `(N, S, S)`, None: all their cells."""
        for told in self._told():
            told.before_windows(where, radius)
        if self._tiles_at is not None:
            self.for_tiles(kernel.missing_windows(*where, radius, seen))

    def for_rectangle(self, copy: int, bounds: tuple[int, int, int, int]) -> None:
        """Reserve for a rectangle (y0, y1, x0, x1) inside the world."""
        y0, y1, x0, x1 = bounds
        for told in self._told():
            told.before_rectangle(copy, bounds)
        if self._tiles_at is None or y1 <= y0 or x1 <= x0:
            return
        (_, rows, columns), side = self._stamps.shape, self._side
        down, across = np.arange(y0 // side, -(-y1 // side)), np.arange(x0 // side, -(-x1 // side))
        tiles: Index = (copy * rows + down[:, None]) * columns + across
        self.for_tiles(tiles[self._stamps[copy, down[:, None], across] == 0])

    def for_any(self) -> None:
        """Reserve nothing: what comes writes only where something was written, and anywhere there."""
        for told in self._told():
            told.before_all()

    def _goes_on(self, copying: TileCopy) -> bool:
        """Whether tiles are still copied; a copy that is over is let go."""
        if copying.over:
            self.copying = None
        return not copying.over

    def for_tiles(self, tiles: Index) -> None:
        """Reserve for tiles: indices into (copies, TY, TX) laid flat, sorted, each once."""
        if self._tiles_at is None or not tiles.size or np.array_equal(tiles, self._last):
            return
        for first, size in runs_of(tiles, self._tile_bytes).tolist():
            self._tiles_at.reserve(first, size)
        if self._stamps_at is not None:
            pages = tiles * self._stamps.itemsize // _PAGE
            pages = pages[~self._ready[pages]]
            if pages.size:
                self._for_stamps(np.unique(pages), self._stamps_at)
        self._last = tiles

    def _for_stamps(self, pages: Index, place: Place) -> None:
        for first, size in runs_of(pages, _PAGE).tolist():
            place.reserve(first, min(size, place.size - first))
        self._ready[pages] = True

    def heal(self) -> None:
        """Give blocks to tiles that have a stamp and none: a folder that was copied by what makes holes of zeros."""
        if self._tiles_at is None or self._stamps_at is None:
            return
        stamps, item = self._stamps.reshape(-1), self._stamps.itemsize
        parts = [np.zeros(0, np.int64)]
        for first, size in _extents(self._stamps_at):
            start, end = first // item, -(-(first + size) // item)
            parts.append(np.flatnonzero(stamps[start:end]) + start)
        tiles = np.unique(np.concatenate(parts))
        extents = np.array([(0, 0), *_extents(self._tiles_at)], np.int64)
        before = np.searchsorted(extents[:, 0], tiles * self._tile_bytes, "right") - 1
        ends = extents.sum(axis=1)[before]
        self.for_tiles(tiles[ends < (tiles + 1) * self._tile_bytes])


def _extents(place: Place) -> list[tuple[int, int]]:
    """Where an array may hold anything but zeros, `(first byte, bytes)`, sorted."""
    runs = written(place.fd, place.start, place.start + place.size)
    return [(first - place.start, size) for first, size in runs.tolist()]
