"""GridStats: how much of a grid was ever written, and what it takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GridStats:
    """What a grid holds: counts of tiles and bytes."""

    tiles: int  # tiles of all copies
    live: int  # written since the last reset of their copy
    stale: int  # live, and last written in an older epoch
    logical_bytes: int  # what a dense file would take
    disk_bytes: int  # what the named files take; 0 for scratch and RAM

    @property
    def written_share(self) -> float:
        return self.live / self.tiles

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]], epoch: int, disk_bytes: int) -> "GridStats":
        """The stats of a grid's tiles, stamps and copies at the number `epoch`; reads every stamp."""
        _, stamps, copies = arrays.values()
        live = (stamps >> np.uint64(32)) == copies[:, 0].astype(np.uint64)[:, None, None]
        current = (stamps & np.uint64(0xFFFFFFFF)) == np.uint64(epoch + 1)
        return cls(
            tiles=stamps.size,
            live=int(live.sum()),
            stale=int((live & ~current).sum()),
            logical_bytes=sum(array.nbytes for array in arrays.values()),
            disk_bytes=disk_bytes,
        )
