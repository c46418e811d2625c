"""MirroredGrid: the tiles of a grid on a torch device, brought up to date by sending what was written."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from memfarm import live_tiles
from memfarm.errors import ConfigError
from memfarm.grid import ChannelGrid
from memfarm.tiling import Index
from memfarm.touched import NO_TILES, Change

_PIECE: Final = 1 << 24  # bytes of tiles that are sent together


class StoredCells(NamedTuple):
    """What lies in a batch of cells of any shape `(...)`."""

    values: torch.Tensor  # (..., lanes) as stored
    live: torch.Tensor  # bool (...): whether that says anything, else the cell is `fill`
    age: torch.Tensor  # int64 (...): ticks since it was true


class MirroredGrid:
    """A grid's tiles and stamps on a device, as they were at the last `catch_up()`; at first, as nothing written.

    It holds all tiles of all copies, written or not. Raises ConfigError where they cannot be held.
    """

    def __init__(self, grid: ChannelGrid, device: torch.device) -> None:
        tiles, stamps, resets = grid.arrays().values()
        self.grid: Final = grid
        self.device: Final = device
        self._side: Final[int] = tiles.shape[3]
        self._rows, self._columns = stamps.shape[1:]
        kind = torch.from_numpy(np.empty(0, tiles.dtype)).dtype
        try:
            self._tiles: Final = torch.zeros((stamps.size, self._side**2, tiles.shape[5]), dtype=kind, device=device)
            self._cells: Final = self._tiles.view(-1, tiles.shape[5])
            self._stamps: Final = torch.zeros(stamps.size, dtype=torch.int64, device=device)
        except (RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{grid.name} cannot be mirrored on {device}: {reason}; leave world out") from error
        self._known_resets: NDArray[np.int64] = np.zeros_like(resets)
        self._resets = torch.zeros(resets.shape, dtype=torch.int64, device=device)
        self._changes: Final = grid.watch()

    def catch_up(self) -> None:
        """Send what changed since the last call: tiles and cells that may have been written, and resets."""
        tiles, stamps, resets = self.grid.arrays().values()
        if not np.array_equal(resets, self._known_resets):
            if (resets[:, 0] < self._known_resets[:, 0]).any():
                self._changes.forget()  # resets were taken back, and tiles hold again that were not sent
            known = resets.copy()
            self._resets, self._known_resets = sent(known, self.device), known
        change = self._changes.take()
        try:
            if change is None:
                self._stamps.zero_()  # what is not sent is not live, whatever it was
                stock = self.grid.stock()
                live = live_tiles.live(stock.arrays, np.arange(self.grid.copies), stock.pages)
                change = Change(live, NO_TILES)
            self._send(change.tiles, stamps.reshape(-1).view(np.int64), self._stamps)
            self._send(change.tiles, tiles.reshape(stamps.size, -1, tiles.shape[5]), self._tiles)
            self._send(change.cells, tiles.reshape(-1, tiles.shape[5]), self._cells)
        except BaseException:
            self._changes.forget()
            raise

    def _send(self, index: Index, here: NDArray[np.generic], there: torch.Tensor) -> None:
        """Make `there` what `here` is, in the rows `index`."""
        together = max(1, _PIECE // here[:1].nbytes)
        for part in (index[start : start + together] for start in range(0, len(index), together)):
            there.index_copy_(0, sent(part, self.device), sent(here[part], self.device))

    def cells(self, copy: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> StoredCells:
        """What lies in cells of the world: int64 coordinates on the device, of shapes that broadcast together."""
        side = self._side
        if self.grid.copies == 1:
            copy = torch.zeros_like(copy)
        tile = (copy * self._rows + y // side) * self._columns + x // side
        values = self._cells[tile * side**2 + y % side * side + x % side]
        stamp, resets = self._stamps[tile], self._resets[copy]
        live = stamp >> 32 & 0xFFFFFFFF == resets[..., 0]
        written = ((stamp & 0xFFFFFFFF) - 1) * self.grid.epoch
        return StoredCells(values, live, self.grid.tick - torch.where(live, written, resets[..., 1]))


def sent(array: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """`array` on `device`: a copy, or on the CPU perhaps a view, to be used at once.

    To a CUDA device it goes by page-locked memory, which torch keeps until it has arrived, and nobody waits.
    """
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def check_fits(grids: Iterable[ChannelGrid], device: torch.device) -> None:
    """Raise ConfigError unless the device has room for mirrors of all of `grids`."""
    needed = sum(array.nbytes for grid in grids for array in grid.arrays().values())
    free = free_bytes(device)
    if free is not None and needed > free:
        raise ConfigError(
            f"the layers of a mirrored world must fit on {device}: they are {needed:,} bytes there, {free:,} are free; "
            "leave world out, so that windows are cut by the processor, or use a smaller shape, dtype or fewer copies"
        )


def free_bytes(device: torch.device) -> int | None:
    """The bytes that torch can get on a CUDA device, or that are free in memory; None where nobody says."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return int(psutil.virtual_memory().available) if device.type == "cpu" else None
