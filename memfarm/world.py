"""World: the three groups of layers on one clock, in a folder, in scratch, or in memory."""

import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays, files, founding, layout, storage
from memfarm.channels import Channel
from memfarm.config import MemmapConfig
from memfarm.errors import (
    ChannelError,
    ClosedError,
    ConfigError,
    ReadOnlyError,
    WorldFormatError,
    did_you_mean,
)
from memfarm.events import Events, SparseEvents, check_sparse
from memfarm.founding import Layers
from memfarm.grid import ChannelGrid, How
from memfarm.managers import EnvironmentalGridManager, ResourceManager, TemporalGridManager
from memfarm.manifest import FILE, GridEntry, Manifest
from memfarm.memmap_manager import MemmapManager
from memfarm.windows import WindowCutter, check_stored


class World:
    """Resources, environment and fields of `copies` worlds of one shape, on one clock.

    shape: (height, width) in cells; None: that of `terrain` or `map`.
    copies: worlds of a batch. They share one environmental grid; resources and fields are each world's own.
    memmap: where and how layers are stored (`MemmapConfig`); None: scratch on disk, float32.
    boundary: "wall" or "wrap". seed: kept in the manifest, for whoever made the world.
    terrain: layers for OBSTACLES, TERRAIN_COST, VISIBILITY, CAPACITY. map: a world folder whose environmental
        grid is mapped read-only instead, shared with every process that does the same.
    channels: `{group: channels}` in place of the standard and the registered ones (`memfarm.channels`).
    sparse: temporal channels that are not stored: their events are seen in the tick they fall into, and the next.
    path: the folder to make and keep the world in; None: a new folder in `memmap.directory`, or scratch.
    name, simulation_id: parts of that new folder's name.

    With `memmap.mode` "r+", "r" or "c" the world in `path` (None: in `memmap.directory`) is opened instead, and must
    have been made with the same shape, dtypes and channels; `shape=None` takes what it has.

    Raises ConfigError, ChannelError, ShapeError, StorageError, WorldFormatError.
    """

    def __init__(
        self,
        shape: tuple[int, int] | None = None,
        *,
        copies: int = 1,
        memmap: MemmapConfig | None = None,
        seed: int = 0,
        boundary: layout.Boundary = "wall",
        terrain: Layers | None = None,
        map: str | os.PathLike[str] | None = None,  # noqa: A002 - the door's own word
        channels: Mapping[str, Sequence[Channel]] | None = None,
        sparse: Sequence[Channel] = (),
        path: str | os.PathLike[str] | None = None,
        name: str = "world",
        simulation_id: str | None = None,
    ) -> None:
        memmap = memmap or MemmapConfig()
        self._recipe: dict[str, Any] = {
            "shape": shape,
            "copies": copies,
            "memmap": memmap,
            "seed": seed,
            "boundary": boundary,
            "terrain": terrain,
            "map": None if map is None else Path(map).absolute(),
            "sparse": tuple(sparse),
        }
        there = None
        if memmap.mode != "w+":
            path = founding.existing_folder(path, memmap, terrain)
            there = Manifest.read(path)
        manifest = founding.plan(shape, copies, memmap, seed, boundary, terrain, map, channels, there)
        own = {g: e.parsed_channels() for g, e in manifest.grids.items() if map is None or g != "environmental"}
        self._recipe["channels"] = own  # as they are here and now: another process may have registered others
        check_sparse(sparse, [name for entry in manifest.grids.values() for name in entry.names()])
        self.sparse = SparseEvents(sparse, manifest.shape, manifest.copies)
        if there is not None and path is not None:
            there.check_same(manifest, str(path))
            self._setup(Path(path).absolute(), there, memmap)
        else:
            folder = founding.make_folder(path, memmap, name, manifest.shape, simulation_id)
            self._found(manifest, terrain, folder, memmap)

    def _found(self, manifest: Manifest, terrain: Layers | None, folder: Path | None, memmap: MemmapConfig) -> None:
        try:
            self._setup(folder, manifest, memmap)
            if terrain is not None:
                for layer, values in terrain.layers().items():
                    self.environmental.set(layer, values)
            if folder is not None:
                self._write_manifest(folder)
        except BaseException:
            if folder is not None:  # new and ours: nothing half made stays
                shutil.rmtree(folder)
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str], mode: files.Mode = "r", *, sparse: Sequence[Channel] = ()) -> "World":
        """Open the world in folder `path`: "r" to read, "r+" to go on, "c" for writes that are never kept.

        sparse: as at its making; of them nothing was stored.
        A reader's clock stands at the tick it found. Raises WorldFormatError where the folder holds no world that
        this version reads, or a truncated one.
        """
        if mode == "w+":
            raise ConfigError("World.open reads a world that exists; make a new one with World(shape, path=...)")
        world = cls.__new__(cls)
        world._recipe = {}
        manifest = Manifest.read(Path(path))
        check_sparse(sparse, [name for entry in manifest.grids.values() for name in entry.names()])
        world.sparse = SparseEvents(sparse, manifest.shape, manifest.copies)
        world._setup(Path(path).absolute(), manifest, MemmapConfig(mode=mode))
        return world

    def _setup(self, folder: Path | None, manifest: Manifest, memmap: MemmapConfig) -> None:
        self.shape: tuple[int, int] = manifest.shape
        self.copies: int = manifest.copies
        self.boundary: layout.Boundary = manifest.boundary
        self.seed: int = manifest.seed
        self.path: Path | None = folder
        self._memmap = memmap
        self._map = manifest.map
        self._closed = False
        self._cutters: dict[tuple[tuple[str, ...], int, bool], WindowCutter] = {}
        for group, entry in manifest.grids.items():
            if memmap.mode != "w+" and entry.backend == "ram":
                raise WorldFormatError(f"the {group} of {str(folder)!r} were kept in memory and are gone; make it anew")
        self._clock = self._make_clock()
        self.tick: int = self._read_clock(manifest)
        self._manager = MemmapManager(
            self.shape,
            copies=self.copies,
            config=memmap.model_copy(update={"directory": None}),
            boundary=self.boundary,
            folder=folder,
            tick=self.tick,
        )
        self._make_groups(manifest)
        self._link_capacities()
        owned = self.path is not None or any(grid.owned for grid in self.grids.values())
        self._owner = os.getpid() if memmap.mode in ("w+", "r+") and owned else None

    def _make_groups(self, manifest: Manifest) -> None:
        self._shared_map = None if self._map is None else World.open(self._map, "r")
        shared = None if self._shared_map is None else self._shared_map.environmental.grid
        if shared is not None and (shared.shape, shared.boundary) != (self.shape, self.boundary):
            raise ConfigError(
                f"a world must fit its map, {shared.shape}, {shared.boundary!r}, got {self.shape}, {self.boundary!r}"
            )
        plan = {group: entry.plan() for group, entry in manifest.grids.items()}
        self.environmental: EnvironmentalGridManager = EnvironmentalGridManager(
            self._manager, **plan["environmental"], grid=shared
        )
        self.resources = ResourceManager(self._manager, **plan["resources"])
        self.temporal = TemporalGridManager(self._manager, **plan["temporal"])
        self.temporal.on_world_clock = True
        managers = (self.resources, self.environmental, self.temporal)
        self.grids: dict[str, ChannelGrid] = {manager.group: manager.grid for manager in managers}
        self._home = {name: grid for grid in self.grids.values() for name in grid.names}
        self.channels: dict[str, Channel] = {c.name: c for grid in self.grids.values() for c in grid.channels}

    def _make_clock(self) -> storage.Segments:
        """int64 `(8,)`: the tick, the sequence number of writes, and room."""
        segments = {"clock": ((8,), np.dtype(np.int64))}
        return storage.make(segments, "ram" if self.path is None else "memmap", self.path, self._memmap.mode)

    def _read_clock(self, manifest: Manifest) -> int:
        tick, last = int(self._clock.arrays["clock"][0]), min(entry.last_tick() for entry in manifest.grids.values())
        if not 0 <= tick <= last:
            raise WorldFormatError(f"the clock of {str(self.path)!r} must stay in [0, {last}], got {tick}")
        return tick

    def _link_capacities(self) -> None:
        for grid in self.grids.values():
            for channel in grid.channels:
                if isinstance(channel.capacity, str):
                    grid.link(channel.name, self.grid_of(channel.capacity))

    @property
    def closed(self) -> bool:
        return self._closed

    def check_open(self) -> None:
        """Raise ClosedError after `close()`, and in a forked child of the process that writes the world."""
        if self._closed:
            raise ClosedError("this world is closed; make or open it again")
        if self._owner is not None and self._owner != os.getpid():
            raise ClosedError(f"this world belongs to process {self._owner}; make or open one in this process")

    def flush(self) -> None:
        """Write a named world's changed pages and its manifest to the disk."""
        self.check_open()
        self._flush()

    def _flush(self) -> None:
        if self._owned() and self.path is not None:
            self._manager.flush()
            self._clock.flush()
            self._write_manifest(self.path)

    def _owned(self) -> bool:
        """Whether this process is the one that may write the files."""
        return self._owner == os.getpid()

    def close(self) -> None:
        """Flush and let go; files of a named world stay unless `memmap.delete_on_close`. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        try:
            if self.path is not None and self._owned() and self._memmap.delete_on_close:
                files.remove([*self._clock.paths, self.path / FILE])
            else:
                self._flush()
        finally:
            self._clock = storage.NOTHING
            self._cutters.clear()
            self._manager.close_all()
            if self._shared_map is not None:
                self._shared_map.close()

    def _write_manifest(self, folder: Path) -> None:
        grids = {
            group: GridEntry.of(grid.channels, grid.copies, grid.dtype, grid.backend)
            for group, grid in self.grids.items()
        }
        Manifest(
            shape=self.shape,
            copies=self.copies,
            boundary=self.boundary,
            seed=self.seed,
            tick=self.tick,
            map=self._map,
            grids=grids,
        ).write(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        """A named world travels as its path, opened to read; a scratch world as its recipe, made anew."""
        if self._closed:
            raise ClosedError("a closed world cannot be pickled, got one; pickle it before close()")
        if self.path is None:
            return (_remake, (self._recipe,))
        return (functools.partial(World.open, sparse=self.sparse.channels), (str(self.path), "r"))

    def advance(self, ticks: int = 1) -> None:
        """Let `ticks` pass for every layer: decay, regrowth. Costs the same for every size of world."""
        self.check_open()
        self._check_writable("a tick")
        grids = (self.resources.grid, self.temporal.grid)
        tick = max(grid.later(ticks) for grid in grids)  # refused before the first one moves
        for grid in grids:
            grid.advance(ticks)
        self.sparse.advance(ticks)
        self.tick = tick
        self._clock.arrays["clock"][0] = tick

    def _check_writable(self, what: str) -> None:
        if not self.resources.grid.writable:
            raise ReadOnlyError(f"a world opened with mode='r' stands still, got {what}; open it with 'r+' or 'c'")

    def reset(self, copies: ArrayLike | None = None) -> None:
        """Empty fields and refill resources of `copies` (indices or bool mask; None: all); the ground stays.

        Costs one increment a copy, whatever the world measures.
        """
        self.check_open()
        self.temporal.grid.reset(copies)  # first: it is refused where a field is somebody's capacity
        self.resources.grid.reset(copies)
        self.sparse.reset(copies)

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

    def info(self) -> dict[str, Any]:
        """What the world is and holds, JSON-able: shape, clock, channels and laws, tiles written, bytes."""
        self.check_open()
        grids = {group: grid.info() for group, grid in self.grids.items()}
        return {
            "path": None if self.path is None else str(self.path),
            "shape": list(self.shape),
            "copies": self.copies,
            "boundary": self.boundary,
            "seed": self.seed,
            "tick": self.tick,
            "map": self._map,
            "logical_bytes": sum(grid["logical_bytes"] for grid in grids.values()),
            "disk_bytes": sum(grid["disk_bytes"] for grid in grids.values()),
            "written_share": sum(grid["live"] for grid in grids.values()) / sum(g["tiles"] for g in grids.values()),
            "grids": grids,
        }


def _remake(recipe: dict[str, Any]) -> World:
    return World(**recipe)
