"""The whole world at a glance: all channels pooled to at most 128 x 128 blocks, at a bounded cost."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from memfarm.envs.agents import Agents
from memfarm.world import World
from memfarm.wrappers.unit_box import UnitBox

_BLOCKS: Final = 128
_SAMPLES: Final = 8  # a side of a block
_CHUNK: Final = 1 << 17  # cells read together


class Overview:
    """Every stored channel of a world, and the agents' density, averaged over equal blocks of cells.

    A side of up to 128 cells keeps its cells; a longer one is cut into at most 128 blocks. A block of up to 8 x 8 cells
    is averaged exactly, a larger one over a lattice of 8 x 8 of its cells. Values are shares of each channel's range.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows, self._columns = _Axis(world.shape[0]), _Axis(world.shape[1])
        self.channels: Final = (*world.channels, "AGENTS")
        shape = (self._rows.blocks, self._columns.blocks, len(self.channels))
        self.space: Final = UnitBox(shape)

    def of(self, copy: int, agents: Agents) -> NDArray[np.float32]:
        """The state of world `copy`, float32 `(Ph, Pw, C)` in [0, 1]; a new array.

        The last channel is the share of a block's cells on which an agent stands.
        """
        state = np.empty(self.space.shape, np.float32)
        rows, columns = self._rows, self._columns
        step = max(1, _CHUNK // (len(columns.cells) * _SAMPLES))
        for block in range(0, rows.blocks, step):
            last = min(block + step, rows.blocks)
            ys = rows.cells[rows.starts[block] : rows.ends[last - 1]]
            y, x = (axis.ravel() for axis in np.meshgrid(ys, columns.cells, indexing="ij"))
            for index, (name, channel) in enumerate(self._world.channels.items()):
                values = self._world.gather(name, np.full(len(y), copy, np.int32), y, x).astype(np.float32)
                values -= np.float32(channel.low)
                values /= np.float32(channel.high - channel.low)
                band = values.reshape(len(ys), len(columns.cells))
                sums = np.add.reduceat(band, columns.starts, axis=1)
                sums = np.add.reduceat(sums, rows.starts[block:last] - rows.starts[block], axis=0)
                sums /= rows.counts[block:last, None] * columns.counts
                state[block:last, :, index] = sums
        state[:, :, -1] = self._density(copy, agents)
        np.clip(state, 0.0, 1.0, out=state)
        return state

    def _density(self, copy: int, agents: Agents) -> NDArray[np.float32]:
        here = agents.alive & (agents.copy == copy)
        block = (agents.y[here] // self._rows.size) * self._columns.blocks + agents.x[here] // self._columns.size
        counts = np.bincount(block, minlength=self._rows.blocks * self._columns.blocks)
        cells = np.multiply.outer(self._rows.lengths, self._columns.lengths)
        density: NDArray[np.float32] = (counts.reshape(cells.shape) / cells).astype(np.float32)
        return density


class _Axis:
    """How one side of the world is cut into blocks, and which of its cells are looked at."""

    def __init__(self, length: int) -> None:
        self.size = -(-length // _BLOCKS)  # cells a block
        self.blocks = -(-length // self.size)
        firsts = np.arange(self.blocks) * self.size
        self.lengths = np.minimum(self.size, length - firsts)
        counts = np.minimum(self.lengths, _SAMPLES)
        self.ends = np.cumsum(counts)
        self.starts = self.ends - counts
        self.counts = counts.astype(np.float32)
        lattice = [
            first + (2 * np.arange(count) + 1) * cells // (2 * count)
            for first, cells, count in zip(firsts, self.lengths, counts, strict=True)
        ]
        self.cells = np.concatenate(lattice).astype(np.int32)
