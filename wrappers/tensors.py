"""Windows as torch tensors, on any device and in any of four dtypes; torch is imported here and in `mirror…` alone."""

import math
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from memfarm.errors import ConfigError, DTypeError
from memfarm.kernels import narrow
from memfarm.wrappers.buffers import Buffers
from memfarm.wrappers.mapped_buffers import empty, make_buffers
from memfarm.wrappers.turns import Turns

DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
}
STORED: Final = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16, "uint8": np.uint8}
"""NumPy's dtypes of that memory; it has no bfloat16, and so has its bits."""


def make_tensors(
    shape: tuple[int, int, int, int], device: str, dtype: str, copy: bool, mapped_above: int | None = None
) -> "SharedTensors":
    """What lends memory for windows of `shape` `(N, S, S, C)`, and hands them out as tensors `(N, C, S, S)`.

    mapped_above: as for `WindowObservation`; what lies on an accelerator, and what is copied there, is not mapped.
    Raises ConfigError for a dtype that is not in `DTYPES`, and for a device this machine lacks.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    place = place_of(device)
    if place.type != "cpu":
        return DeviceTensors(shape, place, dtype, copy)
    if dtype == "float32":
        return SharedTensors(make_buffers(shape, np.float32, copy, mapped_above))
    return NarrowTensors(shape, dtype, copy, mapped_above)


def place_of(device: str, what: str = "device") -> torch.device:
    """The device that `device` names, with its index. Raises ConfigError, which says `what`, where it is not here."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{what} must be one that torch can use here, such as 'cpu', got {device!r}: {reason}"
        ) from error


