"""OnMirror: windows cut on the torch device where they are wanted, straight into the tensors that are handed out."""

from collections.abc import Callable
from typing import Any, Final

import torch

from memfarm.errors import ConfigError, DTypeError, ShapeError
from memfarm.windows import WindowCutter
from memfarm.world import World
from memfarm.wrappers.cutting import Shape
from memfarm.wrappers.mirror_windows import MirrorCutter
from memfarm.wrappers.tensors import DTYPES, host_actions, place_of


class OnMirror:
    """Windows are cut on `world`, a torch device; the other arguments are those of `WindowObservation`.

    Raises ConfigError for a device that this machine lacks, for another `device` than that, and for a dtype.
    """

    remembers = False

    def __init__(self, world: str, device: str, dtype: str, copy: bool) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self._device: Final = place_of(world, "world")
        if place_of(device, "device") != self._device:
            raise ConfigError(f"windows cut on world={world!r} stay there and need the same device, got {device!r}")
        self._dtype: Final = DTYPES[dtype]
        self._copy: Final = copy

    def cutter(self, cutter: WindowCutter, world: World) -> MirrorCutter:
        """What cuts as `cutter` from a mirror of `world`'s tiles. Raises ConfigError where they do not fit."""
        return MirrorCutter(world, cutter, self._device)

    def new(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A new tensor of the dtype that is handed out."""
        return torch.empty(shape, dtype=self._dtype, device=self._device)

    def memory_of(self, buffer: Any, shape: Shape) -> torch.Tensor:
        """A tensor's view `(N, S, S, C)`: of one contiguous so, or of `(N, C, S, S)` in channels_last strides."""
        rule = f"write_next_to takes a {self._dtype} tensor on {self._device} without a gradient"
        if not isinstance(buffer, torch.Tensor):
            raise DTypeError(f"{rule}; got {type(buffer).__name__}")
        if buffer.dtype != self._dtype or buffer.device != self._device or buffer.requires_grad:
            raise DTypeError(f"{rule}; got {buffer.dtype} on {buffer.device}, requires_grad={buffer.requires_grad}")
        if buffer.ndim == 4 and (buffer.shape != shape or not buffer.is_contiguous()):
            buffer = buffer.permute(0, 2, 3, 1)
        if buffer.shape != shape or not buffer.is_contiguous():
            raise ShapeError(f"{rule}, of shape {shape} and contiguous, got {tuple(buffer.shape)}, {buffer.stride()}")
        windows: torch.Tensor = buffer
        return windows

    def outlet(self, shape: Shape) -> "CutTensors":
        """Tensors on the device."""
        if self._copy:
            return CutTensors(lambda: self.new(shape))
        one = self.new(shape)
        return CutTensors(lambda: one)


class CutTensors:
    """Tensors that windows were cut into.

    lend: the tensor `(N, S, S, C)` that the next windows are to be cut into.
    """

    def __init__(self, lend: Callable[[], torch.Tensor]) -> None:
        self.buffer: Final = lend
        self.buffer32: Final = lend  # not called: nobody works on windows that are cut here

    def hand_out(self, windows: torch.Tensor) -> torch.Tensor:
        """`windows` `(N, S, S, C)` as `(N, C, S, S)` in channels_last strides: a view."""
        return windows.permute(0, 3, 1, 2)

    def hand_out_fresh(self, windows: torch.Tensor) -> torch.Tensor:
        """The same."""
        return self.hand_out(windows)

    def actions(self, actions: Any) -> Any:
        """`actions` for an environment: a tensor of any device as an array, anything else as it is."""
        return host_actions(actions)
