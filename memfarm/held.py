"""What a grid holds, taken out and put back: for snapshots, states and clones."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays, layout, live_tiles
from memfarm.opened import Opened
from memfarm.tile_copy import TileCopy
from memfarm.touched import Changes, Followed, Touched


class Held(Opened):
    """The tiles of a `ChannelGrid`."""

    @property
    def changed(self) -> bool:
        """Whether this process wrote here, or was about to."""
        return self._pages.wrote

    def stock(self) -> live_tiles.Stock:
        """The grid as a snapshot reads it: views of its maps."""
        self._open()
        return live_tiles.Stock(self._segments.arrays, self._segments.pages(), self._segments.shared_file())

    def arrays(self) -> live_tiles.Arrays:
        """The tiles, stamps and resets by segment name: views of the maps, to be read now and not kept."""
        self._open()
        return self._segments.arrays

    def watch(self) -> Changes:
        """What tells, as long as it is kept, what of the grid changed between one `take()` and the next."""
        self._open()
        if not self.writable:
            return Followed(lambda: self._guard.sequence)
        tiles = next(iter(self._segments.arrays.values()))
        touched = Touched(self.shape, tiles.shape[3], self.boundary == "wrap", self._stamps.size, self._are_current)
        self._room.watch(touched)
        return touched

    def _are_current(self, tiles: live_tiles.Index) -> NDArray[np.bool_]:
        """Whether tiles, by their indices, are live and of this epoch: a write leaves their other cells alone."""
        epoch = self.tick // self.epoch if self.epoch else 0
        fresh = self._resets[tiles // self.tiles_of_a_copy, 0] << 32 | epoch + 1
        current: NDArray[np.bool_] = self._stamps.reshape(-1)[tiles] == fresh.astype(np.uint64)
        return current

    def copy(self) -> TileCopy:
        """What the grid holds now, to be copied by another thread while this one goes on; `end` it.

        Waits for one that is under way.
        """
        stock = self.stock()
        self._pages.stand_alone()
        if self._room.copying is not None:
            self._room.copying.wait()
        self._room.copying = TileCopy(stock, self.shape, self.boundary == "wrap")
        return self._room.copying

    def tiles(self, copies: ArrayLike | None = None) -> live_tiles.Tiles:
        """What was written of `copies` (None: all) since their last reset, for `put_tiles`. New arrays."""
        self._open()
        chosen = arrays.indices("copies", np.arange(self.copies) if copies is None else copies, self.copies)
        return live_tiles.take(self._segments.arrays, self.tick, chosen, self._segments.pages())

    @property
    def tiles_of_a_copy(self) -> int:
        return int(self._stamps[0].size)

    def check_tiles(self, found: live_tiles.Tiles) -> None:
        """Raise WorldFormatError unless `found` are tiles of all copies of such a grid, StorageError without room."""
        self._open()
        live_tiles.check(self._segments.arrays, found, np.arange(self.copies), repr(self.name))
        layout.checked_tick(found.tick, self.epoch)
        self._room.for_tiles(live_tiles.missing(self._segments.arrays, found, np.arange(self.copies)))

    def put_tiles(self, found: live_tiles.Tiles) -> None:
        """Be, in all copies and at its tick, what `found` says; costs what its tiles cost. See `check_tiles`."""
        self.check_tiles(found)
        kernel = self._open_to_write()
        self._room.for_any()
        with self._guard.writing():
            live_tiles.put(self._segments.arrays, found, np.arange(self.copies))
            kernel.set_tick(found.tick)
            self.tick = found.tick

    def hold_as(self, other: "Held") -> None:
        """Hold what `other`, a grid like this one, holds: tiles are copied when one of the two writes them, or now.

        Not at once where both are mapped files, and this one was never written.
        """
        kernel = self._open_to_write()
        self._room.for_any()
        if not self._pages.show(other._pages):
            self.put_tiles(other.tiles())
            return
        stock = other.stock()
        for mine, its in zip((self._stamps, self._resets), list(stock.arrays.values())[1:], strict=True):
            live_tiles.copy_pages(its, mine, stock.pages if mine is self._stamps else None)
        kernel.set_tick(other.tick)
        self.tick = other.tick
        self._room.close()  # private pages are memory, not disk
        self._pages.wrote = False
