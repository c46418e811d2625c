"""Folders that are whole or absent: made under a temp name, on the disk to the last byte, then renamed."""

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from memfarm.errors import StorageError

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def part_name(name: str) -> str:
    """`.{name}.part-<pid>-<random>`: what is being made; once its process is dead nobody needs it any more."""
    return f".{name}.part-{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def publish(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill; at the end of the block it lies at `path`, safe against a power cut; if that raises, nowhere.

    Killed at any moment it leaves `path` absent or whole, and at most a folder beside it that `part_name` has named.
    replace: a folder that lies at `path` is exchanged for the new one, in one step where the system can (Linux).
    Raises StorageError, with the errno of what the system refused (ENOSPC: a full disk).
    """
    target = Path(path).absolute()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_free(target, replace)
        part = target.parent / part_name(target.name)
        part.mkdir(mode=0o700)
    except OSError as error:
        raise _refused(target, error) from error
    try:
        yield part
        sync(part)
        _put(part, target, replace)
        sync_folder(target.parent)
    except StorageError:
        raise
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        if part.exists():  # what was replaced, or what did not come to its end
            shutil.rmtree(part)


def _refused(target: Path, error: OSError) -> StorageError:
    if isinstance(error, StorageError):
        return error
    return StorageError(error.errno, f"the folder {str(target)!r} cannot be made: {error}; make room or take another")


def _check_free(target: Path, replace: bool) -> None:
    if not target.is_symlink() and (
        not target.exists() or (target.is_dir() and (replace or not any(target.iterdir())))
    ):
        return
    raise StorageError(
        errno.EEXIST, f"a new folder needs a place of its own, got {str(target)!r} which exists; remove it"
    )


def sync(folder: Path) -> None:
    """Have every file and folder below `folder`, and itself, on the disk."""
    for where, _, names in os.walk(folder):
        for name in names:
            _fsync(Path(where) / name, os.O_RDONLY | os.O_NOFOLLOW)
        sync_folder(Path(where))


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk."""
    _fsync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _put(part: Path, target: Path, replace: bool) -> None:
    if not replace or not target.exists():
        part.rename(target)
    elif not _exchange(part, target):  # then there is a moment without either
        aside = target.parent / part_name(target.name)
        target.rename(aside)
        part.rename(target)
        shutil.rmtree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap names in one step; False where the system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
