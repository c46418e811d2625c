"""What the parts of a ChannelGrid share: its maps, and the two doors to its kernel."""

from typing import Any

from numpy.typing import NDArray

from memfarm import arrays
from memfarm.capacity import Dependents
from memfarm.channels import Channel
from memfarm.guard import Guard
from memfarm.kernels import Grid
from memfarm.layout import Boundary
from memfarm.room import Room
from memfarm.shared_pages import SharedPages
from memfarm.storage import Segments
from memfarm.windows import WindowCutter


class Opened:
    """The fields that `ChannelGrid` fills; `Held`, `Batches` and `Areas` work on them."""

    shape: tuple[int, int]
    channels: tuple[Channel, ...]
    names: tuple[str, ...]
    name: str
    copies: int
    dtype: str
    boundary: Boundary
    writable: bool
    epoch: int
    tick: int
    _segments: Segments
    _stamps: NDArray[Any]
    _resets: NDArray[Any]
    _room: Room
    _pages: SharedPages
    _guard: Guard
    _dependents: Dependents
    _cutters: dict[tuple[tuple[str, ...], int], WindowCutter]

    def _open(self) -> Grid:
        raise NotImplementedError

    def _open_to_write(self) -> Grid:
        raise NotImplementedError

    def check_open(self) -> None:
        """Raise ClosedError after `close()`, and in a forked child of the process that made the grid."""
        self._open()

    def _copy(self, copy: int) -> int:
        return arrays.index("copy", copy, self.copies)
