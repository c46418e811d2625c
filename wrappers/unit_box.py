"""UnitBox: the space of shares, in [0, 1] or as bytes, whose bounds take no memory."""

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import DTypeLike

if TYPE_CHECKING:
    _Box = Box[Any]
else:
    _Box = Box  # gymnasium before 1.4 has no type parameters


class UnitBox(_Box):
    """`Box(0, 1, shape, dtype)`, or of uint8 up to 255, with bounds that are views of one number.

    A Box holds two arrays of bounds and two of flags: 0.8 GB for the windows of 100,000 agents.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> None:
        super().__init__(0, 255 if np.dtype(dtype) == np.uint8 else 1, shape=(), dtype=np.dtype(dtype))
        self._shape = shape
        for name in ("low", "high", "bounded_below", "bounded_above"):
            setattr(self, name, np.broadcast_to(getattr(self, name), shape))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled without its bounds."""
        return UnitBox, (self.shape, self.dtype), {"_np_random": self._np_random}
