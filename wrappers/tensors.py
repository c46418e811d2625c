"""Windows as torch tensors, on any device and in any floating dtype; the only wrapper module that imports torch."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from memfarm.errors import ConfigError, DTypeError
from memfarm.wrappers.buffers import Buffers
from memfarm.wrappers.mapped_buffers import empty, make_buffers

DTYPES: Final = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def make_tensors(
    shape: tuple[int, int, int, int], device: str, dtype: str, copy: bool, mapped_above: int | None = None
) -> "SharedTensors":
    """What turns float32 windows of `shape` `(N, S, S, C)` into tensors `(N, C, S, S)`.

    mapped_above: as for `WindowObservation`; what lies on an accelerator, and what is copied there, is not mapped.
    Raises ConfigError for a dtype other than float32, float16 and bfloat16, and for a device this machine lacks.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    try:
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device must be one that torch can use here, such as 'cpu', got {device!r}: {reason}"
        ) from error
    if place.type != "cpu":
        return DeviceTensors(shape, place, DTYPES[dtype], copy)
    if dtype == "float32":
        return SharedTensors(make_buffers(shape, np.float32, copy, mapped_above))
    return ConvertedTensors(shape, DTYPES[dtype], copy, mapped_above)


class SharedTensors:
    """float32 on the CPU: a tensor is a view of the buffer that its windows were cut into.

    buffers: where the buffers `(N, S, S, C)` come from.
    """

    def __init__(self, buffers: Buffers) -> None:
        self._buffers: Final = buffers

    def buffer(self) -> NDArray[np.float32]:
        """The array that the next windows are to be cut into."""
        return self._buffers.take()

    def hand_out(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """`windows` `(N, S, S, C)` as a tensor `(N, C, S, S)` in channels_last strides: here a view."""
        return _permuted(windows)

    def hand_out_fresh(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """The same in memory that is never overwritten, if `windows` is such: here a view."""
        return _permuted(windows)

    def actions(self, actions: Any) -> Any:
        """`actions` for an environment: a tensor of any device as an array, anything else as it is."""
        return actions.detach().cpu().numpy() if isinstance(actions, torch.Tensor) else actions


class ConvertedTensors(SharedTensors):
    """float16 and bfloat16 on the CPU: converted from one float32 buffer into memory of the tensor's own.

    shape: `(N, S, S, C)`. copy: a tensor of its own for each call; otherwise one, overwritten.
    """

    def __init__(
        self, shape: tuple[int, int, int, int], dtype: torch.dtype, copy: bool, mapped_above: int | None = None
    ) -> None:
        super().__init__(make_buffers(shape, np.float32, False, mapped_above))
        self._dtype: Final = dtype
        self._mapped_above: Final = mapped_above
        self._bits: Final = make_buffers(shape, np.int16, copy, mapped_above)  # NumPy has no bfloat16

    def hand_out(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """`windows` converted: `(N, C, S, S)`, channels_last."""
        return self._converted(windows, self._bits.take())

    def hand_out_fresh(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """`windows` converted, in newly allocated memory."""
        return self._converted(windows, empty(windows.shape, np.int16, self._mapped_above))

    def _converted(self, windows: NDArray[np.float32], bits: NDArray[np.int16]) -> torch.Tensor:
        out = torch.from_numpy(bits).view(self._dtype)
        return out.copy_(torch.from_numpy(windows)).permute(0, 3, 1, 2)


class DeviceTensors(SharedTensors):
    """Any dtype on an accelerator: copied there from one float32 buffer, page-locked where the device is CUDA.

    The copy has ended when the call returns, so that the buffer may be written again.
    shape: `(N, S, S, C)`. copy: a tensor of its own for each call; otherwise one, overwritten.
    """

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype, copy: bool) -> None:
        self._staging: Final = torch.empty(shape, pin_memory=device.type == "cuda")
        self._out: Final = None if copy else torch.empty(shape, dtype=dtype, device=device).permute(0, 3, 1, 2)
        self._device: Final = device
        self._dtype: Final = dtype

    def buffer(self) -> NDArray[np.float32]:
        """The one buffer on the host."""
        return self._staging.numpy()

    def hand_out(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """`windows` on the device: `(N, C, S, S)`, channels_last."""
        if self._out is None:
            return self.hand_out_fresh(windows)
        return self._out.copy_(_permuted(windows))

    def hand_out_fresh(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """`windows` on the device, in newly allocated memory."""
        return _permuted(windows).to(device=self._device, dtype=self._dtype)


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
    return torch.from_numpy(windows).permute(0, 3, 1, 2)
