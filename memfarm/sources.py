"""Files that a user names: rasters, maps, configurations. Links are followed; what is no plain file is refused."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_source(path: Path) -> BinaryIO:
    """The plain file at `path`, opened to read. OSError where it is absent, a folder, a device or a pipe."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:  # a zero byte, or half of a surrogate pair
        raise OSError(errno.EINVAL, f"no path: {error}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(fd, "rb")


def read_text(path: Path, largest: int) -> str:
    """The UTF-8 text of a plain file of at most `largest` bytes. Raises OSError, UnicodeDecodeError."""
    with open_source(path) as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise OSError(errno.EFBIG, f"more than {largest} bytes", str(path))
    return data.decode("utf-8")


def size_of(file: BinaryIO) -> int:
    """The bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def cells_allowed(size: int) -> int:
    """How many cells a compressed file of `size` bytes may unfold to: 4 Mi (2048 x 2048), or 64 a byte where more.

    Elevations fold to a tenth, hardly ever to a hundredth; what folds to less is meant to fill the memory.
    """
    return max(1 << 22, 64 * size)
