"""Step every cell every tick by the laws as they are written: what lazy time is proved against.

Float64, plain arrays, no tiles, no epochs. Slow on purpose; for tests and for reading.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memfarm.channels import Channel

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]


class Eager:
    """A grid `(copies, H, W, C)` whose cells are all brought to the present on every tick.

    values: float64 `(copies, H, W, C)`, in the channels' units, as they read now.
    ambiguous: whether a cell ever came within a relative `margin` of its law's floor: whether it reads 0 there is a
    matter of rounding, and comparing it with another arithmetic says nothing.
    """

    def __init__(
        self, channels: Sequence[Channel], shape: tuple[int, int], copies: int = 1, margin: float = 1e-5
    ) -> None:
        self.channels = tuple(channels)
        self.shape = shape
        self.margin = margin
        self.ambiguous = False
        self.values: Floats = np.empty((copies, *shape, len(self.channels)))
        self._floor = np.array([channel.floor or -np.inf for channel in self.channels])
        self._low = np.array([channel.low for channel in self.channels])  # 0 for every law but Static
        self._high: Floats = np.empty_like(self.values)
        for lane, channel in enumerate(self.channels):
            self._high[..., lane] = channel.high if isinstance(channel.capacity, str) else channel.capacity
        self.reset(range(copies))

    def link(self, lane: int, capacity: Floats) -> None:
        """Bound and feed a lane by a capacity for each cell, `(H, W)`, from now on; its cells are clipped to it."""
        self._high[..., lane] = capacity
        self._settle(slice(None))

    def _settle(self, copies: Any) -> None:
        """Apply the bounds and the floor to what has just been written."""
        value = self.values[copies].clip(self._low, self._high[copies])
        self.ambiguous |= bool(np.any(np.abs(value - self._floor) <= self.margin * self._floor))
        self.values[copies] = np.where(value < self._floor, 0.0, value)

    def reset(self, copies: Sequence[int]) -> None:
        """Make every cell of these copies its channel's fill."""
        self.values[list(copies)] = [channel.fill for channel in self.channels]
        self._settle(list(copies))

    def advance(self, ticks: int) -> None:
        """Take `ticks` steps `v = clip(alpha * v + beta * k, 0, k)`; stops where a step changed nothing."""
        alpha = np.array([channel.law.alpha for channel in self.channels])
        feed = np.array([channel.law.beta for channel in self.channels]) * self._high
        for _ in range(ticks):
            before = self.values.copy()
            self.values = alpha * self.values + feed
            self._settle(slice(None))
            if np.array_equal(before, self.values):
                return

    def set(self, lane: int, copy: Ints, y: Ints, x: Ints, values: Floats, low: float, high: float) -> None:
        """Set cells, in batch order, to values clipped to [low, high], then to the cell's own bounds."""
        for n, value in enumerate(values):
            self._put(lane, copy[n], y[n], x[n], min(max(value, low), high))

    def add(self, lane: int, copy: Ints, y: Ints, x: Ints, values: Floats, low: float, high: float) -> None:
        """Add to cells, in batch order, clipped as in `set`."""
        for n, value in enumerate(values):
            self._put(lane, copy[n], y[n], x[n], min(max(self.values[copy[n], y[n], x[n], lane] + value, low), high))

    def max(self, lane: int, copy: Ints, y: Ints, x: Ints, values: Floats, low: float, high: float) -> None:
        """Raise cells to at least these values, in batch order, clipped as in `set`."""
        for n, value in enumerate(values):
            self._put(lane, copy[n], y[n], x[n], min(max(self.values[copy[n], y[n], x[n], lane], value, low), high))

    def take(self, lane: int, copy: Ints, y: Ints, x: Ints, amount: Floats) -> Floats:
        """Take up to `amount` from cells, in batch order; what was there to take, a new array."""
        taken = np.empty(len(amount))
        for n, wanted in enumerate(amount):
            old = self.values[copy[n], y[n], x[n], lane]
            taken[n] = min(old, wanted)
            self._put(lane, copy[n], y[n], x[n], old - taken[n])
        return taken

    def _put(self, lane: int, copy: int, y: int, x: int, value: float) -> None:
        floor = self._floor[lane]
        value = min(max(value, self._low[lane]), self._high[copy, y, x, lane])
        self.ambiguous |= bool(abs(value - floor) <= self.margin * floor)
        self.values[copy, y, x, lane] = 0.0 if value < floor else value

    def read(self, lane: int) -> Floats:
        """One channel of all copies, `(copies, H, W)`. A copy."""
        return self.values[..., lane].copy()
