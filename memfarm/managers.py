"""The managers of a world's three groups of layers: resources, environmental and temporal."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays
from memfarm.channels import Channel, Decay, find, standard_channels
from memfarm.errors import ChannelError, ConfigError, ShapeError, ValueRangeError
from memfarm.events import Events, parsed
from memfarm.grid import ChannelGrid
from memfarm.memmap_manager import MemmapManager, bands, fill_layer


class GroupManager:
    """What the managers of the three groups share: one grid, made by the world's MemmapManager."""

    group: str

    def __init__(
        self,
        manager: MemmapManager,
        channels: Sequence[Channel] | None = None,
        *,
        dtype: str | None = None,
        copies: int | None = None,
        on_disk: bool = True,
        grid: ChannelGrid | None = None,
    ) -> None:
        """channels: the group's standard ones where None. grid: one that is open already (a shared map)."""
        self._manager = manager
        self.grid: Final = grid or manager.create(
            self.group,
            standard_channels()[self.group] if channels is None else channels,
            dtype=dtype,
            copies=copies,
            backend="memmap" if on_disk else "ram",
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the group's layers."""
        return self.grid.names

    def channel(self, name: str) -> Channel:
        """The group's channel `name`; ChannelError names the nearest right one."""
        return self.grid.channels[find(self.grid.channels, name)]

    @property
    def has_memmap(self) -> bool:
        """Whether the layers are mapped files (not memory)."""
        return self.grid.backend == "memmap"

    def get_window(
        self, name: str, y0: int, y1: int, x0: int, x1: int, copy: int = 0, normalize: bool = False
    ) -> NDArray[Any]:
        """A copy `(y1 - y0, x1 - x0)` of a layer's rectangle, 0 beyond a wall."""
        return self.grid.window(name, y0, y1, x0, x1, copy, normalize)

    def flush(self) -> None:
        """Write changed pages of named files to the disk."""
        self.grid.flush()

    def close(self) -> None:
        """Close the group's grid. Twice is fine."""
        self._close(None)

    def _close(self, delete: bool | None) -> None:
        if self._manager.has(self.group):
            self._manager.close(self.group, delete)
        self.grid.close()  # one that was open already is not the manager's


class ResourceManager(GroupManager):
    """RESOURCES: what agents take; it regrows by its law, never by rebuilding a grid."""

    group = "resources"

    def get_resource_window(
        self, y0: int, y1: int, x0: int, x1: int, normalize: bool = True, copy: int = 0
    ) -> NDArray[Any]:
        """A copy `(y1 - y0, x1 - x0)` of RESOURCES as it is now, 0 beyond a wall; as shares of the maximum."""
        return self.grid.window("RESOURCES", y0, y1, x0, x1, copy, normalize)

    def take(self, copy: ArrayLike, y: ArrayLike, x: ArrayLike, amount: ArrayLike) -> NDArray[np.float64]:
        """Take up to `amount` `(N,)` at each cell, in batch order; what was really taken, float64 `(N,)`."""
        return self.grid.take("RESOURCES", copy, y, x, amount)

    def add(self, copy: ArrayLike, y: ArrayLike, x: ArrayLike, amount: ArrayLike) -> None:
        """Add `amount` `(N,)`, 0 or more, at each cell, up to the cell's capacity."""
        amounts = arrays.numbers("amount", amount, arrays.shape_of("amount", amount), np.float64, least=0)
        self.grid.scatter("RESOURCES", copy, y, x, amounts, how="add")

    def total(self, copy: int = 0) -> float:
        """The sum of RESOURCES over a whole copy, in its units; reads every cell."""
        height = self.grid.shape[0]
        return float(sum(self.grid["RESOURCES", copy, y0:y1, :].sum(dtype=np.float64) for y0, y1 in bands(height)))

    def cleanup_memmap(self, delete: bool) -> None:
        """Flush and close the grid, and remove its files if `delete`. Twice is fine."""
        self._close(delete)


class EnvironmentalGridManager(GroupManager):
    """OBSTACLES, TERRAIN_COST, VISIBILITY and CAPACITY: what stays as it is until it is set."""

    group = "environmental"

    def set(self, name: str, values: ArrayLike) -> None:
        """Set a whole layer to `values` `(height, width)` within the channel's range."""
        if arrays.shape_of(name, values) != self.grid.shape:
            raise ShapeError(f"{name} must be {self.grid.shape}, got {arrays.shape_of(name, values)}")
        self.grid.write(name, self._in_range(name, values, self.grid.shape))

    def get(self, name: str) -> NDArray[Any]:
        """A copy `(height, width)` of a whole layer."""
        height, width = self.grid.shape
        return self.grid.read(name, 0, height, 0, width)

    def fill(self, name: str, value: float) -> None:
        """Set every cell of a layer to `value` within the channel's range."""
        fill_layer(self.grid, name, float(self._in_range(name, value, ())))

    def _in_range(self, name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
        channel = self.channel(name)
        numbers = arrays.numbers(name, values, shape, np.float64, least=channel.low)
        if numbers.max() > channel.high:
            raise ValueRangeError(f"{name} must be at most {channel.high:g}, got {numbers.max()}; scale it first")
        return numbers


class TemporalGridManager(GroupManager):
    """DAMAGE_HEAT, TRAILS and ALLY_SIGNAL: what events leave and time takes."""

    group = "temporal"
    on_world_clock = False  # a World sets it: its clock is then the only one

    def deposit(
        self, name: str, events: Events, accumulate: bool = True, clip_max: float = 1.0, copy: ArrayLike = 0
    ) -> None:
        """Leave `events` in a layer: arrays `(y, x, value)`, or a sequence of such triples; values 0 or more.

        accumulate: add to what is there (False: the larger of both stays). clip_max: upper bound of the result.
        copy: the world, or one per event `(N,)`.
        """
        y, x, values = parsed(events)
        highest = float(arrays.numbers("clip_max", clip_max, (), np.float64, least=0))
        self.grid.scatter(name, copy, y, x, values, how="add" if accumulate else "max", high=highest)

    def apply_decay(self, ticks: int = 1) -> None:
        """Let `ticks` pass for these layers. In a World all layers share one clock: use `World.advance`."""
        if self.on_world_clock:
            raise ConfigError("a world's layers share one clock, got a tick for one group; use World.advance()")
        self.grid.advance(ticks)

    def gamma_for(self, name: str) -> float:
        """The share of a layer that is left after one tick."""
        law = self.channel(name).law
        if not isinstance(law, Decay):
            raise ChannelError(f"{name} must follow Decay to have a gamma, got {law}")
        return law.gamma

    def has_any_data(self, name: str, copy: int = 0) -> bool:
        """Whether any cell of a layer reads more than 0 now; looks at no cell where nothing was ever written."""
        channel = self.channel(name)
        empty = channel.fill == 0.0 and isinstance(channel.law, Decay)
        if empty and not self.grid.has_live_tiles(copy):
            return False
        return any(self.grid[name, copy, y0:y1, :].any() for y0, y1 in bands(self.grid.shape[0]))

    def clear_all(self, copies: ArrayLike | None = None) -> None:
        """Empty every layer of `copies` (None: all) at the cost of one increment a copy."""
        self.grid.reset(copies)
