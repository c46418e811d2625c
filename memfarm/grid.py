"""ChannelGrid: the channels of one group, as pages of tiles in a file or in memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays, files, layout, stamps, storage
from memfarm.areas import Areas
from memfarm.capacity import Dependents, check_capacity
from memfarm.channels import Channel, find
from memfarm.errors import ChannelError, ClosedError, ReadOnlyError, ShapeError, WorldFormatError
from memfarm.guard import Guard
from memfarm.held import Held
from memfarm.kernels import Grid
from memfarm.room import Room
from memfarm.shared_pages import SharedPages
from memfarm.sparse_copy import Runs
from memfarm.stats import GridStats
from memfarm.windows import WindowCutter


class ChannelGrid(Held, Areas):
    """A grid `(copies, height, width, channels)` whose cells follow their channels' laws lazily.

    shape: (height, width) in cells, any size; copies: worlds of a batch, or agents of a memory.
    dtype: how cells are stored: float16, float32, float64, or (Static channels only) uint8, int32.
    boundary: "wall" (windows read `outside` beyond the edge) or "wrap".
    backend: "memmap" (files) or "ram" (anonymous memory): same bytes, same code.
    folder: where the named files `<name>.npy`, … lie; None is scratch that nothing can leave behind.
    mode: "w+" new, "r+" reopen and write, "r" read only, "c" writes that never reach the file.
    tick: the clock's reading at construction.
    guard: what brackets writes and reads, that of its world; None: one of its own, which has nobody to tell.
    dense: nearly every tile will be written, as in a world full of agents, unlike what each of them remembers: of at
        most 256 MiB, scratch and memory lie in large pages then, if the system has any, and take their disk at once.

    Everything read is a copy; nothing handed out aliases the maps. Raises ConfigError, ChannelError,
    StorageError or WorldFormatError.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: Sequence[Channel],
        *,
        copies: int = 1,
        dtype: str = "float32",
        boundary: layout.Boundary = "wall",
        backend: storage.Backend = "memmap",
        name: str = "grid",
        folder: Path | None = None,
        mode: files.Mode = "w+",
        tick: int = 0,
        guard: Guard | None = None,
        dense: bool = False,
    ) -> None:
        self.shape = layout.check_shape(shape)
        layout.check_grid(channels, copies, dtype, boundary)
        storage.check_life(backend, mode, folder)
        self.channels = tuple(channels)
        self.names = tuple(channel.name for channel in channels)
        self.copies = int(copies)
        self.dtype = dtype
        self.boundary = boundary
        self.backend: Final = backend
        self.name = files.safe_name(name, "a grid's name")
        self.writable = mode != "r"
        self.epoch = layout.epoch_length(self.channels, dtype)
        self.tick = layout.checked_tick(tick, self.epoch)
        self._guard = guard or Guard()
        segments = layout.segments(self.name, self.shape, len(self.channels), self.copies, dtype)
        _, *looked_at = segments
        self._segments = storage.make(segments, backend, folder, mode, looked_at, whole=looked_at[1:], dense=dense)
        self._tiles, self._stamps, self._resets = self._segments.arrays.values()
        places = [self._segments.places.get(segment) for segment in segments]
        self._pages = SharedPages(self._segments.arrays, None if self._segments.paths else places[0])
        self._room = Room(self._tiles, self._stamps, places[0], places[1])
        if mode == "w+":
            self._resets[:] = (1, self.tick)
        self._kernel: Grid | None = self._compile()
        self._guard.follow(self)
        pages = None if mode == "w+" else self._segments.pages_in_file()
        if not self._guard.whole(self._is_past, pages):
            raise WorldFormatError(
                f"the resets and stamps of {self.name!r} in {str(folder)!r} must be of tick {self.tick} or before"
            )
        self._dependents = Dependents(self._guard)
        if mode == "r+":
            self._room.heal()
        self._pristine = mode == "w+"  # nothing was written yet: no stamp needs looking at
        self._owner: Final = os.getpid() if backend == "memmap" and mode in ("w+", "r+") else None
        self._cutters: dict[tuple[tuple[str, ...], int], WindowCutter] = {}

    def _compile(self) -> Grid:
        lanes = [layout.lane(channel) for channel in self.channels]
        kernel = Grid(self._tiles, self._stamps, self._resets, lanes, *self.shape, self.boundary == "wrap", self.epoch)
        kernel.set_tick(self.tick)
        return kernel

    def _is_past(self, pages: Runs | None) -> bool:
        return stamps.resets_are_past(self._resets, self.tick) and (
            pages is None or stamps.are_past(self._stamps, self._resets, self.tick, self.epoch, pages)
        )

    @property
    def closed(self) -> bool:
        return self._kernel is None

    def _open(self) -> Grid:
        if self._kernel is None:
            raise ClosedError(f"grid {self.name!r} is closed; make or open it again")
        if self._owner is not None and self._owner != os.getpid():
            raise ClosedError(f"grid {self.name!r} belongs to process {self._owner}; make or open one in this process")
        return self._kernel

    def _open_to_write(self) -> Grid:
        if not self.writable:
            raise ReadOnlyError(f"grid {self.name!r} was opened with mode='r'; open it with 'r+' or 'c' to write")
        kernel = self._open()
        self._pristine = False
        self._pages.wrote = True
        if self._pages.shown_by:
            self._pages.before_a_write()
        return kernel

    def flush(self) -> None:
        """Write changed pages of named files to the disk."""
        self._open()
        if self.writable:
            self._segments.flush()

    def close(self) -> None:
        """Let go of the maps; every later use raises ClosedError. Twice is fine."""
        self._kernel = None
        self._segments = storage.NOTHING
        self._room.close()
        self._pages.close()
        self._tiles = self._stamps = self._resets = np.empty(0)
        self._dependents.clear()
        self._cutters.clear()

    @property
    def owned(self) -> bool:
        """Whether this process shares the grid's bytes with the files it made or opened to write."""
        return self._owner == os.getpid()

    def close_files(self, delete: bool) -> None:
        """Flush and `close()`; `delete` named files that this process may write."""
        paths = self._segments.paths if self.owned else ()
        try:
            if paths and not delete:
                self._segments.flush()
        finally:
            self.close()
        if delete:
            files.remove(paths)

    def advance(self, ticks: int = 1) -> None:
        """Move the clock by `ticks` (0 or more); touches no cell."""
        kernel, tick = self._open(), self.later(ticks)
        kernel.set_tick(tick)
        self.tick = tick

    def stand_at(self, tick: int) -> None:
        """Be at `tick`, which `later` has said, or whoever writes the grid has reached: for the world it is part of."""
        if self._kernel is not None:
            self._kernel.set_tick(tick)
            self.tick = tick

    def later(self, ticks: int) -> int:
        """The clock's reading after `ticks`. Raises ConfigError unless they are an int, 0 or more, that it can hold."""
        ticks = layout.checked_tick(ticks, self.epoch)
        return layout.checked_tick(self.tick + ticks, self.epoch)

    def reset(self, copies: ArrayLike | None = None) -> None:
        """Make every cell of `copies` (indices, or a bool mask `(copies,)`; None: all) read its fill again.

        Costs one increment a copy, whatever the world measures. No page is touched or freed. Raises ChannelError
        where another grid grows towards a channel of this one.
        """
        self._open_to_write()
        self._dependents.refuse(range(len(self.channels)), "reset", but=self)
        chosen: Any = slice(None) if copies is None else arrays.indices("copies", copies, self.copies)
        with self._guard.writing():
            self._resets[chosen, 0] += 1
            self._resets[chosen, 1] = self.tick

    def resets(self) -> NDArray[np.int64]:
        """Of each copy how often it was reset, and the tick of the last time: `(copies, 2)`, a copy."""
        self._open()
        return self._resets.copy()

    def put_resets(self, resets: NDArray[np.int64]) -> None:
        """Take resets back, to what `resets()` said before them; exact where nothing was written since."""
        self._open_to_write()
        with self._guard.writing():
            self._resets[...] = resets

    def has_past(self, copy: int) -> bool:
        """Whether the copy was written, or time has passed, since its last reset."""
        return self.has_live_tiles(copy) or bool(self._resets[copy, 1] != self.tick)

    def has_live_tiles(self, copy: int) -> bool:
        """Whether any cell of the copy was written since its last reset."""
        self._open()
        copy = self._copy(copy)
        return not self._pristine and bool(
            np.any((self._stamps[copy] >> np.uint64(32)) == np.uint64(self._resets[copy, 0]))
        )

    def link(self, channel: str, source: "ChannelGrid") -> None:
        """Let the capacity of `channel` be read, cell by cell, from `source`, which stores it.

        source: same shape, one copy that serves all of this grid's; its channel is Static.
        """
        kernel = self._open()
        lane = find(self.channels, channel)
        capacity = self.channels[lane].capacity
        if not isinstance(capacity, str):
            raise ChannelError(f"{channel}'s capacity must be a channel to be linked, got the number {capacity}")
        at = find(source.channels, capacity)
        check_capacity(self.channels[lane], source.channels[at])
        if (source.shape, source.boundary, source.copies) != (self.shape, self.boundary, 1):
            raise ShapeError(
                f"{capacity} must be {self.shape}, boundary {self.boundary!r}, in one copy, "
                f"got {source.shape}, {source.boundary!r}, in {source.copies}"
            )
        kernel.link(lane, source._open(), at)
        source._dependents.add(at, self, channel)

    def settle(self) -> int:
        """Bring every live tile to the current epoch; the number of tiles that were not. Changes no value."""
        kernel = self._open_to_write()
        self._room.for_any()
        with self._guard.one_write:
            return kernel.settle()

    def stats(self) -> GridStats:
        """Counts of tiles and bytes; reads every tile's stamp."""
        self._open()
        return self._guard.whole(self._stats)

    def _stats(self) -> GridStats:
        epoch = self.tick // self.epoch if self.epoch else 0
        return GridStats.of(self._segments.arrays, epoch, self._segments.disk_bytes())

    def info(self) -> dict[str, Any]:
        """What the grid is and holds, JSON-able: shape, copies, dtype, backend, channels, tiles, bytes."""
        stats = self.stats()
        return {
            "shape": list(self.shape),
            "copies": self.copies,
            "dtype": self.dtype,
            "backend": self.backend,
            "channels": [channel.to_dict() for channel in self.channels],
            "written_share": stats.written_share,
            **{key: getattr(stats, key) for key in ("tiles", "live", "logical_bytes", "disk_bytes")},
        }
