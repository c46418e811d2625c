"""Buffers to write into: a new one each time, recycled only when nothing refers to it any more."""

import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Buffers(Protocol):
    """Where arrays to write into come from."""

    def take(self) -> NDArray[Any]:
        """A C-contiguous array of unspecified contents."""


Make = Callable[[], NDArray[Any]]


class OneBuffer:
    """The same array at every `take()`: what was written before is overwritten.

    shape, dtype: of the array. make: what makes it, in place of `np.empty`.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, *, make: Make | None = None) -> None:
        self._buffer: Final = np.empty(shape, dtype) if make is None else make()

    def take(self) -> NDArray[Any]:
        """The one buffer, as it was left."""
        return self._buffer


class BufferPool:
    """Arrays for results that a caller may keep: no two that are still referred to share memory.

    shape, dtype: of every array.
    patience: a buffer that no `take()` needed for that many calls is given back to the system.
    make: what makes an array of that shape and dtype, in place of `np.empty`. It must own its memory, or its `base`
        must not be an array.

    A buffer counts as referred to while the array handed out lives, or any view of it, slice, transpose, memoryview,
    torch tensor made from it or tensor's view. All of these hold a reference that ends at the pool's own array:
    NumPy shortens a view's `base` to the array that owns the memory, and everything else holds the view that it was
    made from. A bare address (`array.ctypes.data`) is no reference.

    The memory a pool holds is that of the most arrays alive at once. One thread at a time.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike = np.float32,
        *,
        patience: int = 1024,
        make: Make | None = None,
    ) -> None:
        kind = np.dtype(dtype)
        self._make: Final[Make] = make or (lambda: np.empty(shape, kind))
        self._patience: Final = patience
        self._buffers: list[NDArray[Any]] = []  # a view's base ends at each of them
        self._last_take: list[int] = []
        self._takes = 0

    def __len__(self) -> int:
        """How many buffers the pool holds, in use or idle."""
        return len(self._buffers)

    def take(self) -> NDArray[Any]:
        """A C-contiguous array of unspecified contents that shares memory with nothing that is still in use."""
        self._takes += 1
        index = _first_idle(self._buffers, _IDLE)
        if index == len(self._buffers):
            self._buffers.append(self._make())
            self._last_take.append(0)
        self._last_take[index] = self._takes
        view = self._buffers[index].view()  # its flags and shape are the caller's, the buffer's stay as they are
        if self._takes % self._patience == 0:
            self._give_back()
        return view

    def _give_back(self) -> None:
        """Forget buffers not needed of late; who still refers to one keeps it alive."""
        needed = [last > self._takes - self._patience for last in self._last_take]
        self._buffers = [buffer for buffer, keep in zip(self._buffers, needed, strict=True) if keep]
        self._last_take = [last for last, keep in zip(self._last_take, needed, strict=True) if keep]


def _first_idle(buffers: list[NDArray[Any]], idle: int) -> int:
    """The first index whose buffer has at most `idle` references, seen from in here; their number if none has."""
    for index in range(len(buffers)):
        if sys.getrefcount(buffers[index]) <= idle:
            return index
    return len(buffers)


def _idle_references() -> int:
    """What `sys.getrefcount` says in `_first_idle` of an array that only its list refers to: it varies with Python."""
    alone = [np.empty(0)]
    count = 1
    while _first_idle(alone, count) != 0:
        count += 1
    return count


_IDLE: Final = _idle_references()
