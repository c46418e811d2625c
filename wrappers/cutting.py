"""Where windows are cut: by the kernels, or on a torch device that mirrors the world."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from memfarm import arrays
from memfarm.errors import ConfigError
from memfarm.windows import WindowCutter
from memfarm.world import World
from memfarm.wrappers.mapped_buffers import empty
from memfarm.wrappers.outlet import Outlet, make_outlet

Cut = Callable[..., Any]
Shape = tuple[int, int, int, int]


class Cutting(Protocol):
    """What cuts windows, and the memory that it cuts them into."""

    remembers: bool  # whether agents can remember what they see there

    def cutter(self, cutter: WindowCutter, world: World) -> Cut:
        """What cuts as `cutter`, which is `world`'s, would. Raises ConfigError."""

    def new(self, shape: tuple[int, ...]) -> Any:
        """New memory for windows of `shape`, of unspecified contents."""

    def memory_of(self, buffer: Any, shape: Shape) -> Any:
        """The caller's `buffer` as memory for windows of `shape` `(N, S, S, C)`. Raises ShapeError or DTypeError."""

    def outlet(self, shape: Shape) -> Outlet:
        """What lends such memory of `shape`, and hands out what was cut there."""


class OnHost:
    """Windows are cut by the kernels, into arrays; the arguments are those of `WindowObservation`."""

    remembers = True

    def __init__(self, tensor: str, device: str, dtype: str, copy: bool, mapped_above: int | None) -> None:
        self._kind: Final = (tensor, device, dtype, copy, mapped_above)
        self._mapped_above: Final = mapped_above

    def cutter(self, cutter: WindowCutter, world: World) -> Cut:
        """`cutter` itself."""
        return cutter

    def new(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A new float32 array; in a file where a batch of that size would lie there."""
        return empty(shape, np.float32, self._mapped_above)

    def memory_of(self, buffer: Any, shape: Shape) -> NDArray[np.float32]:
        """The memory of an array, or of a tensor on the CPU."""
        if not isinstance(buffer, np.ndarray):
            from memfarm.wrappers.tensors import memory_of  # torch enters with tensors only

            buffer = memory_of(buffer, shape)
        return arrays.output(buffer, shape)

    def outlet(self, shape: Shape) -> Outlet:
        """Arrays, or tensors on any device."""
        return make_outlet(shape, *self._kind)


def make_cutting(
    world: str | None, tensor: str, device: str, dtype: str, copy: bool, mapped_above: int | None
) -> Cutting:
    """How windows are cut; the arguments are those of `WindowObservation`. Raises ConfigError."""
    if world is None:
        return OnHost(tensor, device, dtype, copy, mapped_above)
    if tensor != "torch":
        raise ConfigError(f"world={world!r} cuts windows with torch and needs tensor='torch', got {tensor!r}")
    from memfarm.wrappers.mirror_cutting import OnMirror  # torch enters with tensors only

    return OnMirror(world, device, dtype, copy)
