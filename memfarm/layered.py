"""Layered: the channels of a world, read and written by name over whichever grid stores them."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays
from memfarm.batches import How
from memfarm.channels import Channel
from memfarm.errors import ChannelError, ClosedError, ReadOnlyError, did_you_mean
from memfarm.events import Events, SparseEvents
from memfarm.grid import ChannelGrid
from memfarm.guard import Guard
from memfarm.managers import EnvironmentalGridManager, ResourceManager, TemporalGridManager
from memfarm.windows import WindowCutter, check_stored

T = TypeVar("T")


class Layered:
    """What a `World` is to those who read and write it: grids on one clock, behind one guard."""

    shape: tuple[int, int]
    copies: int
    path: Path | None  # None: scratch
    resources: ResourceManager
    environmental: EnvironmentalGridManager
    temporal: TemporalGridManager
    sparse: SparseEvents
    grids: dict[str, ChannelGrid]  # by group
    channels: dict[str, Channel]  # every stored one, by name
    _home: dict[str, ChannelGrid]  # by channel
    _cutters: dict[tuple[tuple[str, ...], int, bool], WindowCutter]
    _guard: Guard
    _whole: Callable[..., Any]  # `Guard.whole`, also of the world whose ground this one sees
    _closed: bool
    _owner: int | None  # the process that writes; None: no process alone

    @property
    def closed(self) -> bool:
        return self._closed

    def check_open(self) -> None:
        """Raise ClosedError after `close()`, and in a forked child of the process that writes the world."""
        if self._closed:
            raise ClosedError("this world is closed; make or open it again")
        if self._owner is not None and self._owner != os.getpid():
            raise ClosedError(f"this world belongs to process {self._owner}; make or open one in this process")

    def _owned(self) -> bool:
        """Whether this process is the one that may write the files."""
        return self._owner == os.getpid()

    def _check_writable(self, what: str) -> None:
        if not self.resources.grid.writable:
            raise ReadOnlyError(f"a world opened with mode='r' stands still, got {what}; open it with 'r+' or 'c'")

    @property
    def tick(self) -> int:
        """The clock's reading; a reader's is that of the writer, now."""
        return self._guard.tick

    def in_one_tick(self, read: Callable[..., T], *args: Any) -> T:
        """What `read(*args)`, any number of short reads of this world, returns when all of them fall into one tick.

        It is called again where a writer in another process came between, so let it do nothing but read. Raises
        TornReadError, DirtyWorldError.
        """
        found: T = self._whole(read, *args)
        return found

    def writing(self) -> AbstractContextManager[None]:
        """A block of writes that readers in other processes see all of or nothing; nests.

        In the main thread Python's handlers of SIGINT and SIGTERM wait for its end.
        """
        self.check_open()
        self._check_writable("a write")
        return self._guard.writing()

    def grid_of(self, name: str) -> ChannelGrid:
        """The grid that stores channel `name`."""
        if name not in self._home:
            raise ChannelError(f"there is no stored channel {name!r}; {did_you_mean(name, self._home)}")
        return self._home[name]

    def gather(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> NDArray[Any]:
        """The values `(N,)` of one channel at the cells `(copy, y, x)`, in the channel's units."""
        grid, where = self._cells(name, copy, y, x)
        return grid.gather(name, *where)

    def scatter(
        self,
        name: str,
        copy: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        values: ArrayLike,
        how: How = "set",
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Write `values` `(N,)` into one channel at the cells; see `ChannelGrid.scatter`."""
        grid, where = self._cells(name, copy, y, x)
        grid.scatter(name, *where, values, how, low, high)

    def take(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike, amount: ArrayLike) -> NDArray[np.float64]:
        """Take up to `amount` `(N,)` at the cells, in batch order; what was really taken, float64 `(N,)`."""
        grid, where = self._cells(name, copy, y, x)
        return grid.take(name, *where, amount)

    def reserve(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> None:
        """Have the disk for all that may be written at the cells, into the grid of a channel; changes no value.

        An environment calls this before the first write of a step, so that a full disk (StorageError, ENOSPC) finds
        everything as it was. A write that stands alone does this by itself. Sparse channels need nothing.
        """
        if name not in self.sparse.names:
            grid, where = self._cells(name, copy, y, x)
            grid.reserve(*where)

    def _cells(
        self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike
    ) -> tuple[ChannelGrid, tuple[ArrayLike, ArrayLike, ArrayLike]]:
        """The grid of a channel, and the cells as that grid counts its copies: it checks them."""
        self.check_open()
        grid = self.grid_of(name)
        if grid.copies == self.copies:
            return grid, (copy, y, x)
        copy, y, x = arrays.cells(copy, y, x, copies=self.copies, shape=self.shape)
        return grid, (np.zeros_like(copy), y, x)

    def windows(
        self, channels: Sequence[str], radius: int, *, normalize: bool = True, mask_by_visibility: bool = False
    ) -> WindowCutter:
        """A WindowCutter over any of the world's channels (and those that callers hand in: see WindowCutter).

        normalize: values as shares of each channel's range, in [0, 1]. mask_by_visibility: what lies in a cell is
        scaled by the cell's VISIBILITY.
        """
        self.check_open()
        stored = {name: place for grid in self.grids.values() for name, place in grid.stored().items()}
        return WindowCutter(
            stored,
            channels,
            radius,
            copies=self.copies,
            shape=self.shape,
            check_open=self.check_open,
            normalize=normalize,
            mask_by_visibility=mask_by_visibility,
            sparse=self.sparse,
            whole=self._whole,
        )

    def observe(
        self,
        copy: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        radius: int,
        channels: Sequence[str] | None = None,
        out: NDArray[np.float32] | None = None,
        normalize: bool = False,
    ) -> NDArray[np.float32]:
        """The windows around the cells: float32 `(N, S, S, C)`, S = 2 * radius + 1; every stored channel where None."""
        key = (tuple(self.channels) if channels is None else tuple(channels), radius, normalize)
        check_stored(key[0])
        if key not in self._cutters:
            self._cutters[key] = self.windows(key[0], radius, normalize=normalize)
        return self._cutters[key](copy, y, x, out)

    def set_environmental_layer(self, name: str, values: ArrayLike) -> None:
        """Set a whole layer of the ground to `values` `(height, width)`, for all copies."""
        self.check_open()
        with self._guard.writing():
            self.environmental.set(name, values)

    def deposit_temporal_events(self, name: str, events: Events, copy: ArrayLike = 0, accumulate: bool = True) -> None:
        """Leave `(y, x, value)` events in a temporal channel, stored or sparse, up to its highest value.

        events: arrays `(y, x, value)`, or a sequence of such triples; values 0 or more. copy: the world, or one an
        event `(N,)`. accumulate: add to what is there (False: the larger of both stays).
        """
        self.check_open()
        if name in self.sparse.names:
            self._check_writable("an event")
            self.sparse.deposit(name, events, copy, accumulate)
        else:
            self.temporal.deposit(name, events, accumulate, self.temporal.channel(name).high, copy)
