"""Areas: rectangles of a grid, read, padded and written."""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays, layout, rectangles
from memfarm.batches import Batches, Value
from memfarm.channels import find
from memfarm.errors import ShapeError
from memfarm.sparse_copy import runs_of

_SMALL: Final = 1 << 16  # cells up to which nothing is fetched ahead: asking would cost more
_SLAB: Final = 1 << 19  # cells fetched ahead


class Areas(Batches):
    """A grid by rectangles of its rows and columns."""

    def read(self, name: str, y0: int, y1: int, x0: int, x1: int, copy: int = 0) -> Value:
        """A copy `(y1 - y0, x1 - x0)` of a rectangle inside the world, in the channel's units."""
        self._open()
        bounds = rectangles.inside(rectangles.checked(y0, y1, x0, x1), self.shape)
        return self._read(find(self.channels, name), bounds, self._copy(copy))

    def _read(self, lane: int, bounds: rectangles.Bounds, copy: int) -> Value:
        y0, y1, x0, x1 = bounds
        out = np.empty((y1 - y0, x1 - x0, 1), layout.VALUES[self.dtype])
        lanes = np.array([lane], np.int32)
        if out.size > _SMALL and self._segments.paths:
            self._guard.whole(self._read_slabs, lanes, bounds, copy, out)
        elif out.size:
            self._guard.whole(self._open().read, copy, y0, x0, lanes, out)
        return out[..., 0]

    def _read_slabs(self, lanes: NDArray[np.int32], bounds: rectangles.Bounds, copy: int, out: Value) -> None:
        """Read a rectangle by slabs of tiles, each while the system fetches the next one from the disk."""
        y0, y1, x0, x1 = bounds
        kernel, side = self._open(), next(iter(self._segments.arrays.values())).shape[3]
        rows = max(1, _SLAB // (side * (x1 - x0))) * side
        cuts = [y0, *range((y0 // rows + 1) * rows, y1, rows), y1, y1]
        self._read_ahead(copy, (*cuts[:2], x0, x1))
        for top, bottom, next_bottom in zip(cuts, cuts[1:], cuts[2:], strict=False):
            self._read_ahead(copy, (bottom, next_bottom, x0, x1))
            kernel.read(copy, top, x0, lanes, out[top - y0 : bottom - y0])

    def _read_ahead(self, copy: int, bounds: rectangles.Bounds) -> None:
        """Have the system fetch what was written of a rectangle."""
        y0, y1, x0, x1 = bounds
        tiles, stamps, _ = self._segments.arrays.values()
        _, rows, columns, side, _, _ = tiles.shape
        down, across = np.arange(y0 // side, -(-y1 // side)), np.arange(x0 // side, -(-x1 // side))
        index = (copy * rows + down[:, None]) * columns + across
        written = index[stamps[copy, down[:, None], across] != 0]
        self._segments.read_ahead(runs_of(written, tiles[0, 0, 0].nbytes))

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
        self._room.for_rectangle(copy, bounds)
        with self._dependents.kept_in(lane, bounds), self._guard.one_write:
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

    def reserve_rectangle(self, y0: int, y1: int, x0: int, x1: int, copy: int = 0) -> None:
        """The same for a rectangle inside the world."""
        self._open_to_write()
        bounds = rectangles.inside(rectangles.checked(y0, y1, x0, x1), self.shape)
        self._room.for_rectangle(self._copy(copy), bounds)
