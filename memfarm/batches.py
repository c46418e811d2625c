"""Batches of cells: what is read and written, in one compiled call, at the places of many agents."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays, layout
from memfarm.channels import find
from memfarm.errors import ChannelError, ConfigError, DTypeError, ShapeError
from memfarm.kernels import Grid
from memfarm.opened import Opened
from memfarm.windows import Stored, WindowCutter, check_stored

How = Literal["set", "add", "max"]
Value = NDArray[Any]

_HOW: Final = {"set": 0, "add": 1, "max": 2}


class Batches(Opened):
    """A grid at the cells `(copy, y, x)`, each a number or `(N,)`."""

    def gather(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> Value:
        """The values `(N,)` of one channel at the cells `(copy, y, x)`, in the channel's units."""
        kernel = self._open()
        lane = find(self.channels, name)
        where = self._cells(copy, y, x)
        out = np.empty(len(where[0]), layout.VALUES[self.dtype])
        self._guard.whole(kernel.gather, lane, *where, out)
        return out

    def neighbours(
        self,
        name: str,
        copy: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        alive: ArrayLike,
        below: float,
        out: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.bool_]:
        """Whether the cells north, south, west and east of agents can be stepped on: bool `(N, 4)`.

        A cell can if it is there (past a wall there is none), reads less than `below` in the channel, and none of the
        batch that is `alive`, bool `(N,)`, stands on it in the same copy. False around who is not alive. A grid of one
        copy serves agents of any. out: written and returned, four columns side by side of any array; None: a new one.
        """
        kernel = self._open()
        lane = find(self.channels, name)
        where = self._cells_of_agents(copy, y, x)
        here = arrays.flags("alive", alive, where[0].shape)
        out = np.empty((len(here), 4), np.bool_) if out is None else out
        if out.dtype != np.bool_ or out.shape != (len(here), 4) or (out.size and out.strides[1] != 1):
            raise ShapeError(
                f"out must be bool ({len(here)}, 4), four columns side by side, got {out.dtype} {out.shape}"
            )
        self._guard.whole(kernel.neighbours, lane, *where, here, float(below), out)
        return out

    def walk(
        self,
        blocked: str,
        price: str,
        below: float,
        copy: NDArray[np.int32],
        y: NDArray[np.int32],
        x: NDArray[np.int32],
        heading: NDArray[np.int64],
        live: NDArray[np.bool_],
        alive: NDArray[np.bool_],
        keys: NDArray[np.uint64],
    ) -> Value:
        """Let agents walk: `y` and `x`, int32 `(N,)`, change in place. What the cells they came to cost, new `(N,)`.

        heading: int64 `(N,)`, 1 to 4 for north, south, west, east; who is not `live`, and any other heading, stays.
        A step needs a cell that is there, reads less than `below` in the channel `blocked`, and on which nobody who is
        `alive` stands as it begins; of several who want one cell a draw picks one, whatever their order. Draws come
        from the `keys` of the copies, uint64 `(copies,)`, and the cell that is left. Cost: what the cell reads in the
        channel `price`; 0 for who stayed. A grid of one copy serves agents of any.
        """
        kernel = self._open()
        lanes = find(self.channels, blocked), find(self.channels, price)
        where = self._cells_of_agents(copy, y, x)
        if where[1] is not y or where[2] is not x or not (y.flags.writeable and x.flags.writeable):
            raise DTypeError("y and x change in place: they must be writable int32 arrays (N,)")
        acts, stands = (arrays.flags(n, flags, y.shape) for n, flags in (("live", live), ("alive", alive)))
        _check_row("heading", heading, np.int64)
        _check_row("keys", keys, np.uint64)
        if len(heading) != len(y) or (len(y) and int(where[0].max()) >= len(keys)):
            raise ShapeError(f"a heading an agent and a key a copy, got {len(heading)} and {len(keys)} for {len(y)}")
        before = y.copy(), x.copy()

        def walk() -> Value:
            y[...], x[...] = before  # also where a writer of the ground came between
            return kernel.walk(*lanes, float(below), *where, heading, acts, stands, keys)

        return self._guard.whole(walk)

    def place(
        self,
        blocked: str,
        below: float,
        copy: NDArray[np.int32],
        draws: NDArray[np.uint64],
        others: tuple[ArrayLike, ArrayLike, ArrayLike],
        alive: NDArray[np.bool_],
        rounds: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
        """Cells for newcomers, no two the same in one copy: rows, columns int32 `(N,)`, and who got one, bool `(N,)`.

        In each of `rounds` those without a cell draw one, with their own `draws` uint64 `(N,)`, and get it where it
        reads less than `below` in the channel `blocked`, none of the `others`, cells `(copy, y, x)` of `(M,)` agents,
        stands there and is `alive`, bool `(M,)`, and no newcomer with a higher draw wants it. Who got none has row and
        column 0.
        """
        kernel = self._open()
        lane = find(self.channels, blocked)
        nowhere = np.zeros(len(copy), np.int32)
        where = self._cells_of_agents(copy, nowhere, nowhere)
        _check_row("draws", draws, np.uint64)
        if len(draws) != len(where[0]):
            raise ShapeError(f"a draw a newcomer, got {len(draws)} for {len(where[0])}")
        standing = self._cells_of_agents(*others)
        here = arrays.flags("alive", alive, standing[0].shape)
        return self._guard.whole(kernel.place, lane, float(below), where[0], draws, *standing, here, rounds)

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
        channel = self.channels[lane]
        if low is not None or high is not None:
            lows, highs = arrays.limits((channel,), low, high)
            low, high = lows[0], highs[0]
        else:
            low, high = channel.low, channel.high
        mode = _how(how)
        self._room.for_cells(kernel, where)
        with self._dependents.kept_at(lane, where[1], where[2]), self._guard.one_write:
            kernel.scatter(lane, *where, numbers, mode, low, high)

    def take(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike, amount: ArrayLike) -> NDArray[np.float64]:
        """Take up to `amount` `(N,)` from the cells, in batch order; what was really taken, float64 `(N,)`."""
        kernel = self._open_to_write()
        lane = find(self.channels, name)
        where = self._cells(copy, y, x)
        numbers = arrays.numbers("amount", amount, where[0].shape, np.float64, least=0)
        if self.channels[lane].low < 0:
            raise ChannelError(f"take needs a channel with low >= 0, got {name} with low={self.channels[lane].low}")
        out = np.empty(numbers.shape, np.float64)
        self._room.for_cells(kernel, where)
        with self._dependents.kept_at(lane, where[1], where[2]), self._guard.one_write:
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
        self._room.for_windows(kernel, where, shape[1] // 2, shown)
        with self._guard.one_write:
            kernel.stamp_windows(np.array(lanes, np.int32), *where, shape[1] // 2, windows, _how(how), *limits, shown)

    def reserve(self, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> None:
        """Have the disk for all that may be written at the cells; changes no value. Writing does this by itself.

        Who writes several times, and wants all of it or nothing, calls this first. Raises StorageError (ENOSPC).
        """
        self._room.for_cells(self._open_to_write(), self._cells(copy, y, x))

    def reserve_tiles(self, tiles: NDArray[np.int64], where: Callable[[], arrays.Cells]) -> None:
        """`reserve` for a kernel over several grids, which has found the `tiles` that it will be the first to write.

        where: says the cells that it writes, if anybody is to be told.
        """
        self._room.for_missing(tiles, where)

    def compiled(self, writes: Sequence[str] = ()) -> Grid:
        """The compiled grid, for a kernel over several grids that `writes` these channels, after `reserve_tiles`.

        Raises ChannelError where one of them is the capacity of another channel.
        """
        if not writes:
            return self._open()
        self._dependents.refuse([find(self.channels, name) for name in writes], "a kernel")
        return self._open_to_write()

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
                self.stored(),
                *key,
                copies=self.copies,
                shape=self.shape,
                check_open=self.check_open,
                whole=self._guard.whole,
            )
        return self._cutters[key](copy, y, x, out)

    def _cells(self, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> arrays.Cells:
        return arrays.cells(copy, y, x, copies=self.copies, shape=self.shape)

    def _cells_of_agents(self, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> arrays.Cells:
        copies = layout.MOST_COPIES if self.copies == 1 else self.copies
        return arrays.cells(copy, y, x, copies=copies, shape=self.shape)


def _check_row(name: str, array: NDArray[Any], dtype: type[np.integer[Any]]) -> None:
    if array.dtype != dtype or array.ndim != 1 or not array.flags.c_contiguous:
        raise DTypeError(f"{name} must be a {dtype.__name__} array of one dimension, got {array.dtype}")


def _how(how: str) -> int:
    if how not in _HOW:
        raise ConfigError(f"how must be one of {', '.join(_HOW)}, got {how!r}")
    return _HOW[how]
