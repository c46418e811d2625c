"""Glimpses: a memory at a glance, a coarse grid that is kept up with every look instead of being summed up."""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm.arrays import Cells
from memfarm.batches import How
from memfarm.errors import ConfigError
from memfarm.grid import ChannelGrid

Runs = NDArray[np.int64]


class Glimpses:
    """What each agent saw of every block of its world when it last saw some of it.

    The world is cut into `shape` blocks (at most one a cell), block i of R rows of H being the rows y with
    y * R // H == i. A look gives every block in sight the mean, over those of its cells that were seen in this look, of
    each channel; a block out of sight keeps its values, and KNOWN_EMPTY fades, as in the memory itself. LANDMARKS keep
    the largest mean. Costs what the windows cost, and `shape` cells an agent.

    memory: the grid of the memory, whose channels, copies and boundary the blocks have. arguments: `ChannelGrid`'s.
    """

    def __init__(self, memory: ChannelGrid, shape: tuple[int, int], **arguments: Any) -> None:
        if (
            not isinstance(shape, tuple | list)
            or len(shape) != 2
            or not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n <= 1024 for n in shape)
        ):
            raise ConfigError(f"overview must be (rows, columns), two ints in [1, 1024], or None, got {shape!r}")
        self._world: Final = memory.shape
        self._wraps: Final = memory.boundary == "wrap"
        rows, columns = min(shape[0], memory.shape[0]), min(shape[1], memory.shape[1])
        self.grid: Final = ChannelGrid((rows, columns), memory.channels, name="overview", **arguments)
        self._radius: Final = max(rows, columns) // 2
        self.side: Final = 2 * self._radius + 1

    def take(
        self,
        agents: NDArray[np.int32],
        y: NDArray[np.int32],
        x: NDArray[np.int32],
        values: NDArray[np.float32],
        seen: NDArray[np.bool_] | None,
    ) -> None:
        """Look at windows `values` `(N, S, S, L)`, where `seen` `(N, S, S)` if that is not all of them."""
        if not len(agents):
            return
        (agents, rows, columns), means = self._means(agents, y, x, values, seen)
        for lane, name in enumerate(self.grid.names):
            how: How = "max" if name == "LANDMARKS" else "set"
            self.grid.scatter(name, agents, rows, columns, means[:, lane], how)

    def _means(
        self,
        agents: NDArray[np.int32],
        y: NDArray[np.int32],
        x: NDArray[np.int32],
        values: NDArray[np.float32],
        seen: NDArray[np.bool_] | None,
    ) -> tuple[Cells, NDArray[np.float32]]:
        """The blocks in sight, and the means `(M, L)` of what is seen of each: sums over runs of rows, then columns."""
        count, side, _, lanes = values.shape
        rows, columns = self._blocks(y, 0, side), self._blocks(x, 1, side)
        across, starts = _runs(rows)
        window = starts // side  # whose the runs of rows are
        down, column_starts = _runs(columns[window])
        of = column_starts // side
        if seen is None:
            shares = values
            heights, widths = _lengths(starts, count * side), _lengths(column_starts, len(window) * side)
            cells = (heights[of] * widths).astype(np.float32)
        else:
            shares = values * seen[..., None]
            shown = seen.astype(np.float32).reshape(count * side, side)
            cells = np.add.reduceat(np.add.reduceat(shown, starts).reshape(-1), column_starts)
        sums = _row_sums(shares.reshape(count, side, side * lanes), starts)
        sums = np.add.reduceat(sums.reshape(-1, lanes), column_starts)
        inside = (across[of] >= 0) & (down >= 0) & (cells > 0)
        whose = window[of][inside]
        block = (agents[whose], across[of][inside].astype(np.int32), down[inside].astype(np.int32))
        if self._wraps:
            return self._joined(block, sums[inside], cells[inside])
        return block, sums[inside] / cells[inside, None]

    def _blocks(self, centre: NDArray[np.int32], axis: int, side: int) -> NDArray[np.int64]:
        """The block of every row (axis 0) or column (1) of the windows, `(N, S)`; -1 beyond a wall."""
        size, blocks = self._world[axis], self.grid.shape[axis]
        at = centre.astype(np.int64)[:, None] + np.arange(-(side // 2), side // 2 + 1)
        if self._wraps:
            at %= size
        block = at * blocks // size
        block[(at < 0) | (at >= size)] = -1
        return block

    def _joined(
        self, block: Cells, sums: NDArray[np.float32], cells: NDArray[np.float32]
    ) -> tuple[Cells, NDArray[np.float32]]:
        """The same with each block of an agent once: in a small wrapped world a window meets it again."""
        key = (block[0].astype(np.int64) * self.grid.shape[0] + block[1]) * self.grid.shape[1] + block[2]
        _, first, index = np.unique(key, return_index=True, return_inverse=True)
        total, number = np.zeros((len(first), sums.shape[1]), np.float32), np.zeros(len(first), np.float32)
        np.add.at(total, index, sums)
        np.add.at(number, index, cells)
        return (block[0][first], block[1][first], block[2][first]), total / number[:, None]

    def read(self, agents: ArrayLike, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """All blocks of `agents`, float32 `(N, rows, columns, L)`: a view of `out` `(N, D, D, L)` or of a new array."""
        rows, columns = self.grid.shape
        square = self.grid.observe(agents, rows // 2, columns // 2, self._radius, out=out)
        blocks: NDArray[np.float32] = self.cut(square, 1)
        return blocks

    def cut(self, square: Any, axis: int) -> Any:
        """The overview in a `square` of D x D, array or tensor, whose rows are at `axis` and columns behind: a view."""
        top, left = self._radius - self.grid.shape[0] // 2, self._radius - self.grid.shape[1] // 2
        rows, columns = slice(top, top + self.grid.shape[0]), slice(left, left + self.grid.shape[1])
        return square[(slice(None),) * axis + (rows, columns)]


def _runs(blocks: NDArray[np.int64]) -> tuple[Runs, Runs]:
    """Runs of one block within the rows of `blocks` `(N, S)`: their blocks, and where they start in it laid flat."""
    change = np.ones(blocks.shape, np.bool_)
    np.not_equal(blocks[:, 1:], blocks[:, :-1], out=change[:, 1:])
    starts = np.flatnonzero(change)
    return blocks.reshape(-1)[starts], starts


def _row_sums(values: NDArray[np.float32], starts: Runs) -> NDArray[np.float32]:
    """Sums of the rows of `values` `(N, S, K)` over each run that `starts` in its `N * S` rows: `(M, K)`.

    A product with zeros and ones: `np.add.reduceat` takes ten times as long.
    """
    count, side, _ = values.shape
    change = np.zeros(count * side, np.int64)
    change[starts] = 1
    number = change.reshape(count, side).cumsum(axis=1) - 1  # of its row's run in the window
    chosen = number[:, None, :] == np.arange(number.max() + 1)[:, None]
    sums: NDArray[np.float32] = chosen.astype(np.float32) @ values
    found: NDArray[np.float32] = sums[starts // side, number.reshape(-1)[starts]]
    return found


def _lengths(starts: Runs, end: int) -> Runs:
    return np.diff(starts, append=end)
