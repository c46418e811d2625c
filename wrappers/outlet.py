"""How windows leave a wrapper: as NumPy arrays, or as tensors on a device."""

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import ConfigError
from memfarm.wrappers.buffers import Buffers
from memfarm.wrappers.mapped_buffers import make_buffers


class Outlet(Protocol):
    """How windows leave: as arrays, or as tensors on a device."""

    def buffer(self) -> Any:
        """Memory `(N, S, S, C)` that the next windows are to be cut into, of the dtype that they leave in."""

    def buffer32(self) -> Any:
        """The same in float32, for windows that are worked on before they leave."""

    def hand_out(self, windows: Any) -> Any:
        """What was cut into one of these, or into another float32 array `(N, S, S, C)`, as it leaves."""

    def hand_out_fresh(self, windows: Any) -> Any:
        """The same of memory that is never overwritten."""

    def actions(self, actions: Any) -> Any: ...


class _Arrays:
    """NumPy's outlet: the buffer itself."""

    def __init__(self, buffers: Buffers) -> None:
        self.buffer: Final = buffers.take
        self.buffer32: Final = buffers.take

    def hand_out(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return windows

    def hand_out_fresh(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return windows

    def actions(self, actions: Any) -> Any:
        return actions


def make_outlet(
    shape: tuple[int, int, int, int], tensor: str, device: str, dtype: str, copy: bool, mapped_above: int | None
) -> Outlet:
    """The outlet of windows of `shape` `(N, S, S, C)`. Raises ConfigError."""
    if tensor == "torch":
        from memfarm.wrappers.tensors import make_tensors  # torch enters with tensors only

        return make_tensors(shape, device, dtype, copy, mapped_above)
    if tensor != "numpy":
        raise ConfigError(f"tensor must be 'torch' or 'numpy', got {tensor!r}")
    if (device, dtype) != ("cpu", "float32"):
        raise ConfigError(f"tensor='numpy' is float32 on the cpu, got {dtype} on {device}; use tensor='torch'")
    return _Arrays(make_buffers(shape, np.float32, copy, mapped_above))
