"""Shared memory mapped so that it can lie in large pages: Python's `mmap` says neither where a map goes, nor COLLAPSE.

A batch of windows is written all over in an order of its own; in pages of 4 KiB it alone is more than the processor
remembers the places of.
"""

import ctypes
import errno
import mmap
import os
import re
import weakref
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Memory = mmap.mmap | ctypes.Array[ctypes.c_uint8]

SIZE: Final = 2 << 20
"""Bytes of a large page, on x86-64, and on arm64 with pages of 4 KiB."""

FIXED: Final = 0x10  # MAP_FIXED, which Python does not name, as Linux has it
_BOTH: Final = mmap.PROT_READ | mmap.PROT_WRITE
_COLLAPSE: Final = 25  # MADV_COLLAPSE, of Linux 6.1; earlier kernels refuse it
_SINCE: Final = (6, 16)  # when ext4 got large folios; XFS has had them longer
_GIVES: Final = {0xEF53, 0x58465342}  # ext4, XFS: what statfs calls them
_FAILED: Final = ctypes.c_void_p(-1).value


def _system() -> Any:
    """The C library's `mmap`, `munmap` and `madvise`; None where they are not known to be Linux's."""
    if os.uname().sysname != "Linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    library = ctypes.CDLL(None, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    library.mmap.restype, library.mmap.argtypes = address, (address, size, number, number, number, ctypes.c_int64)
    library.munmap.argtypes = (address, size)
    library.madvise.argtypes = (address, size, number)
    library.fstatfs.argtypes = (number, address)
    return library


_LIBRARY: Final = _system()


def map_shared(fd: int, length: int, offset: int) -> Memory:
    """The `length` bytes of a file from `offset` on, for reading and writing, as a buffer; shared, not copied.

    The map lies so that its large pages are those of the file, and ends with the last that refers to the buffer.
    Raises OSError.
    """
    if _LIBRARY is None:
        return mmap.mmap(fd, length, offset=offset)
    room = map_at(None, length + SIZE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    start = room + (offset - room) % SIZE
    try:
        map_at(start, length, _BOTH, mmap.MAP_SHARED | FIXED, fd, offset)
    except OSError:
        _LIBRARY.munmap(room, length + SIZE)
        raise
    memory: ctypes.Array[ctypes.c_uint8] = (ctypes.c_uint8 * length).from_address(start)
    weakref.finalize(memory, _LIBRARY.munmap, room, length + SIZE).atexit = False
    return memory


def map_at(at: int | None, length: int, allowed: int, kind: int, fd: int, offset: int) -> int:
    """The system's `mmap`: the address of the new map. Raises OSError, also where there is none that we know."""
    found = _FAILED if _LIBRARY is None else _LIBRARY.mmap(at, length, allowed, kind, fd, offset)
    if found in (None, _FAILED):
        number = errno.ENOTSUP if _LIBRARY is None else ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(found)


def array_at(memory: Memory, first: int, size: int) -> NDArray[np.uint8]:
    """The bytes from `first` on as uint8 `(size,)`: a view, which refers to the map and to no other array."""
    buffer: Any = memory
    return np.ndarray((size,), np.uint8, buffer, first)


def of_file(fd: int) -> bool:
    """Whether an open file may lie in large pages once its blocks are there: on ext4 and XFS, since Linux 6.16."""
    if _LIBRARY is None or tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < _SINCE:
        return False
    told = (ctypes.c_long * 64)()  # larger than any struct statfs, which begins with the type
    return _LIBRARY.fstatfs(fd, told) == 0 and told[0] in _GIVES


def collapse(memory: Memory, first: int, size: int) -> None:
    """Have `size` bytes, all of which are there, in large pages, as far as these lie within them; if the system can."""
    if not isinstance(memory, mmap.mmap):
        address = ctypes.addressof(memory) + first
        start, end = -(-address // SIZE) * SIZE, (address + size) // SIZE * SIZE
        if start < end:
            _LIBRARY.madvise(start, end - start, _COLLAPSE)


def remove(memory: Memory, first: int, size: int) -> None:
    """Give bytes that nobody needs back to the system, if it can; page by page, and 0 from then on."""
    if isinstance(memory, mmap.mmap):
        if hasattr(mmap, "MADV_REMOVE"):
            memory.madvise(mmap.MADV_REMOVE, first, size)
    else:
        _LIBRARY.madvise(ctypes.addressof(memory) + first, size, mmap.MADV_REMOVE)
