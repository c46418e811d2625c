"""ChannelGrid: the channels of one group, as pages of tiles in a file or in memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays, files, layout, rectangles, storage
from memfarm.capacity import Dependents, check_capacity
from memfarm.channels import Channel, find
from memfarm.errors import ChannelError, ClosedError, ConfigError, ReadOnlyError, ShapeError, WorldFormatError
from memfarm.kernels import Grid
from memfarm.stats import GridStats
from memfarm.windows import Stored, WindowCutter, check_stored

How = Literal["set", "add", "max"]
Value = NDArray[Any]

_HOW: Final = {"set": 0, "add": 1, "max": 2}


class ChannelGrid:
    """A grid `(copies, height, width, channels)` whose cells follow their channels' laws lazily.

    shape: (height, width) in cells, any size; copies: worlds of a batch, or agents of a memory.
    dtype: how cells are stored: float16, float32, float64, or (Static channels only) uint8, int32.
    boundary: "wall" (windows read `outside` beyond the edge) or "wrap".
    backend: "memmap" (files) or "ram" (anonymous memory): same bytes, same code.
    folder: where the named files `<name>.npy`, … lie; None is scratch that nothing can leave behind.
    mode: "w+" new, "r+" reopen and write, "r" read only, "c" writes that never reach the file.
    tick: the clock's reading at construction.

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
    ) -> None:
        self.shape: Final = layout.check_shape(shape)
        layout.check_grid(channels, copies, dtype, boundary)
        storage.check_life(backend, mode, folder)
        self.channels: Final = tuple(channels)
        self.names: Final = tuple(channel.name for channel in channels)
        self.copies: Final = int(copies)
        self.dtype: Final = dtype
        self.boundary: Final = boundary
        self.backend: Final = backend
        self.name: Final = files.safe_name(name, "a grid's name")
        self.writable: Final = mode != "r"
        self.epoch: Final = layout.epoch_length(self.channels, dtype)
        self.tick = layout.checked_tick(tick, self.epoch)
        segments = layout.segments(self.name, self.shape, len(self.channels), self.copies, dtype)
        self._segments = storage.make(segments, backend, folder, mode)
        self._tiles, self._stamps, self._resets = self._segments.arrays.values()
        if mode == "w+":
            self._resets[:] = (1, self.tick)
        elif np.any((self._resets < (1, 0)) | (self._resets > (2**32 - 1, self.tick))):
            raise WorldFormatError(
                f"the resets of {self.name!r} in {str(folder)!r} are not of tick {self.tick} or before"
            )
        self._kernel: Grid | None = self._compile()
        self._dependents = Dependents()
        self._pristine = mode == "w+"  # nothing was written yet: no stamp needs looking at
        self._owner: Final = os.getpid() if backend == "memmap" and mode in ("w+", "r+") else None
        self._cutters: dict[tuple[tuple[str, ...], int], WindowCutter] = {}

    def _compile(self) -> Grid:
        lanes = [layout.lane(channel) for channel in self.channels]
        kernel = Grid(self._tiles, self._stamps, self._resets, lanes, *self.shape, self.boundary == "wrap", self.epoch)
        kernel.set_tick(self.tick)
        return kernel

    @property
    def closed(self) -> bool:
        return self._kernel is None

    def check_open(self) -> None:
        """Raise ClosedError after `close()`, and in a forked child of the process that made the grid."""
        self._open()

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
        self._resets[chosen, 0] += 1
        self._resets[chosen, 1] = self.tick

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

    def gather(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> Value:
        """The values `(N,)` of one channel at the cells `(copy, y, x)`, in the channel's units."""
        kernel = self._open()
        lane = find(self.channels, name)
        where = self._cells(copy, y, x)
        out = np.empty(len(where[0]), layout.VALUES[self.dtype])
        kernel.gather(lane, *where, out)
        return out

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
        """Write `values` `(N,)` into one channel: "set", "add" to what is there, or "max" with it.

        In batch order, so that duplicates are exact. The result is clipped to [low, high] (the channel's own
        range where None) and to the cell's capacity.
        """
        kernel = self._open_to_write()
        lane = find(self.channels, name)
        where = self._cells(copy, y, x)
        numbers = arrays.numbers("values", values, where[0].shape, np.float64)
        lows, highs = arrays.limits((self.channels[lane],), low, high)
        mode = _how(how)
        with self._dependents.kept_at(lane, where[1], where[2]):
            kernel.scatter(lane, *where, numbers, mode, lows[0], highs[0])

    def take(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike, amount: ArrayLike) -> NDArray[np.float64]:
        """Take up to `amount` `(N,)` from the cells, in batch order; what was really taken, float64 `(N,)`."""
        kernel = self._open_to_write()
        lane = find(self.channels, name)
        where = self._cells(copy, y, x)
        numbers = arrays.numbers("amount", amount, where[0].shape, np.float64, least=0)
        if self.channels[lane].low < 0:
            raise ChannelError(f"take needs a channel with low >= 0, got {name} with low={self.channels[lane].low}")
        out = np.empty(numbers.shape, np.float64)
        with self._dependents.kept_at(lane, where[1], where[2]):
            kernel.take(lane, *where, numbers, out)
        return out

    def stamp_windows(
        self,
        names: Sequence[str],
        copy: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        values: ArrayLike,
        how: How = "set",
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        seen: NDArray[np.bool_] | None = None,
    ) -> None:
        """Write whole windows, the reverse of `observe`: `values` `(N, S, S, len(names))` around the cells.

        In batch order. Cells beyond a wall are dropped; a wrapped world wraps. low, high: a number, or one a name.
        seen: bool `(N, S, S)`, the only cells that are written; None: all.
        """
        kernel = self._open_to_write()
        lanes = tuple(find(self.channels, name) for name in names)
        if not lanes:
            raise ConfigError("names must be one or more channels, got none")
        self._dependents.refuse(lanes, "stamp_windows")
        where = self._cells(copy, y, x)
        shape = arrays.shape_of("values", values)
        if len(shape) != 4 or shape[1] != shape[2] or shape[1] % 2 == 0:
            raise ShapeError(f"values must be (N, S, S, {len(lanes)}) with an odd S, got {shape}")
        windows = arrays.numbers("values", values, (len(where[0]), shape[1], shape[1], len(lanes)), np.float32)
        limits = arrays.limits([self.channels[lane] for lane in lanes], low, high)
        shown = None if seen is None else arrays.flags("seen", seen, windows.shape[:3])
        kernel.stamp_windows(np.array(lanes, np.int32), *where, shape[1] // 2, windows, _how(how), *limits, shown)

    def _cells(self, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> arrays.Cells:
        return arrays.cells(copy, y, x, copies=self.copies, shape=self.shape)

    def read(self, name: str, y0: int, y1: int, x0: int, x1: int, copy: int = 0) -> Value:
        """A copy `(y1 - y0, x1 - x0)` of a rectangle inside the world, in the channel's units."""
        self._open()
        bounds = rectangles.inside(rectangles.checked(y0, y1, x0, x1), self.shape)
        return self._read(find(self.channels, name), bounds, self._copy(copy))

    def _read(self, lane: int, bounds: rectangles.Bounds, copy: int) -> Value:
        y0, y1, x0, x1 = bounds
        out = np.empty((y1 - y0, x1 - x0, 1), layout.VALUES[self.dtype])
        if out.size:
            self._open().read(copy, y0, x0, np.array([lane], np.int32), out)
        return out[..., 0]

    def write(self, name: str, values: ArrayLike, y0: int = 0, x0: int = 0, copy: int = 0) -> None:
        """Write `values` `(h, w)` at (y0, x0); clipped to the channel's range and the cells' capacity."""
        kernel = self._open_to_write()
        lane = find(self.channels, name)
        shape = arrays.shape_of("values", values)
        if len(shape) != 2:
            raise ShapeError(f"values must be (height, width), got shape {shape}")
        y0, x0 = rectangles.integer("y0", y0), rectangles.integer("x0", x0)
        bounds = rectangles.inside(rectangles.checked(y0, y0 + shape[0], x0, x0 + shape[1]), self.shape)
        copy = self._copy(copy)
        numbers = self._as_values(lane, arrays.numbers("values", values, shape, np.float64))
        with self._dependents.kept_in(lane, bounds):
            kernel.write(copy, y0, x0, np.array([lane], np.int32), numbers[..., None])

    def _as_values(self, lane: int, numbers: NDArray[np.float64]) -> Value:
        """Clip to the channel's range, so that no value overflows the value dtype, and round where that is int32."""
        clipped = np.clip(numbers, self.channels[lane].low, self.channels[lane].high)
        return (np.rint(clipped) if self.dtype == "int32" else clipped).astype(layout.VALUES[self.dtype])

    def window(self, name: str, y0: int, y1: int, x0: int, x1: int, copy: int = 0, normalize: bool = False) -> Value:
        """A copy `(y1 - y0, x1 - x0)` of any rectangle: 0 beyond a wall, wrapped where the world wraps.

        normalize: as shares of the channel's range [low, high] (float), instead of its units.
        """
        self._open()
        lane, copy = find(self.channels, name), self._copy(copy)
        y0, y1, x0, x1 = bounds = rectangles.checked(y0, y1, x0, x1)
        if self.boundary == "wrap":
            cells = self.gather(name, copy, *rectangles.wrapped_cells(bounds, self.shape))
            values, inner = cells.reshape(y1 - y0, x1 - x0), bounds
        else:
            inner = rectangles.overlap(bounds, self.shape)
            values = self._read(lane, inner, copy)
        if normalize:
            channel = self.channels[lane]
            values = (values - channel.low) / (channel.high - channel.low)
        return rectangles.pad(values, inner, bounds)

    def __getitem__(self, key: tuple[Any, ...]) -> Value:
        """`grid["TRAILS", 10:20, 0:64]` of copy 0, or `grid["TRAILS", copy, 10:20, 0:64]`: a copy `(h, w)`."""
        name, copy, bounds = self._key(key)
        return self.read(name, *bounds, copy=copy)

    def __setitem__(self, key: tuple[Any, ...], values: ArrayLike) -> None:
        """Write a rectangle; `values` broadcast to it."""
        name, copy, (y0, y1, x0, x1) = self._key(key)
        self.write(name, arrays.numbers("values", values, (y1 - y0, x1 - x0), np.float64), y0, x0, copy)

    def _key(self, key: tuple[Any, ...]) -> tuple[str, int, rectangles.Bounds]:
        if not isinstance(key, tuple) or len(key) not in (3, 4) or not isinstance(key[0], str):
            raise ShapeError(f"a rectangle is grid[name, rows, columns] or [name, copy, rows, columns], got {key!r}")
        copy = self._copy(key[1]) if len(key) == 4 else 0
        return key[0], copy, rectangles.from_slices(key[-2], key[-1], self.shape)

    def _copy(self, copy: int) -> int:
        return arrays.index("copy", copy, self.copies)

    def stored(self) -> dict[str, Stored]:
        """Where each channel is stored, for a WindowCutter over several grids."""
        kernel = self._open()
        return {channel.name: Stored(kernel, lane, channel, self.copies) for lane, channel in enumerate(self.channels)}

    def observe(
        self,
        copy: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        radius: int,
        channels: Sequence[str] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The windows around the cells `(copy, y, x)`: float32 `(N, S, S, C)`, S = 2 * radius + 1, in channel units."""
        key = (self.names if channels is None else tuple(channels), radius)
        check_stored([name for name in key[0] if name not in self.names])
        if key not in self._cutters:
            self._cutters[key] = WindowCutter(
                self.stored(), *key, copies=self.copies, shape=self.shape, check_open=self.check_open
            )
        return self._cutters[key](copy, y, x, out)

    def settle(self) -> int:
        """Bring every live tile to the current epoch; the number of tiles that were not. Changes no value."""
        return self._open_to_write().settle()

    def stats(self) -> GridStats:
        """Counts of tiles and bytes; reads every tile's stamp."""
        self._open()
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


def _how(how: str) -> int:
    if how not in _HOW:
        raise ConfigError(f"how must be one of {', '.join(_HOW)}, got {how!r}")
    return _HOW[how]
