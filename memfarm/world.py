"""World: the three groups of layers on one clock, in a folder, in scratch, or in memory."""

import functools
import math
import os
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from numpy.typing import ArrayLike

from memfarm import files, founding, layout, requests, snapshots
from memfarm.channels import Channel
from memfarm.clock import Clock
from memfarm.config import MemmapConfig
from memfarm.errors import (
    ClosedError,
    ConfigError,
    StorageError,
    WorldFormatError,
    WorldLockedError,
)
from memfarm.events import SparseEvents, check_sparse
from memfarm.founding import Layers
from memfarm.grid import ChannelGrid
from memfarm.kept import Kept, serve
from memfarm.managers import EnvironmentalGridManager, ResourceManager, TemporalGridManager
from memfarm.manifest import FILE, Manifest
from memfarm.memmap_manager import MemmapManager
from memfarm.reserve import NO_ROOM
from memfarm.windows import WindowCutter

T = TypeVar("T")

_CELLS: Final = 2048
"""Cells an agent, up to which a world is full of them: 32 kB of Forage's layers."""


class World(Kept):
    """Resources, environment and fields of `copies` worlds of one shape, on one clock.

    shape: (height, width) in cells; None: that of `terrain` or `map`.
    copies: worlds of a batch. They share one environmental grid; resources and fields are each world's own.
    memmap: where and how layers are stored (`MemmapConfig`); None: scratch on disk, float32.
    boundary: "wall" or "wrap". seed: kept in the manifest, for whoever made the world.
    terrain: layers for OBSTACLES, TERRAIN_COST, VISIBILITY, CAPACITY. map: a world folder whose environmental
        grid is mapped read-only instead, shared with every process that does the same.
    map_mode: "c": this world may write that ground; what it writes is its own and never reaches the map. For worlds in
        scratch or memory, which end with their process: `map_cache` gives them maps that somebody may clear away.
    channels: `{group: channels}` in place of the standard and the registered ones (`memfarm.channels`).
    sparse: temporal channels that are not stored: their events are seen in the tick they fall into, and the next.
    path: the folder to make and keep the world in; None: a new folder in `memmap.directory`, or scratch.
    name, simulation_id: parts of that new folder's name.
    agents: how many each copy is made for; 0: unknown. With one for 2,048 cells or more, scratch and memory of at most
        256 MiB a grid lie in large pages where the system has any, and take their disk at once.

    With `memmap.mode` "r+", "r" or "c" the world in `path` (None: in `memmap.directory`) is opened instead, and must
    have been made with the same shape, dtypes and channels; `shape=None` takes what it has.

    Raises ConfigError, ChannelError, ShapeError, StorageError, WorldFormatError.
    """

    _agents: int = 0
    _map_mode: files.Mode = "r"
    _shared_map: "World | None"
    _terrain: tuple[str, ...] = ()  # the layers that it was made from

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
        map_mode: Literal["r", "c"] = "r",
        channels: Mapping[str, Sequence[Channel]] | None = None,
        sparse: Sequence[Channel] = (),
        path: str | os.PathLike[str] | None = None,
        name: str = "world",
        simulation_id: str | None = None,
        agents: int = 0,
    ) -> None:
        memmap = memmap or MemmapConfig()
        self._recipe: dict[str, Any] = {
            "shape": shape,
            "copies": copies,
            "memmap": memmap,
            "seed": seed,
            "boundary": boundary,
            "map": None if map is None else Path(map).absolute(),
            "map_mode": map_mode,
            "sparse": tuple(sparse),
            "agents": agents,
        }
        if not isinstance(agents, int) or isinstance(agents, bool) or agents < 0:
            raise ConfigError(f"agents must be an int of 0 or more, got {agents!r}")
        self._agents = agents
        founding.check_map_mode(map_mode, map, path, memmap)
        self._map_mode = map_mode
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
                    self._terrain = (*self._terrain, layer)
            if folder is not None:
                self._write_manifest(folder)
        except WorldLockedError:  # somebody was faster: the folder is theirs
            raise
        except BaseException:
            self._made.close()
            if folder is not None:  # new and ours: nothing half made stays
                shutil.rmtree(folder)
            raise

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        mode: files.Mode = "r",
        *,
        sparse: Sequence[Channel] = (),
        recover: bool = False,
    ) -> "World":
        """Open the world in folder `path`: "r" to read, "r+" to go on, "c" for writes that are never kept.

        A reader may come and go beside a running writer: its clock follows, and each read (up to a rectangle of
        256 x 256, or a batch of windows) is of one tick. What is larger: `request_snapshot`.
        sparse: as at its making; of them nothing was stored.
        recover: with "r+", where the writer died inside a step, go back to the last snapshot and open that.

        Raises WorldFormatError where the folder holds no world that this version reads, or a truncated one;
        WorldLockedError where "r+" or "c" finds a writer; DirtyWorldError where the writer died inside a step;
        TornReadError where a running writer leaves no room to read.
        """
        if recover and mode != "r+":
            raise ConfigError(f"recover=True puts another state in the world's place and needs mode='r+', got {mode!r}")
        if mode == "w+":
            raise ConfigError("World.open reads a world that exists; make a new one with World(shape, path=...)")
        world = cls.__new__(cls)
        world._recipe = {}
        manifest = Manifest.read(Path(path))
        check_sparse(sparse, [name for entry in manifest.grids.values() for name in entry.names()])
        world.sparse = SparseEvents(sparse, manifest.shape, manifest.copies)
        world._setup(Path(path).absolute(), manifest, MemmapConfig(mode=mode), recover)
        return world

    def _setup(self, folder: Path | None, manifest: Manifest, memmap: MemmapConfig, recover: bool = False) -> None:
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
        self._made = ExitStack()  # closes what there is already where the rest fails
        self._clock = Clock(folder, memmap.mode, min(entry.last_tick() for entry in manifest.grids.values()), recover)
        self._guard = self._clock.guard
        self._made.callback(self._clock.close)
        try:
            self._fill(folder, manifest, memmap)
        except BaseException:
            self._made.close()
            raise

    def _fill(self, folder: Path | None, manifest: Manifest, memmap: MemmapConfig) -> None:
        """Make or open what the clock belongs to."""
        if folder is not None and memmap.mode != "w+":
            if not self.sparse.names:
                self.sparse = SparseEvents(snapshots.sparse_channels(folder), self.shape, self.copies)
            snapshots.load_events(folder, self.tick, self.sparse, memmap.mode)
        self._manager = MemmapManager(
            self.shape,
            copies=self.copies,
            config=memmap.model_copy(update={"directory": None}),
            boundary=self.boundary,
            folder=folder,
            tick=self.tick,
            guard=self._guard,
            dense=self._agents * _CELLS >= math.prod(self.shape),
        )
        self._made.callback(self._manager.close_all, delete=False)
        self._make_groups(manifest)
        self._link_capacities()
        owned = self.path is not None or any(grid.owned for grid in self.grids.values())
        self._owner = os.getpid() if memmap.mode in ("w+", "r+") and owned else None

        if folder is not None and self._owned():
            files.remove([*requests.leftovers(folder), folder / files.MARK])
            if memmap.delete_on_close:
                files.mark_to_delete(folder)
            self._guard.at_rest = functools.partial(serve, weakref.ref(self))

    def _make_groups(self, manifest: Manifest) -> None:
        manifest.check_map(self.path)
        self._shared_map = None if self._map is None else World.open(self._map, self._map_mode)
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
        self._whole = self._guard.whole if self._shared_map is None else self._of_one_tick
        self._home = {name: grid for grid in self.grids.values() for name in grid.names}
        self.channels: dict[str, Channel] = {c.name: c for grid in self.grids.values() for c in grid.channels}

    def _of_one_tick(self, read: Callable[..., T], *args: Any) -> T:
        """`Guard.whole` of this world and of the one whose ground it sees, each at a tick of its own."""
        if self._shared_map is None:
            return self._guard.whole(read, *args)
        return self._guard.whole(self._shared_map.in_one_tick, read, *args)

    def _link_capacities(self) -> None:
        for grid in self.grids.values():
            for channel in grid.channels:
                if isinstance(channel.capacity, str):
                    grid.link(channel.name, self.grid_of(channel.capacity))

    def flush(self) -> None:
        """Write a named world's changed pages and its manifest to the disk."""
        self.check_open()
        self._flush()

    def _flush(self) -> None:
        if self._owned() and self.path is not None:
            self._manager.flush()
            self._clock.flush()
            self._write_manifest(self.path)

    def fork(self) -> "World":
        """A new world, in scratch or memory, that holds what this one holds now; neither sees what the other does."""
        self.check_open()
        ground = "environmental" if self.ground_is_shared else None
        world = World(
            self.shape,
            copies=self.copies,
            memmap=MemmapConfig(
                dtype={group: grid.dtype for group, grid in self.grids.items()},
                use_for_resources=self.resources.has_memmap,
                use_for_environmental=self.environmental.has_memmap,
                use_for_temporal=self.temporal.has_memmap,
            ),
            seed=self.seed,
            boundary=self.boundary,
            map=self._map if self.ground_is_shared else None,
            map_mode="c" if self._map_mode == "c" and self.ground_is_shared else "r",
            channels={group: grid.channels for group, grid in self.grids.items() if group != ground},
            sparse=self.sparse.channels,
            agents=self._agents,
        )
        for group, grid in self.grids.items():
            if group != ground:
                world.grids[group].hold_as(grid)
        world.sparse.set_state(self.sparse.state())
        world.set_tick(self.tick)
        return world

    def set_tick(self, tick: int) -> None:
        """Put the clock where it stood in a state that is being put back, see `memfarm.states`."""
        with self._guard.writing():
            self._guard.tick = tick

    def close(self) -> None:
        """Flush and let go; files of a named world stay unless `memmap.delete_on_close`. Twice is fine.

        Waits for a snapshot in the background, and raises what went wrong there if nobody has heard of it.
        """
        if self._closed:
            return
        if self._behind is not None:
            self._behind.join()
        self._closed = True
        try:
            if self.path is not None and self._owned() and self._memmap.delete_on_close:
                asked = requests.leftovers(self.path)
                mine = (snapshots.LAST, files.MARK, FILE)
                files.remove([*self._clock.paths, *asked, *(self.path / name for name in mine)])
            else:
                self._flush()
        except StorageError as error:
            if error.errno not in NO_ROOM:
                raise
            # no room for a new manifest: the old one is right but for the tick, which is the clock's to say
        finally:
            self._cutters.clear()
            self._manager.close_all()
            self._clock.close()  # the lock last: what others find is whole and closed
            if self._shared_map is not None:
                self._shared_map.close()
        if self._behind is not None:
            self._behind.tell()

    def __reduce__(self) -> tuple[Any, ...]:
        """A named world travels as its path, opened to read; a scratch world as its recipe, made anew."""
        if self._closed:
            raise ClosedError("a closed world cannot be pickled, got one; pickle it before close()")
        if self.path is None:
            return (_remake, ({**self._recipe, "terrain": self._ground()},))
        return (functools.partial(World.open, sparse=self.sparse.channels), (str(self.path), "r"))

    def _ground(self) -> founding.Ground | None:
        """What lies now in the layers that the world was made from; None where it was made from none."""
        if not self._terrain:
            return None
        return founding.Ground(self.shape, {name: self.environmental.get(name) for name in self._terrain})

    def advance(self, ticks: int = 1) -> None:
        """Let `ticks` pass for every layer: decay, regrowth. Costs the same for every size of world."""
        self.check_open()
        self._check_writable("a tick")
        grids = (self.resources.grid, self.temporal.grid)
        later = [grid.later(ticks) for grid in grids]  # refused before the first one moves
        with self._guard.writing():
            for grid, tick in zip(grids, later, strict=True):
                grid.stand_at(tick)
            self.sparse.advance(ticks)
            self._guard.tick = max(later)

    def reset(self, copies: ArrayLike | None = None) -> None:
        """Empty fields and refill resources of `copies` (indices or bool mask; None: all); the ground stays.

        Costs one increment a copy, whatever the world measures.
        """
        self.check_open()
        self._check_writable("a reset")
        with self._guard.writing():
            self.temporal.grid.reset(copies)  # first: it is refused where a field is somebody's capacity
            self.resources.grid.reset(copies)
            self.sparse.reset(copies)

    def info(self) -> dict[str, Any]:
        """What the world is and holds, JSON-able: shape, clock, channels and laws, tiles written, bytes."""
        self.check_open()
        return self.in_one_tick(self._info)

    def _info(self) -> dict[str, Any]:
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
