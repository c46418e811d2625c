"""The laws on a torch device: what stored cells are worth now, in the very operations of the kernels.

docs/design/0001 gives their order. No operation here joins a multiplication with an addition, so that the bytes are
those of `memfarm.reference_grid`, which says the same in NumPy.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from memfarm import layout
from memfarm.channels import find
from memfarm.reference_grid import ARITHMETIC
from memfarm.wrappers.mirror import MirroredGrid

_BITS: Final = 16  # of a number of ticks, whose maps lie in a table


class MirroredLanes:
    """Some channels of a mirrored grid, decoded together.

    channels: L names. sources: for each whose capacity is a channel, by its name, the lanes that hold it, alone.
    """

    def __init__(self, mirror: MirroredGrid, names: Sequence[str], sources: "dict[str, MirroredLanes]") -> None:
        grid, device = mirror.grid, mirror.device
        self._mirror: Final = mirror
        self._lanes: Final = torch.tensor([find(grid.channels, name) for name in names], device=device)
        lanes = [layout.lane(grid.channels[find(grid.channels, name)]) for name in names]
        self._sources: Final = [(names.index(name), source) for name, source in sources.items()]
        self._real: Final = torch.float64 if ARITHMETIC[grid.dtype] is np.float64 else torch.float32
        self._codes: Final = grid.dtype == "uint8"

        def column(values: Any, dtype: torch.dtype = self._real) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float64).to(dtype).to(device)  # rounded once

        self._unit: Final = column([(lane["high"] - lane["low"]) / 255 for lane in lanes])
        self._base: Final = column([lane["low"] for lane in lanes])
        self._fill: Final = column([lane["fill"] for lane in lanes])
        self.outside: Final = column([lane["outside"] for lane in lanes])  # (L,) in the arithmetic type
        self._low: Final = column([lane["low"] if lane["static"] else 0.0 for lane in lanes])
        self._high: Final = column([lane["high"] if lane["static"] else lane["capacity"] for lane in lanes])
        self._floor: Final = column([-np.inf if lane["static"] else lane["floor"] for lane in lanes])
        self._moves: Final = not all(lane["static"] for lane in lanes)
        numbers = [1.0 if name in sources else lane["capacity"] for name, lane in zip(names, lanes, strict=True)]
        self._capacity: Final = column(numbers, torch.float64)
        self._zero: Final = column(0.0)
        powers = _powers([lane["alpha"] for lane in lanes], [lane["beta"] for lane in lanes])
        self._powers: Final = powers.to(device) if self._moves else powers
        self._table: Final = _table(powers).to(device) if self._moves else torch.empty(0)

    def decode(self, copy: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """What the channels are worth now at cells of the world, `(..., L)` in the arithmetic type."""
        found = self._mirror.cells(copy, y, x)
        value = found.values.index_select(-1, self._lanes).to(self._real)
        if self._codes:
            value = value * self._unit + self._base
        value, high = torch.where(found.live[..., None], value, self._fill), self._high
        if self._moves:
            scale, shift = self._maps(found.age)
            for index, source in self._sources:
                capacity = source.decode(copy, y, x)[..., 0].to(self._real)
                high = high.expand_as(value).clone() if high.ndim == 1 else high
                high[..., index] = capacity
                shift[..., index] *= capacity
            value = value * scale + shift
        else:
            value = value + self._zero
        value = torch.where(value > self._low, value, self._low)
        value = torch.where(value < high, value, high)
        return torch.where(value < self._floor, self._zero, value)

    def _maps(self, age: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B * k of so many ticks, or B where k is a channel: `(..., L)`, rounded once."""
        scale, shift = self._table[age & (1 << _BITS) - 1].unbind(-1)
        for bit in range(_BITS, self._mirror.grid.tick.bit_length()):
            alpha, beta = self._powers[bit].unbind(-1)
            there = (age >> bit & 1).bool()[..., None]
            scale, shift = torch.where(there, scale * alpha, scale), torch.where(there, alpha * shift + beta, shift)
        scale = torch.where(scale.abs() < 1e-37, 0.0, scale)
        return scale.to(self._real), (shift * self._capacity).to(self._real)


def _powers(alpha: Sequence[float], beta: Sequence[float]) -> torch.Tensor:
    """The maps `(alpha, beta)` of 1, 2, 4, ... ticks: float64 `(63, L, 2)`."""
    powers = [np.stack([np.array(alpha, np.float64), np.array(beta, np.float64)], axis=-1)]
    for _ in range(62):
        a, b = powers[-1][:, 0], powers[-1][:, 1]
        powers.append(np.stack([a * a, a * b + b], axis=-1))
    return torch.from_numpy(np.stack(powers))


def _table(powers: torch.Tensor) -> torch.Tensor:
    """The maps (A, B) of 0, 1, 2, ... ticks, composed from the lowest bit on: float64 `(2 ** _BITS, L, 2)`."""
    table = np.zeros((1, *powers.shape[1:]))
    table[..., 0] = 1.0
    for a, b in powers[:_BITS].numpy().transpose(0, 2, 1):
        table = np.concatenate([table, np.stack([table[..., 0] * a, a * table[..., 1] + b], axis=-1)])
    return torch.from_numpy(table)
