"""One writer a world: a lock on a file in its folder that death releases.

The lock is the kernel's own (of the open file description on Linux, `flock` elsewhere) and is taken here, not by the
filelock package: its locks live on in forked children of a holder who died, and can become marker files, which outlive
everybody. A forked child closes its copy at once.
"""

import errno
import fcntl
import os
import stat
import struct
import weakref
from pathlib import Path
from typing import Final

from memfarm.errors import StorageError, WorldLockedError

FILE: Final = "lock"

_PLAIN: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # no link is followed, no pipe waited for
_BUSY: Final = (errno.EACCES, errno.EAGAIN)
_FLOCK: Final = "hhqqi"  # Linux's struct flock: type, whence, start, length (0: all of it), pid (0: let it be)


class WorldLock:
    """The right to write the world in `folder`, held until `release()`, the end of the process, or collection.

    Raises WorldLockedError, which names the holder, where somebody has it: another process, or this one.
    """

    def __init__(self, folder: Path) -> None:
        self._fd = -1
        path = folder / FILE
        while self._fd < 0:  # again where somebody removed the file that we were about to hold
            fd = _open(path, os.O_RDWR | os.O_CREAT)
            try:
                if not _try_lock(fd):
                    raise WorldLockedError(
                        f"a world has one writer, and {str(folder)!r} has {_named(_holder(fd))}; "
                        "wait for it to close, or open the world with mode='r'"
                    )
                if _is_at(fd, path):
                    _write_holder(fd, folder)
                    self._fd = fd
                    _HELD.add(self)
            finally:
                if self._fd != fd:
                    os.close(fd)

    def release(self) -> None:
        """Let go. Twice is fine."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)  # and no unlock: that would take it from the parent of a fork

    def __del__(self) -> None:
        self.release()


def writer_of(folder: Path) -> str | None:
    """The living writer of the world in `folder`, in words ("process 17"); None where there is none."""
    try:
        fd = _open(folder / FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return _named(_holder(fd)) if _is_locked(fd) else None
    finally:
        os.close(fd)


def _open(path: Path, flags: int) -> int:
    try:
        fd = os.open(path, flags | _PLAIN, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(error.errno, f"a world's lock must be a plain file that may be opened: {error}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StorageError(f"{str(path)!r} must be a plain file, got a folder, a pipe or a device; remove it")
    return fd


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _write_holder(fd: int, folder: Path) -> None:
    pid = str(os.getpid()).encode()
    try:
        os.pwrite(fd, pid, 0)
        os.ftruncate(fd, len(pid))
    except OSError as error:
        raise StorageError(error.errno, f"the lock of {str(folder)!r} cannot be written: {error}; make room") from error


def _holder(fd: int) -> int:
    """The pid that the holder wrote; 0 where it has not yet."""
    text = os.pread(fd, 20, 0)
    return int(text) if text.isdigit() else 0


def _named(pid: int) -> str:
    if pid == os.getpid():
        return f"this process ({pid})"
    return f"process {pid}" if pid else "another process"


if hasattr(fcntl, "F_OFD_SETLK"):

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise StorageError(error.errno, f"a world's folder must be able to hold a lock: {error}") from error
        return True

    def _is_locked(fd: int) -> bool:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
        return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)

else:  # pragma: no cover - not Linux

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise StorageError(error.errno, f"a world's folder must be able to hold a lock: {error}") from error
        return True

    def _is_locked(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return True
            raise
        return False


_HELD: Final[weakref.WeakSet[WorldLock]] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
