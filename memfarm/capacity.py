"""What grows towards a capacity channel keeps its value while the capacity is changed.

A lazy cell stores what it would be worth by its capacity, so that a new capacity would otherwise
rewrite its past.
"""

from collections.abc import Container, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.channels import Channel, Static
from memfarm.errors import ChannelError, ConfigError
from memfarm.guard import Guard

if TYPE_CHECKING:
    from memfarm.grid import ChannelGrid

_NOTHING: Final = nullcontext()


def check_capacity(channel: Channel, limit: Channel) -> None:
    """Raise ConfigError unless `limit` can be the capacity, cell by cell, of `channel`."""
    if not isinstance(limit.law, Static) or limit.low < 0 or limit.high > channel.high:
        raise ConfigError(
            f"{limit.name} must be Static and in [0, {channel.high}] to be {channel.name}'s capacity, got {limit}"
        )


class Dependents:
    """The channels whose capacity a grid stores: `(lane of the capacity, grid, channel)`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._entries: list[tuple[int, ChannelGrid, str]] = []

    def add(self, lane: int, grid: "ChannelGrid", channel: str) -> None:
        self._entries.append((lane, grid, channel))

    def clear(self) -> None:
        self._entries.clear()

    def refuse(self, lanes: Container[int], verb: str, but: "ChannelGrid | None" = None) -> None:
        """Raise ChannelError where one of `lanes` is a capacity that something outside `but` grows towards."""
        for at, grid, name in self._entries:
            if at in lanes and grid is not but and not grid.closed:
                raise ChannelError(f"{verb} cannot change the capacity of {name!r} at one go; use write or scatter")

    def kept_at(self, lane: int, y: NDArray[np.int32], x: NDArray[np.int32]) -> AbstractContextManager[None]:
        """Keep what lies at the cells (y, x), in every copy, through a change of their capacity."""
        return self._kept_at(lane, y, x) if self._entries else _NOTHING

    @contextmanager
    def _kept_at(self, lane: int, y: NDArray[np.int32], x: NDArray[np.int32]) -> Iterator[None]:
        kept = [(grid, name, copy, grid.gather(name, copy, y, x)) for grid, name, copy in self._disturbed(lane)]
        for grid, _, copy, _ in kept:
            grid.reserve(copy, y, x)
        if not kept:
            yield
            return
        with self._guard.writing():
            yield
            for grid, name, copy, values in kept:
                grid.scatter(name, copy, y, x, values)

    @contextmanager
    def kept_in(self, lane: int, bounds: tuple[int, int, int, int]) -> Iterator[None]:
        """Keep what lies in a rectangle, in every copy, through a change of its capacity."""
        kept: list[tuple[ChannelGrid, str, int, NDArray[Any]]] = [
            (grid, name, copy, grid.read(name, *bounds, copy=copy)) for grid, name, copy in self._disturbed(lane)
        ]
        for grid, _, copy, _ in kept:
            grid.reserve_rectangle(*bounds, copy=copy)
        if not kept:
            yield
            return
        with self._guard.writing():
            yield
            for grid, name, copy, values in kept:
                grid.write(name, values, bounds[0], bounds[2], copy)

    def _disturbed(self, lane: int) -> Iterator[tuple["ChannelGrid", str, int]]:
        """The copies of each dependent whose cells have a past: a copy reset at this very tick has none."""
        for at, grid, name in self._entries:
            if at == lane and not grid.closed:
                yield from ((grid, name, copy) for copy in range(grid.copies) if grid.has_past(copy))
