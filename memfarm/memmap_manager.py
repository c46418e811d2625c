"""MemmapManager: all grids of one world, by one configuration."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import files, layout, storage
from memfarm.channels import Channel
from memfarm.config import MemmapConfig
from memfarm.errors import ChannelError, ConfigError, ValueRangeError, did_you_mean
from memfarm.grid import ChannelGrid
from memfarm.guard import Guard

_BAND: Final = 256  # rows read at a time by what must look at a whole layer


class MemmapManager:
    """Owns the grids of one world: directory, naming, mode and backend, by one configuration for all.

    A grid holds one or more channels; a layer is addressed by its channel's name, which is unique here.

    shape: (height, width) of every layer. folder: where named files lie; None: `config.directory` gets a new
    folder `[namespace_]name[_simulation_id]_p<pid>_<H>x<W>`, and with no directory either everything is scratch.
    dense: as for `ChannelGrid`.
    Raises ConfigError or StorageError.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        copies: int = 1,
        config: MemmapConfig | None = None,
        boundary: layout.Boundary = "wall",
        name: str = "world",
        namespace: str | None = None,
        simulation_id: str | None = None,
        folder: Path | None = None,
        tick: int = 0,
        guard: Guard | None = None,
        dense: bool = False,
    ) -> None:
        self.config: Final = config or MemmapConfig()
        self.shape: Final = layout.check_shape(shape)
        self.copies: Final = copies
        self._boundary = boundary
        self._tick = tick
        self._guard = guard
        self._dense = dense
        self._grids: dict[str, ChannelGrid] = {}
        if self.config.mode != "w+" and folder is None:
            raise ConfigError(f"mode={self.config.mode!r} reopens a folder: pass folder= (or World.open(path))")
        if folder is None and self.config.directory is not None:
            directory = Path(self.config.directory)
            folder = files.new_folder(directory, name, self.shape, namespace=namespace, simulation_id=simulation_id)
        self.folder: Final = None if folder is None else folder.absolute()

    def create(
        self,
        name: str,
        channels: Sequence[Channel] | None = None,
        *,
        dtype: str | None = None,
        copies: int | None = None,
        backend: storage.Backend = "memmap",
        fill: float = 0.0,
    ) -> ChannelGrid:
        """Make (or, by the mode, reopen) the grid `name`; without `channels` it is one Static layer of that name.

        dtype: storage dtype, the configuration's where None. fill: what the one layer reads where never written.
        Raises ChannelError where the grid's or a channel's name is taken or is no name.
        """
        name = files.safe_name(name, "a grid's name")
        if channels is None:
            channels = (Channel(name, low=min(0.0, fill), high=max(1.0, fill), fill=fill),)
        clash = sorted({name, *(channel.name for channel in channels)} & {*self._grids, *self.names()})
        if clash:
            raise ChannelError(f"names must be unique in a world, got {', '.join(clash)} again; choose another name")
        on_disk = backend == "memmap"
        self._grids[name] = ChannelGrid(
            self.shape,
            channels,
            copies=self.copies if copies is None else copies,
            dtype=dtype or (self.config.dtype if isinstance(self.config.dtype, str) else self.config.dtype_of(name)),
            boundary=self._boundary,
            backend=backend,
            name=name,
            folder=self.folder if on_disk else None,
            mode=self.config.mode if on_disk else "w+",
            tick=self._tick,
            guard=self._guard,
            dense=self._dense,
        )
        return self._grids[name]

    def names(self) -> list[str]:
        """The names of all layers."""
        return [name for grid in self._grids.values() for name in grid.names]

    def has(self, name: str) -> bool:
        """Whether there is a layer or a grid called `name`."""
        return name in self._grids or name in self.names()

    def get(self, name: str) -> ChannelGrid:
        """The grid called `name`, or the grid that stores the layer `name`."""
        if name in self._grids:
            return self._grids[name]
        for grid in self._grids.values():
            if name in grid.names:
                return grid
        raise ChannelError(f"there is no layer {name!r}; {did_you_mean(name, {*self.names(), *self._grids})}")

    def info(self, name: str) -> dict[str, Any]:
        """What a grid is and holds: shape, copies, dtype, backend, path, channels, counts of tiles, bytes."""
        grid = self.get(name)
        path = self.folder / f"{grid.name}.npy" if self.folder and grid.backend == "memmap" else None
        return {"name": grid.name, "path": None if path is None else str(path), **grid.info()}

    def get_window(
        self, name: str, y0: int, y1: int, x0: int, x1: int, copy: int = 0, normalize: bool = False
    ) -> NDArray[Any]:
        """A copy `(y1 - y0, x1 - x0)` of a layer's rectangle, 0 beyond a wall."""
        return self.get(name).window(name, y0, y1, x0, x1, copy, normalize)

    def write(self, name: str, values: ArrayLike, y0: int = 0, x0: int = 0, copy: int = 0) -> None:
        """Write `values` `(h, w)` into a layer at (y0, x0)."""
        self.get(name).write(name, values, y0, x0, copy)

    def fill(self, name: str, value: float, copy: int = 0) -> None:
        """Set a whole layer to `value`; touches every cell."""
        fill_layer(self.get(name), name, value, copy)

    def add_at(self, name: str, y: ArrayLike, x: ArrayLike, amount: ArrayLike, copy: ArrayLike = 0) -> None:
        """Add `amount` `(N,)` at the cells (y, x), in order, clipped to the layer's range."""
        self.get(name).scatter(name, copy, y, x, amount, how="add")

    def scale(self, name: str, factor: float, copy: int = 0) -> None:
        """Multiply a whole layer by `factor` (finite), clipped to its range; leaves rows alone that read 0."""
        grid = self.get(name)
        if not isinstance(factor, int | float | np.number) or not np.isfinite(factor):
            raise ValueRangeError(f"factor must be a finite number, got {factor!r}")
        channel = next(channel for channel in grid.channels if channel.name == name)
        for y0, y1 in bands(self.shape[0]):
            band = grid[name, copy, y0:y1, :].astype(np.float64)
            if band.any():
                with np.errstate(over="ignore"):
                    scaled = band * factor
                grid[name, copy, y0:y1, :] = scaled.clip(channel.low, channel.high)

    def advance(self, ticks: int = 1) -> None:
        """Move every grid's clock, and that of the grids still to be made."""
        for grid in self._grids.values():
            grid.later(ticks)  # refused before the first one moves
        for grid in self._grids.values():
            grid.advance(ticks)
        self._tick += ticks

    def flush(self, name: str | None = None) -> None:
        """Write one grid's (None: every grid's) changed pages to the disk."""
        for grid in self._grids.values() if name is None else (self.get(name),):
            grid.flush()

    def close(self, name: str, delete: bool | None = None) -> None:
        """Flush and close a grid and forget it. delete: remove its files (None: as `config.delete_on_close` says)."""
        grid = self.get(name)
        del self._grids[grid.name]
        grid.close_files(delete=self.config.delete_on_close if delete is None else delete)

    def close_all(self, delete: bool | None = None) -> None:
        """Close every grid, and remove the folder where that leaves nothing in it. Twice is fine."""
        for name in list(self._grids):
            self.close(name, delete)
        deleting = self.config.delete_on_close if delete is None else delete
        if deleting and self.folder is not None and self.config.mode in ("w+", "r+"):
            files.remove_folder(self.folder)

    def total_size_bytes(self) -> int:
        """Bytes that all grids would take if every cell were written."""
        return sum(grid.stats().logical_bytes for grid in self._grids.values())


def fill_layer(grid: ChannelGrid, name: str, value: float, copy: int = 0) -> None:
    """Set every cell of a layer to `value`, some rows at a time."""
    for y0, y1 in bands(grid.shape[0]):
        grid[name, copy, y0:y1, :] = value


def bands(height: int) -> Iterator[tuple[int, int]]:
    """The rows of a layer in parts `(y0, y1)`, so that a whole layer is never in memory twice."""
    for y0 in range(0, height, _BAND):
        yield y0, min(y0 + _BAND, height)
