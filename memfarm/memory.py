"""AgentMemory: every agent's own map of what it has seen, as large as the world, as costly as where it has been."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays, files
from memfarm.channels import LANDMARKS, Channel, Decay, Static
from memfarm.config import MemmapConfig
from memfarm.errors import ChannelError, ConfigError, ShapeError, ValueRangeError, did_you_mean
from memfarm.glimpses import Glimpses
from memfarm.grid import ChannelGrid
from memfarm.world import World

DEFAULT_MEMORY: Final = ("RESOURCES", "OBSTACLES", "TERRAIN_COST", "KNOWN_EMPTY")
"""What an agent remembers unless told otherwise."""

KNOWN_EMPTY: Final = "KNOWN_EMPTY"
EMPTY_BELOW: Final = {
    "RESOURCES": 0.05,
    "OBSTACLES": 0.5,
    "ALLIES_HP": float(np.finfo(np.float32).tiny),
    "ENEMIES_HP": float(np.finfo(np.float32).tiny),
}
"""A seen cell is empty where each of these that the window shows is below its number: no meal, no wall, nobody."""

_TOGETHER: Final = 1 << 21  # numbers of windows that are worked on at a time


class AgentMemory:
    """What each of `agents` agents remembers of `world`: last values, and how recently a cell was seen to be empty.

    world: whose shape, boundary and clock the memory has.
    channels: what is remembered, of what windows show: any of their channels, as the value last seen there; LANDMARKS,
        of which a cell keeps the largest value; KNOWN_EMPTY, 1 where a seen cell is empty as `EMPTY_BELOW` has it, 0
        where it is not, fading by `gamma_known` a tick.
    overview: (rows, columns) of the coarse view of `overview()`; None: there is none.
    dtype: float16 stores shares to 1 in 2,000 at two bytes each; float32, float64, or without KNOWN_EMPTY uint8.
    memmap: where it lies, `directory`, `delete_on_close` and `use_for_memory`; None: scratch on disk. It is always
        new, and always this process's own.

    Values are shares of each channel's range, in [0, 1], as windows show them; 0 where an agent never looked, and
    beyond an edge. A page is written when an agent first sees something in it, and never before: nothing depends on
    how large the world is. Forgetting is one increment an agent.

    Raises ConfigError, ChannelError or StorageError.
    """

    def __init__(
        self,
        world: World,
        agents: int,
        channels: Sequence[str] = DEFAULT_MEMORY,
        *,
        gamma_known: float = 0.98,
        overview: tuple[int, int] | None = None,
        dtype: str = "float16",
        memmap: MemmapConfig | None = None,
    ) -> None:
        world.check_open()
        if isinstance(channels, str):
            raise ConfigError(f"channels must be a sequence of names, got {channels!r}; pass [{channels!r}]")
        lanes = [_lane(name, gamma_known) for name in channels]
        memmap = memmap or MemmapConfig()
        self._world: Final = world
        self._delete: Final = memmap.delete_on_close
        self.path: Final = _folder(memmap, world.shape)
        arguments: dict[str, Any] = {
            "copies": agents,
            "dtype": dtype,
            "backend": "memmap" if memmap.use_for_memory else "ram",
            "folder": self.path,
        }
        try:
            if self.path is not None and self._delete:
                files.mark_to_delete(self.path)
            self.grid: Final = ChannelGrid(world.shape, lanes, boundary=world.boundary, name="memory", **arguments)
            self._glimpses = None if overview is None else Glimpses(self.grid, overview, **arguments)
        except BaseException:
            if self.path is not None:
                files.remove([*self.path.glob("*.npy"), self.path / files.MARK])
                files.remove_folder(self.path)
            raise
        self.grids: Final = [self.grid] if self._glimpses is None else [self.grid, self._glimpses.grid]
        self.ahead = -world.tick  # of the world's clock, so that a new memory begins where an epoch does
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._values = np.empty((0, 1, 1, len(lanes)), np.float32)

    @property
    def agents(self) -> int:
        """How many agents there are."""
        return self.grid.copies

    @property
    def channels(self) -> tuple[str, ...]:
        """What is remembered, in the order of the last axis of what is read."""
        return self.grid.names

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the world, and of each memory."""
        return self.grid.shape

    @property
    def closed(self) -> bool:
        return self.grid.closed

    def see(
        self,
        agents: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        windows: NDArray[np.float32],
        columns: Sequence[str],
        seen: NDArray[np.bool_] | None = None,
    ) -> None:
        """Have `agents`, each at most once, remember what they see now: `windows` `(N, S, S, C)` around (y, x).

        windows: normalized, as `World.windows` cuts them. columns: their channels; all that is remembered must be
        among them, and for KNOWN_EMPTY one of `EMPTY_BELOW`.
        seen: bool `(N, S, S)`: the cells that are; what is dark stays as it was remembered. None: all.
        Raises ShapeError, DTypeError, ValueRangeError or ChannelError; nothing is remembered then. After a
        StorageError (a full disk) some may be: seeing the same once more, with room, comes to the same.
        """
        self._keep_up()
        where = arrays.cells(agents, y, x, copies=self.agents, shape=self.shape)
        names = tuple(columns)
        if names not in self._plans:
            self._plans[names] = _Plan.of(self.channels, names)
        shape = arrays.shape_of("windows", windows)
        if len(shape) != 4 or shape[1] != shape[2] or shape[1] % 2 == 0 or shape[::3] != (len(where[0]), len(names)):
            raise ShapeError(f"windows must be ({len(where[0])}, S, S, {len(names)}) with an odd S, got {shape}")
        shown = None if seen is None else arrays.flags("seen", seen, shape[:3])
        step = max(1, _TOGETHER // (shape[1] ** 2 * len(self.channels)))
        parts = [slice(start, start + step) for start in range(0, shape[0], step)]
        if len(parts) > 1 and not all(np.isfinite(windows[part]).all() for part in parts):
            raise ValueRangeError("windows must hold finite numbers, got others; cut them with World.windows()")
        for part in parts:
            agent, row, column = (axis[part] for axis in where)
            self._see(agent, row, column, windows[part], self._plans[names], None if shown is None else shown[part])

    def _see(
        self,
        agents: NDArray[np.int32],
        y: NDArray[np.int32],
        x: NDArray[np.int32],
        windows: NDArray[np.float32],
        plan: "_Plan",
        seen: NDArray[np.bool_] | None,
    ) -> None:
        shape = (*windows.shape[:3], len(self.channels))
        if self._values.shape != shape:
            self._values = np.empty(shape, np.float32)
        values = self._values
        plan.fill(windows, values)
        if LANDMARKS.name in self.channels:
            mark = self.channels.index(LANDMARKS.name)
            known = self.grid.observe(agents, y, x, shape[1] // 2, [LANDMARKS.name])
            np.maximum(values[..., mark], known[..., 0], out=values[..., mark])
        self.grid.stamp_windows(self.channels, agents, y, x, values, seen=seen)
        if self._glimpses is not None:
            self._glimpses.take(agents, y, x, values, seen)

    def observe(
        self,
        agents: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        radius: int,
        channels: Sequence[str] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """What `agents` remember around the cells (y, x): float32 `(N, S, S, C)`, S = 2 * radius + 1, any radius.

        channels: some of the remembered ones, in any order; None: all. out: written in place and returned; a new array
        where None.
        """
        self._keep_up()
        return self.grid.observe(agents, y, x, radius, channels, out)

    def overview(self, agents: ArrayLike, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The whole memory of `agents` at a glance: float32 `(N, rows, columns, C)`; see `Glimpses`.

        out: `(N, D, D, C)` with D as `overview_side`; the overview is then a view of it, else of a new array.
        Raises ConfigError where the memory was made without one.
        """
        self._keep_up()
        return self._coarse().read(agents, out)

    @property
    def overview_shape(self) -> tuple[int, int]:
        """(rows, columns) of the overview: as asked for, or the world's own where that is less."""
        return self._coarse().grid.shape

    @property
    def overview_side(self) -> int:
        """D, the side of what `overview` writes into."""
        return self._coarse().side

    def cut_overview(self, square: Any, axis: int) -> Any:
        """The overview within what `overview` wrote, `(N, D, D, C)` or a tensor `(N, C, D, D)` of it: a view.

        axis: of the rows; the columns follow.
        """
        return self._coarse().cut(square, axis)

    def _coarse(self) -> Glimpses:
        if self._glimpses is None:
            raise ConfigError("this memory has no overview; make it with overview=(16, 16)")
        return self._glimpses

    def forget(self, agents: ArrayLike | None = None) -> None:
        """Make `agents` (indices, or a bool mask) remember nothing: one increment each, no page touched.

        None: all, and the clock goes on from where an epoch begins: what follows rounds as in a new memory.
        """
        self._keep_up()
        chosen = np.arange(self.agents) if agents is None else arrays.indices("agents", agents, self.agents)
        if agents is None and self.grid.epoch:
            skipped = -self.grid.tick % self.grid.epoch
            self.ahead += skipped
            self._advance(skipped)
        for grid in self.grids:
            grid.reset(chosen)

    def _keep_up(self) -> None:
        """Let the time pass that has passed in the world."""
        self._world.check_open()
        self.grid.check_open()
        self._advance(self._world.tick + self.ahead - self.grid.tick)

    def _advance(self, ticks: int) -> None:
        if ticks:
            for grid in self.grids:
                grid.advance(ticks)

    def flush(self) -> None:
        """Write changed pages of named files to the disk."""
        for grid in self.grids:
            grid.flush()

    def close(self) -> None:
        """Let go of the maps; every later use raises ClosedError. Twice is fine."""
        for grid in self.grids:
            grid.close_files(delete=self._delete)
        if self._delete and self.path is not None:
            files.remove([self.path / files.MARK])
            files.remove_folder(self.path)


def check_columns(channels: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ChannelError unless windows with `columns` show all that is needed to remember `channels`."""
    _Plan.of(tuple(channels), tuple(columns))


class _Plan:
    """From the columns of windows to the values of a memory's lanes."""

    def __init__(self, copied: list[tuple[int, int]], known: int | None, contents: list[tuple[int, float]]) -> None:
        self._copied: Final = copied  # (lane, column)
        self._known: Final = known  # the lane of KNOWN_EMPTY
        self._contents: Final = contents  # (column, what it stays below where a cell is empty)

    @classmethod
    def of(cls, lanes: tuple[str, ...], columns: tuple[str, ...]) -> Self:
        """Raises ChannelError where the columns do not show what the lanes need."""
        contents = [(columns.index(name), bound) for name, bound in EMPTY_BELOW.items() if name in columns]
        if KNOWN_EMPTY in lanes and not contents:
            raise ChannelError(
                f"KNOWN_EMPTY needs windows that show one of {', '.join(EMPTY_BELOW)}, got {', '.join(columns)}"
            )
        copied = []
        for lane, name in enumerate(lanes):
            if name == KNOWN_EMPTY:
                continue
            if name not in columns:
                hint = did_you_mean(name, columns)
                raise ChannelError(f"only what windows show can be remembered, got {name!r}; {hint}")
            copied.append((lane, columns.index(name)))
        return cls(copied, lanes.index(KNOWN_EMPTY) if KNOWN_EMPTY in lanes else None, contents)

    def fill(self, windows: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        """Write what `windows` `(N, S, S, C)` show into `values` `(N, S, S, L)`."""
        for lane, column in self._copied:
            values[..., lane] = windows[..., column]
        if self._known is None:
            return
        empty = np.ones(windows.shape[:3], np.bool_)
        for column, bound in self._contents:
            empty &= windows[..., column] < np.float32(bound)
        values[..., self._known] = empty


def _lane(name: str, gamma_known: float) -> Channel:
    """A remembered channel: a share, 0 where nothing is known."""
    known = replace(LANDMARKS, name=name, law=Static(), low=0.0, high=1.0, fill=0.0, outside=0.0)
    return replace(known, law=Decay(gamma_known)) if name == KNOWN_EMPTY else known


def _folder(memmap: MemmapConfig, shape: tuple[int, int]) -> Path | None:
    if memmap.directory is None or not memmap.use_for_memory:
        return None
    return files.new_folder(Path(memmap.directory), "memory", shape)
