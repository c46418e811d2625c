"""Memory without a name that processes share by descriptor: gone with the last of them, however they end."""

import errno
import mmap
import os
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import StorageError
from memfarm.files import open_scratch
from memfarm.large_pages import SIZE as LARGE
from memfarm.large_pages import Memory, array_at, collapse, map_shared, remove

PAGE: Final = mmap.ALLOCATIONGRANULARITY


def new_memory() -> int:
    """A descriptor of empty memory that `grow` enlarges: of RAM where the system has such, else a scratch file."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("memfarm-shards", os.MFD_CLOEXEC)
    return open_scratch()


def reserve(fd: int, start: int, length: int) -> None:
    """Have room for these bytes now: what is missing is an error here, and not a signal in a worker that writes."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, start, length)
        else:
            os.ftruncate(fd, max(os.fstat(fd).st_size, start + length))
    except OSError as error:
        message = f"{length} bytes of shared memory cannot be had: {error}; use fewer agents or keep fewer observations"
        raise StorageError(error.errno or errno.ENOMEM, message) from error


def round_up(size: int) -> int:
    """`size` in whole pages, and one at least."""
    return max(1, -(-size // PAGE)) * PAGE


class Extents:
    """The worker's side of the shared memory: it maps what it is told of, once.

    Views of it are valid as long as they are referred to.
    """

    def __init__(self, fd: int) -> None:
        self._fd: Final = fd
        self._maps: dict[int, Memory] = {}

    def bytes_at(self, extent: int, length: int, offset: int, size: int) -> NDArray[np.uint8]:
        """The `size` bytes at `offset` of the memory, uint8 `(size,)`; they lie in the extent told; a view."""
        mapped = self._maps.get(extent)
        if mapped is None:
            mapped = self._maps[extent] = map_shared(self._fd, length, extent)
        return array_at(mapped, offset - extent, size)


class Pages:
    """The parent's side: pieces of one size, cut from extents that double, so that descriptors stay few.

    grown: where the next extent may begin, shared by all `Pages` of one memory.
    """

    def __init__(self, fd: int, size: int, grown: list[int]) -> None:
        self._fd: Final = fd
        self._size: Final = round_up(size)
        self._step: Final = self._size if size < LARGE else -(-size // LARGE) * LARGE
        self._grown: Final = grown
        self._extents: list[tuple[int, Memory]] = []
        self._free: list[tuple[int, int]] = []  # (extent's number, offset in the memory)

    def take(self) -> tuple[NDArray[np.uint8], tuple[int, int, int], Callable[[], None]]:
        """A piece, uint8 `(size,)`; where it lies: extent, its length, offset; and what gives its memory back."""
        if not self._free:
            self._extend()
        number, offset = self._free.pop()
        extent, mapped = self._extents[number]
        reserve(self._fd, offset, self._size)
        collapse(mapped, offset - extent, self._size)
        array = array_at(mapped, offset - extent, self._size)

        def give_back() -> None:
            remove(mapped, offset - extent, self._size)
            self._free.append((number, offset))

        return array, (extent, len(mapped), offset), give_back

    def _extend(self) -> None:
        pieces = 1 << len(self._extents)
        extent, length = -(-self._grown[0] // LARGE) * LARGE, pieces * self._step
        os.ftruncate(self._fd, extent + length)  # addresses only: a piece's memory is reserved when it is taken
        self._extents.append((extent, map_shared(self._fd, length, extent)))
        self._grown[0] = extent + length
        number = len(self._extents) - 1
        self._free += [(number, extent + piece * self._step) for piece in reversed(range(pieces))]


def whole(fd: int, size: int) -> NDArray[Any]:
    """All of a memory of `size` bytes, uint8 `(size,)`; a view."""
    return np.ndarray((size,), np.uint8, mmap.mmap(fd, size))
