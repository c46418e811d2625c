"""Where large buffers lie: in anonymous memory, or above a size in mapped files without a name."""

import errno
import math
import mmap
import os
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from memfarm.errors import StorageError
from memfarm.files import open_scratch
from memfarm.wrappers.buffers import BufferPool, Buffers, OneBuffer

MAPPED_ABOVE: Final = 64 << 20
"""Bytes of a buffer above which `MemmapConfig.use_for_observations` puts it into a file."""

_PIECE: Final = 1 << 24
_LARGE_PAGE: Final = 2 << 20  # of x86-64, and of arm64 with pages of 4 KiB
_LARGE_ABOVE: Final = 1 << 20  # bytes


def empty(shape: tuple[int, ...], dtype: DTypeLike, mapped_above: int | None) -> NDArray[Any]:
    """A new array of unspecified contents; in a file (`mapped_array`) where it has more than `mapped_above` bytes."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if mapped_above is not None and size > mapped_above:
        return mapped_array(shape, dtype)
    return np.empty(shape, dtype) if size < _LARGE_ABOVE else _in_large_pages(shape, dtype, size)


def _in_large_pages(shape: tuple[int, ...], dtype: DTypeLike, size: int) -> NDArray[Any]:
    """A new array that begins where a large page does, in such pages where the system gives them.

    A batch of windows is written all over in an order of its own: in small pages it alone would be more than the
    processor remembers the places of. NumPy asks for large pages too, but from 4 MiB on, and begins anywhere.
    """
    pages = -(-size // _LARGE_PAGE)
    mapped = mmap.mmap(-1, (pages + 1) * _LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError, AttributeError):  # a system without them
        mapped.madvise(mmap.MADV_HUGEPAGE)
    start = np.frombuffer(mapped, np.uint8).ctypes.data
    return np.ndarray(shape, dtype, buffer=mapped, offset=-start % _LARGE_PAGE)


def mapped_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A new C-contiguous array of zeros, the whole of a mapped file without a name in the scratch folder.

    Its pages count as file-backed memory (RssFile), which the system writes out and takes back when it needs room; the
    file is gone with the last array, view or tensor of it. The disk is reserved at once. Raises StorageError where
    there is no room, or no shape to map.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    fd = open_scratch()
    try:
        os.ftruncate(fd, size)
        _reserve(fd, size)
        mapped = mmap.mmap(fd, size)
    except (OSError, ValueError) as error:
        message = f"an observation of {size} bytes cannot be mapped: {error}; use a folder with room (MEMFARM_SCRATCH)"
        raise StorageError(getattr(error, "errno", None) or errno.EINVAL, message) from error
    finally:
        os.close(fd)
    return np.ndarray(shape, dtype, buffer=mapped)  # at one remove: every view's `base` is this array


def _reserve(fd: int, size: int) -> None:
    """Have room for `size` bytes on the disk now: a full disk is an error here, and not a signal in the kernels."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    for start in range(0, size, _PIECE):
        os.pwrite(fd, bytes(min(_PIECE, size - start)), start)


def make_buffers(shape: tuple[int, ...], dtype: DTypeLike, copy: bool, mapped_above: int | None = None) -> Buffers:
    """A `BufferPool`, or where not `copy` one buffer, of arrays that lie where `empty` puts them."""
    if copy:
        return BufferPool(shape, dtype, make=lambda: empty(shape, dtype, mapped_above))
    return OneBuffer(shape, dtype, make=lambda: empty(shape, dtype, mapped_above))
