"""Disk is reserved before it is first written: a full disk is an exception there, and not a signal in the kernels.

Two things differ between file systems. Where a hole that is only read takes a block (tmpfs), what is read
where nothing was written, the stamps, is reserved whole. Where nothing can be reserved, a file's own bytes are
written into it again, which comes to the same.
"""

import errno
import mmap
import os
from collections.abc import Callable
from typing import Final

from memfarm import large_pages
from memfarm.errors import StorageError

NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}
"""What a full disk, or a quota that is used up, says."""

_PIECE: Final = 1 << 20
_SHARE: Final = 8  # what is reserved at once is at most so small a part of what is free
_UNKNOWN: Final = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}
"""What a file system says that reserves nothing."""


class Place:
    """Where an array lies in a file that this process writes: `start` bytes into it, `size` bytes long.

    The descriptor is this object's own, and closed with the last reference to it.
    """

    def __init__(self, fd: int, start: int, size: int, name: str, reserved: bool = False) -> None:
        self.start: Final = start
        self.size: Final = size
        self.name: Final = name  # of the file, for messages
        self._reserved = reserved  # all of it, already
        self.fd: Final = os.dup(fd)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "fd"):  # else there was no descriptor left to be had
            close(self.fd)

    def reserve(self, first: int = 0, size: int | None = None) -> None:
        """Have blocks for `size` bytes from byte `first` of the array (None: all of it); changes no byte.

        Raises StorageError with the system's errno (ENOSPC, EDQUOT) where there is no room.
        """
        size = self.size - first if size is None else size
        try:
            if size and not self._reserved and not _allocate(self.fd, self.start + first, size):
                _write_again(self.fd, self.start + first, size)
        except OSError as error:
            raise StorageError(
                error.errno,
                f"no room for {size} bytes of {self.name}: {error.strerror}; nothing was written, free some space and "
                "call again (MEMFARM_SCRATCH is the folder of scratch)",
            ) from error


def _allocate(fd: int, start: int, size: int) -> bool:
    """Reserve blocks; False where the system cannot do that."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(fd, start, size)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        return False
    return True


def reserve_at_once(fd: int, size: int) -> bool:
    """Reserve all of a file that may lie in large pages; False where it may not, or much of the disk would be gone."""
    disk = os.fstatvfs(fd)
    if not large_pages.of_file(fd) or disk.f_bavail * disk.f_frsize < _SHARE * size:
        return False
    try:
        return _allocate(fd, 0, size)
    except OSError:  # a quota, or somebody was faster
        return False


def _write_again(fd: int, start: int, size: int) -> None:
    """Write the bytes that are there: one writer, so that nothing comes in between."""
    for at in range(start, start + size, _PIECE):
        data = os.pread(fd, min(_PIECE, start + size - at), at)
        done = 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], at + done)


def see_through(fd: int, mapped: mmap.mmap, start: int, writable: bool, name: str) -> None:
    """Make it safe to read all of a mapped file from `start` on, also where it has holes and the disk is full.

    Raises StorageError where there is no room.
    """
    hole = _first_hole(fd, start, len(mapped))
    if hole >= len(mapped) or not _reading_takes_room(fd, mapped, hole):
        return
    if writable:
        Place(fd, start, len(mapped) - start, name).reserve()
        return
    try:
        mapped.madvise(_POPULATE_READ, start, len(mapped) - start)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a kernel before 5.14
            raise StorageError(
                errno.ENOSPC, f"no room to read the holes of {name}: {error}; free some space"
            ) from error


_POPULATE_READ: Final = 22  # MADV_POPULATE_READ, which Python does not name


def _first_hole(fd: int, start: int, size: int) -> int:
    try:
        return os.lseek(fd, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        return start  # a file system that does not tell


def _reading_takes_room(fd: int, mapped: mmap.mmap, hole: int) -> bool:
    """Whether the file system gives a block to a hole that is read: tried out on one."""
    if os.statvfs(fd).f_bavail == 0:
        return True  # trying could be a signal
    before = os.fstat(fd).st_blocks
    _ = mapped[hole]
    return os.fstat(fd).st_blocks > before
