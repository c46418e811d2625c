"""Copy on write between two grids of one process: a clone shows its original's pages until one of the two writes."""

import mmap
import weakref
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm import live_tiles
from memfarm.large_pages import FIXED, map_at
from memfarm.live_tiles import Arrays
from memfarm.reserve import Place

_NORESERVE: Final = 0x4000  # MAP_NORESERVE, which Python does not name, as Linux has it


class SharedPages:
    """The tiles of one grid, and who shows them.

    arrays: the grid's tiles, stamps and copies. place: where the tiles lie in a scratch file; None: nobody else
    can show them (a named file may be written by others, later on).
    """

    def __init__(self, arrays: Arrays, place: Place | None) -> None:
        self._arrays = arrays
        self._place = place
        self._original: SharedPages | None = None  # whose pages are shown here
        self.wrote = False  # whether this process wrote here, or was about to
        self.shown_by: weakref.WeakSet[SharedPages] = weakref.WeakSet()

    def before_a_write(self) -> None:
        """Let those who show these pages have their own first; they must not see what comes."""
        for clone in list(self.shown_by):
            clone._take_over()
        self.shown_by.clear()

    def show(self, other: "SharedPages") -> bool:
        """Hold what `other`, of a grid like this one, holds, without copying a tile; False where that cannot be."""
        if other._original is not None:
            return not other.wrote and self.show(other._original)
        if self._place is None or other._place is None or not _map_over(self._tiles, other._place):
            return False
        self._place = None  # what lies there is not what is mapped here any more
        self._original = other
        other.shown_by.add(self)
        return True

    def stand_alone(self) -> None:
        """Have pages of its own now, also those that only a snapshot in the making will need."""
        if self._original is not None:
            self._original.shown_by.discard(self)
            self._take_over()

    def close(self) -> None:
        """Let go of the maps; who shows them keeps them."""
        if self._original is not None:
            self._original.shown_by.discard(self)
        self._arrays = {}
        self._place = self._original = None
        self.shown_by.clear()

    @property
    def _tiles(self) -> NDArray[Any]:
        return next(iter(self._arrays.values()))

    def _take_over(self) -> None:
        """Have a private copy of every page that holds something; the system makes it at the first write."""
        _, _, copies = self._arrays.values()
        size = self._tiles[0, 0, 0].nbytes
        index = live_tiles.live(self._arrays, np.arange(len(copies)))
        pages = np.unique(np.concatenate([index * size, index * size + size - 1]) // mmap.PAGESIZE)
        self._tiles.reshape(-1).view(np.uint8)[pages * mmap.PAGESIZE] |= 0
        self._original = None


def _map_over(tiles: NDArray[Any], place: Place) -> bool:
    """Map a file's bytes privately in the place of `tiles`, whose views stay; False where that cannot be."""
    if tiles.ctypes.data % mmap.PAGESIZE or place.start % mmap.PAGESIZE:
        return False
    rights, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | FIXED | _NORESERVE
    try:
        map_at(tiles.ctypes.data, tiles.nbytes, rights, kind, place.fd, place.start)
    except OSError:
        return False
    return True