class SharedTensors:
    """float32 on the CPU: a tensor is a view of the buffer that its windows were cut into.

    buffers: where the buffers `(N, S, S, C)` come from.
    """

    def __init__(self, buffers: Buffers) -> None:
        self._buffers: Final = buffers

    def buffer(self) -> NDArray[Any]:
        """The array that the next windows are to be cut into."""
        return self._buffers.take()

    def buffer32(self) -> NDArray[np.float32]:
        """The same."""
        return self.buffer()

    def hand_out(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """`windows` `(N, S, S, C)` as a tensor `(N, C, S, S)` in channels_last strides: here a view."""
        return _permuted(windows)

    def hand_out_fresh(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """The same in memory that is never overwritten, if `windows` is such: here a view."""
        return _permuted(windows)

    def actions(self, actions: Any) -> Any:
        """`actions` for an environment: a tensor of any device as an array, anything else as it is."""
        return host_actions(actions)


class NarrowTensors(SharedTensors):
    """float16, bfloat16 and uint8 on the CPU: windows are cut into the memory of their tensor.

    shape: `(N, S, S, C)`. copy: a tensor of its own for each call; otherwise one, overwritten.
    """

    def __init__(
        self, shape: tuple[int, int, int, int], dtype: str, copy: bool, mapped_above: int | None = None
    ) -> None:
        super().__init__(make_buffers(shape, STORED[dtype], copy, mapped_above))
        self._shape: Final = shape
        self._dtype: Final = dtype
        self._mapped_above: Final = mapped_above
        self._wide: NDArray[np.float32] | None = None

    def buffer32(self) -> NDArray[np.float32]:
        """One float32 array, whose windows are rounded into memory of their tensor when they are handed out."""
        if self._wide is None:
            self._wide = empty(self._shape, np.float32, self._mapped_above)
        return self._wide

    def hand_out(self, windows: NDArray[Any]) -> torch.Tensor:
        """`windows` `(N, S, S, C)`, rounded if they are float32, as `(N, C, S, S)` in channels_last strides."""
        if windows.dtype == np.float32:
            windows = rounded(windows, self._buffers.take())
        return tensor_of(windows, self._dtype).permute(0, 3, 1, 2)

    def hand_out_fresh(self, windows: NDArray[Any]) -> torch.Tensor:
        """The same; float32 `windows` are rounded into newly allocated memory."""
        if windows.dtype == np.float32:
            windows = rounded(windows, empty(windows.shape, STORED[self._dtype], self._mapped_above))
        return tensor_of(windows, self._dtype).permute(0, 3, 1, 2)


class DeviceTensors(SharedTensors):
    """Any dtype on an accelerator: copied there from a buffer of that dtype on the host.

    Where the device is CUDA there are two such buffers, page-locked, that take turns: the copy of one goes on while the
    other is written, and a buffer is written again when its copy has ended. Elsewhere it has when the call returns.
    shape: `(N, S, S, C)`. copy: a tensor of its own for each call; otherwise one, overwritten.
    """

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device, dtype: str, copy: bool) -> None:
        stored = np.dtype(STORED[dtype])
        if device.type == "cuda":
            size = math.prod(shape) * stored.itemsize
            locked = [torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy() for _ in range(2)]
            staging = [one.view(stored).reshape(shape) for one in locked]
            self._staging = Turns(staging, lambda: torch.cuda.current_stream(device).record_event())
        else:
            self._staging = Turns([np.empty(shape, stored)])
        self._out: Final = None if copy else torch.empty(shape, dtype=DTYPES[dtype], device=device)
        self._device: Final = device
        self._shape: Final = shape
        self._dtype: Final = dtype
        self._wide: NDArray[np.float32] | None = None

    def buffer(self) -> NDArray[Any]:
        """A buffer on the host; waits where the device still reads it."""
        return self._staging.take()

    def buffer32(self) -> NDArray[np.float32]:
        """One float32 array, whose windows are rounded into a buffer when they are handed out."""
        if self._dtype == "float32":
            return self.buffer()
        if self._wide is None:
            self._wide = np.empty(self._shape, np.float32)
        return self._wide

    def hand_out(self, windows: NDArray[Any]) -> torch.Tensor:
        """`windows` on the device: `(N, C, S, S)`, channels_last. Does not wait for them where they are a buffer's."""
        if windows.dtype != STORED[self._dtype]:
            windows = rounded(windows, self._staging.take())
        mine = self._staging.is_lent(windows)
        here = tensor_of(windows, self._dtype)
        if self._out is None:
            there = here.to(self._device, non_blocking=mine, copy=True)
        else:
            there = self._out.copy_(here, non_blocking=mine)
        if mine:
            self._staging.read()
        return there.permute(0, 3, 1, 2)

    def hand_out_fresh(self, windows: NDArray[Any]) -> torch.Tensor:
        """`windows` on the device, in newly allocated memory; they have arrived."""
        if windows.dtype != STORED[self._dtype]:
            windows = rounded(windows, np.empty(windows.shape, STORED[self._dtype]))
        return tensor_of(windows, self._dtype).to(self._device, copy=True).permute(0, 3, 1, 2)


def rounded(windows: NDArray[np.float32], out: NDArray[Any]) -> NDArray[Any]:
    """`out`, with the windows rounded into it as the kernels round."""
    narrow(windows, out)
    return out


def tensor_of(windows: NDArray[Any], dtype: str) -> torch.Tensor:
    """Memory of `STORED[dtype]` as a tensor of `dtype`, of the same shape: a view."""
    bits = windows.view(np.int16) if dtype == "bfloat16" else windows
    return torch.from_numpy(bits).view(DTYPES[dtype])


def host_actions(actions: Any) -> Any:
    """`actions` for an environment: a tensor of any device as an array, anything else as it is."""
    return actions.detach().cpu().numpy() if isinstance(actions, torch.Tensor) else actions


def memory_of(tensor: object, shape: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """The memory of a float32 CPU tensor as an array of `shape` `(N, S, S, C)`, if it is one; a view.

    tensor: contiguous `(N, S, S, C)`, or `(N, C, S, S)` in channels_last strides. The caller checks what comes out.
    Raises DTypeError for anything but a float32 CPU tensor.
    """
    rule = "write_next_to takes a float32 array, or a float32 tensor on the CPU without a gradient"
    if not isinstance(tensor, torch.Tensor):
        raise DTypeError(f"{rule}; got {type(tensor).__name__}")
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or tensor.requires_grad:
        raise DTypeError(f"{rule}; got {tensor.dtype} on {tensor.device}, requires_grad={tensor.requires_grad}")
    if tensor.ndim == 4 and (tensor.shape != shape or not tensor.is_contiguous()):
        tensor = tensor.permute(0, 2, 3, 1)
    array: NDArray[np.float32] = tensor.numpy()
    return array


def _permuted(windows: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(windows.transpose(0, 3, 1, 2))  # one call of torch, not two
